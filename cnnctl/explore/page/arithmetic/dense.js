// dense: a matrix product over the last axis, plus a bias.

import { WeightedRows } from "./rows.js";
import { makeTensor } from "./tensor.js";

/** Compute (B, ..., inputs) → (B, ..., units) without the activation. */
export function denseForward({ inputs, weights }) {
  const [length, units] = weights.kernel.shape;
  const input = inputs[0];
  const output = makeTensor([...input.shape.slice(0, -1), units]);
  const sums = new Float64Array(units);
  const rows = new WeightedRows(length);
  for (let at = 0; at * units < output.values.length; at += 1) {
    rows.clear();
    for (let index = 0; index < length; index += 1) rows.add(input.values[at * length + index], index * units);
    if (weights.bias) sums.set(weights.bias.values);
    else sums.fill(0);
    rows.addTo(sums, 0, units, weights.kernel.values, 0);
    output.values.set(sums, at * units);
  }
  return { output };
}

/** Compute the gradient of the input: the adjoint times the transposed kernel. */
export function denseBackward({ inputs, weights }, adjoint) {
  const [length, units] = weights.kernel.shape;
  const kernel = weights.kernel.values;
  const gradient = makeTensor(inputs[0].shape);
  for (let at = 0; at * length < gradient.values.length; at += 1) {
    for (let index = 0; index < length; index += 1) {
      let sum = 0;
      for (let unit = 0; unit < units; unit += 1) sum += adjoint.values[at * units + unit] * kernel[index * units + unit];
      gradient.values[at * length + index] = sum;
    }
  }
  return [gradient];
}
