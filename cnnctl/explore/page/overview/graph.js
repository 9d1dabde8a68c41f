/** Where each layer is drawn: a column by its distance from the input, a lane for each branch, and the route of each line. */

import { formatGiven } from "../arithmetic/window.js";

export const INPUT_NAME = "input";

/**
 * Arrange layers in columns and lanes.
 * @param {{name: string, inputs: string[], group: [string, number][]}[]} layers in order of computation.
 * @returns {{cells: Map<string, {depth: number, lane: number}>, depths: number, lanes: number, edges: object[], tracks: number,
 *   brackets: object[], levels: number, segments: object[]}} `edges` have {from, to, lane} or {from, to, track}: a line that passes other layers
 *   runs in a free lane, or in a track above all of them; `brackets` have {label, level, first, last} in columns;
 *   `segments` are the parts of the lower lanes, {lane, first, last, names}, which may move up to what is above them.
 */
export function arrange(layers) {
  const cells = placed(layers);
  const depths = 1 + Math.max(...[...cells.values()].map((cell) => cell.depth));
  const taken = new Set([...cells.values()].map((cell) => `${cell.depth} ${cell.lane}`));
  const edges = routed(layers, cells, taken);
  const brackets = bracketsOf(layers, cells);
  return {
    cells,
    depths,
    edges,
    brackets,
    segments: segmentsOf(cells, taken, depths),
    lanes: 1 + Math.max(...[...cells.values()].map((cell) => cell.lane), ...edges.map((edge) => edge.lane ?? 0)),
    tracks: 1 + Math.max(-1, ...edges.map((edge) => edge.track ?? -1)),
    levels: 1 + Math.max(-1, ...brackets.map((bracket) => bracket.level)),
  };
}

/** Give each layer the column after its furthest input, and the lowest lane that an input of it has and that is free. */
function placed(layers) {
  const cells = new Map([[INPUT_NAME, { depth: 0, lane: 0 }]]);
  const taken = new Set(["0 0"]);
  for (const layer of layers) {
    const inputs = layer.inputs.map((name) => cells.get(name));
    const depth = 1 + Math.max(...inputs.map((cell) => cell.depth));
    const wanted = inputs.map((cell) => cell.lane).sort((a, b) => a - b);
    let lane = wanted.find((each) => !taken.has(`${depth} ${each}`));
    for (let next = 0; lane === undefined; next++) if (!taken.has(`${depth} ${next}`)) lane = next;
    cells.set(layer.name, { depth, lane });
    taken.add(`${depth} ${lane}`);
  }
  return cells;
}

/** Choose for each line a lane that is free between its ends, or a track above the layers. */
function routed(layers, cells, taken) {
  const tracks = [];
  const edges = layers.flatMap((layer) => layer.inputs.map((from) => ({ from, to: layer.name })));
  return edges.map((edge) => {
    const [start, end] = [cells.get(edge.from), cells.get(edge.to)];
    const between = Array.from({ length: end.depth - start.depth - 1 }, (_, index) => start.depth + 1 + index);
    const free = (lane) => between.every((depth) => !taken.has(`${depth} ${lane}`));
    const lane = [start.lane, end.lane].find(free);
    if (lane !== undefined) {
      between.forEach((depth) => taken.add(`${depth} ${lane}`));
      return { ...edge, lane };
    }
    return { ...edge, track: freeTrack(tracks, start.depth, end.depth) };
  });
}

/** Take the lowest track that no other line uses between two columns; `tracks` lists the spans of each. */
export function freeTrack(tracks, first, last) {
  let track = tracks.findIndex((spans) => spans.every(([from, to]) => last <= from || first >= to));
  if (track < 0) track = tracks.push([]) - 1;
  tracks[track].push([first, last]);
  return track;
}

/** Find the runs of columns that layers or lines take in the lanes below the first. */
function segmentsOf(cells, taken, depths) {
  const lanes = 1 + Math.max(...[...taken].map((place) => Number(place.split(" ")[1])));
  const segments = [];
  for (let lane = 1; lane < lanes; lane++) {
    for (let depth = 0; depth < depths; depth++) {
      if (!taken.has(`${depth} ${lane}`)) continue;
      const last = segments.at(-1);
      if (last?.lane === lane && last.last === depth - 1) last.last = depth;
      else segments.push({ lane, first: depth, last: depth });
    }
  }
  const within =
    (segment) =>
    ([, cell]) =>
      cell.lane === segment.lane && cell.depth >= segment.first && cell.depth <= segment.last;
  return segments.map((segment) => ({ ...segment, names: [...cells].filter(within(segment)).map(([name]) => name) }));
}

/** Find the columns that each round of a repeat or block spans, outermost first. */
function bracketsOf(layers, cells) {
  const found = new Map();
  for (const layer of layers) {
    const { depth } = cells.get(layer.name);
    (layer.group ?? []).forEach(([label, round], level) => {
      const key = JSON.stringify(layer.group.slice(0, level + 1));
      const bracket = found.get(key) ?? { label, round, level, first: depth, last: depth };
      found.set(key, { ...bracket, first: Math.min(bracket.first, depth), last: Math.max(bracket.last, depth) });
    });
  }
  return apart(found);
}

/** Move brackets of the same columns, as of blocks side by side, to levels below each other. */
function apart(found) {
  const settled = new Map();
  for (const [key, bracket] of [...found].sort(([, one], [, other]) => one.level - other.level)) {
    const around = settled.get(JSON.stringify(JSON.parse(key).slice(0, -1)));
    let level = around ? around.level + 1 : 0;
    const meets = (other) => other.level === level && other.first <= bracket.last && other.last >= bracket.first;
    while ([...settled.values()].some(meets)) level += 1;
    settled.set(key, { ...bracket, level });
  }
  return [...settled.values()];
}

/** Return the name of a layer inside its block: the last part of its full name. */
export function localName(layer) {
  return layer.name.split("/").at(-1);
}

/**
 * Find the data format in which each layer's output is laid out, for its maps.
 * A layer without a format of its own has that of its input.
 */
export function formatsOf(network) {
  const formats = new Map([[INPUT_NAME, network.input.data_format]]);
  for (const layer of network.layers) formats.set(layer.name, formatGiven(layer) ?? formats.get(layer.inputs[0]));
  return formats;
}

/** Count the maps of a shape (H, W, C) or (C, H, W); a matrix is one map, a vector one strip. */
export function mapsOf(shape, format) {
  if (shape.length < 3) return 1;
  return format === "channels_first" ? shape[0] : shape[2];
}

/** Return [height, width] of the maps of a shape. */
export function extentOf(shape, format) {
  if (shape.length < 3) return [shape[0], shape[1] ?? 1];
  return format === "channels_first" ? shape.slice(1) : shape.slice(0, 2);
}
