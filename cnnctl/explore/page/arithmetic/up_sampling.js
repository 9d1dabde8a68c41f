// up_sampling2d: each output value is a sum of pixels near it. Pixel i has its centre at i + 1/2, as in TensorFlow.

import { asPlanes, imageShape, makeTensor } from "./tensor.js";

const cubic = (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0);
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (reach) => ({ reach, weight: (x) => (x < reach ? sinc(x) * sinc(x / reach) : 0) });

/** The kernels: weights by the distance of a pixel, 0 beyond `reach`. R. G. Keys 1981 for bicubic; C. Duchon 1979 for Lanczos. */
const KERNELS = {
  bilinear: { reach: 1, weight: (x) => Math.max(1 - x, 0) },
  bicubic: { reach: 2, weight: cubic, steps: 1024 }, // TensorFlow reads its weights from a table, 1024 per pixel
  lanczos3: lanczos(3),
  lanczos5: lanczos(5),
};
const ROUNDING = 1e-6; // the sines of Lanczos at whole multiples of pi

/** Return the pixels of a line that a position is interpolated from, with their weights: [{ pixel, weight }]. */
export function pixelsOf(interpolation, factor, pixels, position) {
  if (interpolation === "nearest") return [{ pixel: Math.floor(position / factor), weight: 1 }];
  const { reach, weight, steps } = KERNELS[interpolation];
  const exact = (position + 0.5) / factor - 0.5;
  const before = Math.floor(exact);
  const centre = steps ? before + Math.round((exact - before) * steps) / steps : exact;
  const found = [];
  for (let pixel = before - reach + 1; pixel <= before + reach; pixel += 1) {
    if (pixel >= 0 && pixel < pixels) found.push({ pixel, weight: weight(Math.abs(pixel - centre)) });
  }
  const sum = found.reduce((total, each) => total + each.weight, 0); // pixels beyond the edge are left out
  const weighted = found.map((each) => ({ pixel: each.pixel, weight: each.weight / sum }));
  return weighted.filter((each) => Math.abs(each.weight) > ROUNDING);
}

/** Return for each position along rows and columns the pixels that it is interpolated from. */
export function linesOf({ fields }, height, width) {
  const [down, across] = fields.size;
  const line = (pixels, factor) =>
    Array.from({ length: pixels * factor }, (_, position) => pixelsOf(fields.interpolation, factor, pixels, position));
  return { rows: line(height, down), columns: line(width, across) };
}

/** Enlarge images. */
export function upSamplingForward({ layer, inputs }) {
  const [input] = inputs;
  const { data_format: dataFormat, size } = layer.fields;
  const { height, width } = asPlanes(input.shape, dataFormat);
  const channels = input.shape[dataFormat === "channels_first" ? 1 : 3];
  const output = makeTensor(imageShape(input.shape[0], height * size[0], width * size[1], channels, dataFormat));
  visitProducts(layer, input.shape, (from, to, weight) => (output.values[to] += weight * input.values[from]));
  return { output };
}

/** Add the adjoints of the values in which a pixel has a weight. */
export function upSamplingBackward({ layer, inputs }, adjoint) {
  const sums = new Float64Array(inputs[0].values.length);
  visitProducts(layer, inputs[0].shape, (from, to, weight) => (sums[from] += weight * adjoint.values[to]));
  return [makeTensor(inputs[0].shape, Float32Array.from(sums))];
}

/** Call `visit(index of a pixel, index of an output value, weight)` for every pixel that has a weight in a value. */
function visitProducts(layer, shape, visit) {
  const { outer, height, width, inner } = asPlanes(shape, layer.fields.data_format);
  const { rows, columns } = linesOf(layer, height, width);
  let to = 0;
  for (let plane = 0; plane < outer; plane += 1) {
    for (const vertical of rows) {
      for (const horizontal of columns) {
        for (const down of vertical) {
          for (const across of horizontal) {
            const from = ((plane * height + down.pixel) * width + across.pixel) * inner;
            for (let channel = 0; channel < inner; channel += 1) {
              visit(from + channel, to + channel, down.weight * across.weight);
            }
          }
        }
        to += inner;
      }
    }
  }
}
