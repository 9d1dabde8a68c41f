// The computation of one value on a tape: products and their sum, bias, activation, softmax.

import { activationName, functionOf } from "../arithmetic/activation_layers.js";
import { alphaAt, placeOf, softmaxGroupAt, valueAt } from "../arithmetic/places.js";
import { denseTerms } from "../arithmetic/terms.js";
import { convolutionTerms } from "../arithmetic/terms_convolution.js";
import { state } from "../state.js";

/** Name a value of a layer in a node: x (row, column, map) or x [unit]. */
export function nodeName(input, place) {
  return state.pass.outputs.get(input).shape.length === 2
    ? `x [${place.column}]`
    : `x (${place.row}, ${place.column}, ${place.map})`;
}

/** Split terms into the `count` largest, in their own order, and the others. */
export function largestOf(terms, count, size) {
  const chosen = new Set([...terms].sort((a, b) => size(b) - size(a)).slice(0, count));
  return [terms.filter((term) => chosen.has(term)), terms.filter((term) => !chosen.has(term))];
}

/** Write the sum of the terms that are not shown as one node that opens; none if all are shown. */
export function writeRest(tape, rest, size) {
  if (!rest.length) return [];
  return [
    tape.leaf(
      "more",
      `+ ${rest.length} more`,
      rest.reduce((sum, term) => sum + size(term), 0),
    ),
  ];
}

/** Write the activation of a layer; softmax takes the other logits of its row as given. */
export function writeActivation(tape, before, layer, place, count) {
  const name = activationName(layer);
  if (!name || name === "linear") return before;
  if (name === "softmax")
    return writeSoftmax(tape, before, softmaxGroupAt(state.network, state.pass, layer.name, 0, place), count);
  const alpha = alphaAt(state.network, layer.name, place);
  if (alpha !== undefined && before.value < 0) return tape.multiply(before, tape.leaf("weight", "alpha", alpha), "× alpha");
  const { forward, derivative } = functionOf(layer, alpha);
  const value = forward(before.value);
  return tape.apply(name, before, value, derivative(before.value, value));
}

function writeSoftmax(tape, own, { values, unit }, count) {
  const high = values.reduce((largest, value) => Math.max(largest, value), -Infinity);
  const size = (index) => Math.exp(values[index] - high);
  const others = Array.from(values.keys()).filter((index) => index !== unit);
  const [shown, rest] = largestOf(others, count, size);
  const exponential = (node) => tape.apply("exp(z − max)", node, Math.exp(node.value - high), Math.exp(node.value - high));
  const first = exponential(own);
  const nodes = shown.map((index) => exponential(tape.leaf("input", `z [${index}]`, values[index])));
  return tape.divide(first, tape.sum([first, ...nodes, ...writeRest(tape, rest, size)]));
}

/** Write a weighted sum, its bias and its activation. */
function writeProducts(tape, { terms, bias, nameOf, weightOf }, layer, place, count) {
  const [shown, rest] = largestOf(terms, count, (term) => Math.abs(term.product));
  const products = shown.map((term) =>
    tape.multiply(tape.leaf("input", nameOf(term), term.value), tape.leaf("weight", weightOf(term), term.weight)),
  );
  const sum = tape.sum([...products, ...writeRest(tape, rest, (term) => term.product)]);
  const before = bias === null ? sum : tape.sum([sum, tape.leaf("weight", "bias", bias)], "+ bias");
  return writeActivation(tape, before, layer, place, count);
}

/** Write one value of a convolution. */
export function tapeOfConvolution(tape, name, place, count) {
  const layer = state.network.layer(name);
  const { channels, bias } = convolutionTerms(state.network, state.pass, name, 0, place);
  const terms = channels.flatMap((each) => each.terms.map((term) => ({ ...term, map: each.channel })));
  return writeProducts(
    tape,
    {
      terms,
      bias,
      nameOf: (term) => (term.padding ? "padding" : nodeName(layer.inputs[0], term)),
      weightOf: (term) => `w (${term.kernelRow}, ${term.kernelColumn}, ${term.map - channels[0].channel})`,
    },
    layer,
    place,
    count,
  );
}

/** Write one value of a dense layer. */
export function tapeOfDense(tape, name, place, count) {
  const layer = state.network.layer(name);
  const { terms, bias, unit } = denseTerms(state.network, state.pass, name, 0, place);
  return writeProducts(
    tape,
    {
      terms,
      bias,
      nameOf: (term) => nodeName(layer.inputs[0], placeOf(state.network, layer.inputs[0], term.index)),
      weightOf: (term) => `w (${term.index % terms.length}, ${unit})`,
    },
    layer,
    place,
    count,
  );
}

/** Write one value of an activation layer. */
export function tapeOfActivation(tape, name, place, count) {
  const layer = state.network.layer(name);
  const own = layer.inputs[0];
  return writeActivation(
    tape,
    tape.leaf("input", nodeName(own, place), valueAt(state.network, state.pass.outputs, own, 0, place)),
    layer,
    place,
    count,
  );
}
