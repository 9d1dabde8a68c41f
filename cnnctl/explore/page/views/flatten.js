// flatten: where each value goes, looked at from both sides.

import { flattenedUnit, unflattenedPlace, valueAt } from "../arithmetic/places.js";
import { element, number, setText } from "../dom.js";
import { state } from "../state.js";
import { Frame } from "./frame.js";
import { cellOf, layerScale, mapOf, rowsOf, unitAt } from "./maps.js";
import { OutputMap } from "./output_map.js";
import { Chooser, figureOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText, select, sizesOf } from "./selection.js";

class FlattenView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "flatten");
    [this.source] = this.frame.layer.inputs;
    this.input = new MapPicture({
      label: "input map",
      kind: "output-picture",
      onPoint: (row, column) => this.#point(row, column),
    });
    this.chooser = new Chooser("map", (map) => this.#choose({ map }));
    this.output = new OutputMap(name, `output: one vector, shown in rows of ${rowsOf(sizesOf(name).width).width}`);
    this.formula = element("p", { class: "formula" });
    this.frame.stage.append(figureOf("input map", this.input.root, this.chooser.root), this.output.root);
    this.frame.body.append(element("h4", { text: "Where the value goes" }), this.formula);
  }

  #choose(part) {
    const place = { ...unflattenedPlace(state.network, this.name, chosenPlace(this.name).column), ...part };
    select(this.name, { column: flattenedUnit(state.network, this.name, place) });
  }

  /** A vector is shown in rows: its unit is at the row and column of a cell. */
  #point(row, column) {
    const { vector, width } = sizesOf(this.source);
    const unit = vector ? unitAt(row, column, width) : null;
    if (!vector) this.#choose({ row, column });
    else if (unit !== null) this.#choose({ row: 0, column: unit });
  }

  update() {
    const place = chosenPlace(this.name);
    const source = unflattenedPlace(state.network, this.name, place.column);
    const { channels, width, vector } = sizesOf(this.source);
    this.input.show(mapOf(state.pass.outputs, this.source, source.map), layerScale(this.source));
    const cell = vector ? cellOf(source.column, width) : source;
    this.input.mark([{ row: cell.row, column: cell.column, kind: "looked-at" }]);
    this.input.point(cell.row, cell.column);
    this.input.describe(`${this.source}: the value at ${placeText(this.source, source)} goes to unit ${place.column}`);
    this.chooser.show(source.map, channels);
    this.output.update(place);
    setText(
      this.formula,
      vector
        ? `unit = ${place.column}: the input is a vector already`
        : `unit = (row · width + column) · maps + map = (${source.row} · ${width} + ${source.column}) · ${channels} + ${source.map} = ${place.column}`,
    );
    const value = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const where = vector ? `unit ${source.column}` : `(${source.row}, ${source.column}) of map ${source.map}`;
    this.frame.say(`value ${number(value)} at ${where} goes to unit ${place.column}; the batch axis stays`);
    this.frame.update();
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of flatten. */
export function flattenView(host, name) {
  return new FlattenView(host, name);
}
