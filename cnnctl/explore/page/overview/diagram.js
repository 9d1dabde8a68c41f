/** The whole network: columns side by side on wide windows, a list on narrow ones, with brackets and connecting lines. */

import { element, svgElement } from "../dom.js";
import { state } from "../state.js";
import { layerColumn, LIST } from "./column.js";
import { arrange, extentOf, formatsOf, INPUT_NAME } from "./graph.js";
import { inputColumn } from "./input_column.js";
import { moveBetweenMaps } from "./keys.js";
import { drawLines } from "./lines.js";

const LANE_GAP = 16; // pixels

/**
 * Create the diagram in a host that scrolls.
 * @returns {{update: () => void, focus: (layer: string, map: number) => void}}
 */
export function diagram(host, network) {
  const graph = arrange(network.layers);
  const columns = columnsByLayer(network, graph);
  const svg = svgElement("svg", { class: "lines", "aria-hidden": "true" });
  const grid = element(
    "div",
    { class: "diagram" },
    svg,
    ...graph.brackets.map(bracketElement),
    ...[...columns.values()].map((each) => each.root),
  );
  place(grid, graph, columns);
  host.append(grid);
  const visible = watchVisible(columns);
  const redraw = () => {
    liftSegments(graph, columns);
    drawLines(svg, graph, new Map([...columns].map(([name, each]) => [name, each.head])), linesLayout(grid, columns));
  };
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
  const rows = [
    ...Array(graph.levels).fill("1.6rem"),
    `${10 + 10 * graph.tracks}px`,
    ...Array(graph.lanes).fill("max-content"),
  ];
  grid.style.gridTemplateRows = rows.join(" ");
  for (const [name, { depth, lane }] of graph.cells) {
    const { root } = columns.get(name);
    root.style.gridColumn = depth + 1;
    root.style.gridRow = graph.levels + 2 + lane;
  }
}

function bracketElement(bracket) {
  const text = bracket.round === null ? bracket.label : `${bracket.label} · round ${bracket.round}`; // a block has no rounds
  const made = element("div", { class: "bracket", title: text }, element("span", { text }));
  made.style.gridColumn = `${bracket.first + 1} / ${bracket.last + 2}`;
  made.style.gridRow = bracket.level + 1;
  return made;
}

/** Move the parts of lower lanes up to the columns above them, which are often shorter than the tallest of their row. */
function liftSegments(graph, columns) {
  const sides = new Map(
    [...columns].map(([name, { root }]) => [
      name,
      { top: root.offsetTop + liftOf(root), bottom: root.offsetTop + root.offsetHeight },
    ]),
  );
  for (const segment of graph.segments) {
    const isAbove = ([, cell]) => cell.lane < segment.lane && cell.depth >= segment.first && cell.depth <= segment.last;
    const above = Math.max(...[...graph.cells].filter(isAbove).map(([name]) => sides.get(name).bottom));
    for (const name of segment.names) {
      const { root } = columns.get(name);
      const lift = LIST.matches ? 0 : Math.max(0, Math.floor(sides.get(name).top - above - LANE_GAP));
      sides.set(name, { ...sides.get(name), bottom: sides.get(name).top - lift + root.offsetHeight });
      if (lift !== liftOf(root)) root.style.marginTop = `${-lift}px`;
    }
  }
}

/** Return by how many pixels a column was moved up. */
function liftOf(root) {
  return -parseFloat(root.style.marginTop || "0");
}

/** Measure where lines may run. */
function linesLayout(grid, columns) {
  const top = columns.get(INPUT_NAME).head.getBoundingClientRect().top - grid.getBoundingClientRect().top;
  return { across: !LIST.matches, trackTop: top - 8, gap: parseFloat(getComputedStyle(grid).columnGap) || 0 };
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
  const target = column.root.querySelector(".map.selected") ?? column.head;
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "nearest", inline: "nearest" });
}
