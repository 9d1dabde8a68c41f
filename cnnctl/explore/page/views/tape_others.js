// The computation of one value on a tape: poolings, normalization, noise, and layers that move or add values.

import { joinRule } from "../arithmetic/joins.js";
import { alphaSteps } from "../arithmetic/noise.js";
import {
  broadcastPlace,
  movedFrom,
  randomAt,
  sourceOf,
  uncroppedPlace,
  unflattenedPlace,
  unpaddedPlace,
  valueAt,
} from "../arithmetic/places.js";
import { affineAt, axisNormalizationTerms, normalizationTerms, poolingTerms, upSamplingTerms } from "../arithmetic/terms.js";
import { state } from "../state.js";
import { largestOf, nodeName, writeRest } from "./tape_products.js";

function leafOf(tape, input, place, name = nodeName(input, place)) {
  return tape.leaf("input", name, valueAt(state.network, state.pass.outputs, input, 0, place));
}

/** Write one value of a pooling: the largest value, or the sum over real pixels divided by their number. */
export function tapeOfPooling(tape, name, place, count) {
  const pooled = poolingTerms(state.network, state.pass, name, 0, place);
  const input = state.network.layer(name).inputs[0];
  const real = pooled.terms.filter((term) => !term.padding);
  const [shown, rest] = largestOf(real, count, (term) => (term.winner ? Infinity : term.value));
  const leaves = shown.map((term) => tape.leaf("input", nodeName(input, { ...term, map: pooled.map }), term.value));
  if (!pooled.maximum) {
    const sum = tape.sum([...leaves, ...writeRest(tape, rest, (term) => term.value)]);
    return tape.apply(`÷ ${pooled.count}`, sum, sum.value / pooled.count, 1 / pooled.count);
  }
  const others = rest.length
    ? [
        tape.leaf(
          "more",
          `max of ${rest.length} more`,
          rest.reduce((high, term) => Math.max(high, term.value), -Infinity),
        ),
      ]
    : [];
  return tape.chosen([...leaves, ...others], leaves[shown.findIndex((term) => term.winner)]);
}

/** Write one value of a normalization; in training the mean and the variance depend on the value too. */
export function tapeOfNormalization(tape, name, place) {
  const terms = normalizationTerms(state.network, state.pass, name, 0, place);
  const x = leafOf(tape, state.network.layer(name).inputs[0], place);
  const size = state.pass.outputs.get(name).values.length / state.pass.statistics.get(name).mean.length;
  // In training x is one of `size` values: d mean / dx = 1 / size and d variance / dx = 2 (x − mean) / size.
  const statistic = (label, value, slope) =>
    state.pass.training ? tape.apply(label, x, value, slope) : tape.leaf("weight", label, value);
  const mean = statistic("mean", terms.mean, 1 / size);
  const variance = statistic("variance", terms.variance, (2 * (terms.value - terms.mean)) / size);
  const root = Math.sqrt(terms.variance + terms.epsilon);
  const deviation = tape.apply("√(variance + ε)", variance, root, 1 / (2 * root));
  return writeScale(tape, writeRenorm(tape, tape.divide(tape.subtract(x, mean), deviation), terms.renorm), terms);
}

function writeRenorm(tape, normalized, renorm) {
  if (!renorm) return normalized;
  const scaled = tape.multiply(normalized, tape.leaf("weight", "r", renorm.r), "× r");
  return tape.sum([scaled, tape.leaf("weight", "d", renorm.d)], "+ d");
}

/** Write one value of a layer, group or unit normalization: its mean and spread depend on the value too. */
export function tapeOfAxisNormalization(tape, name, place) {
  const terms = axisNormalizationTerms(state.network, state.pass, name, 0, place);
  const x = leafOf(tape, state.network.layer(name).inputs[0], place);
  const slope = (2 * (terms.value - terms.around)) / (terms.isSum ? 1 : terms.count);
  const spread = tape.apply(terms.isSum ? "Σ x²" : "variance", x, terms.spread, slope);
  const deviation = tape.apply("√", spread, terms.deviation, 1 / (2 * terms.deviation));
  const above = terms.mean === null ? x : tape.subtract(x, tape.apply("mean", x, terms.mean, 1 / terms.count));
  return writeScale(tape, tape.divide(above, deviation), terms);
}

function writeScale(tape, normalized, { gamma, beta }) {
  const scaled = gamma === null ? normalized : tape.multiply(normalized, tape.leaf("weight", "gamma", gamma), "× gamma");
  return beta === null ? scaled : tape.sum([scaled, tape.leaf("weight", "beta", beta)], "+ beta");
}

