// dropout: the mask, the scale of what is kept, and several masks of one image side by side.

import { broadcastIndices } from "../arithmetic/broadcasting.js";
import { drawnMask, maskShape } from "../arithmetic/dropout.js";
import { hashOf } from "../arithmetic/random.js";
import { maskAt, valueAt } from "../arithmetic/terms.js";
import { element, number } from "../dom.js";
import { change, state } from "../state.js";
import { BeforeMap } from "./before_map.js";
import { Frame } from "./frame.js";
import { layerScale, mapOf } from "./maps.js";
import { ModeSwitch } from "./mode.js";
import { OutputMap } from "./output_map.js";
import { equationOf, figureOf, refill } from "./parts.js";
import { MapPicture } from "./picture.js";
import { chosenPlace, placeText } from "./selection.js";

const MASKS = 4;

class DropoutView {
  constructor(host, name) {
    this.name = name;
    this.frame = new Frame(host, name, "dropout");
    this.layer = this.frame.layer;
    this.mode = new ModeSwitch();
    this.renew = element("button", {
      type: "button",
      text: "new masks",
      on: { click: () => change({ maskSeed: state.maskSeed + 1, masks: null, training: true }) },
    });
    this.before = new BeforeMap(name);
    this.output = new OutputMap(name);
    this.equation = element("div");
    this.examples = Array.from({ length: MASKS }, (_, index) => new MapPicture({ label: `output under mask ${index + 1}` }));
    this.frame.root.prepend(element("div", { class: "view-controls" }, this.mode.root, this.renew));
    this.frame.stage.append(this.before.root, this.output.root, figureOf("the value", this.equation));
    const figures = this.examples.map((picture, index) =>
      figureOf(index ? `mask of seed + ${index}` : "mask of this seed", picture.root),
    );
    this.frame.body.append(
      element("h4", { text: "The same image under several masks" }),
      element("div", { class: "view-stage" }, ...figures),
    );
  }

  update() {
    const place = chosenPlace(this.name);
    this.mode.update();
    this.before.update(place);
    this.output.update(place);
    this.#drawExamples(place);
    this.#write(place);
    this.frame.update();
  }

  /** Draw the output under masks of several seeds, as training would make it. */
  #drawExamples(place) {
    const input = this.layer.inputs[0];
    const tensor = state.pass.outputs.get(input);
    const shape = [1, ...this.layer.shape];
    const size = tensor.values.length / tensor.shape[0];
    const scale = 1 / (1 - this.layer.fields.rate);
    const colours = layerScale(input);
    this.examples.forEach((picture, index) => {
      const mask = drawnMask(
        maskShape(this.layer.fields.noise_shape, shape),
        this.layer.fields.rate,
        hashOf(`${state.maskSeed + index} ${this.name}`),
      );
      const indices = broadcastIndices(shape, mask.shape);
      const values = tensor.values.subarray(0, size).map((value, i) => value * mask.values[indices ? indices[i] : i] * scale);
      picture.show(mapOf(new Map([[this.name, { shape, values }]]), this.name, place.map), {
        ...colours,
        low: colours.low * scale,
        high: colours.high * scale,
      });
    });
  }

  #write(place) {
    const { rate } = this.layer.fields;
    const value = valueAt(state.network, state.pass.outputs, this.layer.inputs[0], 0, place);
    const output = valueAt(state.network, state.pass.outputs, this.name, 0, place);
    const acts = state.pass.masks.has(this.name);
    const mask = maskAt(state.network, state.pass, this.name, 0, place);
    refill(
      this.equation,
      equationOf([
        { name: "input", label: "input", value },
        ...(acts
          ? [
              { name: "mask", label: mask ? "mask: kept" : "mask: dropped", value: mask, sign: "×" },
              { name: "scale", label: `scale 1 / (1 − ${rate})`, value: 1 / (1 - rate), sign: "×" },
            ]
          : []),
        { name: "output", label: acts ? "output" : "output: unchanged in inference", value: output, sign: "=", total: true },
      ]),
    );
    this.frame.say(
      acts
        ? `${placeText(this.name, place)}: ${number(output)} = ${number(value)} × ${mask} / (1 − ${rate}); the scale keeps the mean as it is in inference`
        : `${placeText(this.name, place)}: ${number(output)}, unchanged: dropout acts in training only, rate ${rate}`,
    );
  }

  close() {
    this.frame.close();
  }
}

/** Create the view of a dropout. */
export function dropoutView(host, name) {
  return new DropoutView(host, name);
}
