// depthwise_conv2d, separable_conv2d and conv2d_transpose, by the arithmetic of conv2d.

import { addBias, convolutionBackward, convolutionForward, convolve, spreadAdjoints } from "./convolution.js";
import { channelsToEnd, channelsToFront, imageShape, makeTensor } from "./tensor.js";

const CONVOLUTIONS = ["conv2d", "depthwise_conv2d", "separable_conv2d", "conv2d_transpose"];
const ONE = { kernel_size: [1, 1], strides: [1, 1], dilation_rate: [1, 1], padding: "valid", groups: 1 };
const derived = new WeakMap(); // tensor of weights → what is computed from it

/** Return whether a layer has filters that slide over its input. */
export function isConvolution(layer) {
  return CONVOLUTIONS.includes(layer.kind);
}

/**
 * Return the kernel of a convolution of any kind as conv2d has it: { kernel (height, width, C / groups, filters), groups,
 * filters }. Of a separable convolution it is the product of its two kernels, which computes the same.
 */
export function kernelOf({ kind, fields }, weights) {
  if (kind === "depthwise_conv2d") return depthwiseKernel(weights.kernel);
  if (kind === "separable_conv2d") return computedOnce(weights.pointwise_kernel, () => productOfKernels(weights));
  if (kind === "conv2d_transpose") return computedOnce(weights.kernel, () => swappedKernel(weights.kernel));
  return { kernel: weights.kernel, groups: fields.groups, filters: fields.filters };
}

function computedOnce(tensor, compute) {
  if (!derived.has(tensor)) derived.set(tensor, compute());
  return derived.get(tensor);
}

/** View (height, width, C, multiplier) as the kernel of one group per channel. */
function depthwiseKernel(kernel) {
  const [height, width, channels, multiplier] = kernel.shape;
  const filters = channels * multiplier;
  const view = () => ({ kernel: makeTensor([height, width, 1, filters], kernel.values), groups: channels, filters });
  return computedOnce(kernel, view);
}

/** Compute the sums over the multiplier of depthwise times pointwise weights. */
function productOfKernels({ depthwise_kernel: depthwise, pointwise_kernel: pointwise }) {
  const [height, width, channels, multiplier] = depthwise.shape;
  const filters = pointwise.shape[3];
  const kernel = makeTensor([height, width, channels, filters]);
  for (let place = 0; place < height * width * channels; place += 1) {
    const first = (place % channels) * multiplier;
    for (let filter = 0; filter < filters; filter += 1) {
      let sum = 0;
      for (let each = 0; each < multiplier; each += 1) {
        sum += depthwise.values[place * multiplier + each] * pointwise.values[(first + each) * filters + filter];
      }
      kernel.values[place * filters + filter] = sum;
    }
  }
  return { kernel, groups: 1, filters };
}

/** Swap the last axes of (height, width, filters, C). */
function swappedKernel({ shape, values }) {
  const [height, width, filters, channels] = shape;
  const swapped = channelsToEnd(makeTensor([height * width, filters, channels], values));
  return { kernel: makeTensor([height, width, channels, filters], swapped.values), groups: 1, filters };
}

/** Describe a depthwise convolution as a step of conv2d. */
function depthwiseStep({ layer, inputs }, given, bias) {
  const { kernel, groups, filters } = depthwiseKernel(given);
  return { layer: { ...layer, fields: { ...layer.fields, groups, filters } }, inputs, weights: { kernel, bias } };
}

/** Compute a depthwise convolution: each filter reads one input map. */
export function depthwiseForward(step) {
  return convolutionForward(depthwiseStep(step, step.weights.kernel, step.weights.bias));
}

/** Compute the gradient of a depthwise convolution's input. */
export function depthwiseBackward(step, adjoint) {
  return convolutionBackward(depthwiseStep(step, step.weights.kernel), adjoint);
}

/** Compute a separable convolution: a depthwise one, then one of 1×1 that mixes its maps. */
export function separableForward(step) {
  const between = convolutionForward(depthwiseStep(step, step.weights.depthwise_kernel)).output;
  return convolutionForward(pointwiseStep(step, between));
}

/** Compute the gradient of a separable convolution's input. */
export function separableBackward(step, adjoint) {
  const [batch, ...rest] = adjoint.shape;
  const [channels, multiplier] = step.weights.depthwise_kernel.shape.slice(2);
  const first = step.layer.fields.data_format === "channels_first";
  const [height, width] = first ? rest.slice(1) : rest;
  const shape = imageShape(batch, height, width, channels * multiplier, step.layer.fields.data_format);
  const [between] = convolutionBackward(pointwiseStep(step, makeTensor(shape)), adjoint);
  return convolutionBackward(depthwiseStep(step, step.weights.depthwise_kernel), between);
}

function pointwiseStep({ layer, weights }, between) {
  const fields = { ...ONE, filters: layer.fields.filters, data_format: layer.fields.data_format };
  return { layer: { ...layer, fields }, inputs: [between], weights: { kernel: weights.pointwise_kernel, bias: weights.bias } };
}

/** Compute a transposed convolution: every input value spreads its kernel over the output, as a gradient of conv2d does. */
export function transposedForward({ layer, inputs, weights }) {
  const first = layer.fields.data_format === "channels_first";
  const input = first ? channelsToEnd(inputs[0]) : inputs[0];
  const [height, width, filters] = first ? [...layer.shape.slice(1), layer.shape[0]] : layer.shape;
  const shape = [input.shape[0], height, width, filters];
  const output = spreadAdjoints(shape, input, weights.kernel, { ...layer.fields, groups: 1 });
  if (weights.bias) addBias(layer, output, weights.bias);
  return { output: first ? channelsToFront(output) : output };
}

/** Compute the gradient of a transposed convolution's input: a convolution of the adjoint. */
export function transposedBackward({ layer, weights }, adjoint) {
  const first = layer.fields.data_format === "channels_first";
  const gradient = convolve(first ? channelsToEnd(adjoint) : adjoint, weights.kernel, null, { ...layer.fields, groups: 1 });
  return [first ? channelsToFront(gradient) : gradient];
}
