/**
 * Values as colours. Zero has the colour of the paper, positive values are orange and negative ones blue (Okabe and Ito,
 * "Color Universal Design", 2008): colour-blind people can distinguish them. Images are grey, black for 0 and white for 1.
 */

import { element, number } from "./dom.js";

// From zero outwards: the end of each ramp differs from its middle in lightness too, so that large values stand out.
const PALETTES = {
  light: { zero: [255, 255, 255], positive: [[240, 158, 92], [213, 94, 0], [112, 44, 0]], negative: [[110, 178, 220], [0, 114, 178], [0, 52, 92]] },
  dark: { zero: [16, 22, 29], positive: [[150, 74, 24], [240, 137, 74], [255, 228, 202]], negative: [[28, 92, 136], [86, 180, 233], [214, 239, 255]] },
}; // prettier-ignore
const STEPS = 255;
const TABLES = { light: tableOf(PALETTES.light), dark: tableOf(PALETTES.dark), grey: greyTable() };
const NOTHING = 0; // transparent: a cell of a strip that has no value
const images = new WeakMap();

/** Return the colours of -STEPS..STEPS as 32-bit pixels (little-endian ABGR). */
function tableOf(palette) {
  const table = new Uint32Array(2 * STEPS + 1);
  for (let step = -STEPS; step <= STEPS; step++) {
    const [red, green, blue] = mixed(
      [palette.zero, ...(step < 0 ? palette.negative : palette.positive)],
      Math.abs(step) / STEPS,
    );
    table[step + STEPS] = pixelOf(red, green, blue);
  }
  return table;
}

function greyTable() {
  return Uint32Array.from({ length: 2 * STEPS + 1 }, (_, step) => {
    const grey = Math.max(0, step - STEPS);
    return pixelOf(grey, grey, grey);
  });
}

function pixelOf(red, green, blue) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** Interpolate between colours that lie at equal distances on 0..1. */
function mixed(colours, share) {
  const place = share * (colours.length - 1);
  const low = Math.min(Math.floor(place), colours.length - 2);
  return colours[low].map((from, index) => Math.round(from + (colours[low + 1][index] - from) * (place - low)));
}

/** Return "light" or "dark", the theme that is on. */
export function theme() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

/**
 * Compute the range of values, for colours.
 * @returns {{low: number, high: number, signed: boolean, grey: boolean}} NaN is left out.
 */
export function scaleOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) [low, high] = [0, 0];
  return { low, high, signed: low < 0, grey: false };
}

/** The scale of images as the network takes them: 0 is black, 1 is white. */
export const IMAGE_SCALE = { low: 0, high: 1, signed: false, grey: true };

/**
 * Paint values, one pixel per value, into a canvas; CSS scales it up.
 * @param {HTMLCanvasElement} canvas gets the size (width, height).
 * @param {Float32Array} values row by row; NaN stays transparent.
 * @param {{low, high, grey}} scale colours are symmetric about 0: its larger side has the strongest colour.
 */
export function paintMap(canvas, values, height, width, scale) {
  const { context, image, pixels } = imageFor(canvas, height, width);
  const table = TABLES[scale.grey ? "grey" : theme()];
  const limit = Math.max(Math.abs(scale.low), Math.abs(scale.high));
  const factor = limit > 0 ? STEPS / limit : 0;
  for (let index = 0; index < pixels.length; index++) {
    const value = values[index];
    const step = Math.max(-STEPS, Math.min(STEPS, Math.round(value * factor)));
    pixels[index] = step === step ? table[step + STEPS] : NOTHING; // NaN is not equal to itself
  }
  context.putImageData(image, 0, 0);
}

/** Paint an image of three channels (H, W, 3) in its colours; values from 0 to 1. */
function paintColours(canvas, values, height, width) {
  const { context, image, pixels } = imageFor(canvas, height, width);
  for (let index = 0; index < pixels.length; index++) {
    pixels[index] = pixelOf(byteOf(values[3 * index]), byteOf(values[3 * index + 1]), byteOf(values[3 * index + 2]));
  }
  context.putImageData(image, 0, 0);
}

/** Paint one image of a tensor as people see it: in its colours where it has three channels, else its first channel in grey. */
export function paintImage(canvas, tensor, image, dataFormat) {
  const channels = tensor.shape[dataFormat === "channels_first" ? 1 : 3];
  const planes = Array.from({ length: channels === 3 ? 3 : 1 }, (_, map) => channelOf(tensor, image, map, dataFormat));
  const { values, height, width } = planes[0];
  if (channels !== 3) return paintMap(canvas, values, height, width, IMAGE_SCALE);
  const colours = Float32Array.from({ length: 3 * height * width }, (_, at) => planes[at % 3].values[Math.floor(at / 3)]);
  return paintColours(canvas, colours, height, width);
}

