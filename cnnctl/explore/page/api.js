/**
 * `window.cnnctl`: the page's own interface, for tests and for curious people in the console. Each call that sets something
 * changes what the page shows; each that asks computes at once.
 *
 *   cnnctl.layers                      [{name, type, shape}, …], shapes without the batch
 *   cnnctl.setImage(values)            nested or flat, in the network's own layout, from 0 to 1
 *   cnnctl.activations("conv2d")       {shape, values} of the image
 *   cnnctl.gradients("conv2d")         {shape, values}: the gradient of the target by that output; "input" too
 *   cnnctl.setTarget({class: 3})       the score of class 3 (its logarithm where the outputs are probabilities)
 *   cnnctl.setTarget({loss: 3})        the loss with 3 as the image's true class; unlabelled images of a batch do not count
 *   cnnctl.setTraining(true)           batch norm uses the batch, dropout drops
 *   cnnctl.setBatch([image, …])        the whole batch, the page's image first; an image is values or {values, label}
 *   cnnctl.setMasks({dropout: […]})    nested 0 and 1, or noise, for the batch; null draws them
 *   cnnctl.setSnapshot(0)              the weights of `cnnctl.snapshots[0]`
 *   cnnctl.classify()                  [{class, probability}, …]
 *   cnnctl.frames()                    the latest redraws: [{at, interval, work}, …] in milliseconds
 *   await cnnctl.drawn()               resolves when the page shows all that was set
 */

import { classNames, hasLoss } from "./episode.js";
import { probabilities } from "./overview/classes.js";
import { change, gradientsNow, recentFrames, refresh, state, whenDrawn } from "./state.js";

/** Create the interface; the page must have its data. */
export function createApi() {
  const { network, snapshots } = state.page;
  const names = classNames(state.page);
  return Object.freeze({
    layers: network.layers.map(({ name, kind, shape }) => ({ name, type: kind, shape: [...shape] })),
    snapshots: snapshots.map(({ epoch, label }) => ({ epoch, label })),
    setImage: (values) => change({ image: givenImage(values, "setImage") }),
    activations: (name) => answerOf(passNow().outputs, name),
    gradients: (name) => answerOf(gradientsNow(), name),
    setTraining: (training) => change({ training: Boolean(training) }),
    setTarget,
    setMasks: (masks) => change({ masks: masks === null ? null : givenMasks(masks) }),
    setBatch,
    setSnapshot,
    classify: () =>
      passNow() && Array.from(probabilities(), (probability, index) => ({ class: names[index] ?? String(index), probability })),
    frames: recentFrames,
    drawn: whenDrawn,
  });
}

function passNow() {
  refresh();
  return state.pass;
}

/** Return the values of the page's image, which is the first of the batch. */
function answerOf(tensors, name) {
  const tensor = tensors.get(name);
  if (!tensor) throw new Error(`there is no layer '${name}'; expected one of ${[...tensors.keys()].join(", ")}`);
  const [count, ...shape] = tensor.shape;
  return { shape, values: Array.from(tensor.values.subarray(0, tensor.values.length / count)) };
}

function givenImage(given, call) {
  const isEntry = Object.hasOwn(given ?? {}, "values"); // arrays have a method of that name
  const { values, label = null, name = "given image" } = isEntry ? given : { values: given };
  const flat = Float32Array.from(flattened(values));
  const { shape } = state.page.network.input;
  const expected = shape.reduce((product, length) => product * length, 1);
  if (flat.length !== expected)
    throw new Error(`${call}: expected ${expected} values for ${JSON.stringify(shape)}; received ${flat.length}`);
  if (flat.some((value) => !Number.isFinite(value))) throw new Error(`${call}: a value is not a finite number`);
  if (label !== null) checkClass(label, call);
  return { values: flat, label, name };
}

function flattened(values) {
  return ArrayBuffer.isView(values) ? values : [values].flat(Infinity);
}

function setTarget(given) {
  const kind = Object.hasOwn(given, "loss") ? "loss" : "class";
  if (kind === "loss" && !hasLoss(state.page))
    throw new Error("setTarget: this network is trained without a loss of classes; expected {class: …}");
  checkClass(given[kind], "setTarget");
  change({ target: { kind, class: given[kind], follows: false } });
}

function checkClass(index, call) {
  const count = classNames(state.page).length;
  if (count === 0) throw new Error(`${call}: the network has no classes; received class ${index}`);
  if (!Number.isInteger(index) || index < 0 || index >= count)
    throw new Error(`${call}: expected a class from 0 to ${count - 1}; received ${index}`);
}

function givenMasks(masks) {
  return Object.fromEntries(
    Object.entries(masks).map(([name, nested]) => [
      name,
      { shape: nestedShape(nested), values: Float32Array.from(flattened(nested)) },
    ]),
  );
}

function nestedShape(nested) {
  const shape = [];
  for (let inner = nested; Array.isArray(inner); [inner] = inner) shape.push(inner.length);
  return shape;
}

function setBatch(images) {
  if (!Array.isArray(images) || images.length === 0) throw new Error("setBatch: expected a list of images");
  const [image, ...others] = images.map((each) => givenImage(each, "setBatch"));
  change({ image, givenPartners: others, batchSize: images.length });
}

function setSnapshot(index) {
  const { length } = state.page.snapshots;
  if (!Number.isInteger(index) || index < 0 || index >= length)
    throw new Error(`setSnapshot: expected 0 to ${length - 1}; received ${index}`);
  change({ snapshot: index });
}
