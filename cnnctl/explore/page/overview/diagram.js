/** The whole network: columns side by side on wide windows, a list on narrow ones, with brackets and connecting lines. */

import { element, svgElement } from "../dom.js";
import { state } from "../state.js";
import { layerColumn, LIST } from "./column.js";
import { arrange, extentOf, formatsOf, INPUT_NAME } from "./graph.js";
import { inputColumn } from "./input_column.js";
import { moveBetweenMaps } from "./keys.js";
import { drawLines } from "./lines.js";

/**
 * Create the diagram in a host that scrolls.
 * @returns {{update: () => void, focus: (layer: string, map: number) => void}}
 */
export function diagram(host, network) {
  const graph = arrange(network.layers);
  const columns = columnsByLayer(network, graph);
  const svg = svgElement("svg", { class: "lines", "aria-hidden": "true" });
  const grid = element("div", { class: "diagram" }, svg, ...graph.brackets.map(bracketElement), ...[...columns.values()].map((each) => each.root));
  place(grid, graph, columns);
  host.append(grid);
  const visible = watchVisible(columns);
  const redraw = () => drawLines(svg, graph, new Map([...columns].map(([name, each]) => [name, each.head])), linesLayout(grid, graph, columns));
  new ResizeObserver(redraw).observe(grid);
  grid.addEventListener("keydown", moveBetweenMaps);

  return {
    update: () => visible.forEach((name) => columns.get(name).update()),
    focus: (layer, map) => focusMap(columns.get(layer), map),
  };
}

function columnsByLayer(network, graph) {
  const formats = formatsOf(network);
  const largest = Math.max(...extentOf(network.input.shape, network.input.data_format));
  const columns = new Map([[INPUT_NAME, inputColumn(network.input, network.input.data_format)]]);
  for (const layer of network.layers) {
    const { lane } = graph.cells.get(layer.name);
    const perPage = lane === 0 ? 16 : 6;
    columns.set(layer.name, layerColumn(layer, { format: formats.get(layer.name), perPage, largest }));
  }
  return columns;
}

/** Set the cells of the grid; rows hold the brackets, the lines above the layers, and the lanes. */
function place(grid, graph, columns) {
  const rows = [...Array(graph.levels).fill("1.6rem"), `${10 + 10 * graph.tracks}px`, ...Array(graph.lanes).fill("max-content")];
  grid.style.gridTemplateRows = rows.join(" ");
  for (const [name, { depth, lane }] of graph.cells) {
    const { root } = columns.get(name);
    root.style.gridColumn = depth + 1;
    root.style.gridRow = graph.levels + 2 + lane;
  }
}

function bracketElement(bracket) {
  const text = `${bracket.label} · ${bracket.round}`;
  const made = element("div", { class: "bracket", title: text }, element("span", { text }));
  made.style.gridColumn = `${bracket.first + 1} / ${bracket.last + 2}`;
  made.style.gridRow = bracket.level + 1;
  return made;
}

/** Measure where lines may run. */
function linesLayout(grid, graph, columns) {
  const across = !LIST.matches;
  const outer = grid.getBoundingClientRect();
  const laneHeads = Array.from({ length: graph.lanes }, (_, lane) => {
    const name = [...graph.cells].find(([, cell]) => cell.lane === lane)?.[0];
    if (!name) return grid.clientHeight - 6; // a lane of lines alone lies below all layers
    const box = columns.get(name).head.getBoundingClientRect();
    return box.top - outer.top + box.height / 2;
  });
  const top = columns.get(INPUT_NAME).head.getBoundingClientRect().top - outer.top;
  return { across, laneHeads, trackTop: top - 8, gap: parseFloat(getComputedStyle(grid).columnGap) || 0 };
}

/** Keep the set of columns in the window; a column that comes into it is painted. */
function watchVisible(columns) {
  const visible = new Set();
  const observer = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const name = entry.target.dataset.layer;
        if (entry.isIntersecting) visible.add(name);
        else visible.delete(name);
        if (entry.isIntersecting && state.pass) columns.get(name).update();
      }
    },
    { rootMargin: "100px" },
  );
  for (const { root } of columns.values()) observer.observe(root);
  return visible;
}

function focusMap(column, map) {
  if (!column) return;
  column.showMap(map);
  (column.root.querySelector(".map.selected") ?? column.head).focus({ preventScroll: true });
}
