/** The end of the network: a bar for the probability of each class, and what was predicted. */

import { softmax } from "../arithmetic/softmax.js";
import { countText, element, setText } from "../dom.js";
import { classNames } from "../episode.js";
import { change, outputValues, scoresOfClasses, state } from "../state.js";
import { pager } from "./pager.js";

const MAX_IN_ORDER = 12; // more classes are sorted by their probability
const PER_PAGE = 12;
const QUIET = 700; // milliseconds

/** Compute the probability of each class for the image of the page; the temperature of the output's view is not for it. */
export function probabilities() {
  if (state.page.network.output === "probabilities") return Array.from(outputValues());
  return Array.from(softmax(scoresOfClasses()));
}

/** Create the panel of classes in a host; returns {update}. */
export function classPanel(host) {
  const names = classNames(state.page);
  const verdict = element("p", { class: "prediction" });
  const spoken = element("p", { class: "spoken", role: "status" });
  const truth = element("p", { class: "truth" });
  const list = element("ol", { class: "class-list", aria: { label: "probability of each class" } });
  const pages = pager(names.length, names.length > MAX_IN_ORDER ? PER_PAGE : names.length, "classes", 1, () => update());
  host.append(element("h2", { text: "Prediction" }), verdict, truth, spoken, list, pages.root);
  const rows = Array.from({ length: Math.min(names.length, PER_PAGE) }, () => classBar());
  list.append(...rows.map((row) => row.root));

  function update() {
    const shares = probabilities();
    const order = orderOf(shares);
    const best = shares.indexOf(Math.max(...shares));
    setText(verdict, `${names[best]} · ${percent(shares[best])}`);
    speakLater(spoken, `predicted: ${names[best]}, ${percent(shares[best])}`);
    setTruth(truth, names, best);
    rows.forEach((row, index) => {
      const place = pages.first + index;
      row.root.hidden = place >= pages.end;
      if (!row.root.hidden) row.show(order[place], names[order[place]], shares[order[place]], order[place] === best);
    });
  }

  return { update };
}

/** Let screen readers speak a text once it has not changed for a while: while one draws, it changes many times a second. */
function speakLater(host, text) {
  if (host.dataset.next === text) return;
  host.dataset.next = text;
  setTimeout(() => host.dataset.next === text && setText(host, text), QUIET);
}

/** Return the classes in order: as they are, or the likeliest first where they are many. */
function orderOf(shares) {
  const order = Array.from(shares, (_, index) => index);
  return shares.length > MAX_IN_ORDER ? order.sort((a, b) => shares[b] - shares[a]) : order;
}

function setTruth(host, names, best) {
  const { label } = state.image;
  const known = label !== null && label !== undefined;
  setText(
    host,
    known ? `${label === best ? "✓ right" : "✗ wrong"}: the true class is ${names[label]}` : "the true class is not known",
  );
  host.classList.toggle("wrong", known && label !== best);
}

/** Format a share of 1 as a percentage: 99.2 %, <0.1 %. */
export function percent(share) {
  if (share < 0.0005) return "<0.1 %";
  return share > 0.9995 ? "100 %" : `${(100 * share).toFixed(1)} %`;
}

/** Create a row whose button makes its class the target of the gradients. */
function classBar() {
  let shownClass = 0;
  const [label, value] = [element("span", { class: "class-label" }), element("span", { class: "class-value" })];
  const bar = element("span", { class: "class-bar" });
  const choose = () => change({ target: { kind: "class", class: shownClass, follows: false } });
  const button = element(
    "button",
    { type: "button", class: "class-row", on: { click: choose } },
    label,
    element("span", { class: "class-track" }, bar),
    value,
  );
  const root = element("li", {}, button);

  function show(index, name, share, isBest) {
    shownClass = index;
    setText(label, name);
    setText(value, percent(share));
    bar.style.inlineSize = `${(100 * share).toFixed(2)}%`;
    button.classList.toggle("best", isBest);
    button.classList.toggle("true", state.image.label === index);
    button.classList.toggle("target", state.showGradients && state.target.kind === "class" && state.target.class === index);
    button.title = `${name}: ${percent(share)}; press to differentiate its score`;
  }

  return { root, show };
}

/** Count the classes in words: "10 classes". */
export function classesText(count) {
  return `${countText(count)} class${count === 1 ? "" : "es"}`;
}
