// The input image as a person sees it: grey, or in its colours.

import { paintImage } from "../paint.js";
import { state } from "../state.js";
import { MapPicture } from "./picture.js";
import { sizesOf } from "./selection.js";

/** Create a picture for the input image. */
export function inputPicture(label) {
  return new MapPicture({ label, kind: "input-picture" });
}

/** Paint the input image of the pass. */
export function paintInput(picture) {
  const { height, width, dataFormat } = sizesOf("input");
  paintImage(picture.canvas, state.pass.outputs.get("input"), 0, dataFormat);
  picture.frame(height, width);
}

const HEAT = [240, 110, 20];

/** Paint a map of values of at least 0 above a picture: the larger, the less of the picture shows through. */
export function paintHeat(picture, { values, height, width }) {
  const highest = values.reduce((high, value) => Math.max(high, value), 0);
  Object.assign(picture.canvas, { width, height });
  const context = picture.canvas.getContext("2d");
  const image = context.createImageData(width, height);
  values.forEach((value, pixel) => image.data.set([...HEAT, highest > 0 ? (220 * value) / highest : 0], 4 * pixel));
  context.putImageData(image, 0, 0);
  picture.frame(height, width);
}
