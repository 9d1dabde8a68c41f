// Reads what the page was written with: the network, its weights and the images.

const WHITE = 255;

/**
 * Read the data of the page.
 *
 * @returns the JSON of the page, in which `weights` is an array of sets (Float32Array each), and every entry of `images` and
 *   `batch` has `bytes` (prepared pixels, uint8, H·W·C) and `values` (what the network takes), both decoded when first used.
 */
export function readPage() {
  const page = JSON.parse(document.getElementById("page-data").textContent);
  page.weights = weightSets(document.getElementById("weights").textContent, page.network.weights_count);
  for (const entry of [...page.images, ...page.batch]) addPixels(entry, page);
  return page;
}

/** Decode base64 into bytes, by the browser's own function where it has one. */
export function decodeBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) bytes[place] = binary.charCodeAt(place);
  return bytes;
}

function weightSets(text, count) {
  const all = littleEndianFloats(decodeBase64(text));
  const sets = [];
  for (let start = 0; start + count <= all.length && count > 0; start += count) {
    sets.push(all.subarray(start, start + count));
  }
  return sets.length ? sets : [new Float32Array(0)]; // a network of layers without weights
}

function littleEndianFloats(bytes) {
  const isLittle = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  if (isLittle && bytes.byteOffset % 4 === 0) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from({ length: bytes.length / 4 }, (_, place) => view.getFloat32(place * 4, true));
}

function addPixels(entry, page) {
  let bytes = null;
  let values = null;
  Object.defineProperties(entry, {
    bytes: { get: () => (bytes ??= decodeBase64(entry.pixels)) },
    values: { get: () => (values ??= toValues(entry.bytes, page)) },
  });
}

/** Convert prepared pixels (uint8, H·W·C) to what the network takes: float32 in [0, 1], channels where it has them. */
export function toValues(bytes, page) {
  const order = placesOf(page);
  return Float32Array.from(bytes, (_, place) => bytes[order ? order[place] : place] / WHITE);
}

/** Find, for channels first, the place in H·W·C of every place in C·H·W; null for channels last, where they are equal. */
function placesOf(page) {
  const { height, width, channels } = page.preparation;
  if (page.network.input.data_format !== "channels_first" || channels === 1) return null;
  const area = height * width;
  return Int32Array.from({ length: area * channels }, (_, place) => (place % area) * channels + Math.floor(place / area));
}
