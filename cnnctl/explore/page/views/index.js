// The view of each kind of layer: viewFor(layer) → (host, layerName) → { update(), close() }.

import { activationView } from "./activation.js";
import { affineView } from "./affine.js";
import { axisNormalizationView } from "./axis_normalization.js";
import { convolutionView } from "./convolution.js";
import { denseView } from "./dense.js";
import { flattenView } from "./flatten.js";
import { concatenateView, croppingView, joinView, reorderingView, zeroPaddingView } from "./joins.js";
import { noiseView } from "./noise.js";
import { normalizationView } from "./normalization.js";
import { poolingView } from "./pooling.js";
import { upSamplingView } from "./up_sampling.js";

const VIEWS = {
  conv2d: convolutionView,
  depthwise_conv2d: convolutionView,
  separable_conv2d: convolutionView,
  conv2d_transpose: convolutionView,
  zero_padding2d: zeroPaddingView,
  max_pooling2d: poolingView,
  average_pooling2d: poolingView,
  global_average_pooling2d: poolingView,
  global_max_pooling2d: poolingView,
  flatten: flattenView,
  dense: denseView,
  batch_normalization: normalizationView,
  layer_normalization: axisNormalizationView,
  group_normalization: axisNormalizationView,
  unit_normalization: axisNormalizationView,
  cropping2d: croppingView,
  up_sampling2d: upSamplingView,
  reshape: reorderingView,
  permute: reorderingView,
  rescaling: affineView,
  normalization: affineView,
  dropout: noiseView,
  spatial_dropout2d: noiseView,
  gaussian_noise: noiseView,
  gaussian_dropout: noiseView,
  alpha_dropout: noiseView,
  activation: activationView,
  relu: activationView,
  leaky_relu: activationView,
  prelu: activationView,
  elu: activationView,
  softmax: activationView,
  add: joinView,
  subtract: joinView,
  multiply: joinView,
  average: joinView,
  maximum: joinView,
  minimum: joinView,
  concatenate: concatenateView,
};

/** Return the function that creates the view of a layer. */
export function viewFor(layer) {
  if (!Object.hasOwn(VIEWS, layer.kind)) throw new Error(`layer '${layer.name}' has a type without a view: ${layer.kind}`);
  return VIEWS[layer.kind];
}
