// Lists of numbers with bars: positive to the right, negative to the left of a middle line.

import { element } from "../dom.js";
import { signed, valueOf } from "./parts.js";

/** Create a bar for a value, as a share of the largest one. */
export function barOf(value, largest) {
  const share = largest > 0 ? Math.min(Math.abs(value) / largest, 1) : 0;
  const fill = element("span", { class: value < 0 ? "bar-fill negative" : "bar-fill positive" });
  fill.style.width = `${share * 50}%`;
  fill.style[value < 0 ? "right" : "left"] = "50%";
  return element("span", { class: "bar", aria: { hidden: "true" } }, fill);
}

/**
 * Create a table of contributions: [{ label, detail, value, onChoose, others, data }], each with its bar.
 * A row with `onChoose` is a button; one that is the sum of others has no bar, which would be out of scale.
 */
export function barTable(rows) {
  const largest = Math.max(...rows.filter((row) => !row.others).map((row) => Math.abs(row.value)), 0);
  return element("div", { class: "bar-table", role: "table" }, ...rows.map((row) => barRow(row, largest)));
}

function barRow({ label, detail = "", value, onChoose, others = false, data = {} }, largest) {
  const title = onChoose
    ? element("button", { type: "button", text: label, on: { click: onChoose } })
    : element("span", { text: label });
  const row = element(
    "div",
    { class: "bar-row", role: "row", data },
    element("span", { class: "bar-label", role: "cell" }, title),
    element("span", { class: "bar-detail", role: "cell", text: detail }),
    others ? element("span") : barOf(value, largest),
    element("span", { class: "bar-value", role: "cell" }, valueOf(value, signed(value))),
  );
  return row;
}
