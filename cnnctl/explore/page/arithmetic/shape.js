// zero_padding2d, cropping2d, flatten, reshape and permute: values move, none changes.

import { asPlanes, channelsToEnd, channelsToFront, imageShape, makeTensor, sizeOf, stridesOf } from "./tensor.js";

/** Put zeros around images. */
export function zeroPaddingForward({ layer, inputs }) {
  const { data_format: dataFormat, padding } = layer.fields;
  const { height, width } = asPlanes(inputs[0].shape, dataFormat);
  const [[top, bottom], [left, right]] = padding;
  const channels = inputs[0].shape[dataFormat === "channels_first" ? 1 : 3];
  const shape = imageShape(inputs[0].shape[0], height + top + bottom, width + left + right, channels, dataFormat);
  const output = makeTensor(shape);
  visitLines(inputs[0].shape, dataFormat, padding, (from, to, count) => {
    output.values.set(inputs[0].values.subarray(from, from + count), to);
  });
  return { output };
}

/** Cut off the adjoints of the zeros. */
export function zeroPaddingBackward({ layer, inputs }, adjoint) {
  const gradient = makeTensor(inputs[0].shape);
  visitLines(inputs[0].shape, layer.fields.data_format, layer.fields.padding, (from, to, count) => {
    gradient.values.set(adjoint.values.subarray(to, to + count), from);
  });
  return [gradient];
}

/** Cut off rows and columns at the sides of images. */
export function croppingForward({ layer, inputs }) {
  const output = makeTensor([inputs[0].shape[0], ...layer.shape]);
  visitLines(output.shape, layer.fields.data_format, layer.fields.cropping, (to, from, count) => {
    output.values.set(inputs[0].values.subarray(from, from + count), to);
  });
  return { output };
}

/** Put the adjoints back to where their values came from; what was cut off has none. */
export function croppingBackward({ layer, inputs }, adjoint) {
  const gradient = makeTensor(inputs[0].shape);
  visitLines(adjoint.shape, layer.fields.data_format, layer.fields.cropping, (to, from, count) => {
    gradient.values.set(adjoint.values.subarray(to, to + count), from);
  });
  return [gradient];
}

/** Call `visit(index in the inner image, index in the outer image, count)` for every row of pixels of the inner one. */
function visitLines(shape, dataFormat, padding, visit) {
  const { outer, height, width, inner } = asPlanes(shape, dataFormat);
  const [[top, bottom], [left, right]] = padding;
  const [padded, wide] = [height + top + bottom, width + left + right];
  for (let plane = 0; plane < outer; plane += 1) {
    for (let row = 0; row < height; row += 1) {
      const to = ((plane * padded + top + row) * wide + left) * inner;
      visit((plane * height + row) * width * inner, to, width * inner);
    }
  }
}

/** Put all values of an image in one row; Keras moves the channels to the end first. */
export function flattenForward({ layer, inputs }) {
  const input = movesChannels(layer, inputs[0]) ? channelsToEnd(inputs[0]) : inputs[0];
  return { output: makeTensor([input.shape[0], sizeOf(input.shape.slice(1))], input.values) };
}

/** Put the adjoints back to where their values came from. */
export function flattenBackward({ layer, inputs }, adjoint) {
  const [batch, channels, ...rest] = inputs[0].shape;
  if (!movesChannels(layer, inputs[0])) return [makeTensor(inputs[0].shape, adjoint.values)];
  return [channelsToFront(makeTensor([batch, ...rest, channels], adjoint.values))];
}

function movesChannels(layer, input) {
  return layer.fields.data_format === "channels_first" && input.shape.length > 2;
}

/** Give values another shape, in the order in which they are. */
export function reshapeForward({ layer, inputs }) {
  return { output: makeTensor([inputs[0].shape[0], ...layer.shape], inputs[0].values) };
}

/** Give the adjoints the shape of the input. */
export function reshapeBackward({ inputs }, adjoint) {
  return [makeTensor(inputs[0].shape, adjoint.values)];
}

/** Put the axes of an image in another order. */
export function permuteForward({ layer, inputs }) {
  const [{ shape, values }] = inputs;
  const from = permutedFrom(layer, shape.slice(1));
  const output = makeTensor([shape[0], ...layer.shape]);
  for (let index = 0; index < values.length; index += 1) {
    output.values[index] = values[index - (index % from.length) + from[index % from.length]];
  }
  return { output };
}

/** Put the adjoints back to where their values came from. */
export function permuteBackward({ layer, inputs }, adjoint) {
  const from = permutedFrom(layer, inputs[0].shape.slice(1));
  const gradient = makeTensor(inputs[0].shape);
  adjoint.values.forEach((value, index) => {
    gradient.values[index - (index % from.length) + from[index % from.length]] = value;
  });
  return [gradient];
}

/** List for each value of one image the index of the input value that it is; `dims` counts from 1. */
export function permutedFrom({ fields, shape }, inputShape) {
  const steps = stridesOf(inputShape);
  let indices = new Int32Array(1);
  shape.forEach((length, axis) => {
    const next = new Int32Array(indices.length * length);
    const step = steps[fields.dims[axis] - 1];
    for (let index = 0; index < next.length; index += 1)
      next[index] = indices[Math.floor(index / length)] + (index % length) * step;
    indices = next;
  });
  return indices;
}
