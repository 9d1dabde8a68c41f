// Convolutions of every kind: every input map, its kernel, what it adds to the output map; one value as products in numbers.

import { valueAt } from "../arithmetic/places.js";
import { convolutionTerms } from "../arithmetic/terms_convolution.js";
import { element, number, refill, setText } from "../dom.js";
import { legend } from "../paint.js";
import { state } from "../state.js";
import { BeforeActivation } from "./before_map.js";
import { ContributionRow, contributionsOf } from "./contribution.js";
import { curveOf } from "./curve.js";
import { FieldPicture, Frame } from "./frame.js";
import { OutputMap } from "./output_map.js";
import { applied, equationOf, figureOf, outputSteps, valueOf, ViewPager } from "./parts.js";
import { chosenPlace, placeText } from "./selection.js";
import { outputSize } from "./window_text.js";

const ROWS_PER_PAGE = 12;

/** The products of one input map in a table of the kernel's shape. */
function productTable({ terms }, width) {
  const cells = terms.map((term) =>
    element(
      "td",
      {
        class: term.padding ? "padding" : "",
        data: {
          row: term.row,
          column: term.column,
          value: String(term.value),
          weight: String(term.weight),
          product: String(term.product),
        },
      },
      element("span", { class: "factor", text: `${number(term.value)} × ${number(term.weight)}` }),
      element("span", { class: "sign", text: "= " }),
      valueOf(term.product),
    ),
  );
  const rows = Array.from({ length: cells.length / width }, (_, row) =>
    element("tr", {}, ...cells.slice(row * width, (row + 1) * width)),
  );
  return element("table", { class: "products" }, element("tbody", {}, ...rows));
}

class ConvolutionView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "convolution");
    this.layer = this.frame.layer;
    this.output = new OutputMap(name);
    this.field = new FieldPicture(name);
    this.curve = curveOf(this.layer);
    this.before = this.layer.fields.activation ? new BeforeActivation(name) : null;
    this.equation = element("div");
    this.frame.stage.append(
      ...(this.before ? [this.before.root] : []),
      this.output.root,
      figureOf("the value", this.equation, outputSize(this.layer)),
      ...(this.curve ? [this.curve.root] : []),
      this.field.root,
    );
    this.pager = new ViewPager(ROWS_PER_PAGE, "input maps", () => this.update());
    this.rows = element("div", { class: "contributions" });
    this.rowParts = [];
    this.keys = element("span", { class: "view-keys" });
    this.products = element("div", { class: "products-scroll", tabindex: "0", role: "group", aria: { label: "products" } });
    this.productsTitle = element("h4");
    this.frame.body.append(
      element(
        "div",
        { class: "view-columns" },
        element(
          "div",
          { class: "wide" },
          element("h4", {}, "Input maps ∗ kernels = contributions, which are summed ", this.pager.root),
          this.keys,
          this.rows,
        ),
        element("div", {}, this.productsTitle, this.products),
      ),
    );
  }

  /** Show the products of an input map. */
  show(channel) {
    this.channel = channel;
    this.update();
  }

  update() {
    this.layer = this.frame.layer;
    const place = chosenPlace(this.name);
    const terms = convolutionTerms(state.network, state.pass, this.name, 0, place);
    if (!terms.channels.some((each) => each.channel === this.channel)) this.channel = terms.channels[0].channel;
    this.before?.update(place);
    this.output.update(place);
    this.field.update(place);
    this.#drawRows(place, terms);
    this.#drawProducts(terms);
    this.#drawEquation(place, terms);
    this.frame.update();
  }

  #drawRows(place, { channels }) {
    const [first, end] = this.pager.range(channels.length);
    while (this.rowParts.length < end - first) this.rowParts.push(new ContributionRow(this));
    const shown = this.rowParts.slice(0, end - first);
    if (this.rows.children.length !== shown.length) refill(this.rows, ...shown.map((row) => row.root));
    const { partials, scales } = contributionsOf(this.name, place, channels.slice(first, end));
    this.rows.classList.toggle("few", channels.length < 3);
    refill(this.keys, "kernels ", legend(scales.kernel), " contributions ", legend(scales.partial));
    shown.forEach((row, index) => {
      row.update(channels[first + index].channel, partials[index], place, scales);
      row.mark(channels[first + index]);
    });
  }

  #drawProducts({ channels, width }) {
    const chosen = channels.find((each) => each.channel === this.channel);
    setText(this.productsTitle, `Products of input map ${this.channel}: value × weight`);
    refill(this.products, width && chosen.terms.length ? productTable(chosen, width) : "no input value reaches this place");
  }

  #drawEquation(place, { channels, sum, bias, before }) {
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const activation = this.layer.fields.activation ?? "linear";
    const count = channels.length * channels[0].terms.length;
    refill(
      this.equation,
      equationOf([
        { name: "sum", label: `sum of ${count} products`, value: sum },
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

/** Create the view of a convolution. */
export function convolutionView(host, name) {
  return new ConvolutionView(host, name);
}
