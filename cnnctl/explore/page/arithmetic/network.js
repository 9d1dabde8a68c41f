// A network: its layers, one set of weights, the forward pass and reverse mode.

import { layerBackward, layerForward, operationOf } from "./operations.js";
import { startOf } from "./targets.js";
import { makeTensor, sizeOf } from "./tensor.js";

/** The name of the images among the outputs. */
export const INPUT = "input";

/** The adjoints of a backward pass: name → tensor for every layer and "input"; `before` has those before activations. */
export class Gradients extends Map {
  constructor() {
    super();
    this.before = new Map();
  }

  /** Add a tensor to the adjoint of an output, which several layers may take. */
  accumulate(name, tensor) {
    const known = this.get(name);
    if (known)
      this.set(
        name,
        makeTensor(
          known.shape,
          known.values.map((value, index) => value + tensor.values[index]),
        ),
      );
    else this.set(name, tensor);
  }
}

export class Network {
  /**
   * @param description the part `network` of the page's data
   * @param weights Float32Array of one set of weights
   */
  constructor(description, weights) {
    if (weights.length !== description.weights_count) {
      throw new Error(`the network has ${description.weights_count} weights, received ${weights.length}`);
    }
    this.description = description;
    this.layers = description.layers;
    this.output = description.output;
    this.loss = description.loss;
    this.places = new Map(this.layers.map((layer) => [layer.name, layer]));
    this.weights = new Map(this.layers.map((layer) => [layer.name, weightsOf(layer, weights)]));
    this.layers.forEach(operationOf); // an unknown type is reported before anything is computed
  }

  /** The last layer, whose output is the network's. */
  get last() {
    return this.layers[this.layers.length - 1];
  }

  /** Return a layer by name. */
  layer(name) {
    if (!this.places.has(name)) throw new Error(`there is no layer '${name}'`);
    return this.places.get(name);
  }

  /** Return a weight of a layer, such as weight("conv2d", "kernel"); undefined where the layer has none. */
  weight(layerName, name) {
    return this.weights.get(this.layer(layerName).name)[name];
  }

  /**
   * Compute the outputs of all layers.
   * @param images tensor (B, ...) as the network takes them
   * @param options.training batch statistics and dropout
   * @param options.masks dropout layer → mask of 0 and 1; others are drawn from `seed`
   * @returns the pass: { images, training, outputs, before, masks, statistics }, Maps by layer name
   */
  forward(images, { training = false, masks = {}, seed = 0 } = {}) {
    checkImages(images, this.description.input.shape);
    const maps = { outputs: new Map([[INPUT, images]]), before: new Map(), masks: new Map(), statistics: new Map() };
    const pass = { images, training, ...maps };
    for (const layer of this.layers) {
      const mask = Object.hasOwn(masks, layer.name) ? masks[layer.name] : undefined;
      const result = layerForward({ ...this.stepOf(layer, pass), mask, seed });
      pass.outputs.set(layer.name, result.output);
      if (result.before) pass.before.set(layer.name, result.before);
      if (result.mask) pass.masks.set(layer.name, result.mask);
      if (result.statistics) pass.statistics.set(layer.name, result.statistics);
    }
    return pass;
  }

  /**
   * Compute the gradients of a target by reverse mode; see targets.js for what a target is.
   * @returns Gradients: the adjoint of every layer's output and of "input"
   */
  backward(pass, target) {
    const gradients = new Gradients();
    const start = startOf(this, pass, target);
    gradients.accumulate(start.layer, start.adjoint);
    for (const layer of [...this.layers].reverse()) {
      if (!gradients.has(layer.name)) continue;
      const exact = layer.name === start.layer ? start.before : undefined;
      const { inputs, before } = layerBackward(this.stepOf(layer, pass), gradients.get(layer.name), exact);
      if (before) gradients.before.set(layer.name, before);
      layer.inputs.forEach((name, index) => gradients.accumulate(name, inputs[index]));
    }
    return withZeros(gradients, pass);
  }

  /** Collect what the operation of a layer takes; after the forward pass with what it left for the backward pass. */
  stepOf(layer, pass) {
    const { name } = layer;
    return {
      layer,
      inputs: layer.inputs.map((input) => pass.outputs.get(input)),
      weights: this.weights.get(name),
      training: pass.training,
      output: pass.outputs.get(name),
      before: pass.before.get(name),
      mask: pass.masks.get(name),
      statistics: pass.statistics.get(name),
    };
  }
}

function weightsOf(layer, weights) {
  const cut = ({ offset, shape }) => makeTensor(shape, weights.subarray(offset, offset + sizeOf(shape)));
  return Object.fromEntries(Object.entries(layer.weights).map(([name, place]) => [name, cut(place)]));
}

function checkImages(images, shape) {
  if (images.shape.slice(1).join() !== shape.join()) {
    throw new Error(`the network takes images (B, ${shape.join(", ")}), received (${images.shape.join(", ")})`);
  }
  makeTensor(images.shape, images.values); // as many values as the shape has
}

/** Add zeros for the layers on which the target does not depend. */
function withZeros(gradients, pass) {
  for (const [name, output] of pass.outputs) {
    if (!gradients.has(name)) gradients.set(name, makeTensor(output.shape));
  }
  return gradients;
}
