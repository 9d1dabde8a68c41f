// batch_normalization: statistics of the batch and moving ones, one value in numbers, the map before and after.

import { batchStatistics } from "../arithmetic/normalization.js";
import { normalizationTerms } from "../arithmetic/terms.js";
import { resolveAxis, splitAt } from "../arithmetic/tensor.js";
import { element, number, refill } from "../dom.js";
import { state } from "../state.js";
import { BeforeMap } from "./before_map.js";
import { FieldPicture, Frame } from "./frame.js";
import { Histogram } from "./histogram.js";
import { ModeSwitch } from "./mode.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf, valueOf } from "./parts.js";
import { chosenPlace, placeText } from "./selection.js";

class NormalizationView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "normalization");
    this.layer = this.frame.layer;
    this.mode = new ModeSwitch({ sizes: true });
    this.before = new BeforeMap(name);
    this.output = new OutputMap(name);
    this.equation = element("div");
    this.statistics = element("div");
    this.field = new FieldPicture(name);
    this.histograms = [new Histogram("values before"), new Histogram("values after")];
    this.frame.root.prepend(element("div", { class: "view-controls" }, this.mode.root));
    this.frame.stage.append(
      this.before.root,
      this.output.root,
      element(
        "div",
        { class: "view-stack" },
        figureOf("the value", this.equation),
        figureOf("statistics of this map", this.statistics),
      ),
      this.field.root,
    );
    this.frame.body.append(
      element("h4", { text: "All values of this map in the batch" }),
      element("div", { class: "view-stage" }, ...this.histograms.map((each) => each.root)),
    );
  }

  update() {
    const place = chosenPlace(this.name);
    const terms = normalizationTerms(state.network, state.pass, this.name, 0, place);
    this.mode.update();
    this.before.update(place);
    this.output.update(place);
    this.field.update(place);
    this.#writeValue(place, terms);
    this.#writeStatistics(terms);
    const input = state.pass.outputs.get(this.layer.inputs[0]);
    this.histograms[0].update(this.#valuesOf(input, terms.unit), [[terms.mean, "mean"]], terms.value);
    this.histograms[1].update(
      this.#valuesOf(state.pass.outputs.get(this.name), terms.unit),
      [[terms.beta ?? 0, "beta"]],
      terms.output,
    );
    this.frame.update();
  }

  /** Return the values of one place along the axis, over the whole batch. */
  #valuesOf({ shape, values }, unit) {
    const { outer, length, inner } = splitAt(shape, resolveAxis(this.layer.fields.axis, shape.length));
    return Float32Array.from(
      { length: outer * inner },
      (_, i) => values[(Math.floor(i / inner) * length + unit) * inner + (i % inner)],
    );
  }

  #writeValue(place, terms) {
    const { value, mean, variance, epsilon, gamma, beta, normalized, renorm, output } = terms;
    const corrections = renorm
      ? [
          { name: "r", label: "r, of batch renormalization", value: renorm.r, sign: "×" },
          { name: "d", label: "d", value: renorm.d, sign: "+" },
        ]
      : [];
    refill(
      this.equation,
      equationOf([
        { name: "value", label: "input x", value },
        { name: "mean", label: `mean of the ${this.#source()}`, value: mean, sign: "−" },
        {
          name: "deviation",
          label: `√(variance ${number(variance)} + ε ${number(epsilon)})`,
          value: Math.sqrt(variance + epsilon),
          sign: "÷",
        },
        { name: "normalized", label: "normalized", value: normalized, sign: "=" },
        ...corrections,
        ...(gamma === null ? [] : [{ name: "gamma", label: "gamma, trained", value: gamma, sign: "×" }]),
        ...(beta === null ? [] : [{ name: "beta", label: "beta, trained", value: beta, sign: "+" }]),
        { name: "output", label: "output", value: output, sign: "=", total: true },
      ]),
    );
    const corrected = renorm ? ` × ${number(renorm.r)} + ${number(renorm.d)}` : "";
    const scale = `${corrected}${gamma === null ? "" : ` × ${number(gamma)}`}${beta === null ? "" : ` + ${number(beta)}`}`;
    this.frame.say(
      `${placeText(this.name, place)}: ${number(output)} = (${number(value)} − ${number(mean)}) / √(${number(variance)} + ${number(epsilon)})${scale}`,
    );
  }

  #source() {
    return state.pass.training ? `batch of ${state.pass.images.shape[0]}` : "moving average";
  }

  #writeStatistics({ unit, movingMean, movingVariance }) {
    const input = state.pass.outputs.get(this.layer.inputs[0]);
    const parts = splitAt(input.shape, resolveAxis(this.layer.fields.axis, input.shape.length));
    const { mean, variance } = batchStatistics(input.values, parts);
    const count = parts.outer * parts.inner;
    const row = (label, key, values, used) =>
      element(
        "tr",
        { class: used ? "used" : "", data: { name: key } },
        element("th", { scope: "row", text: label }),
        ...values.map((each) => element("td", {}, valueOf(each))),
        element("td", { text: used ? "used now" : "" }),
      );
    refill(
      this.statistics,
      element(
        "table",
        { class: "statistics" },
        element(
          "thead",
          {},
          element("tr", {}, ...["", "mean", "variance", ""].map((text) => element("th", { scope: "col", text }))),
        ),
        element(
          "tbody",
          {},
          row("moving average", "moving", [movingMean, movingVariance], !state.pass.training),
          row(
            `${state.pass.training ? `batch of ${input.shape[0]}` : "this image alone"} (${count} values)`,
            "batch",
            [mean[unit], variance[unit]],
            state.pass.training,
          ),
        ),
      ),
    );
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of a batch normalization. */
export function normalizationView(host, name) {
  return new NormalizationView(host, name);
}
