/** Reads the orientation from EXIF data, and turns images by it. CIPA DC-008 "Exif 2.32", section 4.6.4. */

const ORIENTATION = 0x0112;
const ENTRY = 12;

/**
 * Read the orientation from EXIF data, which has the form of a TIFF file.
 *
 * @returns 1 to 8; 1, upright, where there is none.
 */
export function exifOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 8) return 1;
  const little = view.getUint16(0) === 0x4949;
  const directory = view.getUint32(4, little);
  if (directory + 2 > bytes.length) return 1;
  const count = view.getUint16(directory, little);
  for (let entry = 0; entry < count; entry++) {
    const place = directory + 2 + entry * ENTRY;
    if (place + ENTRY > bytes.length) return 1;
    if (view.getUint16(place, little) === ORIENTATION) return withinRange(view.getUint16(place + 8, little));
  }
  return 1;
}

function withinRange(orientation) {
  return orientation >= 1 && orientation <= 8 ? orientation : 1;
}

/**
 * Turn and mirror an image so that it is upright.
 *
 * @param image {width, height, channels, bytes}.
 * @param orientation 1 to 8: which edge of the scene the first row and the first column are.
 */
export function uprightImage(image, orientation) {
  if (orientation === 1) return image;
  const swapped = orientation >= 5;
  const width = swapped ? image.height : image.width;
  const height = swapped ? image.width : image.height;
  const bytes = new image.bytes.constructor(image.bytes.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const from = storedPixel(orientation, row, column, image) * image.channels;
      bytes.set(image.bytes.subarray(from, from + image.channels), (row * width + column) * image.channels);
    }
  }
  return { ...image, width, height, bytes };
}

/** Return the pixel of the stored image that belongs at a place of the upright one. */
function storedPixel(orientation, row, column, { width, height }) {
  const [lastRow, lastColumn] = [height - 1, width - 1];
  const places = {
    2: [row, lastColumn - column],
    3: [lastRow - row, lastColumn - column],
    4: [lastRow - row, column],
    5: [column, row],
    6: [lastRow - column, row],
    7: [lastRow - column, lastColumn - row],
    8: [column, lastColumn - row],
  };
  const [storedRow, storedColumn] = places[orientation];
  return storedRow * width + storedColumn;
}
