/**
 * Decodes PNG files into their own values. A canvas cannot: it multiplies colours by their alpha and back, which loses bits,
 * applies colour profiles, and has 8 bits per channel. Follows "Portable Network Graphics (PNG) Specification", third edition.
 */

import { exifOrientation } from "./exif.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] };
const PALETTE = 3;
/** Adam7: first column, first row, distance of columns, distance of rows of each pass. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

export function isPng(bytes) {
  return SIGNATURE.every((value, place) => bytes[place] === value);
}

/**
 * Decode a PNG file.
 *
 * @param bytes of the file.
 * @param mostPixels the largest image that is decoded.
 * @returns an image as `prepareImage` takes it, with `orientation` from its EXIF data (1 where it has none).
 * @throws Error with one sentence, where the file is damaged or too large.
 */
export async function decodePng(bytes, mostPixels) {
  const file = chunksOf(bytes);
  const header = headerOf(file.get("IHDR"));
  if (header.width * header.height > mostPixels) throw new Error(`it has ${header.width} × ${header.height} pixels`);
  const passes = passesOf(header);
  const length = passes.reduce((sum, pass) => sum + pass.height * (pass.line + 1), 0);
  const packed = await inflated(file.get("IDAT"), length);
  const samples = samplesOf(packed, header, passes);
  const exif = file.get("eXIf");
  return { ...withMeaning(samples, header, file), orientation: exif ? exifOrientation(exif) : 1 };
}

/** Read the chunks by name; those of the image data are joined. */
function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const chunks = new Map();
  const data = [];
  for (let place = SIGNATURE.length; place + 8 <= bytes.length;) {
    const length = view.getUint32(place);
    const name = String.fromCharCode(...bytes.subarray(place + 4, place + 8));
    if (place + 12 + length > bytes.length || name === "IEND") break;
    const content = bytes.subarray(place + 8, place + 8 + length);
    if (name === "IDAT") data.push(content);
    else chunks.set(name, content);
    place += 12 + length;
  }
  if (!chunks.has("IHDR") || !data.length) throw new Error("it is damaged");
  return chunks.set("IDAT", data);
}

function headerOf(content) {
  if (content.length !== 13) throw new Error("it is damaged");
  const view = new DataView(content.buffer, content.byteOffset);
  const [depth, kind, , , interlaced] = content.subarray(8);
  const header = { width: view.getUint32(0), height: view.getUint32(4), depth, kind, interlaced };
  const known = DEPTHS[kind]?.includes(depth) && content[10] === 0 && content[11] === 0 && interlaced <= 1;
  if (!known || !header.width || !header.height) throw new Error("it is damaged");
  return { ...header, channels: CHANNELS[kind] };
}

/** Describe the passes over the image: all of it once, or seven parts of an interlaced one. `line` counts bytes. */
function passesOf({ width, height, depth, channels, interlaced }) {
  const parts = interlaced ? PASSES : [[0, 0, 1, 1]];
  return parts
    .map(([left, top, across, down]) => {
      const columns = Math.ceil((width - left) / across);
      return { left, top, across, down, width: columns, height: Math.ceil((height - top) / down) };
    })
    .filter((pass) => pass.width > 0 && pass.height > 0)
    .map((pass) => ({ ...pass, line: Math.ceil((pass.width * depth * channels) / 8) }));
}

/** Inflate the image data, and stop at the length that it must have: a small file can inflate to a thousand times its size. */
async function inflated(data, length) {
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  const written = Promise.all([...data.map((part) => writer.write(part)), writer.close()]);
  written.catch(() => {}); // what is wrong with the data, the reader reports too
  const reader = stream.readable.getReader();
  const all = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const { done, value } = await reader.read();
    if (done) throw new Error("it is damaged");
    all.set(value.subarray(0, length - filled), filled);
    filled += Math.min(value.length, length - filled);
  }
  reader.cancel().catch(() => {});
  return all;
}

