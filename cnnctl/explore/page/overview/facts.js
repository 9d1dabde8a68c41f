/** One line of text on each layer: what it does with which settings. */

import { countText, number } from "../dom.js";

const pair = (value) => (Array.isArray(value) ? value.join("×") : `${value}×${value}`);
const isOne = (value) => [value].flat().every((each) => each === 1);

const DETAILS = {
  conv2d: convolutionDetails,
  depthwise_conv2d: convolutionDetails,
  separable_conv2d: convolutionDetails,
  conv2d_transpose: convolutionDetails,
  max_pooling2d: poolingDetails,
  average_pooling2d: poolingDetails,
  dense: (fields) => [`${fields.units} units`, activationText(fields.activation)],
  zero_padding2d: (fields) => [fields.padding.map((sides) => sides.join("+")).join(", ")],
  batch_normalization: axisDetails,
  layer_normalization: (fields) => [...axisDetails(fields), fields.rms_scaling && "root mean square"],
  group_normalization: (fields) => [
    fields.groups === -1 ? "a group per channel" : `${fields.groups} groups`,
    ...axisDetails(fields),
  ],
  unit_normalization: axisDetails,
  cropping2d: (fields) => [fields.cropping.map((sides) => sides.join("+")).join(", ")],
  permute: (fields) => [`axes ${fields.dims.join(", ")}`],
  rescaling: (fields) => [`scale ${rangeText(fields.scale)}`, `offset ${rangeText(fields.offset)}`],
  normalization: (fields) => [fields.mean ? "given mean" : "mean of the training images", ...axisDetails(fields)],
  up_sampling2d: (fields) => [`by ${pair(fields.size)}`, fields.interpolation],
  dropout: rateDetails,
  spatial_dropout2d: rateDetails,
  gaussian_dropout: rateDetails,
  alpha_dropout: rateDetails,
  gaussian_noise: (fields) => [`standard deviation ${fields.stddev}`],
  activation: (fields) => [activationText(fields.activation)],
  relu: (fields) => [
    fields.max_value !== null && `at most ${fields.max_value}`,
    fields.negative_slope !== 0 && `slope ${fields.negative_slope}`,
    fields.threshold !== 0 && `threshold ${fields.threshold}`,
  ],
  leaky_relu: (fields) => [`slope ${fields.negative_slope}`],
  prelu: (fields) => [fields.shared_axes !== null && `shared along ${[fields.shared_axes].flat().join(", ")}`],
  elu: (fields) => [fields.alpha !== 1 && `alpha ${fields.alpha}`],
  softmax: axisDetails,
  concatenate: (fields) => [`axis ${fields.axis}`],
};

function convolutionDetails(fields) {
  return [
    pair(fields.kernel_size),
    !isOne(fields.strides) && `stride ${pair(fields.strides)}`,
    !isOne(fields.dilation_rate) && `dilation ${pair(fields.dilation_rate)}`,
    fields.padding === "same" && "same",
    fields.groups > 1 && `${fields.groups} groups`,
    fields.depth_multiplier > 1 && `${fields.depth_multiplier} per channel`,
    activationText(fields.activation),
  ];
}

function axisDetails(fields) {
  return [fields.axis !== -1 && `axis ${[fields.axis].flat().join(", ")}`];
}

function rangeText(numbers) {
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  return low === high ? number(low) : `${number(low)} … ${number(high)}`;
}

function rateDetails(fields) {
  return [`rate ${fields.rate}`];
}

function activationText(name) {
  return name && name !== "linear" && name;
}

function poolingDetails(fields) {
  const strides = fields.strides ?? fields.pool_size;
  return [
    pair(fields.pool_size),
    pair(strides) !== pair(fields.pool_size) && `stride ${pair(strides)}`,
    fields.padding === "same" && "same",
  ];
}

/** Return the settings of a layer as text, such as "3×3, same, relu"; empty for layers without any. */
export function settingsText(layer) {
  return (DETAILS[layer.kind]?.(layer.fields) ?? []).filter(Boolean).join(", ");
}

/** Count the parameters of a layer. */
export function parametersOf(layer) {
  return layer.trainable + layer.non_trainable;
}

/** Return the costs of a layer: ["320 parameters", "194,688 MACs"]; what is 0 is left out. Shared weights have their owner's name. */
export function costTexts(layer) {
  const parameters = parametersOf(layer);
  const parts = [
    layer.shares && Object.keys(layer.weights).length > 0 && `weights of ${layer.shares}`,
    parameters && `${countText(parameters)} parameter${parameters === 1 ? "" : "s"}`,
    layer.macs && `${countText(layer.macs)} MACs`,
  ];
  return parts.filter(Boolean);
}