/** Paint a grey image with a map of the same size over it: the larger a value, the more orange. */
export function paintOverlay(canvas, grey, map, height, width) {
  const { context, image, pixels } = imageFor(canvas, height, width);
  const limit = map.reduce((high, value) => Math.max(high, value), 0);
  const [red, green, blue] = PALETTES.dark.positive[1];
  for (let index = 0; index < pixels.length; index++) {
    const share = limit > 0 ? 0.85 * (Math.max(0, map[index]) / limit) : 0;
    const under = byteOf(grey[index]) * (1 - share);
    pixels[index] = pixelOf(
      byteOf((under + red * share) / 255),
      byteOf((under + green * share) / 255),
      byteOf((under + blue * share) / 255),
    );
  }
  context.putImageData(image, 0, 0);
}

function byteOf(value) {
  return Math.max(0, Math.min(255, Math.round(255 * value)));
}

/** Return the context and pixel buffer of a canvas, made once per size. */
function imageFor(canvas, height, width) {
  let held = images.get(canvas);
  if (!held || canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    held = { context, image, pixels: new Uint32Array(image.data.buffer) };
    images.set(canvas, held);
  }
  return held;
}

/** Return the colour of one value as CSS text. */
export function colourOf(value, scale) {
  const limit = Math.max(Math.abs(scale.low), Math.abs(scale.high));
  const step = limit > 0 ? Math.round((value / limit) * STEPS) : 0;
  const pixel = TABLES[scale.grey ? "grey" : theme()][Math.max(-STEPS, Math.min(STEPS, step)) + STEPS];
  return `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`;
}

/** Create the key of a scale: a ramp of its colours between its lowest and highest value. */
export function legend(scale) {
  const low = scale.signed ? scale.low : Math.min(0, scale.low);
  const high = Math.max(0, scale.high);
  const ramp = element("canvas", { class: "ramp", aria: { hidden: true } });
  const values = Float32Array.from({ length: 64 }, (_, index) => low + ((high - low) * index) / 63);
  paintMap(ramp, values, 1, 64, scale);
  const label = `colours from ${number(low)} to ${number(high)}`;
  return element("span", { class: "legend", role: "img", aria: { label } }, number(low), ramp, number(high));
}

/** Return the size of the grid in which a vector of `length` values is laid out, column by column. */
export function stripOf(length) {
  const height = Math.min(length, length > 512 ? 96 : 64);
  return { height, width: Math.ceil(length / height) };
}

/**
 * Take one map of one image.
 * @param {{shape: number[], values: Float32Array}} tensor (B, H, W, C), (B, C, H, W) for channels_first, or (B, N).
 * @param {number} image its index in the batch.
 * @param {number} map its channel; for a vector it is ignored: all values are laid out in columns.
 * @returns {{values: Float32Array, height: number, width: number}}
 */
export function channelOf(tensor, image, map, dataFormat) {
  const { shape, values } = tensor;
  if (shape.length === 2) return stripValues(values.subarray(image * shape[1], (image + 1) * shape[1]));
  if (shape.length === 3) {
    const [, rows, columns] = shape;
    return { values: values.subarray(image * rows * columns, (image + 1) * rows * columns), height: rows, width: columns };
  }
  const first = dataFormat === "channels_first";
  const [height, width, channels] = first ? [shape[2], shape[3], shape[1]] : shape.slice(1);
  const area = height * width;
  const start = image * area * channels;
  if (first) return { values: values.subarray(start + map * area, start + (map + 1) * area), height, width };
  const taken = new Float32Array(area);
  for (let index = 0, from = start + map; index < area; index++, from += channels) taken[index] = values[from];
  return { values: taken, height, width };
}

/**
 * Lay a vector out in a grid; cells after its end are NaN.
 * @param {boolean} across row by row, else column by column.
 * @returns {{values: Float32Array, height: number, width: number}}
 */
export function stripValues(vector, across = false) {
  const { height: length, width: count } = stripOf(vector.length);
  const taken = new Float32Array(length * count).fill(NaN);
  const placeOf = across ? (index) => index : (index) => (index % length) * count + Math.floor(index / length);
  for (let index = 0; index < vector.length; index++) taken[placeOf(index)] = vector[index];
  return across ? { values: taken, height: count, width: length } : { values: taken, height: length, width: count };
}
