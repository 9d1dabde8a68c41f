// Values by their places, and where the values that a layer moves come from.
// A place is { row, column, map }; a value of a vector is at row 0, column = unit, map 0.

import { softmaxAxes } from "./activation_layers.js";
import { permutedFrom } from "./shape.js";
import { groupsAlong } from "./softmax.js";
import { flatIndex, formatOf, shapeOf, spatial } from "./window.js";

/** Read one value of a layer's output, or of "input", for one image of the batch. */
export function valueAt(network, tensors, name, image, place) {
  const tensor = tensors.get(name);
  return tensor.values[flatIndex(shapeOf(network, name), formatOf(network, name), image, place.row, place.column, place.map)];
}

/** Compute the index of a value in a layer's output of one image, without the batch. */
export function indexOf(network, name, place) {
  return flatIndex(shapeOf(network, name), formatOf(network, name), 0, place.row, place.column, place.map);
}

/** Compute the place of the value at `index` of one image: the reverse of `indexOf`. */
export function placeOf(network, name, index) {
  return placeIn(shapeOf(network, name), formatOf(network, name), index);
}

function placeIn(shape, dataFormat, index) {
  const { height, width, channels } = spatial(shape, dataFormat);
  if (dataFormat === "channels_first" && shape.length === 3) {
    const pixel = index % (height * width);
    return { map: Math.floor(index / (height * width)), row: Math.floor(pixel / width), column: pixel % width };
  }
  const pixel = Math.floor(index / channels);
  return { map: index % channels, row: Math.floor(pixel / width), column: pixel % width };
}

/** Return the values whose softmax a layer takes together, such as the logits, and which of them is at a place: { values, unit }. */
export function softmaxGroupAt(network, pass, name, image, place) {
  const { shape, values } = pass.before.get(name);
  const index = indexOf(network, name, place);
  const group = groupsAlong([1, ...shape.slice(1)], softmaxAxes(network.layer(name))).find((each) => each.includes(index));
  const start = image * (values.length / shape[0]);
  return { values: Float32Array.from(group, (each) => values[start + each]), unit: group.indexOf(index) };
}

/** Read the random number of a dropout or a noise at a place; along an axis of length 1 all values share it. Null without one. */
export function randomAt(network, pass, name, image, place) {
  const mask = pass.masks.get(name);
  if (!mask) return null;
  const { shape } = pass.outputs.get(name);
  const index = image * (mask.shape[0] > 1 ? mask.values.length / mask.shape[0] : 0);
  return mask.values[index + sharedIndex(indexOf(network, name, place), shape.slice(1), mask.shape.slice(1))];
}

/** Read the slope of a prelu at a place; undefined for other layers. */
export function alphaAt(network, name, place) {
  const alpha = network.weight(name, "alpha");
  return alpha && alpha.values[sharedIndex(indexOf(network, name, place), network.layer(name).shape, alpha.shape)];
}

/** Compute the index in a tensor of a smaller shape that is broadcast, for the value at `index` of the whole. */
function sharedIndex(index, whole, smaller) {
  let [rest, shared, step] = [index, 0, 1];
  for (let axis = 1; axis <= smaller.length; axis += 1) {
    const [length, full] = [smaller.at(-axis), whole.at(-axis)]; // from the last axis on
    if (length > 1) shared += (rest % full) * step;
    rest = Math.floor(rest / full);
    step *= length;
  }
  return shared;
}

/** Compute where a value of a concatenation comes from: { input, position among the inputs, place }. */
export function sourceOf(network, name, place) {
  const layer = network.layer(name);
  const axis = layer.fields.axis < 0 ? layer.shape.length + layer.fields.axis : layer.fields.axis - 1;
  const after = layer.shape.slice(axis + 1).reduce((product, side) => product * side, 1);
  const index = indexOf(network, name, place);
  const along = Math.floor(index / after) % layer.shape[axis];
  let offset = 0;
  for (const [position, input] of layer.inputs.entries()) {
    const side = shapeOf(network, input)[axis];
    if (along < offset + side) {
      const outer = Math.floor(index / (after * layer.shape[axis]));
      return { input, position, place: placeOf(network, input, (outer * side + along - offset) * after + (index % after)) };
    }
    offset += side;
  }
  throw new Error(`${name} has no value at ${index}`);
}

/** Compute the place in a concatenation of a value of the input at a position: the reverse of `sourceOf`. */
export function concatenatedPlace(network, name, position, place) {
  const { inputs, fields, shape } = network.layer(name);
  const axis = fields.axis < 0 ? shape.length + fields.axis : fields.axis - 1;
  const before = inputs.slice(0, position).reduce((sum, input) => sum + shapeOf(network, input)[axis], 0);
  const own = shapeOf(network, inputs[position]);
  const along = alongAxes(indexOf(network, inputs[position], place), own);
  along[axis] += before;
  return placeOf(network, name, indexFrom(along, shape));
}

