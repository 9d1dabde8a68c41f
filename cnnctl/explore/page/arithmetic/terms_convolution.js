// One value of a convolution of any kind in numbers, and the map that one input map adds to an output map.

import { biasIsOfColumns } from "./convolution.js";
import { kernelOf } from "./convolution_kinds.js";
import { reachedFrom, slidesOf } from "./sliding.js";
import { flatIndex, shapeOf, spatial, windowOf } from "./window.js";

/** Return the kernel of a layer as conv2d has it: { kernel, groups, filters }. */
export function kernelOfLayer(network, layer) {
  return kernelOf(layer, network.weights.get(layer.name));
}

/** Return the input maps that a filter of a convolution reads: first and the one after the last. */
export function groupOf(network, layer, filter) {
  const { channels } = spatial(shapeOf(network, layer.inputs[0]), layer.fields.data_format);
  const { groups, filters } = kernelOfLayer(network, layer);
  const each = channels / groups;
  const first = Math.floor(filter / (filters / groups)) * each;
  return { first, end: first + each };
}

/** Return the bias of a unit or filter; null where the layer has none. */
export function biasOf(network, layer, unit) {
  return layer.fields.use_bias === false ? null : network.weight(layer.name, "bias").values[unit];
}

/**
 * Return the pixels that a value reads along rows and columns, each with its index in the kernel: { rows, columns } of
 * { pixel, index }. A window of conv2d may lie partly beyond the image; a transposed one has the pixels that reach the value.
 */
function readPlaces(network, layer, place) {
  if (layer.kind === "conv2d_transpose") {
    const { height, width } = spatial(layer.shape, layer.fields.data_format);
    const slides = slidesOf(layer.fields, height, width);
    return { rows: reachedFrom(slides.rows, place.row), columns: reachedFrom(slides.columns, place.column) };
  }
  const window = windowOf(layer, shapeOf(network, layer.inputs[0]), place.row, place.column);
  const indexed = (pixels) => pixels.map((pixel, index) => ({ pixel, index }));
  return { rows: indexed(window.rows), columns: indexed(window.columns) };
}

/**
 * Compute one value of a convolution as products.
 *
 * Returns `channels`, one { channel, terms: [{ row, column, kernelRow, kernelColumn, padding, value, weight, product }], sum }
 * per input map that the filter reads; `sum` over them, `bias` (null without one), `before` the activation, and `width`, the
 * terms per row. The weights of a separable convolution are products of its two kernels.
 */
export function convolutionTerms(network, pass, name, image, place) {
  const layer = network.layer(name);
  const input = layer.inputs[0];
  const shape = shapeOf(network, input);
  const { height, width } = spatial(shape, layer.fields.data_format);
  const { rows, columns } = readPlaces(network, layer, place);
  const { kernel } = kernelOfLayer(network, layer);
  const [, kernelWidth, depth, filters] = kernel.shape;
  const values = pass.outputs.get(input).values;
  const { first, end } = groupOf(network, layer, place.map);
  const channels = [];
  for (let channel = first; channel < end; channel += 1) {
    const terms = rows.flatMap(({ pixel: row, index: kernelRow }) =>
      columns.map(({ pixel: column, index: kernelColumn }) => {
        const padding = row < 0 || column < 0 || row >= height || column >= width;
        const value = padding ? 0 : values[flatIndex(shape, layer.fields.data_format, image, row, column, channel)];
        const at = ((kernelRow * kernelWidth + kernelColumn) * depth + channel - first) * filters + place.map;
        const weight = kernel.values[at];
        return { row, column, kernelRow, kernelColumn, padding, value, weight, product: value * weight };
      }),
    );
    channels.push({ channel, terms, sum: terms.reduce((total, term) => total + term.product, 0) });
  }
  const sum = channels.reduce((total, each) => total + each.sum, 0);
  const bias = biasOf(network, layer, biasIsOfColumns(layer) ? place.column : place.map);
  return { channels, sum, bias, before: sum + (bias ?? 0), width: columns.length };
}

/** Compute the map that one input map contributes to one filter's output, before sums over maps, bias and activation. */
export function partialMap(network, pass, name, image, filter, channel) {
  const layer = network.layer(name);
  const shape = shapeOf(network, layer.inputs[0]);
  const format = layer.fields.data_format;
  const input = spatial(shape, format);
  const output = spatial(layer.shape, format);
  const { kernel } = kernelOfLayer(network, layer);
  const [kernelHeight, kernelWidth, depth, filters] = kernel.shape;
  const inGroup = channel - groupOf(network, layer, filter).first;
  const values = pass.outputs.get(layer.inputs[0]).values;
  const start = flatIndex(shape, format, image, 0, 0, channel);
  const rowStep = flatIndex(shape, format, image, 1, 0, channel) - start;
  const columnStep = flatIndex(shape, format, image, 0, 1, channel) - start;
  const result = new Float64Array(output.height * output.width);
  for (let i = 0; i < kernelHeight; i += 1) {
    for (let j = 0; j < kernelWidth; j += 1) {
      const weight = kernel.values[((i * kernelWidth + j) * depth + inGroup) * filters + filter];
      visitPairs(layer, input, output, [i, j], (row, column, at) => {
        result[at] += weight * values[start + row * rowStep + column * columnStep];
      });
    }
  }
  return result;
}

/** Call `visit(row, column, index in the output map)` for every pixel that a weight of the kernel multiplies. */
function visitPairs({ kind, fields }, input, output, [i, j], visit) {
  const isTransposed = kind === "conv2d_transpose";
  const [large, small] = isTransposed ? [output, input] : [input, output];
  const { rows, columns } = slidesOf(fields, large.height, large.width);
  for (let row = 0; row < small.height; row += 1) {
    const largeRow = row * rows.stride - rows.before + i * rows.dilation;
    if (largeRow < 0 || largeRow >= large.height) continue;
    for (let column = 0; column < small.width; column += 1) {
      const largeColumn = column * columns.stride - columns.before + j * columns.dilation;
      if (largeColumn < 0 || largeColumn >= large.width) continue;
      if (isTransposed) visit(row, column, largeRow * output.width + largeColumn);
      else visit(largeRow, largeColumn, row * output.width + column);
    }
  }
}
