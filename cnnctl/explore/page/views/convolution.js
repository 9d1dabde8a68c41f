// conv2d: every input map, its kernel, what it adds to the output map; one value as products in numbers.

import { convolutionTerms, groupOf, partialMap, valueAt } from "../arithmetic/terms.js";
import { paddingOf, windowOf } from "../arithmetic/window.js";
import { element, number, setText } from "../dom.js";
import { scaleOf } from "../paint.js";
import { state } from "../state.js";
import { curveOf } from "./curve.js";
import { FieldPicture, Frame } from "./frame.js";
import { layerScale, mapOf } from "./maps.js";
import { OutputMap } from "./output_map.js";
import { applied, equationOf, figureOf, outputSteps, refill, signed, valueOf, ViewPager } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText, select, sizesOf } from "./selection.js";
import { outputSize } from "./window_text.js";

const ROWS_PER_PAGE = 8;

/** One input map, its kernel and its contribution, side by side. */
class ContributionRow {
  constructor(view) {
    this.view = view;
    this.input = new MapPicture({ label: "input map", kind: "small" });
    this.kernel = new MapPicture({ label: "kernel", kind: "small kernel" });
    this.partial = new MapPicture({ label: "contribution", kind: "small", onPoint: (row, column) => select(view.name, { row, column }) });
    this.title = element("button", { type: "button", class: "row-title", on: { click: () => view.show(this.channel) } });
    this.sum = element("span", { class: "row-sum" });
    this.root = element("div", { class: "contribution" }, this.title,
      element("div", { class: "contribution-pictures" }, this.input.root, element("span", { class: "sign", text: "∗" }), this.kernel.root,
        element("span", { class: "sign", text: "=" }), this.partial.root), this.sum);
  }

  /** Draw an input map's part of the output map. */
  update(channel, partial, place, scales) {
    const { name, layer } = this.view;
    const [input] = layer.inputs;
    this.channel = channel;
    this.root.dataset.channel = channel;
    setText(this.title, `input map ${channel}`);
    this.title.setAttribute("aria-pressed", String(channel === this.view.channel));
    this.input.show(mapOf(state.pass.outputs, input, channel), scales.input, paddingOf(layer, state.network.layer(name).input_shapes[0]));
    this.input.describe(`${input}, map ${channel}, with the window of the value`);
    this.kernel.show(kernelMap(name, place.map, channel), scales.kernel);
    this.partial.show(partial, scales.partial);
    this.partial.mark([{ ...place, kind: "looked-at" }]);
    this.partial.point(place.row, place.column);
    this.partial.describe(`contribution of input map ${channel} to map ${place.map}`);
  }

  /** Draw the window in the input map, and the sum of its products. */
  mark({ terms, sum }) {
    const box = { top: terms[0].row, left: terms[0].column, rows: [...new Set(terms.map((term) => term.row))].join(" "), columns: [...new Set(terms.map((term) => term.column))].join(" ") };
    Object.assign(this.root.dataset, box, { sum });
    this.input.mark(...windowMarks(terms, this.view.layer.fields.dilation_rate));
    refill(this.sum, "sum of products ", valueOf(sum, signed(sum)));
  }
}

/** Return the marks of a window: [cells, boxes]; a window without gaps is one box, zeros of the padding are cells. */
function windowMarks(terms, dilation) {
  const outside = terms.filter((term) => term.padding).map((term) => ({ ...term, kind: "window-cell outside", text: "0" }));
  if (Math.max(...dilation) > 1) return [[...outside, ...terms.filter((term) => !term.padding).map((term) => ({ ...term, kind: "window-cell" }))], []];
  const [first, last] = [terms[0], terms.at(-1)];
  return [outside, [{ top: first.row, left: first.column, bottom: last.row, right: last.column, kind: "window-box" }]];
}

