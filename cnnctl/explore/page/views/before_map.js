// The map that a layer takes, beside the one it makes, where both have the same shape.

import { element } from "../dom.js";
import { legend } from "../paint.js";
import { state } from "../state.js";
import { cellOf, layerScale, mapOf, unitAt } from "./maps.js";
import { figureOf, refill } from "./parts.js";
import { MapPicture } from "./picture.js";
import { select, sizesOf } from "./selection.js";

/** The input map of a layer at the place that is looked at. */
export class BeforeMap {
  constructor(name, title = "input") {
    this.name = name;
    [this.input] = state.network.layer(name).inputs;
    this.picture = new MapPicture({
      label: `input of ${name}`,
      kind: "output-picture",
      onPoint: (row, column) => this.#choose(row, column),
    });
    this.key = element("span");
    this.root = figureOf(`${title}: ${this.input}`, this.picture.root, this.key);
  }

  #choose(row, column) {
    const { vector, width } = sizesOf(this.name);
    const unit = vector ? unitAt(row, column, width) : null;
    if (!vector) select(this.name, { row, column });
    else if (unit !== null) select(this.name, { column: unit });
  }

  /** Paint the map of a place and mark the value there. */
  update(place) {
    const { vector, width } = sizesOf(this.name);
    const scale = layerScale(this.input);
    this.picture.show(mapOf(state.pass.outputs, this.input, place.map), scale);
    const cell = vector ? cellOf(place.column, width) : place;
    this.picture.mark([{ row: cell.row, column: cell.column, kind: "looked-at" }]);
    this.picture.point(cell.row, cell.column);
    refill(this.key, legend(scale));
  }
}
