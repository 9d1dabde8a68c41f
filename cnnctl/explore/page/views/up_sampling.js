// up_sampling2d: the pixels that a value is interpolated from, with their weights.

import { valueAt } from "../arithmetic/places.js";
import { upSamplingTerms } from "../arithmetic/terms.js";
import { element, number, refill } from "../dom.js";
import { state } from "../state.js";
import { barTable } from "./bars.js";
import { FieldPicture, Frame } from "./frame.js";
import { layerScale, mapOf } from "./maps.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText, select } from "./selection.js";

class UpSamplingView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "up-sampling");
    this.layer = this.frame.layer;
    [this.source] = this.layer.inputs;
    this.input = new MapPicture({ label: "input map", onPoint: (row, column) => this.#choose(row, column) });
    this.output = new OutputMap(name);
    this.field = new FieldPicture(name);
    this.equation = element("div");
    this.table = element("div");
    const { size, interpolation } = this.layer.fields;
    const how = `${interpolation}: each pixel becomes ${size[0]} × ${size[1]}`;
    this.frame.stage.append(
      figureOf("input map", this.input.root),
      this.output.root,
      figureOf("the value", this.equation, how),
      this.field.root,
    );
    this.frame.body.append(element("h4", { text: "Pixel × weight" }), this.table);
  }

  /** Pointing at a pixel looks at the first value in its place. */
  #choose(row, column) {
    const [down, across] = this.layer.fields.size;
    select(this.name, { row: row * down, column: column * across });
  }

  update() {
    const place = chosenPlace(this.name);
    const { terms, sum } = upSamplingTerms(state.network, state.pass, this.name, 0, place);
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    this.input.show(mapOf(state.pass.outputs, this.source, terms[0].map), layerScale(this.source));
    this.input.mark(terms.map((term) => ({ row: term.row, column: term.column, kind: "window-cell" })));
    this.input.point(terms[0].row, terms[0].column);
    this.output.update(place);
    this.field.update(place);
    refill(
      this.table,
      barTable(
        terms.map((term) => ({
          label: placeText(this.source, term),
          detail: `${number(term.value)} × ${number(term.weight)}`,
          value: term.product,
          data: { row: term.row, column: term.column, weight: String(term.weight) },
        })),
      ),
    );
    const label = terms.length === 1 ? `copy of ${placeText(this.source, terms[0])}` : `sum of ${terms.length} products`;
    refill(
      this.equation,
      equationOf([
        { name: "sum", label, value: sum },
        { name: "output", label: "output", value: output, sign: "=", total: true },
      ]),
    );
    this.frame.say(`${placeText(this.name, place)}: ${number(output)} is the ${label}`);
    this.frame.update();
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of an up-sampling. */
export function upSamplingView(host, name) {
  return new UpSamplingView(host, name);
}
