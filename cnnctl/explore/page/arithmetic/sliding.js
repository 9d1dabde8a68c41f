// Where the windows of convolutions and poolings lie along one axis. The formulas are those of Dumoulin and Visin,
// "A guide to convolution arithmetic for deep learning" (2016); `same` puts the odd zero after, as TensorFlow does.

/**
 * Compute the positions of a window along one axis.
 * Returns { count, before, size, stride, dilation, pixels }: the positions, the zeros before the first pixel, the window.
 */
export function slideAlong(pixels, size, stride, dilation, padding) {
  const extent = dilation * (size - 1) + 1;
  if (padding !== "same") {
    return { count: Math.floor((pixels - extent) / stride) + 1, before: 0, size, stride, dilation, pixels };
  }
  const count = Math.ceil(pixels / stride);
  const zeros = Math.max((count - 1) * stride + extent - pixels, 0);
  return { count, before: Math.floor(zeros / 2), size, stride, dilation, pixels };
}

/** Return the slides along rows and columns of a convolution's or a pooling's window. */
export function slidesOf(fields, height, width) {
  const size = fields.kernel_size ?? fields.pool_size;
  const dilation = fields.dilation_rate ?? [1, 1];
  return {
    rows: slideAlong(height, size[0], fields.strides[0], dilation[0], fields.padding),
    columns: slideAlong(width, size[1], fields.strides[1], dilation[1], fields.padding),
  };
}

/** List the pixels of the window at a position; those below 0 or from `pixels` on are padding. */
export function windowAlong(slide, position) {
  const start = position * slide.stride - slide.before;
  return Array.from({ length: slide.size }, (_, index) => start + index * slide.dilation);
}

/**
 * List the pixels from which a transposed convolution reaches an output position: [{ pixel, index }], `index` in the window.
 * The slide is that of the convolution from the output back to the input.
 */
export function reachedFrom(slide, position) {
  const found = [];
  for (let index = 0; index < slide.size; index += 1) {
    const pixel = (position + slide.before - index * slide.dilation) / slide.stride;
    if (Number.isInteger(pixel) && pixel >= 0 && pixel < slide.count) found.push({ pixel, index });
  }
  return found;
}

/** Return which indices of the window at a position are pixels: `first`, and `end` after the last; `start` is its corner. */
export function insideAlong(slide, position) {
  const start = position * slide.stride - slide.before;
  const first = start >= 0 ? 0 : Math.ceil(-start / slide.dilation);
  const end = Math.min(slide.size, Math.ceil((slide.pixels - start) / slide.dilation));
  return { start, first, end };
}
