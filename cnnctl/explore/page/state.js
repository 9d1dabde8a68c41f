/**
 * What the page shows at this moment, in one object. `change` merges new values and recomputes what depends on them, once
 * per animation frame; views listen with `subscribe` and read `state`.
 */

import { Network } from "./arithmetic/network.js";
import { comparesEmbeddings, episodeScores, scoreGradient } from "./episode.js";

export const state = {
  page: null,
  network: null, // with the weights of the snapshot
  image: null, // {values, label, name}
  batch: [], // the images of the pass: `image`, in training mode followed by its partners
  givenPartners: null, // partners set by the API instead of those of the page
  training: false,
  batchSize: 8,
  maskSeed: 1,
  masks: null, // dropout masks set by the API, {layer: nested lists}
  snapshot: 0, // index of page.snapshots
  target: { kind: "class", class: 0, follows: true },
  selected: null, // {layer, map, row, column}
  temperature: 1, // of the view of the output alone
  trueClass: null, // {class, image}: the class that a person chose as the true one of an image
  error: null, // the message of what went wrong in the latest update
  showGradients: false,
  pass: null,
  gradients: null, // Map of names to tensors while something needs them
};

const PASS_DEPENDS_ON = ["image", "givenPartners", "training", "batchSize", "maskSeed", "masks", "snapshot"];
const BATCH_SIZES = [8, 32, 128];
const SLOW = 60; // milliseconds: after a slower update the next one waits, so that drawing itself stays smooth
const LONGEST_PAUSE = 250;
const listeners = new Set();
const gradientOwners = new Set();
const networks = [];
const frameTimes = [];
const stale = { pass: true, gradients: true };
let scheduled = false;
let lastWork = 0;
let lastFrame = 0;

/** Start with a page's data; shows the network itself, which is the last snapshot. */
export function startState(page) {
  state.page = page;
  state.snapshot = page.snapshots.length - 1;
  state.training = page.few_shot?.method === "maml"; // which uses the statistics of the batch in tests too
  if (state.training) state.batchSize = page.batch.length;
  state.network = networkOf(state.snapshot);
}

/** Return the network with the weights of a snapshot; each is created once. */
export function networkOf(snapshot) {
  const set = state.page.snapshots[snapshot].set;
  networks[set] ??= new Network(state.page.network, state.page.weights[set]);
  return networks[set];
}

/**
 * Merge values into the state and notify listeners in the next frame.
 * @param {object} patch new values by key; the pass and the gradients are recomputed where they depend on one of them.
 */
export function change(patch) {
  Object.assign(state, patch);
  if (PASS_DEPENDS_ON.some((key) => key in patch)) stale.pass = true;
  if (stale.pass || "target" in patch) stale.gradients = true;
  schedule();
}

/** Call `listener(state)` after each change; returns a function that ends this. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Ask for gradients, or stop asking: they are computed while at least one owner needs them. */
export function needGradients(owner, needed) {
  if (needed === gradientOwners.has(owner)) return;
  if (needed) gradientOwners.add(owner);
  else gradientOwners.delete(owner);
  stale.gradients = true;
  schedule();
}

/** Compute what is stale at once, for code that must not wait for a frame. */
export function refresh() {
  if (!state.image) return;
  if (stale.pass) computePass();
  if (stale.gradients && gradientOwners.size) state.gradients = computeGradients();
  if (!gradientOwners.size) state.gradients = null;
  stale.gradients = state.gradients === null;
}

/** Return the gradients of the target, computed now if nothing shows them. */
export function gradientsNow() {
  refresh();
  return state.gradients ?? computeGradients();
}

function computePass() {
  state.network = networkOf(state.snapshot);
  state.batch = [state.image, ...(state.training ? batchPartners() : [])];
  const options = { training: state.training, masks: state.masks ?? {}, seed: state.maskSeed };
  state.pass = state.network.forward(batchTensor(state.batch, state.page.network.input.shape), options);
  stale.pass = false;
  if (state.target.follows) followPrediction();
}

/** Return the other images of a training batch. */
function batchPartners() {
  return possiblePartners().slice(0, state.batchSize - 1);
}

