// What gradients are taken of: the score of a class, or the loss.

import { element } from "../dom.js";
import { classNames, comparesEmbeddings, hasLoss } from "../episode.js";
import { change, state } from "../state.js";

/** Return the name of a class of the network, or of the episode. */
export function className(index) {
  return classNames(state.page)[index] ?? String(index);
}

/** Name the target in words. */
export function targetText() {
  const { kind, class: chosen } = state.target;
  if (kind === "loss") return `the loss for class ${className(chosen)}`;
  if (comparesEmbeddings(state.page)) return `the score of class ${className(chosen)}`;
  return `the ${state.page.network.output === "probabilities" ? "log probability" : "logit"} of class ${className(chosen)}`;
}

/** Title a Grad-CAM: it shows the parts of the image that raise the target, be it a score or the loss. */
export function cameraText(convolution) {
  return `Grad-CAM of ${convolution}: what raises ${targetText()}`;
}

/** A choice of the target: of which class the score, or the loss for it. */
export class TargetChoice {
  constructor() {
    this.kind = element(
      "select",
      { aria: { label: "gradient of" }, on: { change: () => this.#choose() } },
      element("option", { value: "class", text: "score of class" }),
      element("option", { value: "loss", text: "loss for class" }),
    );
    this.chosen = element(
      "select",
      { aria: { label: "class of the gradient" }, on: { change: () => this.#choose() } },
      ...classNames(state.page).map((name, index) => element("option", { value: String(index), text: name })),
    );
    this.root = element("span", { class: "target-choice" }, "gradient of the ", this.kind, " ", this.chosen);
    this.kind.lastChild.disabled = !hasLoss(state.page);
    this.root.hidden = classNames(state.page).length === 0;
  }

  #choose() {
    change({ target: { kind: this.kind.value, class: Number(this.chosen.value), follows: false } });
  }

  /** Show the target of the page. */
  update() {
    this.kind.value = state.target.kind;
    this.chosen.value = String(state.target.class);
  }
}
