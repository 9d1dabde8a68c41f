// activation, relu, softmax and the like as layers: the map before and after, and the curve with the value that is looked at.

import { activationName } from "../arithmetic/activation_layers.js";
import { alphaAt, softmaxGroupAt, valueAt } from "../arithmetic/places.js";
import { element, number, refill } from "../dom.js";
import { state } from "../state.js";
import { curveOf } from "./curve.js";
import { FieldPicture, Frame } from "./frame.js";
import { BeforeMap } from "./before_map.js";
import { OutputMap } from "./output_map.js";
import { OutputSection } from "./output.js";
import { equationOf, figureOf } from "./parts.js";
import { chosenPlace, placeText } from "./selection.js";

class ActivationView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "activation");
    this.layer = this.frame.layer;
    this.before = new BeforeMap(name);
    this.output = new OutputMap(name);
    this.curve = curveOf(this.layer);
    this.equation = element("div");
    this.field = new FieldPicture(name);
    this.frame.stage.append(
      this.before.root,
      this.output.root,
      ...(this.curve ? [this.curve.root] : []),
      figureOf("the value", this.equation),
      this.field.root,
    );
    this.end = OutputSection.shows(name) ? new OutputSection(name) : null;
    if (this.end) this.frame.body.append(this.end.root);
  }

  update() {
    const place = chosenPlace(this.name);
    const activation = activationName(this.layer);
    const alpha = alphaAt(state.network, this.name, place);
    const before = valueAt(state.network, state.pass.before, this.name, 0, place);
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    this.before.update(place);
    this.output.update(place);
    this.field.update(place);
    this.curve?.update(before, alpha);
    refill(
      this.equation,
      equationOf(
        activation === "softmax"
          ? this.#softmaxSteps(place, before, output)
          : [
              { name: "before", label: "input", value: before },
              ...(alpha === undefined ? [] : [{ name: "alpha", label: "alpha, trained: the slope below 0", value: alpha }]),
              { name: "output", label: `${activation} → output`, value: output, total: true },
            ],
      ),
    );
    this.frame.say(`${placeText(this.name, place)}: ${number(output)} = ${activation}(${number(before)})`);
    this.end?.update();
    this.frame.update();
  }

  #softmaxSteps(place, before, output) {
    const { values } = softmaxGroupAt(state.network, state.pass, this.name, 0, place);
    const high = values.reduce((largest, value) => Math.max(largest, value), -Infinity);
    const sum = values.reduce((total, value) => total + Math.exp(value - high), 0);
    return [
      { name: "before", label: "input z", value: before },
      { name: "exponential", label: "exp(z − max)", value: Math.exp(before - high) },
      { name: "sum", label: `Σ of ${values.length} exponentials`, value: sum, sign: "÷" },
      { name: "output", label: "softmax → output", value: output, sign: "=", total: true },
    ];
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of an activation layer. */
export function activationView(host, name) {
  return new ActivationView(host, name);
}
