// Grad-CAM: which parts of an image raise the score of a class.
// R. R. Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization".

import { isConvolution } from "./convolution_kinds.js";
import { sizeOf } from "./tensor.js";
import { formatOf } from "./window.js";

/** Return the last convolution before the network's output; null where there is none. */
export function lastConvolution(network) {
  return [...network.layers].reverse().find(isConvolution) ?? null;
}

/**
 * Compute the map of a layer: each feature map times the mean of its gradient (equation 1), summed, negative sums 0
 * (equation 2).
 * @param gradients of the score of a class, from Network.backward
 * @param image index in the batch
 * @returns { values: Float32Array, height, width } with the size of the layer's maps
 */
export function gradCam(network, pass, gradients, layerName, image = 0) {
  const layer = network.layer(layerName);
  if (layer.shape.length !== 3) throw new Error(`'${layerName}' has no maps: its shape is (${layer.shape.join(", ")})`);
  const first = formatOf(network, layerName) === "channels_first";
  const [height, width, channels] = first ? [...layer.shape.slice(1), layer.shape[0]] : layer.shape;
  const [step, next] = first ? [1, height * width] : [channels, 1];
  const start = image * sizeOf(layer.shape);
  const [outputs, adjoints] = [pass.outputs.get(layerName).values, gradients.get(layerName).values];
  const sums = new Float64Array(height * width);
  for (let channel = 0; channel < channels; channel += 1) {
    const place = start + channel * next;
    let weight = 0;
    for (let pixel = 0; pixel < sums.length; pixel += 1) weight += adjoints[place + pixel * step] / sums.length;
    for (let pixel = 0; pixel < sums.length; pixel += 1) sums[pixel] += weight * outputs[place + pixel * step];
  }
  return { values: Float32Array.from(sums, (sum) => Math.max(sum, 0)), height, width };
}