/** Write one value of a dropout or a noise; in inference nothing happens. */
export function tapeOfNoise(tape, name, place) {
  const { kind, fields, inputs } = state.network.layer(name);
  const x = leafOf(tape, inputs[0], place);
  const random = randomAt(state.network, state.pass, name, 0, place);
  if (random === null) return tape.apply("unchanged", x, x.value, 1);
  if (kind === "gaussian_noise") return tape.sum([x, tape.leaf("weight", "noise", random)], "+ noise");
  if (kind === "gaussian_dropout") return tape.multiply(x, tape.leaf("weight", "noise", random), "× noise");
  const masked = tape.multiply(x, tape.leaf("weight", "mask", random), "× mask");
  if (kind === "alpha_dropout") return writeAlphaSteps(tape, masked, 1 - random, alphaSteps(fields.rate));
  const scale = 1 / (1 - fields.rate);
  return tape.apply(`÷ (1 − ${fields.rate})`, masked, masked.value * scale, scale);
}

function writeAlphaSteps(tape, masked, dropped, { instead, scale, shift }) {
  const filled = tape.sum([masked, tape.leaf("weight", "if dropped", dropped * instead)]);
  const scaled = tape.multiply(filled, tape.leaf("weight", "a", scale), "× a");
  return tape.sum([scaled, tape.leaf("weight", "b", shift)], "+ b");
}

/** Write one value of a join of layers. */
export function tapeOfJoin(tape, name, place) {
  const layer = state.network.layer(name);
  const leaves = layer.inputs.map((input) => {
    const own = broadcastPlace(state.network, name, input, place);
    return leafOf(tape, input, own, input);
  });
  return JOIN_TAPES[layer.kind](tape, leaves);
}

const JOIN_TAPES = {
  add: (tape, nodes) => tape.sum(nodes, "+"),
  subtract: (tape, [first, second]) => tape.subtract(first, second),
  multiply: (tape, [first, ...others]) => others.reduce((product, node) => tape.multiply(product, node), first),
  average: (tape, nodes) => {
    const sum = tape.sum(nodes, "+");
    return tape.apply(`÷ ${nodes.length}`, sum, sum.value / nodes.length, 1 / nodes.length);
  },
  maximum: (tape, nodes) => tape.chosen(nodes, chosenOf("maximum", nodes)),
  minimum: (tape, nodes) => tape.chosen(nodes, chosenOf("minimum", nodes), "min"),
};

function chosenOf(kind, nodes) {
  const { slope } = joinRule({ kind });
  const values = nodes.map((node) => node.value);
  return nodes.find((_, index) => slope(values, index) === 1);
}

/** Write one value of a concatenation: a copy of the value of one input. */
export function tapeOfConcatenate(tape, name, place) {
  const source = sourceOf(state.network, name, place);
  return copyOf(tape, leafOf(tape, source.input, source.place, source.input));
}

/** Write one value of flatten: a copy. */
export function tapeOfFlatten(tape, name, place) {
  return copyOf(tape, leafOf(tape, state.network.layer(name).inputs[0], unflattenedPlace(state.network, name, place.column)));
}

/** Write one value of cropping2d: a copy. */
export function tapeOfCropping(tape, name, place) {
  return copyOf(tape, leafOf(tape, state.network.layer(name).inputs[0], uncroppedPlace(state.network, name, place)));
}

/** Write one value of reshape or permute: a copy. */
export function tapeOfReordering(tape, name, place) {
  return copyOf(tape, leafOf(tape, state.network.layer(name).inputs[0], movedFrom(state.network, name, place)));
}

/** Write one value of a rescaling or a normalization: a product, shifted. */
export function tapeOfAffine(tape, name, place) {
  const { factor, shift } = affineAt(state.network, name, place);
  const product = tape.multiply(
    leafOf(tape, state.network.layer(name).inputs[0], place),
    tape.leaf("weight", "factor", factor),
  );
  return tape.sum([product, tape.leaf("weight", "shift", shift)], "+");
}

/** Write one value of an up-sampling: a copy, or a sum of products. */
export function tapeOfUpSampling(tape, name, place, count) {
  const [input] = state.network.layer(name).inputs;
  const { terms } = upSamplingTerms(state.network, state.pass, name, 0, place);
  if (terms.length === 1) return copyOf(tape, leafOf(tape, input, terms[0]));
  const [shown, rest] = largestOf(terms, count, (term) => Math.abs(term.product));
  const products = shown.map((term) => tape.multiply(leafOf(tape, input, term), tape.leaf("weight", "w", term.weight)));
  return tape.sum([...products, ...writeRest(tape, rest, (term) => term.product)]);
}

/** Write one value of zero_padding2d: a copy, or a zero. */
export function tapeOfZeroPadding(tape, name, place) {
  const source = unpaddedPlace(state.network, name, place);
  return source ? copyOf(tape, leafOf(tape, state.network.layer(name).inputs[0], source)) : tape.leaf("input", "padding", 0);
}

function copyOf(tape, node) {
  return tape.apply("copy", node, node.value, 1);
}
