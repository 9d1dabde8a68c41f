// The activations of the config, as Keras defines them, and their derivatives as TensorFlow's tape computes them.
// A derivative takes the value before the activation and the value after it.

import { errorFunction } from "./error_function.js";
import { makeTensor } from "./tensor.js";

const SELU_SCALE = 1.0507009873554805;
const SELU_ALPHA = 1.6732632423543772;

const sigmoid = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const clipped = (x, low, high) => Math.min(Math.max(x, low), high);
const hardSigmoid = (x) => clipped(x + 3, 0, 6) / 6;
const hardSigmoidSlope = (x) => (x > -3 && x < 3 ? 1 / 6 : 0);
const normalDistribution = (x) => (1 + errorFunction(x * Math.SQRT1_2)) / 2;
const normalDensity = (x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
const silu = { forward: (x) => x * sigmoid(x), derivative: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))) };

/** The activations of single values: name → { forward(x), derivative(x, y) }. Softmax, of whole rows, is not among them. */
export const ACTIVATIONS = {
  // max(x, 0) + expm1(min(x, 0)): the tape passes the gradient of 0 through both
  celu: { forward: (x) => (x > 0 ? x : Math.expm1(x)), derivative: (x, y) => (x > 0 ? 1 : x === 0 ? 2 : y + 1) },
  elu: { forward: (x) => (x > 0 ? x : Math.expm1(x)), derivative: (x, y) => (x >= 0 ? 1 : y + 1) },
  exponential: { forward: Math.exp, derivative: (x, y) => y },
  gelu: { forward: (x) => x * normalDistribution(x), derivative: (x) => normalDistribution(x) + x * normalDensity(x) },
  hard_shrink: { forward: (x) => (Math.abs(x) > 0.5 ? x : 0), derivative: (x) => (Math.abs(x) > 0.5 ? 1 : 0) },
  hard_sigmoid: { forward: hardSigmoid, derivative: hardSigmoidSlope },
  hard_silu: { forward: (x) => x * hardSigmoid(x), derivative: (x) => hardSigmoid(x) + x * hardSigmoidSlope(x) },
  hard_tanh: { forward: (x) => clipped(x, -1, 1), derivative: (x) => (x >= -1 && x <= 1 ? 1 : 0) },
  leaky_relu: { forward: (x) => (x > 0 ? x : 0.2 * x), derivative: (x) => (x > 0 ? 1 : 0.2) },
  linear: { forward: (x) => x, derivative: () => 1 },
  log_sigmoid: { forward: (x) => -softplus(-x), derivative: (x) => sigmoid(-x) },
  mish: {
    forward: (x) => x * Math.tanh(softplus(x)),
    derivative: (x) => Math.tanh(softplus(x)) + x * (1 - Math.tanh(softplus(x)) ** 2) * sigmoid(x),
  },
  relu: { forward: (x) => Math.max(x, 0), derivative: (x) => (x > 0 ? 1 : 0) },
  relu6: { forward: (x) => clipped(x, 0, 6), derivative: (x) => (x > 0 && x < 6 ? 1 : 0) },
  selu: {
    forward: (x) => SELU_SCALE * (x > 0 ? x : SELU_ALPHA * Math.expm1(x)),
    derivative: (x, y) => (x >= 0 ? SELU_SCALE : y + SELU_SCALE * SELU_ALPHA),
  },
  sigmoid: { forward: sigmoid, derivative: (x) => sigmoid(x) * sigmoid(-x) },
  silu,
  soft_shrink: {
    forward: (x) => (x > 0.5 ? x - 0.5 : x < -0.5 ? x + 0.5 : 0),
    derivative: (x) => (Math.abs(x) > 0.5 ? 1 : 0),
  },
  softplus: { forward: softplus, derivative: sigmoid },
  softsign: { forward: (x) => x / (1 + Math.abs(x)), derivative: (x) => 1 / (1 + Math.abs(x)) ** 2 },
  sparse_plus: {
    forward: (x) => (x <= -1 ? 0 : x < 1 ? (x + 1) ** 2 / 4 : x),
    derivative: (x) => clipped((x + 1) / 2, 0, 1),
  },
  sparse_sigmoid: { forward: (x) => clipped((x + 1) / 2, 0, 1), derivative: (x) => (x > -1 && x < 1 ? 0.5 : 0) },
  squareplus: {
    forward: (x) => (x + Math.sqrt(x * x + 4)) / 2,
    derivative: (x) => (1 + x / Math.sqrt(x * x + 4)) / 2,
  },
  swish: silu,
  tanh: { forward: Math.tanh, derivative: (x) => 1 - Math.tanh(x) ** 2 },
  tanh_shrink: { forward: (x) => x - Math.tanh(x), derivative: (x) => Math.tanh(x) ** 2 },
};

/** Apply an activation of single values to a tensor. */
export function activationForward(name, before) {
  return makeTensor(before.shape, before.values.map(activationNamed(name).forward));
}

/** Compute the adjoint of the values before an activation from that of the values after it. */
export function activationBackward(name, before, output, adjoint) {
  const { derivative } = activationNamed(name);
  const gradient = makeTensor(before.shape);
  for (let index = 0; index < gradient.values.length; index += 1) {
    if (adjoint.values[index] === 0) continue;
    gradient.values[index] = adjoint.values[index] * derivative(before.values[index], output.values[index]);
  }
  return gradient;
}

function activationNamed(name) {
  if (!Object.hasOwn(ACTIVATIONS, name)) throw new Error(`unknown activation ${name}`);
  return ACTIVATIONS[name];
}
