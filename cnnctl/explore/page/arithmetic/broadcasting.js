// Broadcasting: axes of length 1 are repeated, and missing axes are inserted after the batch, as Keras's Add does.

import { stridesOf } from "./tensor.js";

/** Insert axes of length 1 after the batch until a shape has a rank. */
export function expandedShape(shape, rank) {
  return [shape[0], ...new Array(rank - shape.length).fill(1), ...shape.slice(1)];
}

/** Compute the shape to which all shapes are broadcast. */
export function broadcastShape(shapes) {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  const expanded = shapes.map((shape) => expandedShape(shape, rank));
  return expanded[0].map((_, axis) => Math.max(...expanded.map((shape) => shape[axis])));
}

/**
 * List, for each value of a tensor of `shape`, the index of the value of the smaller tensor that is repeated there.
 * Returns null where both have the same shape, so that callers can take the index itself.
 */
export function broadcastIndices(shape, smaller) {
  const from = expandedShape(smaller, shape.length);
  if (from.every((length, axis) => length === shape[axis])) return null;
  const strides = stridesOf(from).map((stride, axis) => (from[axis] === 1 ? 0 : stride));
  let indices = new Int32Array(1);
  shape.forEach((length, axis) => {
    const next = new Int32Array(indices.length * length);
    for (let index = 0; index < next.length; index += 1) {
      next[index] = indices[Math.floor(index / length)] + (index % length) * strides[axis];
    }
    indices = next;
  });
  return indices;
}
