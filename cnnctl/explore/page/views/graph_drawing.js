// Draws a tape as nodes and edges: values above, adjoints below, computed from left to right.

import { number, svgElement } from "../dom.js";

const NODE = { width: 116, height: 44, gapX: 46, gapY: 8 };

/** Compute the column of each node: leaves stand just before what first uses them. */
function columnsOf(nodes) {
  const column = new Map();
  for (const node of nodes)
    column.set(node, node.inputs.length ? 1 + Math.max(...node.inputs.map((each) => column.get(each.node))) : 0);
  for (let place = nodes.length - 1; place >= 0; place -= 1) {
    const used = nodes.filter((other) => other.inputs.some((each) => each.node === nodes[place]));
    if (!nodes[place].inputs.length && used.length)
      column.set(nodes[place], Math.min(...used.map((other) => column.get(other))) - 1);
  }
  return column;
}

/** Compute the place of each node: a node is at the height of the middle of its inputs, none above another. */
function layoutOf(nodes) {
  const column = columnsOf(nodes);
  const bottoms = [];
  const places = new Map();
  for (const node of nodes) {
    const index = column.get(node);
    const tops = node.inputs.map((each) => places.get(each.node).y);
    const wanted = tops.length ? (Math.min(...tops) + Math.max(...tops)) / 2 : 0;
    const y = Math.max(wanted, bottoms[index] ?? 0);
    bottoms[index] = y + NODE.height + NODE.gapY;
    places.set(node, { x: index * (NODE.width + NODE.gapX), y });
  }
  return {
    places,
    width: bottoms.length * (NODE.width + NODE.gapX) - NODE.gapX,
    height: Math.max(...bottoms.filter(Number.isFinite)) - NODE.gapY,
  };
}

function edge(from, to) {
  const [x0, y0] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x1, y1] = [to.x, to.y + NODE.height / 2];
  const bend = (x1 - x0) / 2;
  return `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`;
}

function drawnNode(node, place, onOpen) {
  const opens = node.kind === "more";
  const label = `${node.label}: value ${number(node.value)}, adjoint ${number(node.adjoint)}`;
  const data = { value: String(node.value), adjoint: String(node.adjoint), label: node.label, kind: node.kind };
  const group = svgElement(
    "g",
    {
      class: `node ${node.kind}`,
      transform: `translate(${place.x} ${place.y})`,
      data,
      aria: { label: opens ? `show more: ${label}` : label },
      ...(opens ? { tabindex: "0", role: "button" } : { role: "img" }),
    },
    svgElement("rect", { width: NODE.width, height: NODE.height, rx: 6 }),
    svgElement("text", { class: "node-label", x: NODE.width / 2, y: 13 }, node.label),
    svgElement("text", { class: "node-value", x: NODE.width / 2, y: 26 }, number(node.value)),
    svgElement("text", { class: "node-adjoint", x: NODE.width / 2, y: 39 }, number(node.adjoint)),
  );
  if (opens) {
    group.addEventListener("click", onOpen);
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      onOpen();
    });
  }
  return group;
}

/** Draw a tape into an SVG element; `onOpen()` is called when a person opens the node of terms not shown. */
export function drawTape(tape, onOpen) {
  const { places, width, height } = layoutOf(tape.nodes);
  const edges = tape.nodes.flatMap((node) =>
    node.inputs.map(({ node: input, derivative }) => {
      const kind = derivative * node.adjoint === 0 ? "edge idle" : "edge";
      return svgElement("path", { class: kind, d: edge(places.get(input), places.get(node)) });
    }),
  );
  const drawn = tape.nodes.map((node) => drawnNode(node, places.get(node), onOpen));
  return svgElement(
    "svg",
    {
      class: "graph",
      width: width + 2,
      height: height + 2,
      viewBox: `-1 -1 ${width + 2} ${height + 2}`,
      role: "group",
      aria: { label: "computation graph: values and adjoints" },
    },
    ...edges,
    ...drawn,
  );
}
