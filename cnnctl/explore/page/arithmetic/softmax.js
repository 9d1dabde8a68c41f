// Softmax and cross-entropy, step by step.

import { broadcastIndices } from "./broadcasting.js";
import { makeTensor, sizeOf } from "./tensor.js";

/** Compute exp(x / T) / sum(exp(x / T)) of a list of logits. */
export function softmax(logits, temperature = 1) {
  return softmaxSteps(logits, temperature).probabilities;
}

/**
 * Compute softmax in steps: the logits divided by the temperature, the largest subtracted (which changes no probability
 * and keeps exp from overflowing), their exponentials, the sum, the probabilities.
 */
export function softmaxSteps(logits, temperature = 1) {
  const scaled = Float64Array.from(logits, (logit) => logit / temperature);
  const largest = scaled.reduce((high, value) => Math.max(high, value), -Infinity);
  const shifted = scaled.map((value) => value - largest);
  const exponentials = shifted.map(Math.exp);
  const sum = exponentials.reduce((total, value) => total + value, 0);
  return { scaled, largest, shifted, exponentials, sum, probabilities: exponentials.map((value) => value / sum) };
}

/** Return the target of one class: 1 - smoothing for it, and smoothing spread over all classes. */
export function smoothedTarget(label, classes, smoothing = 0) {
  return Float64Array.from({ length: classes }, (_, index) => (index === label ? 1 - smoothing : 0) + smoothing / classes);
}

/**
 * Compute the cross-entropy of logits for a true class, in steps: those of softmax, the logarithms of the probabilities,
 * the target, and the loss -sum(target · logarithm).
 */
export function crossEntropy(logits, label, { temperature = 1, smoothing = 0 } = {}) {
  const steps = softmaxSteps(logits, temperature);
  const logarithms = steps.shifted.map((value) => value - Math.log(steps.sum));
  const target = smoothedTarget(label, logarithms.length, smoothing);
  return { ...steps, logarithms, target, loss: lossOf(target, logarithms) };
}

/** Compute the cross-entropy of probabilities for a true class. */
export function crossEntropyOfProbabilities(probabilities, label, { smoothing = 0 } = {}) {
  const logarithms = Float64Array.from(probabilities, (value) => Math.log(Math.max(value, SMALLEST)));
  const target = smoothedTarget(label, logarithms.length, smoothing);
  return { probabilities: Float64Array.from(probabilities), logarithms, target, loss: lossOf(target, logarithms) };
}

/** A probability below this counts as this: log(0) has no value. Keras's losses use 1e-7. */
export const SMALLEST = 1e-7;

function lossOf(target, logarithms) {
  return target.reduce((sum, share, index) => (share === 0 ? sum : sum - share * logarithms[index]), 0);
}

/** Apply softmax along axes of a tensor. */
export function softmaxForward(before, axes) {
  const output = makeTensor(before.shape);
  for (const places of groupsAlong(before.shape, axes)) {
    const { probabilities } = softmaxSteps(places.map((place) => before.values[place]));
    places.forEach((place, index) => (output.values[place] = probabilities[index]));
  }
  return output;
}

/** Compute the adjoint of the logits: dx = y · (dy - sum(dy · y)). */
export function softmaxBackward(output, adjoint, axes) {
  const gradient = makeTensor(output.shape);
  for (const places of groupsAlong(output.shape, axes)) {
    const sum = places.reduce((total, place) => total + adjoint.values[place] * output.values[place], 0);
    places.forEach((place) => (gradient.values[place] = output.values[place] * (adjoint.values[place] - sum)));
  }
  return gradient;
}

/** List the indices of the values whose softmax is taken together: those that differ along `axes` only. */
export function groupsAlong(shape, axes) {
  const indices = broadcastIndices(
    shape,
    shape.map((length, axis) => (axes.includes(axis) ? 1 : length)),
  );
  const groups = [];
  for (let index = 0; index < sizeOf(shape); index += 1) (groups[indices ? indices[index] : index] ??= []).push(index);
  return groups;
}
