// dense: the largest contributions to a unit, their sum, bias and activation; on maps where the input was flattened.

import { activationName } from "../arithmetic/activation_layers.js";
import { isRandom } from "../arithmetic/noise.js";
import { placeOf, unflattenedPlace, valueAt } from "../arithmetic/places.js";
import { denseTerms } from "../arithmetic/terms.js";
import { element, number, refill } from "../dom.js";
import { legend, scaleOf } from "../paint.js";
import { state } from "../state.js";
import { barTable } from "./bars.js";
import { curveOf } from "./curve.js";
import { FieldPicture, Frame } from "./frame.js";
import { cellOf, vectorMap } from "./maps.js";
import { OutputMap } from "./output_map.js";
import { OutputSection } from "./output.js";
import { applied, Chooser, equationOf, figureOf, outputSteps, ViewPager } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText, sizesOf } from "./selection.js";

const ROWS = 10;

/** Return the flatten layer whose order of values a vector still has, or null. */
function flattenBefore(name) {
  if (name === "input") return null;
  const layer = state.network.layer(name);
  if (layer.kind === "flatten" && !sizesOf(layer.inputs[0]).vector) return layer;
  const isActivation = layer.kind !== "dense" && activationName(layer) !== null;
  const keepsOrder = isActivation || isRandom(layer) || layer.kind === "batch_normalization";
  return keepsOrder ? flattenBefore(layer.inputs[0]) : null;
}

/** Contributions laid out as the input was before flatten: one map, or the sum over all maps. */
class ContributionMap {
  constructor(view) {
    this.view = view;
    this.map = 0;
    this.picture = new MapPicture({ label: "contributions" });
    this.sums = new MapPicture({ label: "contributions summed over maps" });
    this.key = element("span");
    this.sumsKey = element("span");
    this.chooser = new Chooser("map", (map) => {
      this.map = map;
      view.update();
    });
    this.one = figureOf("contributions of one map", this.picture.root, element("span", {}, this.key, this.chooser.root));
    this.all = figureOf("contributions, summed over maps", this.sums.root, this.sumsKey);
  }

  /** Draw the products; `chosen` is the index of the input value that is looked at. */
  update({ terms }, flatten, chosen) {
    const { height, width, channels } = flatten ? sizesOf(flatten.inputs[0]) : { height: 1, width: terms.length, channels: 1 };
    const products = terms.map((term) => term.product);
    const scale = scaleOf(products);
    const map = Math.min(this.map, channels - 1);
    const values = flatten
      ? Float32Array.from({ length: height * width }, (_, pixel) => products[pixel * channels + map])
      : null;
    this.picture.show(flatten ? { values, height, width } : vectorMap(Float32Array.from(products)), scale);
    const cell = flatten ? unflattenedPlace(state.network, flatten.name, chosen) : cellOf(chosen, terms.length);
    this.picture.mark(!flatten || cell.map === map ? [{ ...cell, kind: "looked-at" }] : []);
    refill(this.key, legend(scale));
    this.chooser.show(map, channels);
    this.all.hidden = channels === 1;
    if (channels === 1) return;
    const sums = Float32Array.from({ length: height * width }, (_, pixel) => {
      let sum = 0;
      for (let each = 0; each < channels; each += 1) sum += products[pixel * channels + each];
      return sum;
    });
    this.sums.show({ values: sums, height, width }, scaleOf(sums));
    this.sums.mark([{ ...cell, kind: "looked-at" }]);
    refill(this.sumsKey, legend(scaleOf(sums)));
  }
}

class DenseView {
  constructor(host, name) {
    this.name = name;
    this.chosen = null;
    this.frame = new Frame(host, name, "dense");
    this.layer = this.frame.layer;
    this.flatten = sizesOf(this.layer.inputs[0]).vector ? flattenBefore(this.layer.inputs[0]) : null;
    this.output = new OutputMap(name);
    this.equation = element("div");
    this.curve = curveOf(this.layer);
    this.maps = new ContributionMap(this);
    this.field = new FieldPicture(name);
    this.frame.stage.append(
      this.output.root,
      figureOf("the value", this.equation),
      ...(this.curve ? [this.curve.root] : []),
      this.maps.all,
      this.maps.one,
      this.field.root,
    );
    this.pager = new ViewPager(ROWS, "contributions", () => this.update());
    this.table = element("div");
    this.end = OutputSection.shows(name) ? new OutputSection(name) : null;
    this.frame.body.append(
      element(
        "div",
        { class: "view-columns" },
        element("div", {}, element("h4", {}, "Contributions, largest first: input × weight ", this.pager.root), this.table),
        ...(this.end ? [this.end.root] : []),
      ),
    );
  }

  update() {
    this.layer = this.frame.layer;
    const place = chosenPlace(this.name);
    const terms = denseTerms(state.network, state.pass, this.name, 0, place);
    const sorted = [...terms.terms].sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    this.output.update(place);
    this.field.update(place);
    const first = terms.terms[0].index;
    this.maps.update(terms, this.flatten, (this.chosen ?? sorted[0].index) - first);
    this.#drawTable(sorted);
    this.#drawEquation(place, terms);
    this.end?.update();
    this.frame.update();
  }

  #drawTable(sorted) {
    const [first, end] = this.pager.range(sorted.length);
    const rest = sorted.filter((_, index) => index < first || index >= end);
    const rows = sorted.slice(first, end).map((term) => ({
      label: this.#nameOf(term),
      detail: `${number(term.value)} × ${number(term.weight)}`,
      value: term.product,
      data: { index: term.index, value: String(term.value), weight: String(term.weight) },
      onChoose: () => this.#choose(term.index),
    }));
    const sum = rest.reduce((total, term) => total + term.product, 0);
    const others = rest.length
      ? [{ label: `${rest.length} others`, detail: "sum", value: sum, others: true, data: { name: "others" } }]
      : [];
    refill(this.table, barTable([...rows, ...others]));
  }

  #choose(index) {
    this.chosen = index;
    const source = this.#sourceOf(index);
    if (source) this.maps.map = source.map;
    this.update();
  }

  #sourceOf(index) {
    return this.flatten ? unflattenedPlace(state.network, this.flatten.name, index) : null;
  }

  #nameOf({ index }) {
    const source = this.#sourceOf(index);
    if (source) return `map ${source.map} (${source.row}, ${source.column})`;
    const [input] = this.layer.inputs;
    return placeText(input, placeOf(state.network, input, index));
  }

  #drawEquation(place, { terms, sum, bias, before }) {
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const activation = this.layer.fields.activation ?? "linear";
    const positive = terms.reduce((total, term) => total + Math.max(term.product, 0), 0);
    refill(
      this.equation,
      equationOf([
        { name: "positive", label: "positive products", value: positive },
        { name: "negative", label: "negative products", value: sum - positive, sign: "+" },
        { name: "sum", label: `sum of ${terms.length} products`, value: sum, sign: "=" },
        ...(bias === null ? [] : [{ name: "bias", label: "bias", value: bias, sign: "+" }]),
        ...outputSteps(activation, before, output),
      ]),
    );
    this.curve?.update(before);
    this.frame.say(
      `${placeText(this.name, place)}: ${number(output)} = ${applied(activation, number(sum) + (bias === null ? "" : ` + ${number(bias)}`))}`,
    );
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of a dense layer. */
export function denseView(host, name) {
  return new DenseView(host, name);
}
