// The computation of one output value in numbers, for each kind of layer that multiplies, chooses or averages.

import { affineOf } from "./affine.js";
import { centred, weightPlaces } from "./axis_normalization.js";
import { indexOf, placeTaken, valueAt } from "./places.js";
import { linesOf } from "./up_sampling.js";
import { biasOf } from "./terms_convolution.js";
import { flatIndex, shapeOf, spatial, windowOf } from "./window.js";

/**
 * Compute one value of a dense layer as products with every input along the last axis.
 *
 * Returns `terms`, [{ index, value, weight, product }], with `sum`, `bias` and `before`; `index` is that of the value in
 * the layer's input of one image.
 */
export function denseTerms(network, pass, name, image, place) {
  const layer = network.layer(name);
  const input = pass.outputs.get(layer.inputs[0]);
  const kernel = network.weight(name, "kernel");
  const [length, units] = kernel.shape;
  const index = indexOf(network, name, place);
  const unit = index % units;
  const start = Math.floor(index / units) * length;
  const size = input.values.length / input.shape[0];
  const terms = Array.from({ length }, (_, i) => {
    const value = input.values[image * size + start + i];
    const weight = kernel.values[i * units + unit];
    return { index: start + i, value, weight, product: value * weight };
  });
  const sum = terms.reduce((total, term) => total + term.product, 0);
  const bias = biasOf(network, layer, unit);
  return { terms, sum, bias, before: sum + (bias ?? 0), unit };
}

/**
 * Compute one value of a pooling or a global pooling.
 *
 * Returns `terms`, [{ row, column, padding, value, winner }], and `count`, the values that are real pixels: the mean divides
 * by it. The first of several largest values wins, as in TensorFlow.
 */
export function poolingTerms(network, pass, name, image, place) {
  const layer = network.layer(name);
  const input = layer.inputs[0];
  const shape = shapeOf(network, input);
  const { height, width } = spatial(shape, layer.fields.data_format);
  const { values } = pass.outputs.get(input);
  const global = layer.kind.startsWith("global_");
  const all = (length) => Array.from({ length }, (_, i) => i);
  const window = global
    ? { top: 0, left: 0, rows: all(height), columns: all(width) }
    : windowOf(layer, shape, place.row, place.column);
  const map = global && layer.shape.length === 1 ? place.column : place.map;
  const terms = window.rows.flatMap((row) =>
    window.columns.map((column) => {
      const padding = row < 0 || column < 0 || row >= height || column >= width;
      const value = padding ? 0 : values[flatIndex(shape, layer.fields.data_format, image, row, column, map)];
      return { row, column, padding, value };
    }),
  );
  const real = terms.filter((term) => !term.padding);
  const largest = real.reduce((high, term) => Math.max(high, term.value), -Infinity); // a map may be too large to spread
  const winner = layer.kind.includes("max") ? real.find((term) => term.value === largest) : null;
  const sum = real.reduce((total, term) => total + term.value, 0);
  return {
    terms: terms.map((term) => ({ ...term, winner: term === winner })),
    count: real.length,
    sum,
    map,
    window,
    maximum: winner !== null,
    output: winner ? winner.value : sum / real.length,
  };
}

/** Return the index along the axis that a batch normalization normalizes for a place. */
export function normalizedAxis(network, name, place) {
  const layer = network.layer(name);
  const shape = layer.shape;
  const axis = layer.fields.axis < 0 ? shape.length + layer.fields.axis : layer.fields.axis - 1;
  const after = shape.slice(axis + 1).reduce((product, side) => product * side, 1);
  return Math.floor(indexOf(network, name, place) / after) % shape[axis];
}

/**
 * Compute one value of a batch normalization: (x - mean) / sqrt(variance + epsilon) · gamma + beta.
 *
 * S. Ioffe and C. Szegedy 2015, "Batch Normalization". The mean and variance are those that the pass used.
 */
export function normalizationTerms(network, pass, name, image, place) {
  const layer = network.layer(name);
  const unit = normalizedAxis(network, name, place);
  const weight = (which, missing) => (layer.weights[which] ? network.weight(name, which).values[unit] : missing);
  const used = pass.statistics.get(name);
  const value = valueAt(network, pass.outputs, layer.inputs[0], image, place);
  const [mean, variance, epsilon] = [used.mean[unit], used.variance[unit], layer.fields.epsilon];
  const [gamma, beta] = [weight("gamma", null), weight("beta", null)];
  const normalized = (value - mean) / Math.sqrt(variance + epsilon);
  const renorm = used.renorm?.[unit] ?? null;
  const corrected = renorm ? normalized * renorm.r + renorm.d : normalized;
  return {
    unit,
    renorm,
    value,
    mean,
    variance,
    epsilon,
    gamma,
    beta,
    normalized,
    output: corrected * (gamma ?? 1) + (beta ?? 0),
    movingMean: weight("moving_mean"),
    movingVariance: weight("moving_variance"),
  };
}

/**
 * Compute one value of a layer, group or unit normalization.
 *
 * Returns { value, mean, spread, deviation, gamma, beta, normalized, output, group }: mean is null where none is subtracted,
 * spread is the variance, or the sum of squares of unit_normalization, and `group` has the values that are normalized together.
 */
export function axisNormalizationTerms(network, pass, name, image, place) {
  const layer = network.layer(name);
  const { shape, values } = pass.outputs.get(layer.inputs[0]);
  const used = pass.statistics.get(name);
  const index = image * (values.length / shape[0]) + indexOf(network, name, place);
  const group = used.group[index];
  const at = weightPlaces(layer, shape)[index];
  const weight = (which) => (layer.weights[which] ? network.weight(name, which).values[at] : null);
  const [gamma, beta] = [weight("gamma"), weight("beta")];
  const mean = centred(layer) ? used.mean[group] : null;
  const normalized = (values[index] - (mean ?? 0)) * used.factor[group];
  return {
    value: values[index],
    mean,
    around: used.mean[group],
    spread: used.spread[group],
    deviation: 1 / used.factor[group],
    gamma,
    beta,
    normalized,
    output: normalized * (gamma ?? 1) + (beta ?? 0),
    count: used.count,
    isSum: used.isSum,
    group: values.filter((_, other) => used.group[other] === group),
  };
}

/** Compute one value of an up-sampling: { terms: [{ row, column, map, value, weight, product }], sum }; places of the input. */
export function upSamplingTerms(network, pass, name, image, place) {
  const layer = network.layer(name);
  const [input] = layer.inputs;
  const { height, width } = spatial(shapeOf(network, input), layer.fields.data_format);
  const { rows, columns } = linesOf(layer, height, width);
  const terms = rows[place.row].flatMap((down) =>
    columns[place.column].map((across) => {
      const source = placeTaken(network, layer, down.pixel, across.pixel, place.map);
      const value = valueAt(network, pass.outputs, input, image, source);
      const weight = down.weight * across.weight;
      return { ...source, value, weight, product: value * weight };
    }),
  );
  return { terms, sum: terms.reduce((total, term) => total + term.product, 0) };
}

/** Return the numbers by which a rescaling or a normalization computes the value at a place: { factor, shift, names }. */
export function affineAt(network, name, place) {
  return affineOf(network.layer(name), network.weights.get(name))(indexOf(network, name, place));
}
