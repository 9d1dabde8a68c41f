// The size of the output of a sliding window, with its arithmetic.

import { paddingOf, spatial } from "../arithmetic/window.js";

function along(letter, pixels, size, stride, dilation, padding, result) {
  return `${letter}: ⌊(${pixels} + ${padding} − ${dilation}·(${size} − 1) − 1) / ${stride}⌋ + 1 = ${result}`;
}

/** Write out the output size: floor((n + padding - dilation · (k - 1) - 1) / stride) + 1, for rows and columns. */
export function outputSize(layer, inputShape) {
  const { fields, shape } = layer;
  const input = spatial(inputShape, fields.data_format);
  const output = spatial(shape, fields.data_format);
  const size = fields.kernel_size ?? fields.pool_size;
  const dilation = fields.dilation_rate ?? [1, 1];
  const padding = paddingOf(layer, inputShape);
  const rows = along("rows", input.height, size[0], fields.strides[0], dilation[0], padding.top + padding.bottom, output.height);
  const columns = along("columns", input.width, size[1], fields.strides[1], dilation[1], padding.left + padding.right, output.width);
  return rows.slice(5) === columns.slice(8) ? `size${rows.slice(4)}` : `${rows}; ${columns}`;
}