/** Compute the place in a join that reads an input at a place; along axes where the input is broadcast, that of `current`. */
export function joinedPlace(network, name, input, place, current) {
  const [own, whole] = [shapeOf(network, input), shapeOf(network, name)];
  const along = alongAxes(indexOf(network, name, current), whole);
  const read = alongAxes(indexOf(network, input, place), own);
  own.forEach((length, axis) => {
    if (length > 1) along[axis + whole.length - own.length] = read[axis];
  });
  return placeOf(network, name, indexFrom(along, whole));
}

/** Split a flat index into the indices along the axes of a shape. */
function alongAxes(index, shape) {
  let rest = index;
  const along = new Array(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    along[axis] = rest % shape[axis];
    rest = Math.floor(rest / shape[axis]);
  }
  return along;
}

function indexFrom(along, shape) {
  return along.reduce((index, each, axis) => index * shape[axis] + each, 0);
}

/** Compute the place that an input of a join is read at: an axis of length 1 is read at 0, missing axes are left out. */
export function broadcastPlace(network, name, input, place) {
  return placeOf(network, input, sharedIndex(indexOf(network, name, place), shapeOf(network, name), shapeOf(network, input)));
}

/** Compute the place in a layer's input, which may have another data format, of what the layer takes for (row, column, map). */
export function placeTaken(network, layer, row, column, map) {
  const [input] = layer.inputs;
  return placeOf(network, input, flatIndex(shapeOf(network, input), layer.fields.data_format, 0, row, column, map));
}

/** Compute the place in the input that a value of `zero_padding2d` is; null for a zero of the padding. */
export function unpaddedPlace(network, name, place) {
  const layer = network.layer(name);
  const [[top], [left]] = layer.fields.padding;
  const { height, width } = spatial(shapeOf(network, layer.inputs[0]), layer.fields.data_format);
  const [row, column] = [place.row - top, place.column - left];
  const inside = row >= 0 && column >= 0 && row < height && column < width;
  return inside ? placeTaken(network, layer, row, column, place.map) : null;
}

/** Compute the place in the input that a value of `reshape` or `permute` is. */
export function movedFrom(network, name, place) {
  const layer = network.layer(name);
  const [input] = layer.inputs;
  const index = indexOf(network, name, place);
  return placeOf(network, input, layer.kind === "permute" ? permutedFrom(layer, shapeOf(network, input))[index] : index);
}

/** Compute the place in the output of `reshape` or `permute` of an input value: the reverse of `movedFrom`. */
export function movedTo(network, name, place) {
  const layer = network.layer(name);
  const [input] = layer.inputs;
  const index = indexOf(network, input, place);
  return placeOf(network, name, layer.kind === "permute" ? permutedFrom(layer, shapeOf(network, input)).indexOf(index) : index);
}

/** Compute the place in the input that a value of `cropping2d` comes from. */
export function uncroppedPlace(network, name, place) {
  const layer = network.layer(name);
  const [[top], [left]] = layer.fields.cropping;
  return placeTaken(network, layer, place.row + top, place.column + left, place.map);
}

/** Compute the place of an input value in the output of `cropping2d`; null where it is cut off. */
export function croppedPlace(network, name, place) {
  const layer = network.layer(name);
  const [[top], [left]] = layer.fields.cropping;
  const { height, width } = spatial(layer.shape, layer.fields.data_format);
  const own = placeInLayer(network, layer, place);
  const [row, column] = [own.row - top, own.column - left];
  return row >= 0 && column >= 0 && row < height && column < width ? { row, column, map: own.map } : null;
}

/** Compute the place, in a layer's own data format, of a value of its input. */
function placeInLayer(network, layer, place) {
  const [input] = layer.inputs;
  return placeIn(shapeOf(network, input), layer.fields.data_format, indexOf(network, input, place));
}

/** Compute the place of an input value in the output of `zero_padding2d`: the reverse of `unpaddedPlace`. */
export function paddedPlace(network, name, place) {
  const layer = network.layer(name);
  const [[top], [left]] = layer.fields.padding;
  const own = placeInLayer(network, layer, place);
  return { row: own.row + top, column: own.column + left, map: own.map };
}

/** Compute the unit of `flatten`'s output that an input value goes to: Keras puts channels last first. */
export function flattenedUnit(network, name, place) {
  const layer = network.layer(name);
  const [input] = layer.inputs;
  const shape = shapeOf(network, input);
  const index = indexOf(network, input, place);
  if (shape.length === 1 || layer.fields.data_format !== "channels_first") return index;
  const pixels = shape[1] * shape[2];
  return (index % pixels) * shape[0] + Math.floor(index / pixels);
}

/** Compute the input value that a unit of `flatten`'s output comes from: the reverse of `flattenedUnit`. */
export function unflattenedPlace(network, name, unit) {
  const layer = network.layer(name);
  const shape = shapeOf(network, layer.inputs[0]);
  if (shape.length === 1) return { row: 0, column: unit, map: 0 };
  const { width, channels } = spatial(shape, layer.fields.data_format);
  const pixel = Math.floor(unit / channels);
  return placeTaken(network, layer, Math.floor(pixel / width), pixel % width, unit % channels);
}
