// Maps of layers as pictures: their values, their scale of colours, and a vector laid out in rows.

import { channelOf, IMAGE_SCALE, scaleOf } from "../paint.js";
import { state } from "../state.js";
import { sizesOf } from "./selection.js";

const ONE_ROW = 12;
const NARROWEST = 8;
const WIDEST = 64;

/** Return the number of rows and columns in which a vector is shown: a few values in one row, more nearly in a square. */
export function rowsOf(length) {
  const square = 2 ** Math.ceil(Math.log2(Math.sqrt(length)));
  const width = length <= ONE_ROW ? length : Math.min(Math.max(square, NARROWEST), WIDEST);
  return { height: Math.ceil(length / width), width };
}

/** Return the cell { row, column } of a unit of a vector. */
export function cellOf(unit, length) {
  const { width } = rowsOf(length);
  return { row: Math.floor(unit / width), column: unit % width };
}

/** Return the unit at a cell of a vector, or null beyond its end. */
export function unitAt(row, column, length) {
  const unit = row * rowsOf(length).width + column;
  return unit < length ? unit : null;
}

/** Lay out a vector in rows; cells beyond its end are NaN. */
export function vectorMap(values) {
  const { height, width } = rowsOf(values.length);
  const cells = new Float32Array(height * width).fill(NaN);
  cells.set(values);
  return { values: cells, height, width };
}

/** Return one map { values, height, width } of the image of the page, from outputs or gradients. */
export function mapOf(tensors, name, map) {
  const tensor = tensors.get(name);
  const { vector, dataFormat } = sizesOf(name);
  const size = tensor.values.length / tensor.shape[0];
  return vector ? vectorMap(tensor.values.subarray(0, size)) : channelOf(tensor, 0, map, dataFormat);
}

/** Return the scale of all maps of a layer, so that their colours can be compared; images are grey. */
export function layerScale(name, tensors = state.pass.outputs) {
  if (name === "input" && tensors === state.pass.outputs) return IMAGE_SCALE;
  const tensor = tensors.get(name);
  return scaleOf(tensor.values.subarray(0, tensor.values.length / tensor.shape[0]));
}

/** Return the scale of several maps, so that they can be compared. */
export function commonScale(maps) {
  const scales = maps.map((map) => scaleOf(map.values));
  const [low, high] = [Math.min(...scales.map((scale) => scale.low)), Math.max(...scales.map((scale) => scale.high))];
  return { ...scales[0], low, high, signed: low < 0 };
}
