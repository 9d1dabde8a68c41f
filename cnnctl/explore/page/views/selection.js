// Which value of a layer the person looks at, and how views refer to it in words.

import { formatOf, shapeOf, spatial } from "../arithmetic/window.js";
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

/** Return the unit of a vector with the largest value. */
function largestUnit(name) {
  const tensor = state.pass.outputs.get(name);
  const values = tensor.values.subarray(0, tensor.values.length / tensor.shape[0]);
  return values.reduce((best, value, unit) => (value > values[best] ? unit : best), 0);
}

/** Return the place { row, column, map } that is looked at in a layer's output: the selected one, else the middle. */
export function chosenPlace(name) {
  const { height, width, channels, vector } = sizesOf(name);
  const chosen = state.selected?.layer === name ? state.selected : {};
  const column = chosen.column ?? (vector ? largestUnit(name) : Math.floor(width / 2));
  return {
    map: limitedTo(vector ? 0 : (chosen.map ?? 0), channels),
    row: limitedTo(vector ? 0 : (chosen.row ?? Math.floor(height / 2)), height),
    column: limitedTo(column, width),
  };
}

/** Look at a value of a layer; what `place` leaves out stays. */
export function select(name, place) {
  const before = chosenPlace(name);
  change({ selected: { layer: name, ...before, ...place } });
}

/** Name a value in words: "output (3, 5) of map 7", "unit 4"; the classes have their names in the network's output. */
export function placeText(name, place) {
  if (!sizesOf(name).vector) return `${name === "input" ? "pixel" : "output"} (${place.row}, ${place.column})${mapText(name, place.map)}`;
  const layers = state.network.layers;
  const title = layers.at(-1).name === name ? state.page.network.classes?.[place.column] : undefined;
  return title === undefined || title === String(place.column) ? `unit ${place.column}` : `unit ${place.column} (${title})`;
}

function mapText(name, map) {
  if (sizesOf(name).channels === 1) return "";
  return name === "input" ? ` of channel ${map}` : ` of map ${map}`;
}

/** Name a layer's maps: the input has channels, layers have maps. */
export function mapsWord(name) {
  return name === "input" ? "channel" : "map";
}