/** Undo the filters of all lines, and collect the samples (uint16, H·W·C). */
function samplesOf(packed, header, passes) {
  const samples = new Uint16Array(header.width * header.height * header.channels);
  const step = Math.max(1, (header.depth * header.channels) >> 3);
  let place = 0;
  for (const pass of passes) {
    let above = new Uint8Array(pass.line);
    for (let row = 0; row < pass.height; row++) {
      const line = packed.subarray(place + 1, place + 1 + pass.line);
      unfilter(packed[place], line, above, step);
      spreadLine(line, samples, header, pass, row);
      above = line;
      place += pass.line + 1;
    }
  }
  return samples;
}

function unfilter(filter, line, above, step) {
  if (filter > 4) throw new Error("it is damaged");
  for (let place = 0; place < line.length; place++) {
    const left = place >= step ? line[place - step] : 0;
    const corner = place >= step ? above[place - step] : 0;
    line[place] += [0, left, above[place], (left + above[place]) >> 1, paeth(left, above[place], corner)][filter];
  }
}

function paeth(left, above, corner) {
  const estimate = left + above - corner;
  const [toLeft, toAbove, toCorner] = [left, above, corner].map((value) => Math.abs(estimate - value));
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** Put the samples of one line of a pass where they belong. */
function spreadLine(line, samples, { width, depth, channels }, pass, row) {
  const start = (pass.top + row * pass.down) * width;
  for (let sample = 0; sample < pass.width * channels; sample++) {
    const column = pass.left + Math.floor(sample / channels) * pass.across;
    samples[(start + column) * channels + (sample % channels)] = sampleAt(line, sample, depth);
  }
}

function sampleAt(line, sample, depth) {
  if (depth === 8) return line[sample];
  if (depth === 16) return (line[2 * sample] << 8) | line[2 * sample + 1];
  const bit = sample * depth;
  return (line[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

/** Turn samples into an image: look up palettes, widen 1, 2 and 4 bits, add the alpha of a transparent colour. */
function withMeaning(samples, header, file) {
  const size = { width: header.width, height: header.height };
  const transparent = file.get("tRNS");
  if (header.kind === PALETTE) return { ...size, ...looked(samples, file.get("PLTE"), transparent) };
  if (header.kind === 0 && header.depth === 16) return { ...size, channels: 1, bytes: samples };
  const deep = header.depth === 16;
  const widest = (1 << header.depth) - 1;
  const bytes = Uint8Array.from(samples, (value) => (deep ? value >> 8 : (value * 255) / widest));
  const image = { ...size, channels: header.channels, bytes, deep };
  return transparent && header.channels % 2 === 1 ? withAlpha(image, samples, transparent) : image;
}

function looked(samples, palette, transparent) {
  if (!palette) throw new Error("it is damaged");
  const channels = transparent ? 4 : 3;
  const bytes = new Uint8Array(samples.length * channels);
  samples.forEach((index, pixel) => {
    bytes.set(palette.subarray(3 * index, 3 * index + 3), pixel * channels);
    if (transparent) bytes[pixel * channels + 3] = index < transparent.length ? transparent[index] : 255;
  });
  return { channels, bytes };
}

/** Add an alpha channel that is 0 for the one colour that the file names, and 255 for all others. */
function withAlpha(image, samples, transparent) {
  const { channels } = image;
  const named = Array.from(
    { length: channels },
    (_, channel) => (transparent[2 * channel] << 8) | transparent[2 * channel + 1],
  );
  const bytes = new Uint8Array((samples.length / channels) * (channels + 1));
  for (let pixel = 0; pixel < samples.length / channels; pixel++) {
    const from = pixel * channels;
    bytes.set(image.bytes.subarray(from, from + channels), pixel * (channels + 1));
    const isNamed = named.every((value, channel) => samples[from + channel] === value);
    bytes[pixel * (channels + 1) + channels] = isNamed ? 0 : 255;
  }
  return { ...image, channels: channels + 1, bytes };
}
