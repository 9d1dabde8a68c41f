// layer_normalization, group_normalization, unit_normalization: one value in numbers, and the values it is normalized with.

import { axisNormalizationTerms } from "../arithmetic/terms.js";
import { element, number, refill } from "../dom.js";
import { state } from "../state.js";
import { BeforeMap } from "./before_map.js";
import { FieldPicture, Frame } from "./frame.js";
import { Histogram } from "./histogram.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf } from "./parts.js";
import { chosenPlace, placeText } from "./selection.js";

class AxisNormalizationView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "normalization");
    this.layer = this.frame.layer;
    this.before = new BeforeMap(name);
    this.output = new OutputMap(name);
    this.equation = element("div");
    this.field = new FieldPicture(name);
    this.histogram = new Histogram("values of this image that are normalized together");
    this.frame.stage.append(this.before.root, this.output.root, figureOf("the value", this.equation), this.field.root);
    this.frame.body.append(
      element("h4", { text: "The values before: no other image takes part, in training as in inference" }),
      element("div", { class: "view-stage" }, this.histogram.root),
    );
  }

  update() {
    const place = chosenPlace(this.name);
    const terms = axisNormalizationTerms(state.network, state.pass, this.name, 0, place);
    this.before.update(place);
    this.output.update(place);
    this.field.update(place);
    this.histogram.update(terms.group, terms.mean === null ? [] : [[terms.mean, "mean"]], terms.value);
    this.#write(place, terms);
    this.frame.update();
  }

  #write(place, { value, mean, spread, deviation, gamma, beta, normalized, output, count, isSum }) {
    const { epsilon } = this.layer.fields;
    const root = isSum ? `√(sum of ${count} squares)` : `√(variance ${number(spread)} + ε ${number(epsilon)})`;
    refill(
      this.equation,
      equationOf([
        { name: "value", label: "input x", value },
        ...(mean === null ? [] : [{ name: "mean", label: `mean of ${count} values`, value: mean, sign: "−" }]),
        { name: "deviation", label: root, value: deviation, sign: "÷" },
        { name: "normalized", label: "normalized", value: normalized, sign: "=" },
        ...(gamma === null ? [] : [{ name: "gamma", label: "gamma, trained", value: gamma, sign: "×" }]),
        ...(beta === null ? [] : [{ name: "beta", label: "beta, trained", value: beta, sign: "+" }]),
        { name: "output", label: "output", value: output, sign: "=", total: true },
      ]),
    );
    const above = mean === null ? number(value) : `(${number(value)} − ${number(mean)})`;
    const scale = `${gamma === null ? "" : ` × ${number(gamma)}`}${beta === null ? "" : ` + ${number(beta)}`}`;
    this.frame.say(`${placeText(this.name, place)}: ${number(output)} = ${above} / ${number(deviation)}${scale}`);
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of a layer, group or unit normalization. */
export function axisNormalizationView(host, name) {
  return new AxisNormalizationView(host, name);
}
