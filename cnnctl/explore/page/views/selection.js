// Which value of a layer the person looks at, and how views refer to it in words.

import { formatOf, shapeOf, spatial } from "../arithmetic/window.js";
import { channelOf } from "../paint.js";
import { change, state } from "../state.js";

/** Return { height, width, channels, vector, dataFormat } of a layer's output, or of "input". */
export function sizesOf(name) {
  const shape = shapeOf(state.network, name);
  const dataFormat = formatOf(state.network, name);
  return { ...spatial(shape, dataFormat), vector: shape.length === 1, dataFormat };
}

function limitedTo(value, length) {
  return Math.min(Math.max(value, 0), length - 1);
}

/** Return the place of the largest value of a map, or of a vector. */
function largestPlace(name, map) {
  const { height, width, vector, dataFormat } = sizesOf(name);
  const tensor = state.pass.outputs.get(name);
  const { values } = vector ? { values: tensor.values.subarray(0, width) } : channelOf(tensor, 0, map, dataFormat);
  const index = values.reduce((best, value, each) => (value > values[best] ? each : best), 0);
  return { row: Math.floor(index / width) % height, column: index % width };
}

/** Return the place { row, column, map } that is looked at in a layer's output: the selected one, else the largest of the map. */
export function chosenPlace(name) {
  const { height, width, channels, vector } = sizesOf(name);
  const chosen = state.selected?.layer === name ? state.selected : {};
  const map = vector ? 0 : limitedTo(chosen.map ?? 0, channels);
  const { row, column } = Number.isInteger(chosen.column) ? chosen : largestPlace(name, map);
  return { map, row: vector ? 0 : limitedTo(row ?? 0, height), column: limitedTo(column, width) };
}

/** Look at a value of a layer; what `place` leaves out stays. */
export function select(name, place) {
  const before = chosenPlace(name);
  const after = { ...before, ...place };
  // Another map, with no value chosen in it yet, shows its own largest value.
  const unchosen = !Number.isInteger(state.selected?.column) && place.column === undefined;
  change({ selected: { layer: name, ...after, ...(unchosen ? { row: null, column: null } : {}) } });
}

/** Name a value in words: "output (3, 5) of map 7", "unit 4"; the classes have their names in the network's output. */
export function placeText(name, place) {
  if (!sizesOf(name).vector)
    return `${name === "input" ? "pixel" : "output"} (${place.row}, ${place.column})${mapText(name, place.map)}`;
  const layers = state.network.layers;
  const title = layers.at(-1).name === name ? state.page.network.classes[place.column] : undefined;
  return title === undefined || title === String(place.column) ? `unit ${place.column}` : `unit ${place.column} (${title})`;
}

function mapText(name, map) {
  if (sizesOf(name).channels === 1) return "";
  return name === "input" ? ` of channel ${map}` : ` of map ${map}`;
}
