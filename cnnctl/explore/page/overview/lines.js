/** The lines between columns: along the heads of the layers, through free lanes, or above or beside all of them. */

import { svgElement } from "../dom.js";
import { freeTrack } from "./graph.js";

const TRACK = 10; // pixels between lines that run side by side
const ROUND = 6;

/**
 * Draw the lines of a diagram into an SVG that covers it.
 * @param {SVGElement} svg emptied first.
 * @param {{edges: object[], cells: Map}} graph from `arrange`.
 * @param {Map<string, HTMLElement>} heads the head of each layer's column.
 * @param {{across: boolean, trackTop: number, gap: number}} layout `across` for columns side by side; else they are in a list.
 *   `trackTop` is the height of the lowest track and `gap` the space between columns, in pixels.
 */
export function drawLines(svg, graph, heads, layout) {
  const boxes = new Map([...heads].map(([name, head]) => [name, boxIn(svg.parentElement, head)]));
  const points = layout.across ? graph.edges.map((edge) => acrossPoints(edge, graph, boxes, layout)) : listPoints(graph, boxes);
  svg.replaceChildren(
    ...points.map((each, index) =>
      svgElement("path", {
        d: roundedPath(each),
        class: "line",
        "data-from": graph.edges[index].from,
        "data-to": graph.edges[index].to,
      }),
    ),
    ...points.map((each) => arrowHead(each.at(-1))),
  );
}

/** Return an element's box relative to another's, unaffected by scrolling. */
function boxIn(host, inner) {
  const [outer, box] = [host.getBoundingClientRect(), inner.getBoundingClientRect()];
  const [left, top] = [box.left - outer.left, box.top - outer.top];
  return { left, top, right: left + box.width, bottom: top + box.height, middle: top + box.height / 2 };
}

/** Route a line from the right side of one head to the left side of another. */
function acrossPoints(edge, graph, boxes, layout) {
  const [from, to] = [boxes.get(edge.from), boxes.get(edge.to)];
  const [start, end] = [graph.cells.get(edge.from), graph.cells.get(edge.to)];
  const height =
    edge.track === undefined ? (start.lane === edge.lane ? from : to).middle : layout.trackTop - edge.track * TRACK;
  const shift = edge.track === undefined ? 0 : 3; // a line that leaves for a track lies beside the one straight ahead
  const first = from.right + layout.gap / 2 - shift;
  const second = to.left - layout.gap / 2 + shift;
  const straight = edge.track === undefined && start.lane === edge.lane && end.lane === edge.lane;
  if (straight) return [[from.right, from.middle], [to.left, to.middle]]; // prettier-ignore
  return [[from.right, from.middle], [first, from.middle], [first, height], [second, height], [second, to.middle], [to.left, to.middle]]; // prettier-ignore
}

/** Route the lines of a list through a gutter at its left; a line that passes other layers has a track of its own. */
function listPoints(graph, boxes) {
  const order = [...boxes.keys()];
  const tracks = [];
  return graph.edges.map((edge) => {
    const [from, to] = [boxes.get(edge.from), boxes.get(edge.to)];
    const [first, last] = [order.indexOf(edge.from), order.indexOf(edge.to)];
    const track = last === first + 1 ? 0 : 1 + freeTrack(tracks, first, last);
    const gutter = from.left - TRACK * (track + 1);
    return [[from.left, from.middle], [gutter, from.middle], [gutter, to.middle], [to.left, to.middle]]; // prettier-ignore
  });
}

/** Write a path of straight lines whose corners are rounded. */
function roundedPath(points) {
  const parts = [`M${points[0].join(" ")}`];
  for (let index = 1; index < points.length - 1; index++) {
    const [before, corner, after] = points.slice(index - 1, index + 2);
    const [into, out] = [towards(corner, before), towards(corner, after)];
    parts.push(`L${into.join(" ")}Q${corner.join(" ")} ${out.join(" ")}`);
  }
  return `${parts.join("")}L${points.at(-1).join(" ")}`;
}

/** Return the point near `corner` on the way to `other`, at most half the way. */
function towards(corner, other) {
  const [across, down] = [other[0] - corner[0], other[1] - corner[1]];
  const length = Math.hypot(across, down);
  const share = length ? Math.min(ROUND, length / 2) / length : 0;
  return [corner[0] + across * share, corner[1] + down * share];
}

function arrowHead([x, y]) {
  return svgElement("path", { d: `M${x - 5} ${y - 3.5}L${x} ${y}L${x - 5} ${y + 3.5}Z`, class: "arrow-head" });
}
