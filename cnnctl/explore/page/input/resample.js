/**
 * Resizes 8-bit images exactly as Pillow does with BILINEAR: a triangle that is widened where the image shrinks, so that every
 * pixel counts (antialiasing), with weights rounded to 22 bits behind the point. Follows Pillow's src/libImaging/Resample.c.
 */

const PRECISION_BITS = 32 - 8 - 2;
const HALF = 1 << (PRECISION_BITS - 1);

/**
 * Resize an image.
 *
 * @param image {width, height, channels, bytes}: uint8, H·W·C.
 * @param width, height of the result, in pixels.
 * @param box [left, top, right, bottom], the part to resize, with fractions of pixels; null for the whole image.
 * @param tallFirst whether columns are resized first where the height shrinks by more than twice as many pixels as the
 *   width, as Pillow does from version 13 on. Each pass rounds, so their order matters for a few pixels.
 * @returns an image of the same form; the same object where nothing changes.
 */
export function resizeImage(image, width, height, box = null, tallFirst = false) {
  const [left, top, right, bottom] = (box ?? [0, 0, image.width, image.height]).map(Math.fround);
  const across = width !== image.width || left !== 0 || right !== width;
  const down = height !== image.height || top !== 0 || bottom !== height;
  const columns = triangleWeights(image.width, left, right, width);
  const rows = triangleWeights(image.height, top, bottom, height);
  const passes = [
    across ? (each) => resizeRows(each, columns, width) : null,
    down ? (each) => resizeColumns(each, rows, height) : null,
  ];
  const isTall = image.height - height > 2 * Math.max(image.width - width, 0);
  if (tallFirst && isTall) passes.reverse();
  return passes.reduce((resized, pass) => (pass ? pass(resized) : resized), image);
}

/**
 * Compute, for each pixel of a resized line, which pixels of the line it is the mean of, and their weights.
 *
 * @param length of the line; `start` and `end` bound the part that is resized to `count` pixels.
 * @returns {first, counts, weights, most}: `most` weights per pixel, of which `counts` are used from pixel `first` on.
 */
function triangleWeights(length, start, end, count) {
  const scale = Math.fround(end - start) / count;
  const support = Math.max(scale, 1);
  const most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(count);
  const counts = new Int32Array(count);
  const weights = new Int32Array(count * most);
  for (let place = 0; place < count; place++) {
    const centre = start + (place + 0.5) * scale;
    first[place] = Math.max(Math.trunc(centre - support + 0.5), 0);
    counts[place] = Math.min(Math.trunc(centre + support + 0.5), length) - first[place];
    const exact = Array.from({ length: counts[place] }, (_, step) => triangle((step + first[place] - centre + 0.5) / support));
    const sum = exact.reduce((total, weight) => total + weight, 0);
    exact.forEach((weight, step) => {
      weights[place * most + step] = Math.trunc(0.5 + (sum ? weight / sum : weight) * (1 << PRECISION_BITS));
    });
  }
  return { first, counts, weights, most };
}

function triangle(distance) {
  return Math.max(1 - Math.abs(distance), 0);
}

function resizeRows(image, { first, counts, weights, most }, width) {
  const { channels, height } = image;
  const bytes = new Uint8Array(width * height * channels);
  for (let row = 0; row < height; row++) {
    const from = row * image.width * channels;
    let to = row * width * channels;
    for (let column = 0; column < width; column++) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = HALF;
        let source = from + first[column] * channels + channel;
        const weight = column * most;
        for (let step = 0; step < counts[column]; step++, source += channels)
          sum += image.bytes[source] * weights[weight + step];
        bytes[to++] = clippedByte(sum);
      }
    }
  }
  return { width, height, channels, bytes };
}

function resizeColumns(image, { first, counts, weights, most }, height) {
  const line = image.width * image.channels;
  const bytes = new Uint8Array(line * height);
  for (let row = 0; row < height; row++) {
    for (let place = 0; place < line; place++) {
      let sum = HALF;
      let source = first[row] * line + place;
      for (let step = 0; step < counts[row]; step++, source += line) sum += image.bytes[source] * weights[row * most + step];
      bytes[row * line + place] = clippedByte(sum);
    }
  }
  return { ...image, height, bytes };
}

function clippedByte(sum) {
  return Math.min(Math.max(sum >> PRECISION_BITS, 0), 255);
}
