// conv2d: cross-correlation, the sum over the window and the channels of a group, plus a bias.

import { WeightedRows } from "./rows.js";
import { insideAlong, slidesOf } from "./sliding.js";
import { channelsToEnd, channelsToFront, makeTensor } from "./tensor.js";

/** Compute a convolution without its activation. */
export function convolutionForward({ layer, inputs, weights }) {
  const first = layer.fields.data_format === "channels_first";
  const input = first ? channelsToEnd(inputs[0]) : inputs[0];
  const columns = weights.bias && biasIsOfColumns(layer);
  const output = convolve(input, weights.kernel, columns ? null : weights.bias, layer.fields);
  if (columns) addBias(layer, output, weights.bias);
  return { output: first ? channelsToFront(output) : output };
}

/**
 * Return whether the bias of a column is added, not that of a filter: under channels_first, Keras 3.15 takes a bias with as
 * many values as the output has columns for one along the last axis (keras/src/backend/tensorflow/numpy.py, `add`).
 * The page shows what the network computes, and was trained with.
 */
export function biasIsOfColumns(layer) {
  const [filters, , columns] = layer.shape;
  return layer.fields.data_format === "channels_first" && filters === columns;
}

/** Add to each value of (B, H, W, C) the bias of its filter, or of its column. */
export function addBias(layer, output, bias) {
  const [, , columns, filters] = output.shape;
  const ofColumns = biasIsOfColumns(layer);
  for (let index = 0; index < output.values.length; index += 1) {
    output.values[index] += bias.values[ofColumns ? Math.floor(index / filters) % columns : index % filters];
  }
}

/** Compute the gradient of a convolution's input. */
export function convolutionBackward({ layer, inputs, weights }, adjoint) {
  const first = layer.fields.data_format === "channels_first";
  const shape = first ? channelsToEnd(inputs[0]).shape : inputs[0].shape;
  const gradient = spreadAdjoints(shape, first ? channelsToEnd(adjoint) : adjoint, weights.kernel, layer.fields);
  return [first ? channelsToFront(gradient) : gradient];
}

/** Compute (B, H, W, C) → (B, rows, columns, filters) for a kernel (height, width, C / groups, filters). */
export function convolve(input, kernel, bias, fields) {
  const [batch, height, width] = input.shape;
  const { rows, columns } = slidesOf(fields, height, width);
  const filters = kernel.shape[3];
  const output = makeTensor([batch, rows.count, columns.count, filters]);
  const sums = new Float64Array(filters);
  const patch = new WeightedRows(kernel.shape[0] * kernel.shape[1] * kernel.shape[2]);
  let at = 0;
  for (let image = 0; image < batch; image += 1) {
    for (let row = 0; row < rows.count; row += 1) {
      const vertical = insideAlong(rows, row);
      for (let column = 0; column < columns.count; column += 1) {
        const horizontal = insideAlong(columns, column);
        if (bias) sums.set(bias.values);
        else sums.fill(0);
        for (let group = 0; group < fields.groups; group += 1) {
          gatherWindow(patch, input, image, vertical, horizontal, fields, kernel, group);
          const share = filters / fields.groups;
          patch.addTo(sums, group * share, share, kernel.values, group * share);
        }
        output.values.set(sums, at);
        at += filters;
      }
    }
  }
  return output;
}

/** Collect the pixels of one window and one group of channels, with the places of their rows in the kernel. */
function gatherWindow(patch, input, image, vertical, horizontal, fields, kernel, group) {
  const [, height, width, channels] = input.shape;
  const [, kernelWidth, share, filters] = kernel.shape;
  const [downwards, sideways] = fields.dilation_rate;
  patch.clear();
  for (let i = vertical.first; i < vertical.end; i += 1) {
    const line = (image * height + vertical.start + i * downwards) * width;
    for (let j = horizontal.first; j < horizontal.end; j += 1) {
      const pixel = (line + horizontal.start + j * sideways) * channels + group * share;
      const place = (i * kernelWidth + j) * share;
      for (let channel = 0; channel < share; channel += 1) {
        patch.add(input.values[pixel + channel], (place + channel) * filters);
      }
    }
  }
}

const turnedKernels = new WeakMap();

/** Swap the channels of a kernel, (height, width, C, filters) → (height, width, filters, C); computed once. */
function turnedKernel(kernel) {
  if (!turnedKernels.has(kernel)) {
    const [height, width, channels, filters] = kernel.shape;
    const places = makeTensor([height * width, channels, filters], kernel.values);
    turnedKernels.set(kernel, channelsToEnd(places).values);
  }
  return turnedKernels.get(kernel);
}

/** Spread the adjoints of the outputs over the pixels of their windows. */
export function spreadAdjoints(shape, adjoint, kernel, fields) {
  const [batch, height, width, channels] = shape;
  const { rows, columns } = slidesOf(fields, height, width);
  const [, kernelWidth, share, filters] = kernel.shape;
  const turned = turnedKernel(kernel);
  const sums = new Float64Array(batch * height * width * channels);
  const outputs = new WeightedRows(filters);
  let at = 0;
  for (let image = 0; image < batch; image += 1) {
    for (let row = 0; row < rows.count; row += 1) {
      const vertical = insideAlong(rows, row);
      for (let column = 0; column < columns.count; column += 1) {
        const horizontal = insideAlong(columns, column);
        for (let group = 0; group < fields.groups; group += 1) {
          collectAdjoints(outputs, adjoint.values, at, group * (filters / fields.groups), filters / fields.groups, share);
          if (outputs.count === 0) continue;
          for (let i = vertical.first; i < vertical.end; i += 1) {
            const line = (image * height + vertical.start + i * rows.dilation) * width;
            for (let j = horizontal.first; j < horizontal.end; j += 1) {
              const pixel = (line + horizontal.start + j * columns.dilation) * channels + group * share;
              outputs.addTo(sums, pixel, share, turned, (i * kernelWidth + j) * filters * share);
            }
          }
        }
        at += filters;
      }
    }
  }
  return makeTensor([...shape], Float32Array.from(sums));
}

/** Collect the adjoints of one group's filters, with the places of their rows in the turned kernel. */
function collectAdjoints(outputs, adjoints, at, start, count, share) {
  outputs.clear();
  for (let filter = start; filter < start + count; filter += 1) outputs.add(adjoints[at + filter], filter * share);
}
