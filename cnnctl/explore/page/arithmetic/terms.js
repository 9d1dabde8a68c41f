// The computation of one output value in numbers, for each kind of layer that multiplies, chooses or averages.

import { centred, weightPlaces } from "./axis_normalization.js";
import { biasIsOfColumns } from "./convolution.js";
import { indexOf, placeTaken, valueAt } from "./places.js";
import { linesOf } from "./up_sampling.js";
import { flatIndex, paddingOf, shapeOf, spatial, windowOf } from "./window.js";

/** Return the input maps that a filter of a convolution reads: first and the one after the last. */
export function groupOf(network, layer, filter) {
  const { channels } = spatial(shapeOf(network, layer.inputs[0]), layer.fields.data_format);
  const each = channels / layer.fields.groups;
  const first = Math.floor(filter / (layer.fields.filters / layer.fields.groups)) * each;
  return { first, end: first + each };
}

function biasOf(network, layer, unit) {
  return layer.fields.use_bias === false ? null : network.weight(layer.name, "bias").values[unit];
}

/**
 * Compute one value of a convolution as products.
 *
 * Returns `channels`, one { channel, terms: [{ row, column, kernelRow, kernelColumn, padding, value, weight, product }], sum }
 * per input map that the filter reads; `sum` over them, `bias` (null without one) and `before` the activation.
 */
export function convolutionTerms(network, pass, name, image, place) {
  const layer = network.layer(name);
  const input = layer.inputs[0];
  const shape = shapeOf(network, input);
  const { height, width } = spatial(shape, layer.fields.data_format);
  const window = windowOf(layer, shape, place.row, place.column);
  const kernel = network.weight(name, "kernel");
  const [, kernelWidth, depth, filters] = kernel.shape;
  const values = pass.outputs.get(input).values;
  const { first, end } = groupOf(network, layer, place.map);
  const channels = [];
  for (let channel = first; channel < end; channel += 1) {
    const terms = [];
    window.rows.forEach((row, kernelRow) =>
      window.columns.forEach((column, kernelColumn) => {
        const padding = row < 0 || column < 0 || row >= height || column >= width;
        const value = padding ? 0 : values[flatIndex(shape, layer.fields.data_format, image, row, column, channel)];
        const weight =
          kernel.values[((kernelRow * kernelWidth + kernelColumn) * depth + channel - first) * filters + place.map];
        terms.push({ row, column, kernelRow, kernelColumn, padding, value, weight, product: value * weight });
      }),
    );
    channels.push({ channel, terms, sum: terms.reduce((total, term) => total + term.product, 0) });
  }
  const sum = channels.reduce((total, each) => total + each.sum, 0);
  const bias = biasOf(network, layer, biasIsOfColumns(layer) ? place.column : place.map);
  return { channels, sum, bias, before: sum + (bias ?? 0), window };
}

/** Compute the map that one input map contributes to one filter's output, before sums over maps, bias and activation. */
export function partialMap(network, pass, name, image, filter, channel) {
  const layer = network.layer(name);
  const shape = shapeOf(network, layer.inputs[0]);
  const { height, width } = spatial(shape, layer.fields.data_format);
  const output = spatial(layer.shape, layer.fields.data_format);
  const kernel = network.weight(name, "kernel");
  const [kernelHeight, kernelWidth, depth, filters] = kernel.shape;
  const inGroup = channel - groupOf(network, layer, filter).first;
  const values = pass.outputs.get(layer.inputs[0]).values;
  const start = flatIndex(shape, layer.fields.data_format, image, 0, 0, channel);
  const rowStep = flatIndex(shape, layer.fields.data_format, image, 1, 0, channel) - start;
  const columnStep = flatIndex(shape, layer.fields.data_format, image, 0, 1, channel) - start;
  const [rowStride, columnStride] = layer.fields.strides;
  const [rowDilation, columnDilation] = layer.fields.dilation_rate;
  const { top, left } = paddingOf(layer, shape);
  const result = new Float64Array(output.height * output.width);
  for (let i = 0; i < kernelHeight; i += 1) {
    for (let j = 0; j < kernelWidth; j += 1) {
      const weight = kernel.values[((i * kernelWidth + j) * depth + inGroup) * filters + filter];
      for (let row = 0; row < output.height; row += 1) {
        const inputRow = row * rowStride - top + i * rowDilation;
        if (inputRow < 0 || inputRow >= height) continue;
        for (let column = 0; column < output.width; column += 1) {
          const inputColumn = column * columnStride - left + j * columnDilation;
          if (inputColumn < 0 || inputColumn >= width) continue;
          result[row * output.width + column] += weight * values[start + inputRow * rowStep + inputColumn * columnStep];
        }
      }
    }
  }
  return result;
}

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
  return {
    unit,
    value,
    mean,
    variance,
    epsilon,
    gamma,
    beta,
    normalized,
    output: normalized * (gamma ?? 1) + (beta ?? 0),
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
