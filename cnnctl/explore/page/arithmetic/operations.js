// The layer types of the config: kind → { forward(step), backward(step, adjoint) }.
//
// A step is { layer, inputs: [tensor], weights: { name: tensor }, training, seed, mask, statistics }.
// forward returns { output, mask?, statistics? }, without the activation of the layer, which is applied after it;
// backward takes the adjoint of that output and returns the adjoints of the inputs.

import { activate, activateBackward, activationName } from "./activation_layers.js";
import { affineBackward, affineForward } from "./affine.js";
import { axisNormalizationBackward, axisNormalizationForward } from "./axis_normalization.js";
import { convolutionBackward, convolutionForward } from "./convolution.js";
import {
  depthwiseBackward,
  depthwiseForward,
  separableBackward,
  separableForward,
  transposedBackward,
  transposedForward,
} from "./convolution_kinds.js";
import { denseBackward, denseForward } from "./dense.js";
import { globalAverageBackward, globalAverageForward, globalMaxBackward, globalMaxForward } from "./global_pooling.js";
import { concatenateBackward, concatenateForward, joinBackward, joinForward } from "./joins.js";
import { noiseBackward, noiseForward } from "./noise.js";
import { normalizationBackward, normalizationForward } from "./normalization.js";
import { averagePoolingBackward, averagePoolingForward, maxPoolingBackward, maxPoolingForward } from "./pooling.js";
import {
  croppingBackward,
  croppingForward,
  flattenBackward,
  flattenForward,
  permuteBackward,
  permuteForward,
  reshapeBackward,
  reshapeForward,
  zeroPaddingBackward,
  zeroPaddingForward,
} from "./shape.js";
import { upSamplingBackward, upSamplingForward } from "./up_sampling.js";

const unchanged = { forward: ({ inputs }) => ({ output: inputs[0] }), backward: (step, adjoint) => [adjoint] };
const join = { forward: joinForward, backward: joinBackward };
const axisNormalization = { forward: axisNormalizationForward, backward: axisNormalizationBackward };
const noise = { forward: noiseForward, backward: noiseBackward };

/** The operations of all kinds; an activation layer is its activation alone, which comes after the operation. */
export const OPERATIONS = {
  conv2d: { forward: convolutionForward, backward: convolutionBackward },
  depthwise_conv2d: { forward: depthwiseForward, backward: depthwiseBackward },
  separable_conv2d: { forward: separableForward, backward: separableBackward },
  conv2d_transpose: { forward: transposedForward, backward: transposedBackward },
  zero_padding2d: { forward: zeroPaddingForward, backward: zeroPaddingBackward },
  cropping2d: { forward: croppingForward, backward: croppingBackward },
  up_sampling2d: { forward: upSamplingForward, backward: upSamplingBackward },
  max_pooling2d: { forward: maxPoolingForward, backward: maxPoolingBackward },
  average_pooling2d: { forward: averagePoolingForward, backward: averagePoolingBackward },
  global_average_pooling2d: { forward: globalAverageForward, backward: globalAverageBackward },
  global_max_pooling2d: { forward: globalMaxForward, backward: globalMaxBackward },
  flatten: { forward: flattenForward, backward: flattenBackward },
  reshape: { forward: reshapeForward, backward: reshapeBackward },
  permute: { forward: permuteForward, backward: permuteBackward },
  rescaling: { forward: affineForward, backward: affineBackward },
  normalization: { forward: affineForward, backward: affineBackward },
  dense: { forward: denseForward, backward: denseBackward },
  batch_normalization: { forward: normalizationForward, backward: normalizationBackward },
  layer_normalization: axisNormalization,
  group_normalization: axisNormalization,
  unit_normalization: axisNormalization,
  dropout: noise,
  spatial_dropout2d: noise,
  gaussian_noise: noise,
  gaussian_dropout: noise,
  alpha_dropout: noise,
  activation: unchanged,
  relu: unchanged,
  leaky_relu: unchanged,
  prelu: unchanged,
  elu: unchanged,
  softmax: unchanged,
  add: join,
  subtract: join,
  multiply: join,
  average: join,
  maximum: join,
  minimum: join,
  concatenate: { forward: concatenateForward, backward: concatenateBackward },
};

/** Return the operation of a layer. */
export function operationOf(layer) {
  if (!Object.hasOwn(OPERATIONS, layer.kind)) throw new Error(`layer '${layer.name}' has an unknown type: ${layer.kind}`);
  return OPERATIONS[layer.kind];
}

/** Compute a layer: { output, before?, mask?, statistics? }, `before` being the values before an activation. */
export function layerForward(step) {
  const result = operationOf(step.layer).forward(step);
  if (!activationName(step.layer)) return result;
  return { ...result, before: result.output, output: activate(step, result.output) };
}

/**
 * Compute the adjoints of a layer's inputs from that of its output: { inputs: [tensor], before? }.
 * `adjointBefore` replaces the adjoint before the activation, where it is known more exactly.
 */
export function layerBackward(step, adjoint, adjointBefore) {
  if (!activationName(step.layer)) return { inputs: operationOf(step.layer).backward(step, adjoint) };
  const before = adjointBefore ?? activateBackward(step, adjoint);
  return { before, inputs: operationOf(step.layer).backward(step, before) };
}
