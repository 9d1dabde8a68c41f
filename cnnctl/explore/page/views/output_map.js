// The map of a layer's output that is looked at, with what a view needs to choose a value in it.

import { element, refill, shapeText } from "../dom.js";
import { legend } from "../paint.js";
import { state } from "../state.js";
import { cellOf, layerScale, mapOf, unitAt } from "./maps.js";
import { Chooser, figureOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { placeText, select, sizesOf } from "./selection.js";

/** The chosen output map of a layer; pointing at a value selects it. */
export class OutputMap {
  constructor(name, title = "output") {
    this.name = name;
    this.picture = new MapPicture({
      label: `output of ${name}`,
      kind: "output-picture",
      onPoint: (row, column) => this.#choose(row, column),
    });
    this.key = element("span");
    this.chooser = new Chooser(sizesOf(name).vector ? "unit" : "map", (value) =>
      select(name, sizesOf(name).vector ? { column: value } : { map: value }),
    );
    this.root = figureOf(title, this.picture.root, element("span", {}, this.key, this.chooser.root));
  }

  #choose(row, column) {
    const { vector, width } = sizesOf(this.name);
    if (!vector) select(this.name, { row, column });
    const unit = vector ? unitAt(row, column, width) : null;
    if (unit !== null) select(this.name, { column: unit });
  }

  /** Paint the map of a place and mark the value there. */
  update(place, tensors = state.pass.outputs) {
    const { vector, width, channels } = sizesOf(this.name);
    const scale = layerScale(this.name, tensors);
    this.picture.show(mapOf(tensors, this.name, place.map), scale);
    const cell = vector ? cellOf(place.column, width) : place;
    this.picture.mark([{ row: cell.row, column: cell.column, kind: "looked-at" }]);
    this.picture.point(cell.row, cell.column);
    this.picture.describe(
      `output of ${this.name}, ${shapeText(state.network.layer(this.name).shape)}: ${placeText(this.name, place)} is chosen`,
    );
    refill(this.key, legend(scale));
    this.chooser.show(vector ? place.column : place.map, vector ? width : channels);
  }
}
