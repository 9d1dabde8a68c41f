// The activation with which a layer ends: its `activation`, or that of a layer which is one, with its arguments.
// Derivatives at kinks are those of TensorFlow's tape.

import { ACTIVATIONS, activationBackward, activationForward } from "./activations.js";
import { broadcastIndices } from "./broadcasting.js";
import { softmaxBackward, softmaxForward } from "./softmax.js";
import { makeTensor, resolveAxis } from "./tensor.js";

/** Layers that are an activation of single values: kind → (fields, alpha of prelu) → { forward(x), derivative(x, y) }. */
const WITH_ARGUMENTS = {
  relu: reluOf,
  leaky_relu: ({ negative_slope: slope }) => leakyOf(slope),
  prelu: (fields, alpha) => ({
    forward: (x) => (x > 0 ? x : alpha * x),
    derivative: (x) => (x > 0 ? 1 : x < 0 ? alpha : 0), // both relus of its formula have derivative 0 at 0
  }),
  elu: ({ alpha }) => ({
    forward: (x) => (x > 0 ? x : alpha * Math.expm1(x)),
    derivative: (x) => (x > 0 ? 1 : alpha * Math.exp(x)),
  }),
};

function leakyOf(slope) {
  return { forward: (x) => (x > 0 ? x : slope * x), derivative: (x) => (x > 0 ? 1 : slope) };
}

/** Return f(x) = max_value for x ≥ max_value, x above the threshold, and negative_slope · (x - threshold) below. */
function reluOf({ max_value: given, negative_slope: slope, threshold }) {
  if (slope !== 0 && given === null && threshold === 0) return leakyOf(slope);
  const highest = given ?? Infinity;
  const limit = Math.fround(threshold);
  const isRelu6 = given === 6 && threshold === 0; // TensorFlow's relu6 has derivative 0 at 6; a clip at other values has 1
  const rises = (x) => x > limit && (isRelu6 ? x < highest : x <= highest);
  return {
    forward: (x) => (x > limit ? Math.min(x, highest) : 0) - slope * Math.max(limit - x, 0),
    derivative: (x) => (rises(x) ? 1 : 0) + (x < limit ? slope : 0),
  };
}

/** Name the activation with which a layer ends; null where it has none. */
export function activationName({ kind, fields }) {
  if (kind === "softmax" || Object.hasOwn(WITH_ARGUMENTS, kind)) return kind;
  return fields.activation ?? null;
}

/**
 * Return the function of single values with which a layer ends: { forward(x), derivative(x, y) }; null for none and for
 * those of whole rows. `alpha` is prelu's weight for the value.
 */
export function functionOf(layer, alpha) {
  if (Object.hasOwn(WITH_ARGUMENTS, layer.kind)) return WITH_ARGUMENTS[layer.kind](layer.fields, alpha);
  const name = activationName(layer);
  return name !== null && Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : null;
}

/** Return the axes of a softmax with which a layer ends, among those of a tensor with the batch; null where there is none. */
export function softmaxAxes(layer) {
  if (activationName(layer) !== "softmax") return null;
  const rank = layer.shape.length + 1;
  const axes = layer.kind === "softmax" ? layer.fields.axis : -1; // as an activation it is over the last axis
  return [axes].flat().map((axis) => resolveAxis(axis, rank));
}

/** Apply the activation of a layer to the values before it. */
export function activate({ layer, weights }, before) {
  const axes = softmaxAxes(layer);
  if (axes) return softmaxForward(before, axes);
  if (!Object.hasOwn(WITH_ARGUMENTS, layer.kind)) return activationForward(activationName(layer), before);
  const functionAt = functionsOf(layer, weights, before.shape);
  return makeTensor(
    before.shape,
    before.values.map((value, index) => functionAt(index).forward(value)),
  );
}

/** Compute the adjoint of the values before the activation of a layer. */
export function activateBackward({ layer, weights, before, output }, adjoint) {
  const axes = softmaxAxes(layer);
  if (axes) return softmaxBackward(output, adjoint, axes);
  if (!Object.hasOwn(WITH_ARGUMENTS, layer.kind)) return activationBackward(activationName(layer), before, output, adjoint);
  const functionAt = functionsOf(layer, weights, before.shape);
  return makeTensor(
    before.shape,
    adjoint.values.map((value, index) => value * functionAt(index).derivative(before.values[index])),
  );
}

/** Return the function by the index of a value: prelu has one for each place, along the axes that are not shared. */
function functionsOf(layer, weights, shape) {
  if (!weights.alpha) {
    const same = functionOf(layer);
    return () => same;
  }
  const { values } = weights.alpha;
  const indices = broadcastIndices(shape, [1, ...weights.alpha.shape]);
  const all = Array.from(values, (alpha) => functionOf(layer, alpha));
  return (index) => all[indices ? indices[index] : index];
}
