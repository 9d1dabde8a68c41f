/** One line of text on each layer: what it does with which settings. */

import { countText } from "../dom.js";

const pair = (value) => (Array.isArray(value) ? value.join("×") : `${value}×${value}`);
const isOne = (value) => [value].flat().every((each) => each === 1);

const DETAILS = {
  conv2d: (fields) => [
    pair(fields.kernel_size),
    !isOne(fields.strides) && `stride ${pair(fields.strides)}`,
    !isOne(fields.dilation_rate) && `dilation ${pair(fields.dilation_rate)}`,
    fields.padding === "same" && "same",
    fields.groups > 1 && `${fields.groups} groups`,
    activationText(fields.activation),
  ],
  max_pooling2d: poolingDetails,
  average_pooling2d: poolingDetails,
  dense: (fields) => [`${fields.units} units`, activationText(fields.activation)],
  zero_padding2d: (fields) => [fields.padding.map((sides) => sides.join("+")).join(", ")],
  batch_normalization: (fields) => [fields.axis !== -1 && `axis ${fields.axis}`],
  dropout: (fields) => [`rate ${fields.rate}`],
  activation: (fields) => [activationText(fields.activation)],
  concatenate: (fields) => [`axis ${fields.axis}`],
};

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
