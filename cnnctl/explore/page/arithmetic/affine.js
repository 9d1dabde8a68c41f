// rescaling and normalization: x · factor + shift, with one pair of numbers for all values, per channel or per place.

import { broadcastIndices } from "./broadcasting.js";
import { makeTensor } from "./tensor.js";

const SMALLEST_DEVIATION = 1e-7; // of a normalization: Keras's epsilon

/** The kinds: (fields, weights, place) → { factor, shift, names }: names has the numbers of the layer that they come from. */
const AFFINE_RULES = {
  rescaling: ({ scale, offset }, weights, place) => ({
    factor: scale[place],
    shift: offset[place],
    names: { scale: scale[place], offset: offset[place] },
  }),
  normalization: (fields, weights, place) => {
    const mean = weights.adapt_mean ? weights.adapt_mean.values[place] : fields.mean[place];
    const variance = weights.adapt_variance ? weights.adapt_variance.values[place] : fields.variance[place];
    const deviation = Math.max(Math.sqrt(variance), SMALLEST_DEVIATION);
    const names = { mean, variance, deviation };
    return fields.invert
      ? { factor: deviation, shift: mean, names }
      : { factor: 1 / deviation, shift: -mean / deviation, names };
  },
};

/** Return the numbers of a layer for each value of one image: index → { factor, shift, names }. */
export function affineOf(layer, weights) {
  const { places } = layer.fields;
  const count = places.reduce((product, length) => product * length, 1);
  const all = Array.from({ length: count }, (_, place) => AFFINE_RULES[layer.kind](layer.fields, weights, place));
  const indices = broadcastIndices([1, ...layer.shape], [1, ...places]);
  return (index) => all[indices ? indices[index] : index];
}

/** Apply the factor and the shift of each value. */
export function affineForward({ layer, inputs, weights }) {
  const [{ shape, values }] = inputs;
  const of = affineOf(layer, weights);
  const size = values.length / shape[0];
  const computed = values.map((value, index) => {
    const { factor, shift } = of(index % size);
    return value * factor + shift;
  });
  return { output: makeTensor(shape, computed) };
}

/** Multiply the adjoint by the factors. */
export function affineBackward({ layer, weights }, { shape, values }) {
  const of = affineOf(layer, weights);
  const size = values.length / shape[0];
  const computed = values.map((value, index) => value * of(index % size).factor);
  return [makeTensor(shape, computed)];
}
