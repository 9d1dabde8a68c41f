// The receptive field: the smallest box of the input image that one value of a layer can depend on, in inference.
// A region has, along each axis without the batch, the sorted places that count: windows with dilation or strides have gaps,
// which decide what is left where a window lies partly in a padding. Layers may differ in their data formats.

import { softmaxAxes } from "./activation_layers.js";
import { centred, normalizedAxes } from "./axis_normalization.js";
import { isConvolution } from "./convolution_kinds.js";
import { joinRule } from "./joins.js";
import { reachedFrom, slidesOf, windowAlong } from "./sliding.js";
import { resolveAxis } from "./tensor.js";
import { linesOf } from "./up_sampling.js";
import { formatOf, shapeOf } from "./window.js";

/**
 * Compute the receptive field of the values of all maps at a place; a value of a vector is at row 0, column = unit.
 * @returns { top, left, bottom, right, unclipped }, the last pixels included: the box on the image, and the same box with
 * the zeros of paddings around the image; null where the value depends on no pixel
 */
export function receptiveField(network, name, row, column) {
  const shape = shapeOf(network, name);
  const region = shape.map(allPlaces);
  const [rows, columns] =
    shape.length === 3 ? imageAxes(formatOf(network, name)) : shape.length === 2 ? [0, 1] : [undefined, 0];
  if (rows !== undefined) region[rows] = [row];
  region[columns] = [column];
  const clipped = regionOfInput(network, name, region, true, new Map());
  const unclipped = regionOfInput(network, name, region, false, new Map());
  return clipped && { ...boxAround(network, clipped), unclipped: boxAround(network, unclipped ?? clipped) };
}

/** Return the axes of rows, columns and channels of (H, W, C) or (C, H, W). */
function imageAxes(dataFormat) {
  return dataFormat === "channels_first" ? [1, 2, 0] : [0, 1, 2];
}

function boxAround(network, region) {
  const [rows, columns] = imageAxes(network.description.input.data_format).map((axis) => region[axis]);
  return { top: rows[0], left: columns[0], bottom: rows.at(-1), right: columns.at(-1) };
}

/**
 * Compute the region of the network's input that a region of a layer's output depends on; null if on nothing.
 * `known` has the results so far: the paths through a stack of joins are many, the regions on them few.
 */
function regionOfInput(network, name, region, clip, known) {
  const own = clip ? insideOf(shapeOf(network, name), region) : region;
  if (own.some((places) => places.length === 0)) return null;
  if (name === "input") return own;
  const key = `${name} ${own.join(" ")}`;
  if (!known.has(key)) {
    const layer = network.layer(name);
    const axes = softmaxAxes(layer);
    const mixed = axes ? regionOfNormalization(layer.shape, own, axes, true) : own;
    if (mixed.some((places) => places.length === 0)) return null;
    const regions = layer.inputs.map((input, index) =>
      regionOfInput(network, input, regionBefore(layer, index, mixed), clip, known),
    );
    known.set(key, unionOf(regions.filter((each) => each !== null)));
  }
  return known.get(key);
}

function insideOf(shape, region) {
  return region.map((places, axis) => places.filter((place) => place >= 0 && place < shape[axis]));
}

function unionOf(regions) {
  if (regions.length === 0) return null;
  return regions[0].map((_, axis) => sortedPlaces(regions.flatMap((region) => region[axis])));
}

function sortedPlaces(places) {
  return [...new Set(places)].sort((first, second) => first - second);
}

function allPlaces(length) {
  return Array.from({ length }, (_, place) => place);
}

/** Take all places along axes, which count from 1 after the batch. */
function wholeAxes(shape, region, axes) {
  return region.map((places, axis) => (axes.includes(axis + 1) ? allPlaces(shape[axis]) : places));
}

/** Compute the region of one input of a layer that a region of its output, before the activation, depends on. */
function regionBefore(layer, index, region) {
  const shape = layer.input_shapes[index];
  switch (layer.kind) {
    case "conv2d_transpose":
      return regionOfSpread(layer, shape, region);
    case "conv2d":
    case "depthwise_conv2d":
    case "separable_conv2d":
    case "max_pooling2d":
    case "average_pooling2d":
      return regionOfWindows(layer, shape, region);
    case "zero_padding2d":
      return regionMoved(layer, region, layer.fields.padding, -1);
    case "cropping2d":
      return regionMoved(layer, region, layer.fields.cropping, 1);
    case "up_sampling2d":
      return regionOfInterpolation(layer, shape, region);
    case "layer_normalization":
    case "unit_normalization":
      return regionOfNormalization(shape, region, normalizedAxes(layer, shape.length + 1), centred(layer));
    case "group_normalization":
      return regionOfGroups(layer, shape, region);
    case "global_average_pooling2d":
    case "global_max_pooling2d":
      return regionOfChannels(layer, shape, region);
    case "permute":
      return shape.map((_, axis) => region[layer.fields.dims.indexOf(axis + 1)]);
    case "reshape":
      return regionOfIndices(shape, indicesOf(layer.shape, region));
    case "flatten":
      return regionBeforeFlatten(layer, shape, region[0]);
    case "dense":
      return wholeAxes(shape, region, [shape.length]);
    case "concatenate":
      return regionOfPart(layer, index, region);
    default:
      return joinRule(layer) ? regionBeforeJoin(layer, shape, region) : region;
  }
}

