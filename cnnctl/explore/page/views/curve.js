// The curve of an activation with the value that is looked at.

import { activationName, functionOf } from "../arithmetic/activation_layers.js";
import { element, number, refill, setText, svgElement } from "../dom.js";
import { figureOf } from "./parts.js";

const SIDE = 150;
const POINTS = 120;

/** The curve of an activation of single values; softmax, of whole rows, has none. */
export class ActivationCurve {
  constructor(layer) {
    const name = activationName(layer);
    Object.assign(this, { layer, name });
    this.drawing = svgElement("svg", {
      class: "curve",
      viewBox: `0 0 ${SIDE} ${SIDE}`,
      role: "img",
      aria: { label: `curve of ${name}` },
    });
    this.caption = element("span");
    this.root = figureOf(name, this.drawing, this.caption);
  }

  /** Draw the curve around x and mark the value there; `alpha` is prelu's slope of this value. */
  update(x, alpha) {
    const { forward, derivative } = functionOf(this.layer, alpha);
    const reach = Math.max(3, Math.abs(x) * 1.2);
    const xs = Array.from({ length: POINTS + 1 }, (_, step) => reach * ((2 * step) / POINTS - 1));
    const ys = xs.map(forward);
    const high = Math.max(...ys, 0.5);
    const low = Math.min(...ys, -0.5);
    const across = (value) => ((value + reach) / (2 * reach)) * SIDE;
    const up = (value) => SIDE - 6 - ((value - low) / (high - low)) * (SIDE - 12);
    const path = xs.map((each, step) => `${step ? "L" : "M"}${across(each).toFixed(1)} ${up(ys[step]).toFixed(1)}`).join("");
    const [y, slope] = [forward(x), derivative(x, forward(x))];
    refill(
      this.drawing,
      svgElement("line", { class: "axis", x1: 0, x2: SIDE, y1: up(0), y2: up(0) }),
      svgElement("line", { class: "axis", x1: across(0), x2: across(0), y1: 0, y2: SIDE }),
      svgElement("path", { class: "curve-line", d: path }),
      svgElement("path", { class: "curve-guide", d: `M${across(x)} ${up(0)}V${up(y)}H${across(0)}` }),
      svgElement("circle", { class: "curve-point", cx: across(x), cy: up(y), r: 4.5 }),
    );
    setText(this.caption, `${this.name}(${number(x)}) = ${number(y)}, slope ${number(slope)}`);
  }
}

/** Create the curve of a layer's activation, or null where it has none to draw. */
export function curveOf(layer) {
  const isDrawn = activationName(layer) !== "linear" && functionOf(layer) !== null;
  return isDrawn ? new ActivationCurve(layer) : null;
}
