// What every view has: pictures and numbers at the top, one sentence for screen readers, then sections that open.

import { element, setText } from "../dom.js";
import { needGradients, state } from "../state.js";
import { receptiveField } from "../arithmetic/receptive.js";
import { GradientSection } from "./gradients.js";
import { GraphSection } from "./graph.js";
import { inputPicture, paintInput } from "./input_picture.js";
import { figureOf } from "./parts.js";
import { chosenPlace, sizesOf } from "./selection.js";

/** The frame of the view of one layer. Put pictures into `stage` and other parts into `body`. */
export class Frame {
  constructor(host, name, kind) {
    this.name = name;
    this.stage = element("div", { class: "view-stage" });
    this.sentence = element("p", { class: "view-sentence", aria: { live: "polite" } });
    this.body = element("div", { class: "view-body" });
    this.gradients = new GradientSection(name);
    this.graph = new GraphSection(name);
    this.root = element(
      "div",
      { class: `view view-${kind}` },
      this.stage,
      this.sentence,
      this.body,
      this.gradients.root,
      this.graph.root,
    );
    host.append(this.root);
  }

  /** Return the layer as the page describes it. */
  get layer() {
    return state.network.layer(this.name);
  }

  /** Say in one sentence what is looked at. */
  say(text) {
    setText(this.sentence, text);
  }

  /** Draw the sections that are open. */
  update() {
    const place = chosenPlace(this.name);
    this.gradients.update(place);
    this.graph.update(place);
  }

  /** Release what was asked of the state. */
  close() {
    needGradients("view gradients", false);
    needGradients("view graph", false);
  }
}

/** The part of the input image that a value depends on. */
export class FieldPicture {
  constructor(name) {
    this.name = name;
    this.picture = inputPicture("the input image with the receptive field");
    this.caption = element("span");
    this.root = figureOf("receptive field on the image", this.picture.root, this.caption);
  }

  /** Draw the receptive field of the value at a place. */
  update(place) {
    paintInput(this.picture);
    const { height, width } = sizesOf("input");
    const field = receptiveField(state.network, this.name, place.row, place.column);
    if (!field) {
      this.picture.mark();
      setText(this.caption, "depends on no pixel");
      return;
    }
    this.picture.mark([], [{ ...field, kind: "field" }]);
    const { unclipped } = field;
    const [rows, columns] = [field.bottom - field.top + 1, field.right - field.left + 1];
    const beyond = unclipped.top < 0 || unclipped.left < 0 || unclipped.bottom >= height || unclipped.right >= width;
    setText(
      this.caption,
      `rows ${field.top}–${field.bottom}, columns ${field.left}–${field.right}: ${rows} × ${columns} pixels${
        beyond
          ? `, of a field of ${unclipped.bottom - unclipped.top + 1} × ${unclipped.right - unclipped.left + 1} with padding`
          : ""
      }`,
    );
    Object.assign(this.root.dataset, { top: field.top, left: field.left, bottom: field.bottom, right: field.right });
  }
}
