// global_average_pooling2d and global_max_pooling2d: one value per channel.

import { asPlanes, imageShape, makeTensor } from "./tensor.js";

/** Compute the mean of every channel. */
export function globalAverageForward(step) {
  const output = globalOutput(step);
  visitChannels(step, (at, pixels) => {
    let sum = 0;
    for (let pixel = pixels.first; pixel < pixels.end; pixel += pixels.step) sum += step.inputs[0].values[pixel];
    output.values[at] = sum / pixels.count;
  });
  return { output };
}

/** Divide the adjoint of a channel equally among its pixels. */
export function globalAverageBackward(step, adjoint) {
  const gradient = makeTensor(step.inputs[0].shape);
  visitChannels(step, (at, pixels) => {
    const share = adjoint.values[at] / pixels.count;
    for (let pixel = pixels.first; pixel < pixels.end; pixel += pixels.step) gradient.values[pixel] = share;
  });
  return [gradient];
}

/** Compute the maximum of every channel. */
export function globalMaxForward(step) {
  const output = globalOutput(step);
  visitChannels(step, (at, pixels) => {
    output.values[at] = largestOfChannel(step.inputs[0].values, pixels).value;
  });
  return { output };
}

/** Divide the adjoint of a channel among its largest values: tf.reduce_max shares it where several are equal. */
export function globalMaxBackward(step, adjoint) {
  const gradient = makeTensor(step.inputs[0].shape);
  const values = step.inputs[0].values;
  visitChannels(step, (at, pixels) => {
    const { value, count } = largestOfChannel(values, pixels);
    for (let pixel = pixels.first; pixel < pixels.end; pixel += pixels.step) {
      if (values[pixel] === value) gradient.values[pixel] = adjoint.values[at] / count;
    }
  });
  return [gradient];
}

function largestOfChannel(values, pixels) {
  let [value, count] = [values[pixels.first], 0];
  for (let pixel = pixels.first; pixel < pixels.end; pixel += pixels.step) {
    if (values[pixel] > value) [value, count] = [values[pixel], 1];
    else if (values[pixel] === value) count += 1;
  }
  return { value, count };
}

function globalOutput({ layer, inputs }) {
  const { data_format: dataFormat, keepdims } = layer.fields;
  const batch = inputs[0].shape[0];
  const channels = inputs[0].shape[dataFormat === "channels_first" ? 1 : 3];
  return makeTensor(keepdims ? imageShape(batch, 1, 1, channels, dataFormat) : [batch, channels]);
}

/** Call `visit(index of the output value, { first, end, step, count } of the channel's pixels)` for every channel. */
function visitChannels({ layer, inputs }, visit) {
  const { outer, height, width, inner } = asPlanes(inputs[0].shape, layer.fields.data_format);
  const count = height * width;
  for (let plane = 0; plane < outer; plane += 1) {
    for (let channel = 0; channel < inner; channel += 1) {
      const first = plane * count * inner + channel;
      visit(plane * inner + channel, { first, end: (plane + 1) * count * inner, step: inner, count });
    }
  }
}
