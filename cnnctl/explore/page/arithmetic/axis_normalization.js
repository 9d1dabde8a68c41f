// layer_normalization, group_normalization and unit_normalization: values of one image are normalized together, in training
// as in inference. J. L. Ba et al. 2016, "Layer Normalization"; Y. Wu and K. He 2018, "Group Normalization".

import { broadcastIndices } from "./broadcasting.js";
import { makeTensor, resolveAxis, sizeOf, splitAt } from "./tensor.js";

const LARGEST_FACTOR = 1e12; // of unit_normalization, where all values are 0

/** Normalize; `statistics` are { group, mean, spread, factor }: the group of each value, and numbers by group. */
export function axisNormalizationForward({ layer, inputs, weights }) {
  const [input] = inputs;
  const statistics = statisticsOf(layer, input);
  const centre = centred(layer) ? statistics.mean : null;
  const places = weightPlaces(layer, input.shape);
  const { gamma, beta } = weights;
  const values = input.values.map((value, index) => {
    const group = statistics.group[index];
    const normalized = (value - (centre ? centre[group] : 0)) * statistics.factor[group];
    return normalized * (gamma ? gamma.values[places[index]] : 1) + (beta ? beta.values[places[index]] : 0);
  });
  return { output: makeTensor(input.shape, values), statistics };
}

/**
 * Compute the gradient of the input. With f = (spread + epsilon)^-1/2, g = dy · gamma and a group of n values:
 * dx = f · (g - mean(g)) - f³ · (x - mean) · sum(g · (x - mean)) / n. Without a subtracted mean, that mean is left out;
 * the spread of unit_normalization is a sum, so n is 1 there.
 */
export function axisNormalizationBackward({ layer, inputs, weights, statistics }, adjoint) {
  const { values, shape } = inputs[0];
  const { group, mean, factor, count, isSum } = statistics;
  const places = weightPlaces(layer, shape);
  const centre = centred(layer) ? mean : new Float64Array(mean.length);
  const [plain, along] = [new Float64Array(mean.length), new Float64Array(mean.length)];
  const scaled = Float64Array.from(
    adjoint.values,
    (value, index) => value * (weights.gamma ? weights.gamma.values[places[index]] : 1),
  );
  scaled.forEach((value, index) => {
    plain[group[index]] += value / count;
    along[group[index]] += (value * (values[index] - centre[group[index]])) / (isSum ? 1 : count);
  });
  const gradient = values.map((value, index) => {
    const at = group[index];
    const direct = factor[at] * (scaled[index] - (centred(layer) ? plain[at] : 0));
    return direct - factor[at] ** 3 * (value - mean[at]) * along[at];
  });
  return [makeTensor(shape, gradient)];
}

/** Return whether the mean is subtracted: not with `rms_scaling`, and not where a length becomes 1. */
export function centred({ kind, fields }) {
  return kind !== "unit_normalization" && !fields.rms_scaling;
}

/** Compute mean, spread (the variance, or the sum of squares) and factor of each group of values. */
function statisticsOf(layer, { shape, values }) {
  const isSum = layer.kind === "unit_normalization";
  const group = groupsOfValues(layer, shape);
  const count = values.length / (group[group.length - 1] + 1);
  const groups = values.length / count;
  const [mean, spread] = [new Float64Array(groups), new Float64Array(groups)];
  if (!isSum) values.forEach((value, index) => (mean[group[index]] += value / count));
  values.forEach((value, index) => (spread[group[index]] += (value - mean[group[index]]) ** 2 / (isSum ? 1 : count)));
  const factor = spread.map((each) => Math.min(1 / Math.sqrt(each + (layer.fields.epsilon ?? 0)), LARGEST_FACTOR));
  return { group, mean, spread, factor, count, isSum };
}

/** Return for each value of a tensor (B, ...) the number of the group that it is normalized with. */
export function groupsOfValues(layer, shape) {
  if (layer.kind !== "group_normalization") {
    const axes = normalizedAxes(layer, shape.length);
    const groups = shape.map((length, axis) => (axes.includes(axis) ? 1 : length));
    return broadcastIndices(shape, groups) ?? Int32Array.from({ length: sizeOf(shape) }, (_, index) => index);
  }
  const { length, inner } = splitAt(shape, resolveAxis(layer.fields.axis, shape.length));
  const groups = layer.fields.groups === -1 ? length : layer.fields.groups;
  const size = sizeOf(shape.slice(1));
  return Int32Array.from({ length: sizeOf(shape) }, (_, index) => {
    const channel = Math.floor(index / inner) % length;
    return Math.floor(index / size) * groups + Math.floor((channel * groups) / length);
  });
}

/** Return the axes, among those of a tensor with the batch, along which values are normalized together. */
export function normalizedAxes(layer, rank) {
  return [layer.fields.axis].flat().map((axis) => resolveAxis(axis, rank));
}

/** Return for each value of a tensor the place of its gamma and beta: by channel, or by all the axes of the layer. */
export function weightPlaces(layer, shape) {
  const axes = normalizedAxes(layer, shape.length);
  const weights = shape.map((length, axis) => (axes.includes(axis) ? length : 1));
  return broadcastIndices(shape, weights) ?? Int32Array.from({ length: sizeOf(shape) }, (_, index) => index);
}
