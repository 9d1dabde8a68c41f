// The gradient of the target by every value of the chosen map, by the input (saliency), and Grad-CAM.

import { gradCam, lastConvolution } from "../arithmetic/gradcam.js";
import { valueAt } from "../arithmetic/places.js";
import { element, refill, setText } from "../dom.js";
import { legend, scaleOf } from "../paint.js";
import { needGradients, state } from "../state.js";
import { inputPicture, paintHeat, paintInput } from "./input_picture.js";
import { cellOf, mapOf, unitAt } from "./maps.js";
import { equationOf, figureOf, Section } from "./parts.js";
import { MapPicture } from "./picture.js";
import { placeText, select, sizesOf } from "./selection.js";
import { cameraText, TargetChoice, targetText } from "./target.js";

/** A figure of a map of gradients with its key. */
class GradientFigure {
  constructor(title, label, onPoint = null) {
    this.picture = new MapPicture({ label, onPoint });
    this.key = element("span");
    this.root = figureOf(title, this.picture.root, this.key);
  }

  /** Paint a map with a scale of its own. */
  show(map) {
    const scale = scaleOf(map.values);
    this.picture.show(map, scale);
    refill(this.key, legend(scale));
  }
}

/** The section with the gradients of the target. */
export class GradientSection {
  constructor(name) {
    this.name = name;
    this.choice = new TargetChoice();
    this.map = new GradientFigure("gradient of this map", `gradient by the output of ${name}`, (row, column) =>
      this.#choose(row, column),
    );
    this.saliency = new GradientFigure("gradient of the input", "gradient by the input image: saliency");
    this.camera = this.#cameraFigure();
    this.numbers = element("div");
    this.note = element("p", { class: "view-note" });
    this.section = new Section("Gradients", () => this.#draw(), { onToggle: (open) => needGradients("view gradients", open) });
    const figures = [this.map, this.saliency, this.camera].filter(Boolean).map((each) => each.root);
    this.section.body.append(this.choice.root, element("div", { class: "view-stage" }, ...figures, this.numbers), this.note);
    this.root = this.section.root;
  }

  /** Grad-CAM is for convolutions; it is shown in the views of the last one and of the layers after it. */
  #cameraFigure() {
    this.convolution = lastConvolution(state.network)?.name;
    const names = state.network.layers.map((layer) => layer.name);
    if (!this.convolution || names.indexOf(this.name) < names.indexOf(this.convolution)) return null;
    const [image, heat] = [
      inputPicture("the input image"),
      new MapPicture({ label: `Grad-CAM of ${this.convolution}`, kind: "heat" }),
    ];
    const caption = element("span");
    const overlaid = element("div", { class: "overlaid" }, image.root, heat.root);
    return { root: figureOf(`Grad-CAM of ${this.convolution}`, overlaid, caption), image, heat, caption };
  }

  #choose(row, column) {
    const { vector, width } = sizesOf(this.name);
    const unit = vector ? unitAt(row, column, width) : null;
    if (!vector) select(this.name, { row, column });
    else if (unit !== null) select(this.name, { column: unit });
  }

  /** Draw for a place, if the section is open. */
  update(place) {
    this.place = place;
    this.section.update();
  }

  #draw() {
    if (!this.place || !state.gradients) return;
    this.choice.update();
    const { vector, width } = sizesOf(this.name);
    this.map.show(mapOf(state.gradients, this.name, this.place.map));
    const cell = vector ? cellOf(this.place.column, width) : this.place;
    this.map.picture.mark([{ row: cell.row, column: cell.column, kind: "looked-at" }]);
    this.map.picture.point(cell.row, cell.column);
    this.saliency.show(saliencyMap());
    this.#drawCamera();
    this.#write();
  }

  #drawCamera() {
    if (!this.camera) return;
    paintInput(this.camera.image);
    const map = gradCam(state.network, state.pass, state.gradients, this.convolution);
    paintHeat(this.camera.heat, map);
    this.camera.heat.describe(cameraText(this.convolution));
    setText(this.camera.caption, `what raises ${targetText()}`);
  }

  #write() {
    const value = valueAt(state.network, state.gradients, this.name, 0, this.place);
    const where = placeText(this.name, this.place);
    refill(
      this.numbers,
      equationOf([
        { name: "output", label: where, value: valueAt(state.network, state.pass.outputs, this.name, 0, this.place) },
        { name: "gradient", label: `gradient of ${targetText()}`, value, total: true },
      ]),
    );
    setText(
      this.note,
      `If ${where} grows by a small h, ${targetText()} changes by about h × its gradient. ${
        sizesOf("input").channels > 1 ? "For each pixel of the input: the gradient of the channel where it is largest." : ""
      }`,
    );
  }
}

/** Return the gradient by the input: of several channels, at each pixel, the one of largest absolute value. */
function saliencyMap() {
  const { channels } = sizesOf("input");
  const maps = Array.from({ length: channels }, (_, channel) => mapOf(state.gradients, "input", channel));
  const values = maps[0].values.map((_, pixel) =>
    maps.reduce((largest, map) => (Math.abs(map.values[pixel]) > Math.abs(largest) ? map.values[pixel] : largest), 0),
  );
  return { ...maps[0], values };
}