/** Return the part of a filter's kernel that reads one input map. */
function kernelMap(name, filter, channel) {
  const kernel = state.network.weight(name, "kernel");
  const [height, width, depth, filters] = kernel.shape;
  const inGroup = channel - groupOf(state.network, state.network.layer(name), filter).first;
  const values = Float32Array.from({ length: height * width }, (_, i) => kernel.values[(i * depth + inGroup) * filters + filter]);
  return { values, height, width };
}

/** Return the scale of one filter over all input maps. */
function kernelScale(name, filter) {
  const kernel = state.network.weight(name, "kernel");
  const filters = kernel.shape[3];
  return scaleOf(Float32Array.from({ length: kernel.values.length / filters }, (_, i) => kernel.values[i * filters + filter]));
}

/** Return the scale of several maps, so that they can be compared. */
function commonScale(maps) {
  const scales = maps.map((map) => scaleOf(map.values));
  const [low, high] = [Math.min(...scales.map((scale) => scale.low)), Math.max(...scales.map((scale) => scale.high))];
  return { ...scales[0], low, high, signed: low < 0 };
}

/** The products of one input map in a table of the kernel's shape. */
function productTable({ terms }, width) {
  const cells = terms.map((term) => element("td", { class: term.padding ? "padding" : "", data: { row: term.row, column: term.column, value: String(term.value), weight: String(term.weight), product: String(term.product) } },
    element("span", { class: "factor", text: `${number(term.value)} × ${number(term.weight)}` }), element("span", { class: "sign", text: "= " }), valueOf(term.product)));
  const rows = Array.from({ length: cells.length / width }, (_, row) => element("tr", {}, ...cells.slice(row * width, (row + 1) * width)));
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
    this.equation = element("div");
    this.frame.stage.append(this.output.root, figureOf("the value", this.equation, outputSize(this.layer)),
      ...(this.curve ? [this.curve.root] : []), this.field.root);
    this.pager = new ViewPager(ROWS_PER_PAGE, "input maps", () => this.update());
    this.rows = element("div", { class: "contributions" });
    this.rowParts = [];
    this.products = element("div", { class: "products-scroll", tabindex: "0", role: "group", aria: { label: "products" } });
    this.productsTitle = element("h4");
    this.frame.body.append(element("div", { class: "view-columns" },
      element("div", { class: "wide" }, element("h4", {}, "Input maps ∗ kernels = contributions, which are summed ", this.pager.root), this.rows),
      element("div", {}, this.productsTitle, this.products)));
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
    const { height, width } = sizesOf(this.name);
    const partials = channels.slice(first, end).map(({ channel }) => ({ values: partialMap(state.network, state.pass, this.name, 0, place.map, channel), height, width }));
    const scales = { input: layerScale(this.layer.inputs[0]), kernel: kernelScale(this.name, place.map), partial: commonScale(partials) };
    shown.forEach((row, index) => {
      row.update(channels[first + index].channel, partials[index], place, scales);
      row.mark(channels[first + index]);
    });
  }

  #drawProducts({ channels }) {
    const chosen = channels.find((each) => each.channel === this.channel);
    const width = state.network.weight(this.name, "kernel").shape[1];
    setText(this.productsTitle, `Products of input map ${this.channel}: value × weight`);
    refill(this.products, productTable(chosen, width));
  }

  #drawEquation(place, { channels, sum, bias, before }) {
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const activation = this.layer.fields.activation ?? "linear";
    const count = channels.length * channels[0].terms.length;
    refill(this.equation, equationOf([
      { name: "sum", label: `sum of ${count} products`, value: sum },
      ...(bias === null ? [] : [{ name: "bias", label: "bias", value: bias, sign: "+" }]),
      ...outputSteps(activation, before, output),
    ]));
    this.curve?.update(before);
    this.frame.say(`${placeText(this.name, place)}: ${number(output)} = ${applied(activation, number(sum) + (bias === null ? "" : ` + ${number(bias)}`))}`);
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of a convolution. */
export function convolutionView(host, name) {
  return new ConvolutionView(host, name);
}
