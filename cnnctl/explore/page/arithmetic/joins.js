// Layers with several inputs: add, subtract, multiply, average, maximum and minimum combine values, concatenate moves them.

import { broadcastIndices, broadcastShape } from "./broadcasting.js";
import { makeTensor, resolveAxis, splitAt } from "./tensor.js";

/** How values are combined: kind → { combine(values), slope(values, index) }, the derivative by the value at an index. */
const JOIN_RULES = {
  add: { combine: sumOf, slope: () => 1 },
  subtract: { combine: ([first, second]) => first - second, slope: (values, index) => (index ? -1 : 1) },
  multiply: {
    combine: (values) => values.reduce((product, value) => product * value, 1),
    slope: (values, index) => values.reduce((product, value, other) => (other === index ? product : product * value), 1),
  },
  average: { combine: (values) => sumOf(values) / values.length, slope: (values) => 1 / values.length },
  maximum: extreme((values) => Math.max(...values)),
  minimum: extreme((values) => Math.min(...values)),
};

function sumOf(values) {
  return values.reduce((sum, value) => sum + value, 0);
}

/** The largest or the smallest value: of equal ones the first has the gradient, as in TensorFlow. */
function extreme(best) {
  return { combine: best, slope: (values, index) => (values.indexOf(best(values)) === index ? 1 : 0) };
}

/** Return how a layer combines values; null for layers of other kinds. */
export function joinRule(layer) {
  return Object.hasOwn(JOIN_RULES, layer.kind) ? JOIN_RULES[layer.kind] : null;
}

/** Combine tensors value by value, with broadcasting. */
export function joinForward({ layer, inputs }) {
  const output = makeTensor(broadcastShape(inputs.map((input) => input.shape)));
  visitValues(inputs, output.shape, (values, index) => {
    output.values[index] = JOIN_RULES[layer.kind].combine(values);
  });
  return { output };
}

/** Multiply the adjoint by each input's derivative; where an input was broadcast, the adjoints of its copies add up. */
export function joinBackward({ layer, inputs }, adjoint) {
  const sums = inputs.map((input) => new Float64Array(input.values.length));
  const { slope } = JOIN_RULES[layer.kind];
  visitValues(inputs, adjoint.shape, (values, index, places) => {
    if (adjoint.values[index] === 0) return;
    sums.forEach((sum, input) => (sum[places[input]] += adjoint.values[index] * slope(values, input)));
  });
  return inputs.map((input, index) => makeTensor(input.shape, Float32Array.from(sums[index])));
}

/** Call `visit(values of the inputs, index of the output, their indices)` for every value of the output. */
function visitValues(inputs, shape, visit) {
  const indices = inputs.map((input) => broadcastIndices(shape, input.shape));
  const values = new Array(inputs.length);
  const places = new Array(inputs.length);
  const size = shape.reduce((product, length) => product * length, 1);
  for (let index = 0; index < size; index += 1) {
    for (let input = 0; input < inputs.length; input += 1) {
      places[input] = indices[input] ? indices[input][index] : index;
      values[input] = inputs[input].values[places[input]];
    }
    visit(values, index, places);
  }
}

/** Put tensors one after the other along an axis. */
export function concatenateForward({ layer, inputs }) {
  const axis = resolveAxis(layer.fields.axis, inputs[0].shape.length);
  const shape = [...inputs[0].shape];
  shape[axis] = inputs.reduce((sum, input) => sum + input.shape[axis], 0);
  const output = makeTensor(shape);
  visitPieces(inputs, axis, (input, from, to, count) => {
    output.values.set(input.values.subarray(from, from + count), to);
  });
  return { output };
}

/** Cut the adjoint into the parts of the inputs. */
export function concatenateBackward({ layer, inputs }, adjoint) {
  const axis = resolveAxis(layer.fields.axis, inputs[0].shape.length);
  const gradients = inputs.map((input) => makeTensor(input.shape));
  visitPieces(gradients, axis, (gradient, from, to, count) => {
    gradient.values.set(adjoint.values.subarray(to, to + count), from);
  });
  return gradients;
}

/** Call `visit(part, index in the part, index in the whole, count)` for every run of neighbours. */
function visitPieces(parts, axis, visit) {
  const sizes = parts.map((part) => splitAt(part.shape, axis)).map(({ length, inner }) => length * inner);
  const { outer } = splitAt(parts[0].shape, axis);
  let to = 0;
  for (let block = 0; block < outer; block += 1) {
    parts.forEach((part, index) => {
      visit(part, block * sizes[index], to, sizes[index]);
      to += sizes[index];
    });
  }
}
