// Tensors: { shape: [B, ...], values: Float32Array }, row-major, with Keras's axes.

/** Multiply the lengths of all axes. */
export function sizeOf(shape) {
  return shape.reduce((product, length) => product * length, 1);
}

/** Make a tensor; without values it is filled with zeros. */
export function makeTensor(shape, values = new Float32Array(sizeOf(shape))) {
  if (values.length !== sizeOf(shape)) {
    throw new Error(`a tensor of shape (${shape.join(", ")}) needs ${sizeOf(shape)} values, received ${values.length}`);
  }
  return { shape, values };
}

/** Compute how many values lie between neighbours along each axis. */
export function stridesOf(shape) {
  const strides = new Array(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis -= 1) strides[axis] = strides[axis + 1] * shape[axis + 1];
  return strides;
}

/** Convert a Keras axis, which may count from the end, to an index of a shape that has the batch axis. */
export function resolveAxis(axis, rank) {
  const resolved = axis < 0 ? rank + axis : axis;
  if (resolved < 1 || resolved >= rank) throw new Error(`axis ${axis} is not an axis of ${rank} other than the batch`);
  return resolved;
}

/** Split a shape at an axis: the values before it, its length, and the values after it. */
export function splitAt(shape, axis) {
  return { outer: sizeOf(shape.slice(0, axis)), length: shape[axis], inner: sizeOf(shape.slice(axis + 1)) };
}

/** View an image tensor as (outer, H, W, inner): inner is the channels of channels_last, else 1. */
export function asPlanes(shape, dataFormat) {
  const [batch, first, second, third] = shape;
  if (dataFormat === "channels_first") return { outer: batch * first, height: second, width: third, inner: 1 };
  return { outer: batch, height: first, width: second, inner: third };
}

/** Build the shape of images (B, H, W, C) or (B, C, H, W). */
export function imageShape(batch, height, width, channels, dataFormat) {
  return dataFormat === "channels_first" ? [batch, channels, height, width] : [batch, height, width, channels];
}

/** Move axis 1 to the end, (B, C, ...) → (B, ..., C). */
export function channelsToEnd(tensor) {
  const [batch, channels, ...rest] = tensor.shape;
  return makeTensor([batch, ...rest, channels], swappedAxes(tensor.values, batch, channels, sizeOf(rest)));
}

/** Move the last axis to place 1, (B, ..., C) → (B, C, ...). */
export function channelsToFront(tensor) {
  const channels = tensor.shape[tensor.shape.length - 1];
  const [batch, ...rest] = tensor.shape.slice(0, -1);
  return makeTensor([batch, channels, ...rest], swappedAxes(tensor.values, batch, sizeOf(rest), channels));
}

function swappedAxes(values, batch, rows, columns) {
  const result = new Float32Array(values.length);
  for (let image = 0; image < batch; image += 1) {
    const start = image * rows * columns;
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        result[start + column * rows + row] = values[start + row * columns + column];
      }
    }
  }
  return result;
}

/** Take one image of a batch, as a batch of one. */
export function imageOf(tensor, index) {
  const size = sizeOf(tensor.shape.slice(1));
  return makeTensor([1, ...tensor.shape.slice(1)], tensor.values.slice(index * size, (index + 1) * size));
}
