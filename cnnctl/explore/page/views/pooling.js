// Poolings: the window and its largest value or mean; a global pooling's window is the whole map.

import { valueAt } from "../arithmetic/places.js";
import { poolingTerms } from "../arithmetic/terms.js";
import { paddingOf } from "../arithmetic/window.js";
import { element, number, refill, setText } from "../dom.js";
import { state } from "../state.js";
import { FieldPicture, Frame } from "./frame.js";
import { layerScale, mapOf } from "./maps.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf, valueOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText, select, sizesOf } from "./selection.js";
import { outputSize } from "./window_text.js";

const LARGEST_TABLE = 400;

class PoolingView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "pooling");
    this.layer = this.frame.layer;
    this.global = this.layer.kind.startsWith("global_");
    this.input = new MapPicture({
      label: "input map",
      kind: "output-picture",
      onPoint: (row, column) => this.#choose(row, column),
    });
    this.inputTitle = element("span");
    this.output = new OutputMap(name);
    this.field = new FieldPicture(name);
    this.equation = element("div");
    this.table = element("div", {
      class: "products-scroll",
      tabindex: "0",
      role: "group",
      aria: { label: "values of the window" },
    });
    this.frame.stage.append(
      figureOf("input map", this.input.root, this.inputTitle),
      this.output.root,
      figureOf("the value", this.equation, this.global ? "the window is the whole map" : outputSize(this.layer)),
      this.field.root,
    );
    this.frame.body.append(element("h4", { text: "The window in numbers" }), this.table);
  }

  /** Pointing at an input value looks at the first output value whose window has it. */
  #choose(row, column) {
    if (this.global) return;
    const [rowStride, columnStride] = this.layer.fields.strides;
    const { height, width } = sizesOf(this.name);
    const padding = paddingOf(this.layer, this.layer.input_shapes[0]);
    const within = (pixel, stride, length) => Math.min(Math.max(Math.floor(pixel / stride), 0), length - 1);
    select(this.name, {
      row: within(row + padding.top, rowStride, height),
      column: within(column + padding.left, columnStride, width),
    });
  }

  update() {
    const place = chosenPlace(this.name);
    const pooled = poolingTerms(state.network, state.pass, this.name, 0, place);
    const [input] = this.layer.inputs;
    setText(this.inputTitle, `map ${pooled.map} of ${input}`);
    this.input.show(
      mapOf(state.pass.outputs, input, pooled.map),
      layerScale(input),
      this.global ? undefined : paddingOf(this.layer, this.layer.input_shapes[0]),
    );
    this.#mark(pooled);
    this.output.update(place);
    this.field.update(place);
    this.#write(place, pooled);
    this.frame.update();
  }

  #mark({ terms, window }) {
    const kinds = (term) => (term.padding ? "window-cell outside" : term.winner ? "winner" : "window-cell");
    const box = {
      top: window.rows[0],
      left: window.columns[0],
      bottom: window.rows.at(-1),
      right: window.columns.at(-1),
      kind: "window-box",
    };
    const cells = this.global ? terms.filter((term) => term.winner) : terms;
    this.input.mark(
      cells.map((term) => ({ ...term, kind: kinds(term) })),
      [box],
    );
    this.input.point(Math.max(window.rows[0], 0), Math.max(window.columns[0], 0));
  }

  #write(place, pooled) {
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const mean = [
      { name: "sum", label: `sum of ${pooled.count} values`, value: pooled.sum },
      { name: "count", label: "values that are real pixels", value: pooled.count, sign: "÷" },
      { name: "output", label: "mean = output", value: output, total: true },
    ];
    refill(
      this.equation,
      equationOf(
        pooled.maximum ? [{ name: "output", label: `largest of ${pooled.count} values`, value: output, total: true }] : mean,
      ),
    );
    refill(this.table, windowTable(pooled));
    const winner = pooled.terms.find((term) => term.winner);
    this.frame.say(
      `${placeText(this.name, place)}: ${number(output)} = ${
        winner
          ? `the largest of ${pooled.count} values, at row ${winner.row}, column ${winner.column}`
          : `${number(pooled.sum)} / ${pooled.count}, the mean of the window`
      }`,
    );
  }

  close() {
    this.frame.close();
  }
}

/** Create the table of a window's values; of a large window only the size is written. */
function windowTable({ terms, window }) {
  if (terms.length > LARGEST_TABLE)
    return element("p", { text: `${window.rows.length} × ${window.columns.length} values: see the map above` });
  const cells = terms.map((term) =>
    element(
      "td",
      {
        class: term.padding ? "padding" : term.winner ? "winner" : "",
        data: { row: term.row, column: term.column, value: String(term.value) },
      },
      term.padding ? "outside" : valueOf(term.value),
    ),
  );
  const width = window.columns.length;
  const rows = window.rows.map((_, row) => element("tr", {}, ...cells.slice(row * width, (row + 1) * width)));
  return element("table", { class: "products" }, element("tbody", {}, ...rows));
}

/** Create the view of a pooling. */
export function poolingView(host, name) {
  return new PoolingView(host, name);
}
