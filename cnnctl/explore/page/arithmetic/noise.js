// Layers that act at random in training: dropout sets values to 0, noise changes them. In inference nothing happens.
//
// The output of each is linear in its input: x · factor(r) + shift(r) for a random number r. The random numbers are the
// layer's mask in the pass: 0 or 1 of a dropout, the noise that gaussian_noise adds, the factor of gaussian_dropout.

import { broadcastIndices } from "./broadcasting.js";
import { hashOf, normalNumbers, uniformNumbers } from "./random.js";
import { makeTensor } from "./tensor.js";

// Alpha and scale of selu; a dropped value becomes -SELU_SCALE · SELU_ALPHA, selu's limit for x → -∞.
// G. Klambauer et al. 2017, "Self-Normalizing Neural Networks", section 3.
const SELU_LIMIT = -1.0507009873554805 * 1.6732632423543772;

const masked = {
  amount: (fields) => fields.rate,
  draw: (fields, seed) => maskNumbers(fields.rate, seed),
  factor: (fields, kept) => kept / (1 - fields.rate),
  shift: () => 0,
};

/** The random layers: kind → { amount, draw, factor, shift }. A layer with an amount of 0 does nothing. */
const RANDOM_RULES = {
  dropout: masked,
  spatial_dropout2d: masked,
  gaussian_noise: {
    amount: (fields) => fields.stddev,
    draw: (fields, seed) => scaledNormals(0, fields.stddev, seed),
    factor: () => 1,
    shift: (fields, noise) => noise,
  },
  gaussian_dropout: {
    amount: (fields) => fields.rate,
    draw: (fields, seed) => scaledNormals(1, deviationOf(fields.rate), seed),
    factor: (fields, noise) => noise,
    shift: () => 0,
  },
  alpha_dropout: {
    ...masked,
    factor: (fields, kept) => kept * alphaSteps(fields.rate).scale,
    shift: (fields, kept) => (1 - kept) * SELU_LIMIT * alphaSteps(fields.rate).scale + alphaSteps(fields.rate).shift,
  },
};

/** Return whether a layer draws random numbers in training. */
export function isRandom(layer) {
  return Object.hasOwn(RANDOM_RULES, layer.kind);
}

/** Return whether the random numbers of a layer are masks of 0 and 1. */
export function drawsMasks(layer) {
  return isRandom(layer) && !layer.kind.startsWith("gaussian_");
}

/** Return whether training differs from inference. */
export function actsInTraining(layer) {
  return isRandom(layer) && RANDOM_RULES[layer.kind].amount(layer.fields) > 0;
}

/** Compute the standard deviation of the factors of gaussian_dropout. */
export function deviationOf(rate) {
  return Math.sqrt(rate / (1 - rate));
}

/**
 * Compute what alpha_dropout does with all values so that their mean stays 0 and their variance 1:
 * { instead, scale, shift }, the value of a dropped one, and the line that all go through afterwards.
 */
export function alphaSteps(rate) {
  const scale = ((1 - rate) * (1 + rate * SELU_LIMIT ** 2)) ** -0.5;
  return { instead: SELU_LIMIT, scale, shift: -scale * SELU_LIMIT * rate };
}

/** Apply the random numbers of a layer, the given ones or some drawn from the seed. */
export function noiseForward({ layer, inputs, training, mask: given, seed }) {
  if (!training || !actsInTraining(layer)) return { output: inputs[0] };
  const shape = noiseShape(layer, inputs[0].shape);
  const mask = given ?? drawnNoise(layer, inputs[0].shape, seed);
  if (mask.shape.join() !== shape.join()) {
    throw new Error(`the mask of '${layer.name}' must have shape (${shape.join(", ")}), received (${mask.shape.join(", ")})`);
  }
  return { output: withNoise(layer, inputs[0], mask), mask };
}

/** Multiply the adjoint by the factors of the same random numbers. */
export function noiseBackward({ layer, mask }, adjoint) {
  if (!mask) return [adjoint];
  const { factor } = RANDOM_RULES[layer.kind];
  const indices = broadcastIndices(adjoint.shape, mask.shape);
  const values = adjoint.values.map(
    (value, index) => value * factor(layer.fields, mask.values[indices ? indices[index] : index]),
  );
  return [makeTensor(adjoint.shape, values)];
}

/** Draw the random numbers of a layer for an input of `shape`, with the batch. */
export function drawnNoise(layer, shape, seed) {
  const draw = RANDOM_RULES[layer.kind].draw(layer.fields, hashOf(`${seed} ${layer.name}`));
  const noise = makeTensor(noiseShape(layer, shape));
  for (let index = 0; index < noise.values.length; index += 1) noise.values[index] = draw();
  return noise;
}

/** Compute the output of a layer under given random numbers. */
export function withNoise(layer, tensor, noise) {
  const { factor, shift } = RANDOM_RULES[layer.kind];
  const indices = broadcastIndices(tensor.shape, noise.shape);
  const values = tensor.values.map((value, index) => {
    const drawn = noise.values[indices ? indices[index] : index];
    return value * factor(layer.fields, drawn) + shift(layer.fields, drawn);
  });
  return makeTensor(tensor.shape, values);
}

/** Compute the derivative of a layer's output by its input for a random number. */
export function noiseFactor(layer, drawn) {
  return RANDOM_RULES[layer.kind].factor(layer.fields, drawn);
}

/** Compute the shape of the random numbers: an axis of length 1 shares them, null stands for the length of the input. */
function noiseShape({ kind, fields }, shape) {
  if (kind === "spatial_dropout2d") {
    const [rows, columns] = fields.data_format === "channels_first" ? [2, 3] : [1, 2];
    return shape.map((length, axis) => (axis === rows || axis === columns ? 1 : length));
  }
  return fields.noise_shape ? fields.noise_shape.map((length, axis) => length ?? shape[axis]) : [...shape];
}

/** Return a function that draws 1 with probability 1 - rate, else 0. */
function maskNumbers(rate, seed) {
  const draw = uniformNumbers(seed);
  return () => (draw() >= rate ? 1 : 0);
}

function scaledNormals(mean, deviation, seed) {
  const draw = normalNumbers(seed);
  return () => mean + deviation * draw();
}
