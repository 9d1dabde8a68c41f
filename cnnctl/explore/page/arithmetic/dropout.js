// dropout: in training some values become 0 and the others are divided by 1 - rate; in inference nothing happens.

import { broadcastIndices } from "./broadcasting.js";
import { hashOf, uniformNumbers } from "./random.js";
import { makeTensor } from "./tensor.js";

/** Apply a mask of 0 and 1, the given one or one drawn from the seed. */
export function dropoutForward({ layer, inputs, training, mask: given, seed }) {
  if (!training || layer.fields.rate === 0) return { output: inputs[0] };
  const shape = maskShape(layer.fields.noise_shape, inputs[0].shape);
  const mask = given ?? drawnMask(shape, layer.fields.rate, hashOf(`${seed} ${layer.name}`));
  if (mask.shape.join() !== shape.join()) {
    throw new Error(`the mask of '${layer.name}' must have shape (${shape.join(", ")}), received (${mask.shape.join(", ")})`);
  }
  return { output: withMask(inputs[0], mask, layer.fields.rate), mask };
}

/** Apply the same mask to the adjoint. */
export function dropoutBackward({ layer, mask }, adjoint) {
  return [mask ? withMask(adjoint, mask, layer.fields.rate) : adjoint];
}

/** Resolve a noise shape: an axis of length 1 shares its mask, null stands for the length of the input. */
export function maskShape(noiseShape, shape) {
  return noiseShape ? noiseShape.map((length, axis) => length ?? shape[axis]) : [...shape];
}

/** Draw a mask: a value is kept with probability 1 - rate. */
export function drawnMask(shape, rate, seed) {
  const draw = uniformNumbers(seed);
  const mask = makeTensor(shape);
  for (let index = 0; index < mask.values.length; index += 1) mask.values[index] = draw() >= rate ? 1 : 0;
  return mask;
}

function withMask(tensor, mask, rate) {
  const indices = broadcastIndices(tensor.shape, mask.shape);
  const scale = 1 / (1 - rate);
  const output = makeTensor(tensor.shape);
  for (let index = 0; index < output.values.length; index += 1) {
    output.values[index] = tensor.values[index] * mask.values[indices ? indices[index] : index] * scale;
  }
  return output;
}
