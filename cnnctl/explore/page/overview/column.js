/** The column of one layer: its facts and its maps, as many as fit on a page. */

import { element, number, setText, shapeText } from "../dom.js";
import { channelOf, paintMap, scaleOf, stripOf, stripValues } from "../paint.js";
import { change, state } from "../state.js";
import { costTexts, settingsText } from "./facts.js";
import { extentOf, localName, mapsOf } from "./graph.js";
import { pager } from "./pager.js";

const MAX_CELLS = 2048; // values of a vector on one page
// Sizes on the page, in rem: of a map's longer side, of any side, of a value in a strip, and of a strip.
const MAX_MAP = 2.75;
const MIN_MAP = 1.5;
const MIN_SIDE = 0.375;
const MAX_CELL = 1.25;
const STRIP_HEIGHT = 23;
const STRIP_ACROSS = 16;

/** Whether the window is so narrow that the layers are a list. The style sheets have the same limit. */
export const LIST = matchMedia("(max-width: 46rem)");

/**
 * Create the column of a layer.
 * @param {object} layer of page.network.layers.
 * @param {{format: string, perPage: number, largest: number}} options data format of its output, maps per page, and the
 *   largest extent of a map in the network: sizes are relative to it.
 * @returns {{root: HTMLElement, head: HTMLElement, update: () => void, showMap: (map: number) => void}}
 */
export function layerColumn(layer, options) {
  const isVector = layer.shape.length === 1;
  const total = isVector ? Math.ceil(layer.shape[0] / MAX_CELLS) : mapsOf(layer.shape, options.format);
  const perPage = isVector ? 1 : options.perPage;
  const maps = element("div", {
    class: isVector ? "maps vector" : "maps",
    role: "group",
    aria: { label: `maps of ${layer.name}` },
  });
  const pages = pager(total, perPage, `maps of ${layer.name}`, 0, turned);
  const range = element("span", { class: "range" });
  const open = (map) => change({ selected: { layer: layer.name, map, row: null, column: null } });
  const head = columnHead(layer, () => open(0));
  const root = element(
    "article",
    { class: `column kind-${layer.kind}`, data: { layer: layer.name } },
    head,
    factsOf(layer),
    maps,
    pages.root,
    range,
  );
  let shown = [];
  LIST.addEventListener("change", () => (setSizes(), update()));
  setSizes();
  turned(pages.first, pages.end, false);

  function setSizes() {
    const [height, width] = isVector
      ? stripSize(layer.shape[0], LIST.matches)
      : mapSize(extentOf(layer.shape, options.format), options.largest);
    root.style.setProperty("--map-width", `${width.toFixed(3)}rem`);
    root.style.setProperty("--map-height", `${height.toFixed(3)}rem`);
    root.classList.toggle("single", total === 1);
  }

  function turned(first, end, repaint = true) {
    shown = Array.from({ length: end - first }, (_, index) => mapButton(layer, first + index, total, open));
    maps.replaceChildren(...shown.map((each) => each.root));
    if (shown.length) shown[0].root.tabIndex = 0;
    if (repaint) update();
  }

  function update() {
    const tensor = tensorShown(layer.name);
    if (!tensor) return;
    const size = tensor.values.length / tensor.shape[0];
    const scale = scaleOf(tensor.values.subarray(0, size));
    for (const { canvas, map } of shown) paintOne(canvas, tensor, map, scale);
    setText(range, `${state.showGradients ? "∂ " : ""}${number(scale.low)} … ${number(scale.high)}`);
    markSelected();
  }

  function paintOne(canvas, tensor, map, scale) {
    const { values, height, width } = isVector ? pageOfVector(tensor, map) : channelOf(tensor, 0, map, options.format);
    paintMap(canvas, values, height, width, scale);
  }

  function markSelected() {
    const selected = state.selected?.layer === layer.name ? state.selected : null;
    root.classList.toggle("selected", selected !== null);
    for (const each of shown)
      each.root.classList.toggle("selected", selected !== null && (isVector || each.map === selected.map));
  }

  return { root, head, update, showMap: (map) => pages.show(isVector ? Math.floor(map / MAX_CELLS) : map) };
}

/** Return the tensor that the overview shows of a layer: its output, or the gradient of the target by it. */
export function tensorShown(name) {
  return state.showGradients ? state.gradients?.get(name) : state.pass?.outputs.get(name);
}

/** Return [height, width] of a map on the page in rem: smaller for smaller maps, but never too small to see. */
function mapSize([height, width], largest) {
  const longest = Math.max(height, width);
  const size = Math.max(MIN_MAP, MAX_MAP * Math.sqrt(longest / largest));
  return [Math.max(MIN_SIDE, (size * height) / longest), Math.max(MIN_SIDE, (size * width) / longest)];
}

/** Return [height, width] of a strip on the page in rem; in a list it lies on its side. */
function stripSize(length, across) {
  const { height, width } = stripOf(Math.min(length, MAX_CELLS));
  const cell = Math.min(MAX_CELL, (across ? STRIP_ACROSS : STRIP_HEIGHT) / height);
  return across ? [Math.max(1, cell * width), cell * height] : [cell * height, Math.max(1, cell * width)];
}

/** Take the values of a vector that are on one page, as a strip. */
function pageOfVector(tensor, page) {
  const end = Math.min((page + 1) * MAX_CELLS, tensor.shape[1]);
  return stripValues(tensor.values.subarray(page * MAX_CELLS, end), LIST.matches);
}

function columnHead(layer, open) {
  const label = `${layer.name}, ${layer.kind}, output ${shapeText(layer.shape)}: open`;
  const properties = { class: "column-head", type: "button", title: layer.name, aria: { label }, on: { click: open } };
  const parts = localName(layer)
    .split(/(?<=_)(?!\d)/)
    .flatMap((part) => [part, element("wbr")]); // long names break after underscores
  return element("button", properties, element("span", {}, ...parts));
}

function factsOf(layer) {
  const kind = localName(layer).startsWith(layer.kind) ? "" : layer.kind;
  const lines = [["kind", kind], ["settings", settingsText(layer)], ["shape", shapeText(layer.shape)], ...costTexts(layer).map((text) => ["cost", text])]; // prettier-ignore
  const shown = lines.filter(([, text]) => text);
  return element("div", { class: "column-facts" }, ...shown.map(([name, text]) => element("div", { class: name, text })));
}

function mapButton(layer, map, total, open) {
  const canvas = element("canvas");
  const isVector = layer.shape.length === 1;
  const label = isVector ? `values of ${layer.name}` : `map ${map} of ${layer.name}, 0 to ${total - 1}`;
  const properties = {
    class: "map",
    type: "button",
    tabindex: -1,
    title: label,
    aria: { label },
    on: { click: () => open(isVector ? 0 : map) },
  };
  return { root: element("button", properties, canvas), canvas, map };
}
