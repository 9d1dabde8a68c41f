// Where the window of a convolution or a pooling lies, and what part of the image a value depends on.
// Formulas: V. Dumoulin and F. Visin 2016, "A guide to convolution arithmetic for deep learning".

import { slidesOf, windowAlong } from "./sliding.js";

const WHOLE_NETWORK_INPUT = "input";

/** Split a shape without its batch axis: an image's (H, W, C) or (C, H, W), or a vector's (D), which is 1 row of D columns. */
export function spatial(shape, dataFormat) {
  if (shape.length === 1) return { height: 1, width: shape[0], channels: 1 };
  const [first, second, third] = shape;
  return dataFormat === "channels_first"
    ? { height: second, width: third, channels: first }
    : { height: first, width: second, channels: third };
}

/** Compute the place of a value in a tensor (B, ...); `shape` is without the batch axis. */
export function flatIndex(shape, dataFormat, image, row, column, channel) {
  const { height, width, channels } = spatial(shape, dataFormat);
  const before = image * height * width * channels;
  return dataFormat === "channels_first" && shape.length === 3
    ? before + (channel * height + row) * width + column
    : before + (row * width + column) * channels + channel;
}

/** Return the data format that a layer's output has: its own, else that of its first input. */
export function formatOf(network, name) {
  if (name === WHOLE_NETWORK_INPUT) return network.description.input.data_format;
  const layer = network.layer(name);
  return layer.fields.data_format ?? formatOf(network, layer.inputs[0]);
}

/** Return the shape of a layer's output, or of the input, without the batch axis. */
export function shapeOf(network, name) {
  return name === WHOLE_NETWORK_INPUT ? network.description.input.shape : network.layer(name).shape;
}

function slidesOver(layer, inputShape) {
  const { height, width } = spatial(inputShape, layer.fields.data_format);
  return slidesOf(layer.fields, height, width);
}

/** Compute the zeros that `same` adds on each side of the input; 0 for `valid`. */
export function paddingOf(layer, inputShape) {
  const { rows, columns } = slidesOver(layer, inputShape);
  const after = (slide) => Math.max(windowAlong(slide, slide.count - 1).at(-1) + 1 - slide.pixels, 0);
  const same = layer.fields.padding === "same";
  return {
    top: rows.before, bottom: same ? after(rows) : 0,
    left: columns.before, right: same ? after(columns) : 0,
  };
}

/**
 * Compute the input rows and columns that the output value (row, column) reads.
 * They are below 0 or beyond the last row or column where the window covers zeros of the padding.
 */
export function windowOf(layer, inputShape, row, column) {
  const slides = slidesOver(layer, inputShape);
  const rows = windowAlong(slides.rows, row);
  const columns = windowAlong(slides.columns, column);
  return { top: rows[0], left: columns[0], rows, columns };
}

function everything(shape, dataFormat) {
  const { height, width } = spatial(shape, dataFormat);
  return { top: 0, left: 0, bottom: height - 1, right: width - 1 };
}

function union(boxes) {
  return {
    top: Math.min(...boxes.map((box) => box.top)),
    left: Math.min(...boxes.map((box) => box.left)),
    bottom: Math.max(...boxes.map((box) => box.bottom)),
    right: Math.max(...boxes.map((box) => box.right)),
  };
}

function throughWindow(layer, shape, box) {
  const first = windowOf(layer, shape, box.top, box.left);
  const last = windowOf(layer, shape, box.bottom, box.right);
  return { top: first.top, left: first.left, bottom: last.rows.at(-1), right: last.columns.at(-1) };
}

function throughZeroPadding(layer, box) {
  const [[top], [left]] = layer.fields.padding;
  return { top: box.top - top, left: box.left - left, bottom: box.bottom - top, right: box.right - left };
}

function throughFlatten(layer, shape, box) {
  const { width, channels } = spatial(shape, layer.fields.data_format);
  if (shape.length === 1 || box.left !== box.right) return everything(shape, layer.fields.data_format);
  const place = Math.floor(box.left / channels);
  const row = Math.floor(place / width);
  return { top: row, bottom: row, left: place % width, right: place % width };
}

function throughDense(network, layer, input, box) {
  const shape = shapeOf(network, input);
  const dataFormat = formatOf(network, input);
  const whole = everything(shape, dataFormat);
  if (shape.length === 1) return whole;
  // The last axis is mixed: the channels, or, with channels_first, the columns.
  return dataFormat === "channels_first" ? { ...whole, top: box.top, bottom: box.bottom } : box;
}

