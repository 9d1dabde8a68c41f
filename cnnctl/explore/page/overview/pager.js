/** Two arrows and the range between them: what does not fit on one page is reached on the next, never cut. */

import { countText, element, setDisabled, setText } from "../dom.js";

/**
 * Create a pager.
 * @param {number} total number of things.
 * @param {number} size things per page.
 * @param {string} noun what they are, for screen readers: "maps of conv2d".
 * @param {number} base the number of the first thing: 0 for maps, which are numbered as in arrays.
 * @param {(first: number, end: number) => void} turned called with the range of the new page.
 * @returns {{root: HTMLElement, first: number, end: number, show: (index: number) => void}} `show` turns to the page of a thing.
 */
export function pager(total, size, noun, base, turned) {
  const range = element("span", { class: "pager-range" });
  const arrow = (symbol, label, step) =>
    element("button", {
      class: "arrow",
      type: "button",
      text: symbol,
      aria: { label: `${label} ${noun}` },
      on: { click: () => go(made.first + step * size) },
    });
  const [previous, next] = [arrow("‹", "previous", -1), arrow("›", "next", 1)];
  const made = { root: element("div", { class: "pager" }, previous, range, next), first: 0, end: Math.min(size, total), show };
  made.root.hidden = total <= size;

  function go(first) {
    made.first = Math.max(0, Math.min(first, Math.floor((total - 1) / size) * size));
    made.end = Math.min(made.first + size, total);
    showRange();
    turned(made.first, made.end);
  }

  function show(index) {
    if (index < made.first || index >= made.end) go(Math.floor(index / size) * size);
  }

  function showRange() {
    setText(range, `${countText(made.first + base)}–${countText(made.end - 1 + base)} of ${countText(total)}`);
    previous.disabled = next.disabled = false;
    setDisabled(previous, made.first === 0, next);
    setDisabled(next, made.end === total, previous);
  }

  showRange();
  return made;
}
