// Dropouts and noise: the random number of one value, what it does to it, and several draws for one image side by side.

import { actsInTraining, alphaSteps, deviationOf, drawnNoise, drawsMasks, withNoise } from "../arithmetic/noise.js";
import { randomAt, valueAt } from "../arithmetic/places.js";
import { imageOf } from "../arithmetic/tensor.js";
import { element, number, refill } from "../dom.js";
import { change, state } from "../state.js";
import { BeforeMap } from "./before_map.js";
import { Frame } from "./frame.js";
import { commonScale, mapOf } from "./maps.js";
import { ModeSwitch } from "./mode.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText } from "./selection.js";

const DRAWS = 4;

/** What a layer does with its random number: kind → (fields, random number, input) → { steps, text }. */
const EXPLANATIONS = {
  dropout: explainDropout,
  spatial_dropout2d: explainDropout,
  gaussian_noise: ({ stddev }, noise, value) => ({
    steps: [{ name: "noise", label: `noise, standard deviation ${stddev}`, value: noise, sign: "+" }],
    text: `${number(value)} + ${number(noise)}; the noise has mean 0`,
  }),
  gaussian_dropout: ({ rate }, factor, value) => ({
    steps: [{ name: "noise", label: `factor, standard deviation ${number(deviationOf(rate))}`, value: factor, sign: "×" }],
    text: `${number(value)} × ${number(factor)}; the factor has mean 1 and variance rate / (1 − rate)`,
  }),
  alpha_dropout: explainAlphaDropout,
};

function explainDropout({ rate }, kept, value) {
  return {
    steps: [
      { name: "mask", label: kept ? "mask: kept" : "mask: dropped", value: kept, sign: "×" },
      { name: "scale", label: `scale 1 / (1 − ${rate})`, value: 1 / (1 - rate), sign: "×" },
    ],
    text: `${number(value)} × ${kept} / (1 − ${rate}); the scale keeps the mean as it is in inference`,
  };
}

function explainAlphaDropout({ rate }, kept, value) {
  const { instead, scale, shift } = alphaSteps(rate);
  const taken = kept ? value : instead;
  return {
    steps: [
      { name: "mask", label: kept ? "mask: kept" : "mask: replaced by −scale · alpha of selu", value: kept },
      { name: "taken", label: kept ? "the input" : "the limit of selu", value: taken },
      { name: "scale", label: "a", value: scale, sign: "×" },
      { name: "shift", label: "b", value: shift, sign: "+" },
    ],
    text: `${number(taken)} × ${number(scale)} + ${number(shift)}; a and b keep mean 0 and variance 1`,
  };
}

class NoiseView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "noise");
    this.layer = this.frame.layer;
    this.word = drawsMasks(this.layer) ? "mask" : "noise";
    this.mode = new ModeSwitch();
    this.renew = element("button", {
      type: "button",
      text: this.word === "mask" ? "new masks" : "new noise",
      on: { click: () => change({ maskSeed: state.maskSeed + 1, masks: null, training: true }) },
    });
    this.before = new BeforeMap(name);
    this.output = new OutputMap(name);
    this.equation = element("div");
    const label = (index) => `output under ${this.word} ${index + 1}`;
    this.examples = Array.from({ length: DRAWS }, (_, index) => new MapPicture({ label: label(index) }));
    this.frame.root.prepend(element("div", { class: "view-controls" }, this.mode.root, this.renew));
    this.frame.stage.append(this.before.root, this.output.root, figureOf("the value", this.equation));
    const figures = this.examples.map((picture, index) =>
      figureOf(index ? `${this.word} of seed + ${index}` : `${this.word} of this seed`, picture.root),
    );
    if (!actsInTraining(this.layer)) return;
    this.frame.body.append(
      element("h4", { text: `The same image under several ${this.word === "mask" ? "masks" : "draws of noise"}` }),
      element("div", { class: "view-stage" }, ...figures),
    );
  }

  update() {
    const place = chosenPlace(this.name);
    this.mode.update();
    this.before.update(place);
    this.output.update(place);
    if (actsInTraining(this.layer)) this.#drawExamples(place);
    this.#write(place);
    this.frame.update();
  }

  /** Draw the output under random numbers of several seeds, as training would make it. */
  #drawExamples(place) {
    const input = imageOf(state.pass.outputs.get(this.layer.inputs[0]), 0);
    const maps = this.examples.map((_, index) => {
      const drawn = drawnNoise(this.layer, input.shape, state.maskSeed + index);
      return mapOf(new Map([[this.name, withNoise(this.layer, input, drawn)]]), this.name, place.map);
    });
    const scale = commonScale(maps);
    this.examples.forEach((picture, index) => picture.show(maps[index], scale));
  }

  #write(place) {
    const { kind, fields, inputs } = this.layer;
    const value = valueAt(state.network, state.pass.outputs, inputs[0], 0, place);
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const random = randomAt(state.network, state.pass, this.name, 0, place);
    const unchanged = actsInTraining(this.layer) ? "unchanged in inference" : "unchanged";
    const { steps, text } = random === null ? { steps: [], text: "" } : EXPLANATIONS[kind](fields, random, value);
    const last = { name: "output", label: random === null ? `output: ${unchanged}` : "output", value: output, sign: "=" };
    refill(this.equation, equationOf([{ name: "input", label: "input", value }, ...steps, { ...last, total: true }]));
    const where = placeText(this.name, place);
    if (random !== null) this.frame.say(`${where}: ${number(output)} = ${text}`);
    else if (!actsInTraining(this.layer))
      this.frame.say(`${where}: ${number(output)}, unchanged: the layer is set to do nothing`);
    else this.frame.say(`${where}: ${number(output)}, unchanged: ${kind} acts in training only, ${amountText(fields)}`);
  }

  close() {
    this.frame.close();
  }
}

function amountText({ rate, stddev }) {
  return rate === undefined ? `standard deviation ${stddev}` : `rate ${rate}`;
}

/** Create the view of a dropout or a noise. */
export function noiseView(host, name) {
  return new NoiseView(host, name);
}
