// What gradients are taken of: the score of a class, or the loss.

import { element } from "../dom.js";
import { change, state } from "../state.js";

/** Return the name of a class. */
export function className(index) {
  return state.page.network.classes?.[index] ?? String(index);
}

/** Name the target in words. */
export function targetText() {
  const { kind, class: chosen } = state.target;
  if (kind === "loss") return `the loss for class ${className(chosen)}`;
  const score = state.page.network.output === "probabilities" ? "log probability" : "logit";
  return state.page.network.output === "embedding" ? `score ${chosen}` : `the ${score} of class ${className(chosen)}`;
}

/** A choice of the target: of which class the score, or the loss for it. */
export class TargetChoice {
  constructor() {
    this.kind = element("select", { aria: { label: "gradient of" }, on: { change: () => this.#choose() } },
      element("option", { value: "class", text: "score of class" }), element("option", { value: "loss", text: "loss for class" }));
    this.chosen = element("select", { aria: { label: "class of the gradient" }, on: { change: () => this.#choose() } },
      ...(state.page.network.classes ?? []).map((name, index) => element("option", { value: String(index), text: name })));
    this.root = element("span", { class: "target-choice" }, "gradient of the ", this.kind, " ", this.chosen);
    this.root.hidden = state.page.network.output === "embedding";
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
