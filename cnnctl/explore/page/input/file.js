/** Decodes an image file that a person drops or chooses. Nothing leaves the page. */

import { uprightImage } from "./exif.js";
import { decodePng, isPng } from "./png.js";

const MOST_PIXELS = 50_000_000;
const MOST_BYTES = 200_000_000;

/**
 * Decode an image file.
 *
 * @param file a File or Blob: PNG, JPEG, or what the browser decodes besides.
 * @returns an upright image as `prepareImage` takes it.
 * @throws Error whose message names the file and what is wrong with it.
 */
export async function decodeImageFile(file) {
  const name = file.name || "the file";
  if (file.size > MOST_BYTES) throw new Error(`${name} has ${file.size.toLocaleString("en")} bytes; choose a smaller image`);
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const image = isPng(bytes) ? await decodePng(bytes, MOST_PIXELS) : await decodedByBrowser(file);
    return uprightImage(image, image.orientation ?? 1);
  } catch (error) {
    throw new Error(`${name} cannot be read as an image: ${error.message}`, { cause: error });
  }
}

/** Let the browser decode, which turns the image upright by its EXIF data, as cnnctl does; colour profiles are left out. */
async function decodedByBrowser(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("expected a PNG or JPEG file, or another that this browser shows");
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`it has ${width} × ${height} pixels`);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, channels: 4, bytes: new Uint8Array(context.getImageData(0, 0, width, height).data.buffer) };
}
