// add and concatenate.

import { broadcastIndices, broadcastShape } from "./broadcasting.js";
import { makeTensor, resolveAxis, splitAt } from "./tensor.js";

/** Add tensors, with broadcasting. */
export function addForward({ inputs }) {
  const output = makeTensor(broadcastShape(inputs.map((input) => input.shape)));
  for (const input of inputs) {
    const indices = broadcastIndices(output.shape, input.shape);
    for (let index = 0; index < output.values.length; index += 1) {
      output.values[index] += input.values[indices ? indices[index] : index];
    }
  }
  return { output };
}

/** Pass the adjoint to every input; where an input was broadcast, the adjoints of its copies add up. */
export function addBackward({ inputs }, adjoint) {
  return inputs.map((input) => {
    const indices = broadcastIndices(adjoint.shape, input.shape);
    if (!indices) return makeTensor(input.shape, adjoint.values);
    const sums = new Float64Array(input.values.length);
    indices.forEach((from, index) => {
      sums[from] += adjoint.values[index];
    });
    return makeTensor(input.shape, Float32Array.from(sums));
  });
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
