// A feature map to look at: a canvas with marks above it. Mouse, finger and arrow keys choose a value.

import { element, svgElement } from "../dom.js";
import { paintMap } from "../paint.js";

const NO_MARGIN = { top: 0, bottom: 0, left: 0, right: 0 };
const STEPS_OF_KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * One map of values with a margin for the zeros of a padding.
 *
 * `onPoint(row, column)` is called when a person points at a value; without it the picture only shows.
 * Cells are { row, column, kind, text }; rows and columns below 0 or beyond the last lie in the margin.
 */
export class MapPicture {
  constructor({ label, kind = "", onPoint = null }) {
    this.height = this.width = 1;
    this.margin = NO_MARGIN;
    this.place = null;
    this.onPoint = onPoint;
    this.canvas = element("canvas", { aria: { hidden: "true" } });
    this.marks = svgElement("svg", { class: "marks", aria: { hidden: "true" }, preserveAspectRatio: "none" });
    // "application": in other roles screen readers keep the arrow keys for themselves.
    const role = onPoint
      ? { tabindex: "0", role: "application", "aria-roledescription": "map; arrow keys choose a value" }
      : { role: "img" };
    this.root = element("div", { class: `map-picture ${kind}`, ...role, aria: { label } }, this.canvas, this.marks);
    if (onPoint) this.#listen();
  }

  #listen() {
    const point = (event) => {
      const cell = this.#cellAt(event);
      if (cell && (cell[0] !== this.place?.[0] || cell[1] !== this.place?.[1])) this.#choose(...cell);
    };
    this.root.addEventListener("pointermove", point);
    this.root.addEventListener("pointerdown", point);
    this.root.addEventListener("keydown", (event) => this.#key(event));
  }

  #cellAt(event) {
    const box = this.root.getBoundingClientRect();
    const { top, bottom, left, right } = this.margin;
    const row = Math.floor(((event.clientY - box.top) / box.height) * (this.height + top + bottom) - top);
    const column = Math.floor(((event.clientX - box.left) / box.width) * (this.width + left + right) - left);
    return row >= 0 && column >= 0 && row < this.height && column < this.width ? [row, column] : null;
  }

  #key(event) {
    const step = STEPS_OF_KEYS[event.key];
    if (!step) return;
    event.preventDefault();
    const [row, column] = this.place ?? [0, 0];
    const within = (value, length) => Math.min(Math.max(value, 0), length - 1);
    this.#choose(within(row + step[0], this.height), within(column + step[1], this.width));
  }

  /** Note the place at once: the next key may come before the page has drawn this one. */
  #choose(row, column) {
    this.place = [row, column];
    this.onPoint(row, column);
  }

  /** Paint the values of a map { values, height, width } with a scale of colours; `margin` is in cells. */
  show({ values, height, width }, scale, margin = NO_MARGIN) {
    paintMap(this.canvas, values, height, width, scale);
    this.frame(height, width, margin);
  }

  /** Set the size and the margin around the canvas; whoever paints the canvas itself calls this alone. */
  frame(height, width, margin = NO_MARGIN) {
    Object.assign(this, { height, width, margin });
    const wide = width + margin.left + margin.right;
    const high = height + margin.top + margin.bottom;
    this.root.style.aspectRatio = `${wide} / ${high}`;
    // A column of few values in many rows would be as high as a tower: the height is limited by the width.
    this.root.style.setProperty("--ratio", String(wide / high));
    const place = { left: margin.left / wide, top: margin.top / high, width: width / wide, height: height / high };
    for (const [side, share] of Object.entries(place)) this.canvas.style[side] = `${share * 100}%`;
    this.marks.setAttribute("viewBox", `${-margin.left} ${-margin.top} ${wide} ${high}`);
    this.root.classList.toggle("padded", wide > width || high > height);
  }

  /** Draw marks in place of those before: cells, and boxes { top, left, bottom, right, kind }. */
  mark(cells = [], boxes = []) {
    this.marks.replaceChildren(...boxes.map(boxMark), ...cells.flatMap(cellMarks));
  }

  /** Note which value is looked at, from where arrow keys continue. */
  point(row, column) {
    this.place = [row, column];
  }

  /** Change what a screen reader says about the picture. */
  describe(label) {
    if (this.root.getAttribute("aria-label") !== label) this.root.setAttribute("aria-label", label);
  }
}

function boxMark({ top, left, bottom, right, kind = "box" }) {
  return svgElement("rect", { class: kind, x: left, y: top, width: right - left + 1, height: bottom - top + 1 });
}

function cellMarks({ row, column, kind = "cell", text = "" }) {
  const square = svgElement("rect", { class: kind, x: column, y: row, width: 1, height: 1, data: { row, column } });
  if (!text) return [square];
  return [square, svgElement("text", { class: `${kind}-text`, x: column + 0.5, y: row + 0.5, "font-size": 0.7 }, text)];
}
