// Where the window of a convolution or a pooling lies, and where a value is in a tensor.
// Formulas: V. Dumoulin and F. Visin 2016, "A guide to convolution arithmetic for deep learning".

import { slidesOf, windowAlong } from "./sliding.js";

const WHOLE_NETWORK_INPUT = "input";

/**
 * Split a shape without its batch axis: an image's (H, W, C) or (C, H, W), a matrix' (H, W), or a vector's (D), which is
 * 1 row of D columns.
 */
export function spatial(shape, dataFormat) {
  if (shape.length === 1) return { height: 1, width: shape[0], channels: 1 };
  if (shape.length === 2) return { height: shape[0], width: shape[1], channels: 1 };
  const [first, second, third] = shape;
  return dataFormat === "channels_first"
    ? { height: second, width: third, channels: first }
    : { height: first, width: second, channels: third };
}

/** Compute the place of a value in a tensor (B, ...); `shape` is without the batch axis. */
export function flatIndex(shape, dataFormat, image, row, column, channel) {
  const { height, width, channels } = spatial(shape, dataFormat);
  const before = image * height * width * channels;
  return dataFormat === "channels_first" && shape.length === 3
    ? before + (channel * height + row) * width + column
    : before + (row * width + column) * channels + channel;
}

/** Return the data format that a layer gives its output; undefined where that is the one of its first input. */
export function formatGiven({ kind, fields }) {
  return kind === "spatial_dropout2d" ? undefined : fields.data_format; // its format only says which axes share a mask
}

/** Return the data format that a layer's output has: its own, else that of its first input. */
export function formatOf(network, name) {
  if (name === WHOLE_NETWORK_INPUT) return network.description.input.data_format;
  const layer = network.layer(name);
  return formatGiven(layer) ?? formatOf(network, layer.inputs[0]);
}

/** Return the shape of a layer's output, or of the input, without the batch axis. */
export function shapeOf(network, name) {
  return name === WHOLE_NETWORK_INPUT ? network.description.input.shape : network.layer(name).shape;
}

function slidesOver(layer, inputShape) {
  const { height, width } = spatial(inputShape, layer.fields.data_format);
  return slidesOf(layer.fields, height, width);
}

/** Compute the zeros that `same` adds on each side of the input; 0 for `valid`. */
export function paddingOf(layer, inputShape) {
  const { rows, columns } = slidesOver(layer, inputShape);
  const after = (slide) => Math.max(windowAlong(slide, slide.count - 1).at(-1) + 1 - slide.pixels, 0);
  const same = layer.fields.padding === "same";
  return {
    top: rows.before,
    bottom: same ? after(rows) : 0,
    left: columns.before,
    right: same ? after(columns) : 0,
  };
}

/**
 * Compute the input rows and columns that the output value (row, column) reads.
 * They are below 0 or beyond the last row or column where the window covers zeros of the padding.
 */
export function windowOf(layer, inputShape, row, column) {
  const slides = slidesOver(layer, inputShape);
  const rows = windowAlong(slides.rows, row);
  const columns = windowAlong(slides.columns, column);
  return { top: rows[0], left: columns[0], rows, columns };
}
