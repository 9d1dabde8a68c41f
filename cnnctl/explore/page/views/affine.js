// rescaling and normalization: one value with the numbers that it is multiplied by and shifted.

import { valueAt } from "../arithmetic/places.js";
import { affineAt } from "../arithmetic/terms.js";
import { element, number, refill } from "../dom.js";
import { state } from "../state.js";
import { BeforeMap } from "./before_map.js";
import { FieldPicture, Frame } from "./frame.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf } from "./parts.js";
import { chosenPlace, placeText } from "./selection.js";

class AffineView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "affine");
    this.layer = this.frame.layer;
    this.before = new BeforeMap(name);
    this.output = new OutputMap(name);
    this.field = new FieldPicture(name);
    this.equation = element("div");
    this.frame.stage.append(this.before.root, this.output.root, figureOf("the value", this.equation), this.field.root);
  }

  update() {
    const place = chosenPlace(this.name);
    const value = valueAt(state.network, state.pass.outputs, this.layer.inputs[0], 0, place);
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const { names } = affineAt(state.network, this.name, place);
    this.before.update(place);
    this.output.update(place);
    this.field.update(place);
    const steps = names.mean === undefined ? scaleSteps(names) : normalizationSteps(names, this.layer.fields.invert);
    const last = { name: "output", label: "output", value: output, sign: "=", total: true };
    refill(this.equation, equationOf([{ name: "input", label: "input", value }, ...steps, last]));
    const text = steps.map((step) => `${step.sign} ${number(step.value)}`).join(" ");
    this.frame.say(`${placeText(this.name, place)}: ${number(output)} = ${number(value)} ${text}`);
    this.frame.update();
  }

  close() {
    this.frame.close();
  }
}

function scaleSteps({ scale, offset }) {
  return [
    { name: "scale", label: "scale", value: scale, sign: "×" },
    { name: "offset", label: "offset", value: offset, sign: "+" },
  ];
}

function normalizationSteps({ mean, variance, deviation }, invert) {
  const label = `√ of the variance ${number(variance)}`;
  if (invert) {
    return [
      { name: "deviation", label, value: deviation, sign: "×" },
      { name: "mean", label: "mean", value: mean, sign: "+" },
    ];
  }
  return [
    { name: "mean", label: "mean", value: mean, sign: "−" },
    { name: "deviation", label, value: deviation, sign: "÷" },
  ];
}

/** Create the view of a rescaling or a normalization with fixed numbers. */
export function affineView(host, name) {
  return new AffineView(host, name);
}
