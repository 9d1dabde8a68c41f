// A histogram of values with lines at some of them.

import { element, number, refill, setText, svgElement } from "../dom.js";
import { scaleOf } from "../paint.js";
import { figureOf } from "./parts.js";

const WIDTH = 240;
const HEIGHT = 110;
const TITLE = 14; // above the bars, for the labels of lines
const FEWEST_BINS = 8;
const MOST_BINS = 48;

/** Count values in equal bins from low to high. */
function binned(values, low, high) {
  const bins = Math.min(Math.max(Math.round(Math.sqrt(values.length)), FEWEST_BINS), MOST_BINS);
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(Math.floor(((value - low) / (high - low)) * bins), bins - 1)] += 1;
  return counts;
}

/** A histogram with a title. */
export class Histogram {
  constructor(title) {
    this.drawing = svgElement("svg", {
      class: "histogram",
      viewBox: `0 ${-TITLE} ${WIDTH} ${TITLE + HEIGHT + 10}`,
      role: "img",
      aria: { label: title },
    });
    this.caption = element("span");
    this.root = figureOf(title, this.drawing, this.caption);
  }

  /** Draw values; `lines` are [value, label], `chosen` is the value that is looked at. */
  update(values, lines, chosen) {
    const scale = scaleOf(values);
    const [low, high] = scale.low === scale.high ? [scale.low - 0.5, scale.high + 0.5] : [scale.low, scale.high];
    const counts = binned(values, low, high);
    const step = WIDTH / counts.length;
    const most = Math.max(...counts);
    const across = (value) => ((value - low) / (high - low)) * WIDTH;
    // The square root keeps small bins visible beside the many zeros after relu.
    const bars = counts.map((count, bin) =>
      svgElement("rect", {
        class: "histogram-bar",
        x: bin * step,
        width: step - 0.6,
        y: HEIGHT * (1 - Math.sqrt(count / most)),
        height: HEIGHT * Math.sqrt(count / most),
      }),
    );
    const line = ([value, label]) => [
      svgElement("line", { class: "histogram-line", x1: across(value), x2: across(value), y1: -TITLE, y2: HEIGHT }),
      svgElement("text", { class: "histogram-text", x: Math.min(across(value) + 4, WIDTH - 44), y: -3 }, label),
    ];
    refill(
      this.drawing,
      ...bars,
      ...lines.filter(([value]) => value >= low && value <= high).flatMap(line),
      svgElement("path", { class: "histogram-chosen", d: `M${across(chosen)} ${HEIGHT}l-5 9h10z` }),
    );
    setText(this.caption, `${values.length} values from ${number(scale.low)} to ${number(scale.high)}; height: √count`);
  }
}
