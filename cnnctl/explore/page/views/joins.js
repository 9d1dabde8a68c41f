// Layers that combine values or move them: add, multiply and the like, concatenate, zero_padding2d, cropping2d, reshape and permute.

import {
  broadcastPlace,
  concatenatedPlace,
  croppedPlace,
  joinedPlace,
  movedFrom,
  movedTo,
  paddedPlace,
  sourceOf,
  uncroppedPlace,
  unpaddedPlace,
  valueAt,
} from "../arithmetic/places.js";
import { element, number, refill, setText } from "../dom.js";
import { state } from "../state.js";
import { FieldPicture, Frame } from "./frame.js";
import { cellOf, layerScale, mapOf, unitAt } from "./maps.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText, select, sizesOf } from "./selection.js";

/** The picture of one input of a layer; `onPoint(place)` is called when a person points at a value of it. */
class SourcePicture {
  constructor(input, margin, onPoint) {
    Object.assign(this, { input, margin, onPoint, map: 0 });
    this.picture = new MapPicture({ label: input, onPoint: (row, column) => this.#choose(row, column) });
    this.caption = element("span");
    this.root = figureOf(input, this.picture.root, this.caption);
  }

  #choose(row, column) {
    const { vector, width } = sizesOf(this.input);
    const unit = vector ? unitAt(row, column, width) : null;
    if (!vector) this.onPoint({ row, column, map: this.map });
    else if (unit !== null) this.onPoint({ row: 0, column: unit, map: 0 });
  }

  /** Draw the map of a place; `place` is null where no value of it is read. */
  update(place, map, kind = "looked-at") {
    const { vector, width } = sizesOf(this.input);
    this.map = map;
    this.picture.show(mapOf(state.pass.outputs, this.input, map), layerScale(this.input), this.margin);
    const cell = place && (vector ? cellOf(place.column, width) : place);
    this.picture.mark(cell ? [{ ...cell, kind }] : []);
    if (cell) this.picture.point(cell.row, cell.column);
    this.root.classList.toggle("not-read", !place);
    setText(this.caption, vector ? "" : `map ${map}`);
  }
}

/** What the views have in common; `placeFrom(position, place)` is the output value that reads a value of an input. */
class MovingView {
  constructor(host, name, kind) {
    this.name = name;
    this.frame = new Frame(host, name, kind);
    this.layer = this.frame.layer;
    this.output = new OutputMap(name);
    this.field = new FieldPicture(name);
    this.equation = element("div");
    this.sources = this.layer.inputs.map(
      (input, position) => new SourcePicture(input, this.margin(), (place) => this.#point(position, place)),
    );
    this.frame.stage.append(
      ...this.sources.map((source) => source.root),
      this.output.root,
      figureOf("the value", this.equation),
      this.field.root,
    );
  }

  margin() {
    return undefined;
  }

  /** Pointing at an input value looks at the output value that reads it, if one does. */
  #point(position, place) {
    const output = this.placeFrom(position, place);
    if (output) select(this.name, output);
  }

  update() {
    const place = chosenPlace(this.name);
    this.output.update(place);
    this.field.update(place);
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const { steps, text } = this.explain(place, output);
    refill(this.equation, equationOf(steps));
    this.frame.say(`${placeText(this.name, place)}: ${number(output)} ${text}`);
    this.frame.update();
  }

  read(input, place) {
    return valueAt(state.network, state.pass.outputs, input, 0, place);
  }

  close() {
    this.frame.close();
  }
}

const SUM = { sign: "+", write: (values) => values.join(" + ") };

/** How a join is written: kind → { sign, write(values as text) }. */
const JOIN_SIGNS = {
  add: SUM,
  subtract: { sign: "−", write: (values) => values.join(" − ") },
  multiply: { sign: "×", write: (values) => values.join(" × ") },
  average: { ...SUM, write: (values) => `(${values.join(" + ")}) / ${values.length}` },
  maximum: { sign: "", write: (values) => `max(${values.join(", ")})` },
  minimum: { sign: "", write: (values) => `min(${values.join(", ")})` },
};

class JoinView extends MovingView {
  placeFrom(position, place) {
    return joinedPlace(state.network, this.name, this.layer.inputs[position], place, chosenPlace(this.name));
  }