/** Limit a box to the axes that an input of `add` is expanded along: an axis of length 1 is read at 0. */
function throughBroadcast(shape, dataFormat, box) {
  const { height, width } = spatial(shape, dataFormat);
  const rows = height === 1 ? { top: 0, bottom: 0 } : {};
  const columns = width === 1 ? { left: 0, right: 0 } : {};
  return { ...box, ...rows, ...columns };
}

function throughConcatenate(network, layer, input, box) {
  const shape = shapeOf(network, input);
  const axis = layer.fields.axis < 0 ? shape.length + layer.fields.axis : layer.fields.axis - 1;
  const rowsAxis = shape.length === 1 ? -1 : formatOf(network, input) === "channels_first" ? 1 : 0;
  const columnsAxis = shape.length === 1 ? 0 : rowsAxis + 1;
  const offset = layer.inputs
    .slice(0, layer.inputs.indexOf(input))
    .reduce((sum, name) => sum + shapeOf(network, name)[axis], 0);
  const moved = { ...box };
  const side = shape[axis] - 1;
  if (axis === rowsAxis) Object.assign(moved, { top: box.top - offset, bottom: Math.min(box.bottom - offset, side) });
  if (axis === columnsAxis) Object.assign(moved, { left: box.left - offset, right: Math.min(box.right - offset, side) });
  const outside = (axis === rowsAxis && (moved.bottom < 0 || moved.top > side))
    || (axis === columnsAxis && (moved.right < 0 || moved.left > side));
  return outside ? null : { ...moved, top: axis === rowsAxis ? Math.max(moved.top, 0) : moved.top,
    left: axis === columnsAxis ? Math.max(moved.left, 0) : moved.left };
}

function boxInInput(network, layer, input, box) {
  const shape = shapeOf(network, input);
  const dataFormat = formatOf(network, input);
  switch (layer.kind) {
    case "conv2d":
    case "max_pooling2d":
    case "average_pooling2d":
      return throughWindow(layer, shape, box);
    case "zero_padding2d":
      return throughZeroPadding(layer, box);
    case "flatten":
      return throughFlatten(layer, shape, box);
    case "global_average_pooling2d":
    case "global_max_pooling2d":
      return everything(shape, dataFormat);
    case "dense":
      return throughDense(network, layer, input, box);
    case "add":
      return throughBroadcast(shape, dataFormat, box);
    case "concatenate":
      return throughConcatenate(network, layer, input, box);
    default:
      return layer.fields.activation === "softmax" ? throughDense(network, layer, input, box) : box;
  }
}

/** Limit a box to the values of a layer; null where nothing is left. */
function limited(network, name, box) {
  const whole = everything(shapeOf(network, name), formatOf(network, name));
  const inside = {
    top: Math.max(box.top, whole.top),
    left: Math.max(box.left, whole.left),
    bottom: Math.min(box.bottom, whole.bottom),
    right: Math.min(box.right, whole.right),
  };
  return inside.top > inside.bottom || inside.left > inside.right ? null : inside;
}

/**
 * Compute the box of the image that a box of a layer's values depends on; null if on nothing.
 * `known` has the results so far: the paths through a stack of joins are many, the boxes on them few.
 */
function boxOnImage(network, name, box, clip, known) {
  const own = clip ? limited(network, name, box) : box;
  if (!own || name === WHOLE_NETWORK_INPUT) return own;
  const key = [name, own.top, own.left, own.bottom, own.right].join();
  if (!known.has(key)) known.set(key, boxThroughInputs(network, network.layer(name), own, clip, known));
  return known.get(key);
}

function boxThroughInputs(network, layer, box, clip, known) {
  const boxes = layer.inputs
    .map((input) => {
      const inside = boxInInput(network, layer, input, box);
      return inside && boxOnImage(network, input, inside, clip, known);
    })
    .filter(Boolean);
  return boxes.length ? union(boxes) : null;
}

/**
 * Compute the receptive field of one value on the input image, in inference.
 *
 * Returns `{ top, left, bottom, right, unclipped }`, the last pixels included: the smallest box around it on the image,
 * and the same box with the zeros of paddings around the image. A value of a vector is at row 0, column = unit.
 * `null` where the value depends on no pixel.
 */
export function receptiveField(network, name, row, column) {
  const value = { top: row, left: column, bottom: row, right: column };
  const clipped = boxOnImage(network, name, value, true, new Map());
  return clipped && { ...clipped, unclipped: boxOnImage(network, name, value, false, new Map()) };
}