function regionOfWindows(layer, shape, region) {
  const [rows, columns, channels] = imageAxes(layer.fields.data_format);
  const slides = slidesOf(layer.fields, shape[rows], shape[columns]);
  const result = [...region];
  result[rows] = sortedPlaces(region[rows].flatMap((place) => windowAlong(slides.rows, place)));
  result[columns] = sortedPlaces(region[columns].flatMap((place) => windowAlong(slides.columns, place)));
  if (isConvolution(layer)) result[channels] = channelsOfGroups(layer, shape[channels], region[channels]);
  return result;
}

function channelsOfGroups({ kind, fields }, channels, filters) {
  const count = kind === "depthwise_conv2d" ? channels : (fields.groups ?? 1);
  const all = kind === "depthwise_conv2d" ? channels * fields.depth_multiplier : fields.filters;
  const groups = new Set(filters.map((filter) => Math.floor((filter * count) / all)));
  return allPlaces(channels).filter((channel) => groups.has(Math.floor((channel * count) / channels)));
}

/** Find the pixels whose windows of a transposed convolution reach the places of its output. */
function regionOfSpread(layer, shape, region) {
  const [rows, columns] = imageAxes(layer.fields.data_format);
  const slides = slidesOf(layer.fields, layer.shape[rows], layer.shape[columns]);
  const pixels = (slide, length, places) => {
    const inside = places.filter((place) => place >= 0 && place < length);
    return sortedPlaces(inside.flatMap((place) => reachedFrom(slide, place).map((each) => each.pixel)));
  };
  const result = shape.map(allPlaces);
  result[rows] = pixels(slides.rows, layer.shape[rows], region[rows]);
  result[columns] = pixels(slides.columns, layer.shape[columns], region[columns]);
  return result;
}

/** Move a region by the rows and columns that a layer has added before the image, or taken away. */
function regionMoved({ fields }, region, [[top], [left]], direction) {
  const [rows, columns] = imageAxes(fields.data_format);
  const result = [...region];
  result[rows] = region[rows].map((place) => place + direction * top);
  result[columns] = region[columns].map((place) => place + direction * left);
  return result;
}

/** Positions beyond the image, in paddings of later layers, are interpolated from no pixel: they are left out. */
function regionOfInterpolation(layer, shape, region) {
  const [rows, columns] = imageAxes(layer.fields.data_format);
  const lines = linesOf(layer, shape[rows], shape[columns]);
  const pixels = (places, line) => sortedPlaces(places.flatMap((place) => (line[place] ?? []).map((each) => each.pixel)));
  const result = [...region];
  result[rows] = pixels(region[rows], lines.rows);
  result[columns] = pixels(region[columns], lines.columns);
  return result;
}

/** A value that is normalized alone, or a softmax of one value, is always the same: it depends on nothing. */
function regionOfNormalization(shape, region, axes, isCentred) {
  const count = axes.reduce((product, axis) => product * shape[axis - 1], 1);
  return count === 1 && isCentred ? region.map(() => []) : wholeAxes(shape, region, axes);
}

function regionOfGroups({ fields }, shape, region) {
  const axis = resolveAxis(fields.axis, shape.length + 1) - 1;
  const groups = fields.groups === -1 ? shape[axis] : fields.groups;
  if (shape.reduce((product, size) => product * size, 1) === groups) return region.map(() => []);
  const groupOfPlace = (place) => Math.floor((place * groups) / shape[axis]);
  const used = new Set(region[axis].map(groupOfPlace));
  const result = shape.map(allPlaces);
  result[axis] = result[axis].filter((place) => used.has(groupOfPlace(place)));
  return result;
}

function regionOfChannels(layer, shape, region) {
  const [, , channels] = imageAxes(layer.fields.data_format);
  const result = shape.map(allPlaces);
  result[channels] = region.length === 1 ? region[0] : region[channels];
  return result;
}

/** Find the places along each axis of the values with these indices in a flattened tensor. */
function regionBeforeFlatten(layer, shape, indices) {
  const moves = layer.fields.data_format === "channels_first" && shape.length > 1;
  const region = regionOfIndices(moves ? [...shape.slice(1), shape[0]] : shape, indices);
  return moves ? [region[region.length - 1], ...region.slice(0, -1)] : region;
}

/** Find the places along each axis of values by their flat indices. */
function regionOfIndices(shape, indices) {
  let step = 1;
  const region = new Array(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    const [size, length] = [step, shape[axis]];
    region[axis] = sortedPlaces(indices.map((index) => Math.floor(index / size) % length));
    step *= length;
  }
  return region;
}

/** List the flat indices of the values of a region that are in a tensor. */
function indicesOf(shape, region) {
  const inside = insideOf(shape, region);
  return shape.reduce((indices, length, axis) => indices.flatMap((index) => inside[axis].map((place) => index * length + place)), [0]); // prettier-ignore
}

/** Keep the axes that an input of a join has; one of length 1 is read at 0 wherever the output is. x - x is always 0. */
function regionBeforeJoin({ kind, inputs, shape: whole }, shape, region) {
  if (kind === "subtract" && inputs[0] === inputs[1]) return shape.map(() => []);
  const missing = whole.length - shape.length;
  return shape.map((length, axis) => (length === 1 && whole[axis + missing] > 1 ? [0] : region[axis + missing]));
}

function regionOfPart(layer, index, region) {
  const shapes = layer.input_shapes;
  const axis = layer.fields.axis < 0 ? shapes[0].length + layer.fields.axis : layer.fields.axis - 1;
  const before = shapes.slice(0, index).reduce((sum, shape) => sum + shape[axis], 0);
  const own = region[axis].map((place) => place - before).filter((place) => place >= 0 && place < shapes[index][axis]);
  return [...region.slice(0, axis), own, ...region.slice(axis + 1)];
}