function possiblePartners() {
  return state.givenPartners ?? state.page.batch.filter(({ name }) => name !== state.image.name);
}

/** Return the sizes that a training batch can have with the images there are, the present one among them. */
export function batchSizes() {
  const most = 1 + (state.image ? possiblePartners().length : state.page.batch.length);
  const largest = Math.min(most, BATCH_SIZES.at(-1));
  const sizes = [...BATCH_SIZES.filter((size) => size <= most), largest, Math.min(state.batchSize, most)];
  return [...new Set(sizes)].sort((one, other) => one - other);
}

/** Put images one after another into one tensor (B, ...shape). */
export function batchTensor(images, shape) {
  const size = shape.reduce((product, length) => product * length, 1);
  const values = new Float32Array(images.length * size);
  images.forEach((image, index) => values.set(image.values, index * size));
  return { shape: [images.length, ...shape], values };
}

/** Let the target be the predicted class, until a person chooses one. */
function followPrediction() {
  const scores = scoresOfClasses();
  const best = scores.reduce((found, value, index) => (value > scores[found] ? index : found), 0);
  if (best === state.target.class) return;
  state.target = { ...state.target, class: best };
  stale.gradients = true;
}

function computeGradients() {
  return state.network.backward(state.pass, targetOf(state.target));
}

/** Translate the target of the page into one of the arithmetic. */
function targetOf(target) {
  if (target.kind === "class" && comparesEmbeddings(state.page))
    return { kind: "adjoint", values: adjointOfScore(target.class) };
  if (target.kind === "class") return { kind: "class", index: 0, class: target.class };
  return { kind: "loss", labels: state.batch.map((image, index) => (index === 0 ? target.class : (image.label ?? null))) };
}

/** Return the outputs of the last layer for the image of the page, before softmax where they are logits. */
export function outputValues() {
  const tensor = state.pass.outputs.get(state.page.network.layers.at(-1).name);
  const size = tensor.values.length / tensor.shape[0];
  return tensor.values.subarray(0, size);
}

/** Return the score of each class for the image of the page: the outputs, or those of an episode from an embedding. */
export function scoresOfClasses() {
  const outputs = outputValues();
  if (!comparesEmbeddings(state.page)) return outputs;
  return episodeScores(state.page, state.network, outputs).map((each) => each.score);
}

/** Return the gradient of an episode's score by the outputs of the batch; only the page's image has one. */
function adjointOfScore(chosen) {
  const values = new Float32Array(state.pass.outputs.get(state.network.last.name).values.length);
  values.set(scoreGradient(state.page, state.network, outputValues(), chosen));
  return values;
}

/** Compute and notify in the next frame; where that took long the last time, after a pause for the pointer and the keys. */
function schedule() {
  if (scheduled) return;
  scheduled = true;
  const next = () => requestAnimationFrame(update);
  if (stale.pass && lastWork > SLOW) setTimeout(next, Math.min(lastWork, LONGEST_PAUSE));
  else next();
}

/** Return a promise that is kept when all changes have been computed and drawn. */
export function whenDrawn() {
  return new Promise((kept) => {
    const look = () => (scheduled ? requestAnimationFrame(look) : kept());
    requestAnimationFrame(look);
  });
}

function update(now) {
  scheduled = false;
  const started = performance.now();
  state.error = null;
  attempt(refresh);
  if (state.pass || state.error) for (const listener of [...listeners]) attempt(() => listener(state));
  lastWork = performance.now() - started;
  frameTimes.push({ at: now, interval: now - lastFrame, work: lastWork });
  if (frameTimes.length > 240) frameTimes.shift();
  lastFrame = now;
}

/** Do one part of an update; the page shows what went wrong in it, and the other parts are done nevertheless. */
function attempt(work) {
  try {
    work();
  } catch (error) {
    state.error ??= error.message; // the first is the cause of others
    console.error(error);
  }
}

/**
 * Return the latest frames in which something changed.
 * @returns {{at: number, interval: number, work: number}[]} milliseconds: when, since the frame before, and the time spent.
 */
export function recentFrames() {
  return frameTimes.map((frame) => ({ ...frame }));
}
