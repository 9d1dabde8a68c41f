// max_pooling2d and average_pooling2d. Padding is never the maximum, and never counts in a mean.

import { insideAlong, slidesOf } from "./sliding.js";
import { asPlanes, imageShape, makeTensor } from "./tensor.js";

/** Compute the maximum of every window. */
export function maxPoolingForward(step) {
  const { output, values } = pooledOutput(step);
  visitWindows(step, (at, pixels) => {
    output.values[at] = values[winnerOf(values, pixels)];
  });
  return { output };
}

/** Give the adjoint of every window to its winner. */
export function maxPoolingBackward(step, adjoint) {
  const { values, sums } = pooledInput(step);
  visitWindows(step, (at, pixels) => {
    sums[winnerOf(values, pixels)] += adjoint.values[at];
  });
  return [makeTensor(step.inputs[0].shape, Float32Array.from(sums))];
}

/** Compute the mean of the pixels of every window. */
export function averagePoolingForward(step) {
  const { output, values } = pooledOutput(step);
  visitWindows(step, (at, pixels) => {
    let sum = 0;
    for (const pixel of pixels) sum += values[pixel];
    output.values[at] = sum / pixels.length;
  });
  return { output };
}

/** Divide the adjoint of every window equally among its pixels. */
export function averagePoolingBackward(step, adjoint) {
  const { sums } = pooledInput(step);
  visitWindows(step, (at, pixels) => {
    const share = adjoint.values[at] / pixels.length;
    for (const pixel of pixels) sums[pixel] += share;
  });
  return [makeTensor(step.inputs[0].shape, Float32Array.from(sums))];
}

/** Return the first of the largest values, row by row: of equal values TensorFlow gives the gradient to this one. */
export function winnerOf(values, pixels) {
  let winner = pixels[0];
  for (const pixel of pixels) if (values[pixel] > values[winner]) winner = pixel;
  return winner;
}

function pooledOutput({ layer, inputs }) {
  const dataFormat = layer.fields.data_format;
  const { height, width } = asPlanes(inputs[0].shape, dataFormat);
  const { rows, columns } = slidesOf(layer.fields, height, width);
  const channels = inputs[0].shape[dataFormat === "channels_first" ? 1 : 3];
  const shape = imageShape(inputs[0].shape[0], rows.count, columns.count, channels, dataFormat);
  return { output: makeTensor(shape), values: inputs[0].values };
}

function pooledInput({ inputs }) {
  return { values: inputs[0].values, sums: new Float64Array(inputs[0].values.length) };
}

/** Call `visit(index of the output value, indices of the window's pixels)` for every window of every channel. */
function visitWindows({ layer, inputs }, visit) {
  const { outer, height, width, inner } = asPlanes(inputs[0].shape, layer.fields.data_format);
  const { rows, columns } = slidesOf(layer.fields, height, width);
  let at = 0;
  for (let plane = 0; plane < outer; plane += 1) {
    for (let row = 0; row < rows.count; row += 1) {
      const vertical = insideAlong(rows, row);
      for (let column = 0; column < columns.count; column += 1) {
        const horizontal = insideAlong(columns, column);
        const pixels = new Int32Array((vertical.end - vertical.first) * (horizontal.end - horizontal.first));
        let count = 0;
        for (let i = vertical.first; i < vertical.end; i += 1) {
          const line = (plane * height + vertical.start + i) * width + horizontal.start;
          for (let j = horizontal.first; j < horizontal.end; j += 1) {
            pixels[count] = (line + j) * inner;
            count += 1;
          }
        }
        for (let channel = 0; channel < inner; channel += 1) {
          visit(at, pixels);
          at += 1;
          for (let pixel = 0; pixel < count; pixel += 1) pixels[pixel] += 1;
        }
      }
    }
  }
}
