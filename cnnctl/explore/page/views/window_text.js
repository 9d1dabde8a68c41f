// The size of the output of a sliding window, with its arithmetic.

import { paddingOf, spatial } from "../arithmetic/window.js";
import { element } from "../dom.js";

function along(title, pixels, size, stride, dilation, padding, result) {
  return element("div", {
    text: `${title}⌊(${pixels} + ${padding} − ${dilation}·(${size} − 1) − 1) / ${stride}⌋ + 1 = ${result}`,
  });
}

function spreadSize(input, output, size, strides) {
  const sizes = `${input.height} × ${input.width} → ${output.height} × ${output.width}`;
  const text = `${sizes}: each value spreads over ${size.join(" × ")} places, ${strides.join(" × ")} apart`;
  return element("div", { class: "size-text" }, "size of the output", element("div", { text }));
}

/** Write out the output size: floor((n + padding - dilation · (k - 1) - 1) / stride) + 1, for rows and columns. */
export function outputSize(layer) {
  const {
    fields,
    shape,
    input_shapes: [inputShape],
  } = layer;
  const input = spatial(inputShape, fields.data_format);
  const output = spatial(shape, fields.data_format);
  const size = fields.kernel_size ?? fields.pool_size;
  const dilation = fields.dilation_rate ?? [1, 1];
  const padding = paddingOf(layer, inputShape);
  const lines = (rowsTitle) =>
    along(rowsTitle, input.height, size[0], fields.strides[0], dilation[0], padding.top + padding.bottom, output.height);
  const columns = along(
    "columns: ",
    input.width,
    size[1],
    fields.strides[1],
    dilation[1],
    padding.left + padding.right,
    output.width,
  );
  if (layer.kind === "conv2d_transpose") return spreadSize(input, output, size, fields.strides);
  const same = lines("columns: ").textContent === columns.textContent;
  return element("div", { class: "size-text" }, "size of the output", ...(same ? [lines("")] : [lines("rows: "), columns]));
}