  explain(place, output) {
    const values = this.sources.map((source) => {
      const own = broadcastPlace(state.network, this.name, source.input, place);
      source.update(own, own.map);
      return this.read(source.input, own);
    });
    const { kind, inputs } = this.layer;
    const { sign, write } = JOIN_SIGNS[kind];
    const steps = values.map((value, index) => ({
      name: `input ${index}`,
      label: inputs[index],
      value,
      sign: index ? sign : "",
    }));
    const count = kind === "average" ? [{ name: "count", label: "inputs", value: values.length, sign: "÷" }] : [];
    const chosen = { maximum: "the largest", minimum: "the smallest" }[kind] ?? "output";
    return {
      steps: [...steps, ...count, { name: "output", label: chosen, value: output, sign: "=", total: true }],
      text: `= ${write(values.map(number))}`,
    };
  }
}

class ConcatenateView extends MovingView {
  placeFrom(position, place) {
    return concatenatedPlace(state.network, this.name, position, place);
  }

  explain(place, output) {
    const found = sourceOf(state.network, this.name, place);
    this.sources.forEach((source, position) => {
      const read = position === found.position;
      source.update(read ? found.place : null, read ? found.place.map : source.map);
    });
    const from = `${found.input}, ${placeText(found.input, found.place)}`;
    return {
      steps: [{ name: "output", label: `copy of ${from}`, value: output, total: true }],
      text: `is a copy of ${from}; joined along axis ${this.layer.fields.axis}`,
    };
  }
}

class ZeroPaddingView extends MovingView {
  placeFrom(position, place) {
    return paddedPlace(state.network, this.name, place);
  }

  margin() {
    const [[top, bottom], [left, right]] = this.layer.fields.padding;
    return { top, bottom, left, right };
  }

  explain(place, output) {
    const source = unpaddedPlace(state.network, this.name, place);
    const [input] = this.layer.inputs;
    const [[top, bottom], [left, right]] = this.layer.fields.padding;
    this.sources[0].update(source, place.map);
    if (!source)
      this.sources[0].picture.mark([
        { row: place.row - top, column: place.column - left, kind: "window-cell outside", text: "0" },
      ]);
    const from = source ? `copy of ${placeText(input, source)}` : "a zero of the padding";
    return {
      steps: [{ name: "output", label: from, value: output, total: true }],
      text: `${source ? "is a " : "is "}${from}; ${top} rows above, ${bottom} below, ${left} columns left, ${right} right`,
    };
  }
}

class CroppingView extends MovingView {
  placeFrom(position, place) {
    return croppedPlace(state.network, this.name, place);
  }

  explain(place, output) {
    const source = uncroppedPlace(state.network, this.name, place);
    const [input] = this.layer.inputs;
    const [[top, bottom], [left, right]] = this.layer.fields.cropping;
    this.sources[0].update(source, source.map);
    const from = `copy of ${placeText(input, source)}`;
    return {
      steps: [{ name: "output", label: from, value: output, total: true }],
      text: `is a ${from}; ${top} rows above, ${bottom} below, ${left} columns left and ${right} right are cut off`,
    };
  }
}

class ReorderingView extends MovingView {
  placeFrom(position, place) {
    return movedTo(state.network, this.name, place);
  }

  explain(place, output) {
    const source = movedFrom(state.network, this.name, place);
    const [input] = this.layer.inputs;
    this.sources[0].update(source, source.map);
    const from = `copy of ${placeText(input, source)}`;
    const { dims } = this.layer.fields;
    const how = dims ? `the axes are put in the order ${dims.join(", ")}` : "all values stay in their order, in other rows";
    return { steps: [{ name: "output", label: from, value: output, total: true }], text: `is a ${from}; ${how}` };
  }
}

/** Create the view of a reshape or a permutation of axes. */
export function reorderingView(host, name) {
  return new ReorderingView(host, name, "reordering");
}

/** Create the view of a cropping. */
export function croppingView(host, name) {
  return new CroppingView(host, name, "cropping");
}

/** Create the view of a sum, product, mean or the like of layers. */
export function joinView(host, name) {
  return new JoinView(host, name, "join");
}

/** Create the view of layers joined along an axis. */
export function concatenateView(host, name) {
  return new ConcatenateView(host, name, "concatenate");
}

/** Create the view of a padding with zeros. */
export function zeroPaddingView(host, name) {
  return new ZeroPaddingView(host, name, "zero-padding");
}
