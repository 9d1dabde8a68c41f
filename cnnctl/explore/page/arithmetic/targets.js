// What is differentiated: the score of a class, the loss, one value of a layer, or any sum of the network's outputs.

import { activationName } from "./activation_layers.js";
import { SMALLEST, smoothedTarget, softmax } from "./softmax.js";
import { makeTensor, sizeOf } from "./tensor.js";

/** A softmax of finite logits is never 0, though its float32 may be; other probabilities may be 0. */
const SMALLEST_SOFTMAX = 1e-37;

/**
 * Compute the adjoint at which a backward pass starts: { layer: name, adjoint, before? }.
 *
 * The target is one of
 * - { kind: "class", index, class }: the logit of a class for one image, or the logarithm of its probability;
 * - { kind: "loss", labels }: the mean loss of the batch, with label smoothing; images whose label is null do not count;
 * - { kind: "value", layer, index, image? }: one value of a layer for one image (0), by its flat index;
 * - { kind: "adjoint", values }: the adjoint of the network's output itself.
 */
export function startOf(network, pass, target) {
  switch (target.kind) {
    case "class":
      return startOfClass(network, pass, target);
    case "loss":
      return startOfLoss(network, pass, target);
    case "value":
      return startOfValue(pass, target);
    case "adjoint":
      return { layer: network.last.name, adjoint: makeTensor(pass.outputs.get(network.last.name).shape, target.values) };
    default:
      throw new Error(`unknown target ${target.kind}; expected class, loss, value or adjoint`);
  }
}

function startOfValue(pass, { layer, index, image = 0 }) {
  const output = pass.outputs.get(layer);
  if (!output) throw new Error(`there is no layer '${layer}'`);
  const adjoint = makeTensor(output.shape);
  adjoint.values[image * sizeOf(output.shape.slice(1)) + index] = 1;
  return { layer, adjoint };
}

function startOfClass(network, pass, { index = 0, class: chosen }) {
  const classes = classesOf(network, pass);
  if (!Number.isInteger(chosen) || chosen < 0 || chosen >= classes) {
    throw new Error(`there is no class ${chosen}: the network has ${classes} outputs, 0 to ${classes - 1}`);
  }
  if (network.output !== "probabilities") {
    return startOfValue(pass, { layer: network.last.name, index: chosen, image: index });
  }
  return startOfLogarithms(network, pass, (image, weights) => {
    if (image === index) weights[chosen] = 1;
  });
}

function startOfLoss(network, pass, { labels }) {
  const classes = classesOf(network, pass);
  const output = pass.outputs.get(network.last.name);
  const smoothing = network.loss?.label_smoothing ?? 0;
  if (labels.length !== output.shape[0]) {
    throw new Error(`the loss needs one label per image: ${output.shape[0]}, received ${labels.length}`);
  }
  const count = labels.filter((label) => label !== null).length;
  const targets = labels.map((label) => label !== null && smoothedTarget(label, classes, smoothing));
  if (network.output === "probabilities") {
    return startOfLogarithms(network, pass, (image, weights) => {
      if (!targets[image]) return;
      targets[image].forEach((share, index) => {
        weights[index] = -share / count;
      });
    });
  }
  const adjoint = makeTensor(output.shape);
  targets.forEach((target, image) => {
    if (!target) return;
    const probabilities = softmax(output.values.subarray(image * classes, (image + 1) * classes));
    probabilities.forEach((probability, index) => {
      adjoint.values[image * classes + index] = (probability - target[index]) / count;
    });
  });
  return { layer: network.last.name, adjoint };
}

/**
 * Start from a weighted sum of the logarithms of probabilities p: the adjoint is weight / p, and before a softmax
 * weight - p · sum(weights), which stays exact where p underflows.
 */
function startOfLogarithms(network, pass, fill) {
  const { name } = network.last;
  const isSoftmax = activationName(network.last) === "softmax";
  const output = pass.outputs.get(name);
  const classes = classesOf(network, pass);
  const adjoint = makeTensor(output.shape);
  const before = makeTensor(output.shape);
  for (let image = 0; image < output.shape[0]; image += 1) {
    const weights = new Float64Array(classes);
    fill(image, weights);
    const sum = weights.reduce((total, weight) => total + weight, 0);
    weights.forEach((weight, index) => {
      const place = image * classes + index;
      const probability = output.values[place];
      adjoint.values[place] = weight === 0 ? 0 : weight / Math.max(probability, isSoftmax ? SMALLEST_SOFTMAX : SMALLEST);
      before.values[place] = weight - probability * sum;
    });
  }
  return isSoftmax ? { layer: name, adjoint, before } : { layer: name, adjoint };
}

function classesOf(network, pass) {
  const { shape } = pass.outputs.get(network.last.name);
  if (shape.length !== 2) throw new Error(`the output of the network is not one value per class but (${shape.join(", ")})`);
  return shape[1];
}
