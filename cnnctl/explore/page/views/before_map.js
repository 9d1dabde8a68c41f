// A map beside the output of a layer that has the same shape: its input, or the values before its activation.

import { element, refill } from "../dom.js";
import { legend } from "../paint.js";
import { state } from "../state.js";
import { cellOf, layerScale, mapOf, unitAt } from "./maps.js";
import { figureOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { select, sizesOf } from "./selection.js";

/** A map that is not the output of `name`; pointing at a value of it looks at the output at the same place. */
class CompanionMap {
  constructor(name, title, kind) {
    this.name = name;
    this.picture = new MapPicture({ label: title, kind, onPoint: (row, column) => this.#choose(row, column) });
    this.key = element("span");
    this.root = figureOf(title, this.picture.root, this.key);
  }

  #choose(row, column) {
    const { vector, width } = sizesOf(this.name);
    const unit = vector ? unitAt(row, column, width) : null;
    if (!vector) select(this.name, { row, column });
    else if (unit !== null) select(this.name, { column: unit });
  }

  /** Paint the map `source` of `tensors` at a place and mark the value there. */
  paint(place, tensors, source) {
    const { vector, width } = sizesOf(this.name);
    const scale = layerScale(source, tensors);
    this.picture.show(mapOf(tensors, source, place.map), scale);
    const cell = vector ? cellOf(place.column, width) : place;
    this.picture.mark([{ row: cell.row, column: cell.column, kind: "looked-at" }]);
    this.picture.point(cell.row, cell.column);
    refill(this.key, legend(scale));
  }
}

/** The input map of a layer at the place that is looked at. */
export class BeforeMap extends CompanionMap {
  constructor(name) {
    const [input] = state.network.layer(name).inputs;
    super(name, `input: ${input}`, "output-picture");
    this.input = input;
  }

  /** Draw for a place. */
  update(place) {
    this.paint(place, state.pass.outputs, this.input);
  }
}

/** The map of a layer before its activation. */
export class BeforeActivation extends CompanionMap {
  constructor(name) {
    super(name, "before activation", "");
  }

  /** Draw for a place. */
  update(place) {
    this.paint(place, state.pass.before, this.name);
  }
}
