// The receptive field: the smallest box of the input image that one value of a layer can depend on, in inference.
// A box has an interval [first, last] along each axis without the batch; layers may differ in their data formats.

import { slidesOf, windowAlong } from "./sliding.js";
import { formatOf, shapeOf } from "./window.js";

/**
 * Compute the receptive field of the values of all maps at a place; a value of a vector is at row 0, column = unit.
 * @returns { top, left, bottom, right, unclipped }, the last pixels included: the box on the image, and the same box with
 * the zeros of paddings around the image; null where the value depends on no pixel
 */
export function receptiveField(network, name, row, column) {
  const shape = shapeOf(network, name);
  const box = shape.map((length) => [0, length - 1]);
  const [rows, columns] = shape.length === 3 ? imageAxes(formatOf(network, name)) : [undefined, 0];
  if (rows !== undefined) box[rows] = [row, row];
  box[columns] = [column, column];
  const clipped = boxOnInput(network, name, box, true, new Map());
  const unclipped = boxOnInput(network, name, box, false, new Map());
  return clipped && { ...asRectangle(network, clipped), unclipped: asRectangle(network, unclipped ?? clipped) };
}

/** Return the axes of rows, columns and channels of (H, W, C) or (C, H, W). */
function imageAxes(dataFormat) {
  return dataFormat === "channels_first" ? [1, 2, 0] : [0, 1, 2];
}

function asRectangle(network, box) {
  const [rows, columns] = imageAxes(network.description.input.data_format).map((axis) => box[axis]);
  return { top: rows[0], left: columns[0], bottom: rows[1], right: columns[1] };
}

/**
 * Compute the box of the network's input that a box of a layer's output depends on; null if on nothing.
 * `known` has the results so far: the paths through a stack of joins are many, the boxes on them few.
 */
function boxOnInput(network, name, box, clip, known) {
  const own = clip ? insideOf(shapeOf(network, name), box) : box;
  if (!own || name === "input") return own;
  const key = `${name} ${own.join(" ")}`;
  if (!known.has(key)) {
    const layer = network.layer(name);
    const mixed = layer.fields.activation === "softmax" ? wholeLastAxis(layer.shape, own) : own;
    const boxes = layer.inputs.map((input, index) => {
      const taken = boxOfInput(layer, index, mixed);
      return taken && boxOnInput(network, input, taken, clip, known);
    });
    known.set(key, hullOf(boxes.filter((each) => each !== null)));
  }
  return known.get(key);
}

/** Limit a box to the values that a layer has; null where nothing is left. */
function insideOf(shape, box) {
  const inside = box.map(([first, last], axis) => [Math.max(first, 0), Math.min(last, shape[axis] - 1)]);
  return inside.every(([first, last]) => first <= last) ? inside : null;
}

function hullOf(boxes) {
  if (boxes.length === 0) return null;
  return boxes[0].map((_, axis) => [
    Math.min(...boxes.map((box) => box[axis][0])),
    Math.max(...boxes.map((box) => box[axis][1])),
  ]);
}

function wholeLastAxis(shape, box) {
  return [...box.slice(0, -1), [0, shape[shape.length - 1] - 1]];
}

/** Compute the box of one input of a layer that a box of its output, before the activation, depends on. */
function boxOfInput(layer, index, box) {
  const shape = layer.input_shapes[index];
  switch (layer.kind) {
    case "conv2d":
    case "max_pooling2d":
    case "average_pooling2d":
      return boxOfWindows(layer, shape, box);
    case "zero_padding2d":
      return boxWithoutPadding(layer, box);
    case "global_average_pooling2d":
    case "global_max_pooling2d":
      return boxOfChannels(layer, shape, box);
    case "flatten":
      return boxBeforeFlatten(layer, shape, box[0]);
    case "dense":
      return wholeLastAxis(shape, box);
    case "add":
      return boxBeforeBroadcast(shape, layer.shape, box);
    case "concatenate":
      return boxOfPart(layer, index, box);
    default:
      return box;
  }
}

function boxOfWindows(layer, shape, box) {
  const [rows, columns, channels] = imageAxes(layer.fields.data_format);
  const slides = slidesOf(layer.fields, shape[rows], shape[columns]);
  const result = [...box];
  result[rows] = intervalOfWindows(slides.rows, box[rows]);
  result[columns] = intervalOfWindows(slides.columns, box[columns]);
  if (layer.kind === "conv2d") result[channels] = intervalOfGroups(layer, shape[channels], box[channels]);
  return result;
}

function intervalOfWindows(slide, [first, last]) {
  return [windowAlong(slide, first)[0], windowAlong(slide, last)[slide.size - 1]];
}

function intervalOfGroups({ fields }, channels, [first, last]) {
  const groupOfFilter = (filter) => Math.floor((filter * fields.groups) / fields.filters);
  const share = channels / fields.groups;
  return [groupOfFilter(first) * share, (groupOfFilter(last) + 1) * share - 1];
}

function boxWithoutPadding({ fields }, box) {
  const [rows, columns] = imageAxes(fields.data_format);
  const [[top], [left]] = fields.padding;
  const result = [...box];
  result[rows] = box[rows].map((place) => place - top);
  result[columns] = box[columns].map((place) => place - left);
  return result;
}

function boxOfChannels(layer, shape, box) {
  const [, , channels] = imageAxes(layer.fields.data_format);
  const result = shape.map((length) => [0, length - 1]);
  result[channels] = box.length === 1 ? box[0] : box[channels];
  return result;
}

/** Find the smallest box around the values with indices `first` to `last` of a flattened tensor. */
function boxBeforeFlatten(layer, shape, [first, last]) {
  const moves = layer.fields.data_format === "channels_first" && shape.length > 1;
  const order = moves ? [...shape.slice(1), shape[0]] : shape;
  const [low, high] = [placeIn(order, first), placeIn(order, last)];
  const apart = low.findIndex((place, axis) => place !== high[axis]);
  const box = order.map((length, axis) => (apart >= 0 && axis > apart ? [0, length - 1] : [low[axis], high[axis]]));
  return moves ? [box[box.length - 1], ...box.slice(0, -1)] : box;
}

function placeIn(shape, index) {
  const place = [];
  let rest = index;
  for (const length of [...shape].reverse()) {
    place.unshift(rest % length);
    rest = Math.floor(rest / length);
  }
  return place;
}

/** Keep the axes that an input of add has; one of length 1 is read at 0 wherever the output is. */
function boxBeforeBroadcast(shape, whole, box) {
  const missing = whole.length - shape.length;
  return shape.map((length, axis) => (length === 1 && whole[axis + missing] > 1 ? [0, 0] : box[axis + missing]));
}

function boxOfPart(layer, index, box) {
  const shapes = layer.input_shapes;
  const axis = layer.fields.axis < 0 ? shapes[0].length + layer.fields.axis : layer.fields.axis - 1;
  const before = shapes.slice(0, index).reduce((sum, shape) => sum + shape[axis], 0);
  const part = [...box];
  part[axis] = [Math.max(box[axis][0] - before, 0), Math.min(box[axis][1] - before, shapes[index][axis] - 1)];
  return part[axis][0] <= part[axis][1] ? part : null;
}
