// batch_normalization: gamma · (x - mean) / sqrt(variance + epsilon) + beta, for each place along an axis.
// In training the statistics are those of the batch, in inference the moving averages.
// S. Ioffe and C. Szegedy, "Batch Normalization" (2015).

import { makeTensor, resolveAxis, splitAt } from "./tensor.js";

const UNCORRECTED = { r: 1, d: 0 };

/**
 * Compute the corrections of batch renormalization for each place: normalized · r + d.
 * S. Ioffe 2017, "Batch Renormalization"; r and d are bounded by `renorm_clipping`.
 */
function renormOf({ epsilon, renorm_clipping: bounds }, weights, { mean, variance }) {
  const { rmin, rmax, dmax } = bounds ?? {};
  return Array.from(mean, (value, place) => {
    const known = Math.max(weights.renorm_stddev.values[place], Math.sqrt(epsilon));
    const r = Math.min(Math.max(Math.sqrt(variance[place] + epsilon) / known, rmin ?? 0), rmax ?? Infinity);
    const d = (value - weights.renorm_mean.values[place]) / known;
    return { r, d: Math.min(Math.max(d, -(dmax ?? Infinity)), dmax ?? Infinity) };
  });
}

/** Normalize a batch; `statistics` are the mean and the variance that were used. */
export function normalizationForward({ layer, inputs, weights, training }) {
  const input = inputs[0];
  const parts = splitAt(input.shape, resolveAxis(layer.fields.axis, input.shape.length));
  const statistics = training ? batchStatistics(input.values, parts) : movingStatistics(weights);
  const { mean, variance } = statistics;
  statistics.renorm = training && layer.fields.renorm ? renormOf(layer.fields, weights, statistics) : null;
  const output = makeTensor(input.shape);
  visitPlaces(parts, (place, start) => {
    const { r, d } = statistics.renorm?.[place] ?? UNCORRECTED;
    const gamma = weights.gamma ? weights.gamma.values[place] : 1;
    const scale = (gamma * r) / Math.sqrt(variance[place] + layer.fields.epsilon);
    const shift = gamma * d + (weights.beta ? weights.beta.values[place] : 0);
    for (let index = start; index < start + parts.inner; index += 1) {
      output.values[index] = (input.values[index] - mean[place]) * scale + shift;
    }
  });
  return { output, statistics };
}

/**
 * Compute the gradient of the input. In training every value changes the mean and the variance of the batch, so
 * dx = gamma / sqrt(variance + epsilon) · (dy - mean(dy) - normalized · mean(dy · normalized)).
 */
export function normalizationBackward({ layer, inputs, weights, training, statistics }, adjoint) {
  const { values, shape } = inputs[0];
  const parts = splitAt(shape, resolveAxis(layer.fields.axis, shape.length));
  const { mean, variance } = statistics;
  const deviation = Float64Array.from(variance, (value) => Math.sqrt(value + layer.fields.epsilon));
  const means = training ? meansOfAdjoints(values, adjoint.values, parts, mean, deviation) : null;
  const gradient = makeTensor(shape);
  visitPlaces(parts, (place, start) => {
    const { r } = statistics.renorm?.[place] ?? UNCORRECTED; // r and d are constants for the gradient
    const scale = ((weights.gamma ? weights.gamma.values[place] : 1) * r) / deviation[place];
    for (let index = start; index < start + parts.inner; index += 1) {
      const normalized = (values[index] - mean[place]) / deviation[place];
      const change = means ? means.plain[place] + normalized * means.normalized[place] : 0;
      gradient.values[index] = scale * (adjoint.values[index] - change);
    }
  });
  return [gradient];
}

function movingStatistics(weights) {
  return { mean: Float64Array.from(weights.moving_mean.values), variance: Float64Array.from(weights.moving_variance.values) };
}

/** Compute mean and variance of the batch; the variance divides by the number of values, as in training. */
export function batchStatistics(values, parts) {
  const count = parts.outer * parts.inner;
  const mean = new Float64Array(parts.length);
  const variance = new Float64Array(parts.length);
  visitPlaces(parts, (place, start) => {
    for (let index = start; index < start + parts.inner; index += 1) mean[place] += values[index] / count;
  });
  visitPlaces(parts, (place, start) => {
    for (let index = start; index < start + parts.inner; index += 1) {
      variance[place] += (values[index] - mean[place]) ** 2 / count;
    }
  });
  return { mean, variance };
}

function meansOfAdjoints(values, adjoints, parts, mean, deviation) {
  const count = parts.outer * parts.inner;
  const plain = new Float64Array(parts.length);
  const normalized = new Float64Array(parts.length);
  visitPlaces(parts, (place, start) => {
    for (let index = start; index < start + parts.inner; index += 1) {
      plain[place] += adjoints[index] / count;
      normalized[place] += (adjoints[index] * (values[index] - mean[place])) / deviation[place] / count;
    }
  });
  return { plain, normalized };
}

/** Call `visit(place along the axis, index of the first of `inner` values)` for all values. */
function visitPlaces({ outer, length, inner }, visit) {
  for (let block = 0; block < outer; block += 1) {
    for (let place = 0; place < length; place += 1) visit(place, (block * length + place) * inner);
  }
}
