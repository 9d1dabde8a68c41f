// The computation graph of the value that is looked at: forward values and adjoints in numbers.

import { activationName } from "../arithmetic/activation_layers.js";
import { valueAt } from "../arithmetic/places.js";
import { element, number, refill } from "../dom.js";
import { needGradients, state } from "../state.js";
import { drawTape } from "./graph_drawing.js";
import { Section, Switch } from "./parts.js";
import { placeText } from "./selection.js";
import { Tape } from "./tape.js";
import {
  tapeOfAffine,
  tapeOfAxisNormalization,
  tapeOfConcatenate,
  tapeOfCropping,
  tapeOfFlatten,
  tapeOfJoin,
  tapeOfNoise,
  tapeOfNormalization,
  tapeOfPooling,
  tapeOfReordering,
  tapeOfUpSampling,
  tapeOfZeroPadding,
} from "./tape_others.js";
import { tapeOfActivation, tapeOfConvolution, tapeOfDense } from "./tape_products.js";
import { targetText } from "./target.js";

const WRITERS = {
  conv2d: tapeOfConvolution,
  depthwise_conv2d: tapeOfConvolution,
  separable_conv2d: tapeOfConvolution,
  conv2d_transpose: tapeOfConvolution,
  dense: tapeOfDense,
  max_pooling2d: tapeOfPooling,
  average_pooling2d: tapeOfPooling,
  global_average_pooling2d: tapeOfPooling,
  global_max_pooling2d: tapeOfPooling,
  batch_normalization: tapeOfNormalization,
  layer_normalization: tapeOfAxisNormalization,
  group_normalization: tapeOfAxisNormalization,
  unit_normalization: tapeOfAxisNormalization,
  cropping2d: tapeOfCropping,
  reshape: tapeOfReordering,
  permute: tapeOfReordering,
  rescaling: tapeOfAffine,
  normalization: tapeOfAffine,
  up_sampling2d: tapeOfUpSampling,
  dropout: tapeOfNoise,
  spatial_dropout2d: tapeOfNoise,
  gaussian_noise: tapeOfNoise,
  gaussian_dropout: tapeOfNoise,
  alpha_dropout: tapeOfNoise,
  activation: tapeOfActivation,
  relu: tapeOfActivation,
  leaky_relu: tapeOfActivation,
  prelu: tapeOfActivation,
  elu: tapeOfActivation,
  softmax: tapeOfActivation,
  add: tapeOfJoin,
  subtract: tapeOfJoin,
  multiply: tapeOfJoin,
  average: tapeOfJoin,
  maximum: tapeOfJoin,
  minimum: tapeOfJoin,
  concatenate: tapeOfConcatenate,
  flatten: tapeOfFlatten,
  zero_padding2d: tapeOfZeroPadding,
};
const FIRST_TERMS = 4;
const MORE_TERMS = 24;

function softmaxed(name) {
  return activationName(state.network.layer(name)) === "softmax";
}

/** The section with the computation graph of one value of a layer. */
export class GraphSection {
  constructor(name) {
    this.name = name;
    this.terms = FIRST_TERMS;
    this.ofTarget = false;
    this.choice = new Switch(
      "adjoint of",
      [
        [false, "this value"],
        [true, "the target"],
      ],
      (ofTarget) => this.#choose(ofTarget),
    );
    this.note = element("p", { class: "view-note" });
    this.drawing = element("div", {
      class: "graph-scroll",
      tabindex: "0",
      role: "group",
      aria: { label: "computation graph" },
    });
    this.section = new Section("Computation graph: forward values and adjoints", (body) => this.#draw(body), {
      onToggle: () => this.#need(),
    });
    this.section.body.append(this.choice.root, this.note, this.drawing);
    this.root = this.section.root;
  }

  #choose(ofTarget) {
    this.ofTarget = ofTarget;
    this.#need();
    this.section.update();
  }

  #need() {
    needGradients("view graph", this.ofTarget && this.root.open);
  }

  /** Draw the graph of the value at a place, if the section is open. */
  update(place) {
    if (this.place && (this.place.row !== place.row || this.place.column !== place.column || this.place.map !== place.map))
      this.terms = FIRST_TERMS;
    this.place = place;
    this.section.update();
  }

  #draw() {
    if (!this.place) return;
    const tape = new Tape();
    const output = WRITERS[state.network.layer(this.name).kind](tape, this.name, this.place, this.terms);
    const seed = this.#seed();
    tape.backward(output, seed);
    this.choice.show(this.ofTarget);
    refill(this.note, ...this.#explanation(output, seed));
    refill(
      this.drawing,
      drawTape(tape, () => this.#open()),
    );
  }

  /** Return the adjoint of the value itself: 1, or its gradient of the target. */
  #seed() {
    if (!this.ofTarget) return 1;
    return state.gradients ? valueAt(state.network, state.gradients, this.name, 0, this.place) : NaN;
  }

  #explanation(output, seed) {
    const value = placeText(this.name, this.place);
    const of = this.ofTarget ? `of ${targetText()}, which is ${number(seed)} at ${value}` : `of ${value}, which is 1 at itself`;
    return [
      element("span", { class: "key-value", text: "value" }),
      ` ${value} = ${number(output.value)} · `,
      element("span", { class: "key-adjoint", text: "adjoint" }),
      ` the derivative ${of}: from right to left, each operation multiplies it by its own derivative. `,
      this.ofTarget ? "Other values use the same inputs and weights: their gradients are the sums over all of them." : "",
      softmaxed(this.name) ? "The other logits are given values here: their own dependence on the inputs is left out." : "",
    ];
  }

  #open() {
    this.terms += MORE_TERMS;
    this.section.update();
  }
}
