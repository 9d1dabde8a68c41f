/**
 * Makes an image ready for the network, as cnnctl/data/images.py does: 16 bits to 8 and `pixel_max` to white, transparency on
 * white, grey or RGB, transposition, size, inversion. Pixel by pixel the same as Pillow.
 */

import { resizeImage } from "./resample.js";

const WHITE_BYTE = 255;
const DEEP_WHITE = 65535;

/**
 * Prepare a decoded image.
 *
 * @param image {width, height, channels, bytes, deep}: channels 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA); uint8, or
 *   uint16 for grey of 16 bits; `deep` for colours of 16 bits, of which the bytes are the upper half.
 * @param preparation of the page's data: height, width, channels, invert, transpose, fit, pixel_max, tall_first.
 * @returns the pixels, uint8, H·W·C of the preparation.
 */
export function prepareImage(image, preparation) {
  return fitImage(plainImage(image, preparation), preparation);
}

/** Convert a decoded image to opaque grey or RGB. */
function plainImage(image, preparation) {
  const bright = brightened(image, preparation.pixel_max ?? null);
  return inChannels(onWhite(bright), preparation.channels);
}

function brightened(image, pixelMax) {
  if (image.bytes instanceof Uint16Array) return mapped(image, (value) => scaledByte(value, pixelMax ?? DEEP_WHITE));
  if (pixelMax === null) return image;
  const white = image.deep ? (pixelMax * WHITE_BYTE) / DEEP_WHITE : pixelMax;
  const curve = Uint8Array.from({ length: WHITE_BYTE + 1 }, (_, value) => scaledByte(value, white));
  const alpha = image.channels % 2 === 0 ? image.channels - 1 : -1; // it is not brightness
  return mapped(image, (value, place) => (place % image.channels === alpha ? value : curve[value]));
}

function mapped(image, change) {
  return { ...image, bytes: Uint8Array.from(image.bytes, change) };
}

/** Scale a value so that `white` becomes 255. */
function scaledByte(value, white) {
  if (white === DEEP_WHITE) return Math.floor(Math.min(value, DEEP_WHITE) / (DEEP_WHITE / WHITE_BYTE));
  return Math.floor((Math.min(Math.max(value, 0), white) * WHITE_BYTE) / white);
}

/** Fill transparency with white: Pillow's src/libImaging/AlphaComposite.c, in its integers, for an opaque background. */
function onWhite(image) {
  if (image.channels % 2 === 1) return image;
  const channels = image.channels - 1;
  const bytes = new Uint8Array(image.width * image.height * channels);
  for (let pixel = 0; pixel < image.width * image.height; pixel++) {
    const alpha = image.bytes[pixel * image.channels + channels];
    for (let channel = 0; channel < channels; channel++) {
      const value = image.bytes[pixel * image.channels + channel];
      bytes[pixel * channels + channel] = blended(value, alpha);
    }
  }
  return { ...image, channels, bytes };
}

const BLEND_BITS = 7;

function blended(value, alpha) {
  if (alpha === 0) return WHITE_BYTE;
  const share = alpha << BLEND_BITS;
  const sum = value * share + WHITE_BYTE * ((WHITE_BYTE << BLEND_BITS) - share) + (0x80 << BLEND_BITS);
  return (((sum >> 8) + sum) >> 8) >> BLEND_BITS;
}

function inChannels(image, channels) {
  if (image.channels === channels) return image;
  const bytes = new Uint8Array(image.width * image.height * channels);
  for (let pixel = 0; pixel < image.width * image.height; pixel++) {
    if (channels === 1) bytes[pixel] = greyOf(image.bytes[3 * pixel], image.bytes[3 * pixel + 1], image.bytes[3 * pixel + 2]);
    else bytes.fill(image.bytes[pixel], 3 * pixel, 3 * pixel + 3);
  }
  return { ...image, channels, bytes };
}

/** Compute the luma of a colour as Pillow does (ITU-R 601-2, in 16 bits behind the point). */
function greyOf(red, green, blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

/** Bring an opaque image to the size of the network's input, and invert it where the config does. */
export function fitImage(image, preparation) {
  const { height, width } = preparation;
  let fitted = preparation.transpose ? transposedImage(image) : image;
  if (fitted.width !== width || fitted.height !== height)
    fitted = FITS[preparation.fit](fitted, width, height, preparation.tall_first);
  return preparation.invert ? fitted.bytes.map((value) => WHITE_BYTE - value) : fitted.bytes;
}

const FITS = { stretch: stretchedImage, crop: croppedImage, pad: paddedImage };

function stretchedImage(image, width, height, tallFirst) {
  return resizeImage(image, width, height, null, tallFirst);
}

function transposedImage({ width, height, channels, bytes }) {
  const turned = new Uint8Array(bytes.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = (row * width + column) * channels;
      turned.set(bytes.subarray(from, from + channels), (column * height + row) * channels);
    }
  }
  return { width: height, height: width, channels, bytes: turned };
}

/** Resize the largest centred part of an image that has the proportions of the result. */
function croppedImage(image, width, height, tallFirst) {
  const smaller = Math.min(image.width / width, image.height / height);
  const across = width * smaller;
  const down = height * smaller;
  const left = (image.width - across) / 2;
  const top = (image.height - down) / 2;
  return resizeImage(image, width, height, [left, top, left + across, top + down], tallFirst);
}

/** Resize an image in its own proportions, and pad it with the median colour of its border. */
function paddedImage(image, width, height, tallFirst) {
  const larger = Math.max(image.width / width, image.height / height);
  const innerWidth = Math.max(roundedToEven(image.width / larger), 1);
  const innerHeight = Math.max(roundedToEven(image.height / larger), 1);
  const inner = resizeImage(image, innerWidth, innerHeight, null, tallFirst);
  const bytes = new Uint8Array(width * height * image.channels);
  const colour = borderColour(image);
  for (let place = 0; place < bytes.length; place++) bytes[place] = colour[place % image.channels];
  const left = Math.floor((width - inner.width) / 2);
  const top = Math.floor((height - inner.height) / 2);
  const line = inner.width * image.channels;
  for (let row = 0; row < inner.height; row++) {
    bytes.set(inner.bytes.subarray(row * line, (row + 1) * line), ((top + row) * width + left) * image.channels);
  }
  return { width, height, channels: image.channels, bytes };
}

/** Round as Python does: halves to the even integer. */
function roundedToEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** Compute the median of the outermost pixels per channel; the corners count twice, as in Python. */
function borderColour({ width, height, channels, bytes }) {
  const places = [];
  for (let column = 0; column < width; column++) places.push(column, (height - 1) * width + column);
  for (let row = 0; row < height; row++) places.push(row * width, row * width + width - 1);
  return Array.from({ length: channels }, (_, channel) => {
    const values = Uint8Array.from(places, (place) => bytes[place * channels + channel]).sort();
    const middle = values.length / 2; // an even number of values
    return Math.floor((values[middle - 1] + values[middle]) / 2);
  });
}
