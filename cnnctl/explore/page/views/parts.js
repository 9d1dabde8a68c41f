// Parts that views are put together from: figures with a caption, values, pages of maps, equations, sections.

import { element, number, refill, setDisabled, setText } from "../dom.js";

/** Create a figure: a title, the content, and a caption below it. */
export function figureOf(title, content, caption = null) {
  const parts = [element("span", { class: "figure-title", text: title }), content];
  if (caption) parts.push(element("figcaption", {}, caption));
  return element("figure", { class: "view-figure" }, ...parts);
}

/** Format a number with its sign: +0.25, −0.1. */
export function signed(value) {
  return value < 0 || Object.is(value, -0) ? number(value) : `+${number(value)}`;
}

/** Create a number to read: its text is short, `data-value` is exact, its class is its sign. */
export function valueOf(value, text = number(value)) {
  const sign = value > 0 ? "positive" : value < 0 ? "negative" : "zero";
  return element("span", { class: `value ${sign}`, data: { value: String(value) }, text });
}

/**
 * Create an equation, one line per step: [{ name, value, label, sign }].
 * `name` is for tests and scripts (`data-name`); `label` is read by people.
 */
export function equationOf(steps) {
  const rows = steps.map(({ name, label, value, sign = "", total = false }) =>
    element(
      "div",
      { class: total ? "step total" : "step", data: { name } },
      element("span", { class: "step-label", text: label }),
      element("span", { class: "step-sign", text: sign }),
      valueOf(value),
    ),
  );
  return element("div", { class: "equation" }, ...rows);
}

/** Return the last steps of a weighted sum: its value before the activation, and the output. */
export function outputSteps(activation, before, output) {
  if (activation === "linear") return [{ name: "output", label: "output", value: output, sign: "=", total: true }];
  return [
    { name: "before", label: activation === "softmax" ? "logit" : "before activation", value: before, sign: "=" },
    { name: "output", label: `${activation} → output`, value: output, total: true },
  ];
}

/** Write an activation of a term: relu(0.31 + 0.11), or the term alone for linear. */
export function applied(activation, term) {
  return activation === "linear" ? term : `${activation}(${term})`;
}

/**
 * Pages of a long list: "1–8 of 32" between two arrows.
 * `onPage()` is called when the page changes; `range(count)` gives the first item and the one after the last.
 */
export class ViewPager {
  constructor(size, word, onPage) {
    Object.assign(this, { size, first: 0, count: 0, word, onPage });
    this.text = element("span", { class: "pager-text" });
    this.back = this.#arrow("‹", `previous ${word}`, -1);
    this.next = this.#arrow("›", `next ${word}`, 1);
    this.root = element("span", { class: "view-pager" }, this.back, this.text, this.next);
  }

  #arrow(sign, label, step) {
    return element("button", { type: "button", text: sign, aria: { label }, on: { click: () => this.#turn(step) } });
  }

  #turn(step) {
    this.first = Math.min(Math.max(this.first + step * this.size, 0), this.#lastPage());
    this.onPage();
  }

  #lastPage() {
    return Math.max(Math.floor((this.count - 1) / this.size) * this.size, 0);
  }

  /** Turn to the page with an item. */
  include(item) {
    this.first = Math.floor(item / this.size) * this.size;
  }

  /** Return [first, end) of the page of a list of `count` items, and show it. */
  range(count) {
    this.count = count;
    this.first = Math.min(this.first, this.#lastPage());
    const end = Math.min(this.first + this.size, count);
    setText(
      this.text,
      end - this.first === 1 ? `${this.first} of 0–${count - 1}` : `${this.first}–${end - 1} of 0–${count - 1}`,
    );
    this.back.disabled = this.next.disabled = false;
    setDisabled(this.back, this.first === 0, this.next);
    setDisabled(this.next, end === count, this.back);
    this.root.hidden = count <= this.size;
    return [this.first, end];
  }
}

/** A number to choose from 0 to count - 1: arrows and a field. `onChoose(value)` is called with the new one. */
export class Chooser {
  constructor(word, onChoose) {
    Object.assign(this, { value: 0, count: 1, onChoose });
    this.field = element("input", {
      type: "number",
      min: "0",
      aria: { label: word },
      on: { change: () => this.#take(Number(this.field.value)) },
    });
    this.after = element("span", { class: "pager-text" });
    const arrow = (sign, label, step) =>
      element("button", { type: "button", text: sign, aria: { label }, on: { click: () => this.#take(this.value + step) } });
    this.root = element(
      "span",
      { class: "view-pager chooser" },
      element("span", { class: "pager-text", text: word }),
      arrow("‹", `previous ${word}`, -1),
      this.field,
      arrow("›", `next ${word}`, 1),
      this.after,
    );
  }

  #take(value) {
    if (Number.isFinite(value)) this.onChoose(Math.min(Math.max(Math.round(value), 0), this.count - 1));
    this.field.value = String(this.value);
  }

  /** Show the chosen number and how many there are. */
  show(value, count) {
    Object.assign(this, { value, count });
    if (document.activeElement !== this.field) this.field.value = String(value);
    this.field.max = String(count - 1);
    setText(this.after, `of 0–${count - 1}`);
    this.root.hidden = count < 2;
  }
}

/** A part of a view that opens and closes; `draw()` is called only while it is open. */
export class Section {
  constructor(title, draw, { open = false, onToggle = null } = {}) {
    this.draw = draw;
    this.body = element("div", { class: "section-body" });
    this.root = element("details", { class: "view-section" }, element("summary", { text: title }), this.body);
    this.root.open = open;
    this.root.addEventListener("toggle", () => {
      onToggle?.(this.root.open);
      this.update();
    });
  }

  /** Draw the content if it can be seen. */
  update() {
    if (this.root.open) this.draw(this.body);
  }
}

/** Create a switch between a few values, as buttons of which one is pressed: [[value, text], ...]. */
export class Switch {
  constructor(label, choices, onChoose) {
    Object.assign(this, { onChoose, buttons: new Map() });
    this.title = element("span", { class: "switch-label", text: label });
    this.root = element("span", { class: "view-switch", role: "group", aria: { label } });
    this.setChoices(choices);
  }

  /** Offer other values in place of those before. */
  setChoices(choices) {
    if (this.buttons.size && [...this.buttons.keys()].join() === choices.map(([value]) => value).join()) return;
    const button = (value, text) => element("button", { type: "button", text, on: { click: () => this.onChoose(value) } });
    this.buttons = new Map(choices.map(([value, text]) => [value, button(value, text)]));
    refill(this.root, this.title, ...this.buttons.values());
  }

  /** Show which value is on. */
  show(value) {
    for (const [each, button] of this.buttons) button.setAttribute("aria-pressed", String(each === value));
  }
}
