/** The panel in which one layer is explored: a head here, its content from `views`. */

import { element, shapeText } from "../dom.js";
import { change, state } from "../state.js";
import { viewFor } from "../views/index.js";
import { costTexts, settingsText } from "./facts.js";

/**
 * Create the panel in a host, hidden until a layer is selected.
 * @param {(layer: string, map: number) => void} returnFocus called when it closes.
 * @returns {{update: () => void}}
 */
export function detailPanel(host, returnFocus) {
  let shown = null; // the name of the layer
  let view = null;
  host.hidden = true;
  host.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && close());

  function close() {
    const { layer, map } = state.selected ?? {};
    change({ selected: null });
    if (layer) returnFocus(layer, map);
  }

  function update() {
    const name = state.selected?.layer ?? null;
    if (name !== shown) open(name);
    view?.update();
  }

  function open(name) {
    view?.close?.();
    [shown, view] = [name, null];
    host.hidden = name === null;
    host.replaceChildren();
    if (name === null) return;
    const layer = state.network.layer(name);
    const content = element("div", { class: "detail-view" });
    const head = detailHead(layer, close);
    host.setAttribute("aria-label", `layer ${name}`);
    host.append(head, content);
    view = viewFor(layer)(content, name);
    head.querySelector("h2").focus({ preventScroll: true });
    host.scrollIntoView({
      block: "start",
      behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
    });
  }

  return { update };
}

function detailHead(layer, close) {
  const { layers } = state.page.network;
  const index = layers.findIndex((each) => each.name === layer.name);
  const step = (text, label, other) =>
    element("button", {
      type: "button",
      class: "arrow",
      text,
      disabled: !other,
      title: other?.name,
      aria: { label: other ? `${label} layer, ${other.name}` : `no ${label} layer` },
      on: { click: () => change({ selected: { layer: other.name, map: 0, row: null, column: null } }) },
    });
  const facts = [
    layer.kind,
    settingsText(layer),
    `output ${shapeText(layer.shape)}`,
    ...costTexts(layer),
    inputsText(layer, layers[index - 1]),
  ];
  return element(
    "header",
    { class: "detail-head" },
    step("‹", "previous", layers[index - 1]),
    element("h2", { text: layer.name, tabindex: -1 }),
    step("›", "next", layers[index + 1]),
    element("p", { text: facts.filter(Boolean).join(" · ") }),
    element("button", { type: "button", class: "close", text: "Close", title: "Esc", on: { click: close } }),
  );
}

/** Name the inputs of a layer that does not take the output of the one before it. */
function inputsText(layer, before) {
  const usual = before ? before.name : "input";
  return layer.inputs.length === 1 && layer.inputs[0] === usual ? "" : `inputs: ${layer.inputs.join(", ")}`;
}
