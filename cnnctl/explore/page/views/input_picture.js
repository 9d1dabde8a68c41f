// The input image as a person sees it: grey, or in its colours.

import { channelOf, IMAGE_SCALE, paintColours } from "../paint.js";
import { state } from "../state.js";
import { MapPicture } from "./picture.js";
import { sizesOf } from "./selection.js";

/** Create a picture for the input image. */
export function inputPicture(label) {
  return new MapPicture({ label, kind: "input-picture" });
}

/** Paint the input image of the pass. */
export function paintInput(picture) {
  const { height, width, channels, dataFormat } = sizesOf("input");
  const tensor = state.pass.outputs.get("input");
  if (channels !== 3) {
    picture.show(channelOf(tensor, 0, 0, dataFormat), IMAGE_SCALE);
    return;
  }
  const maps = [0, 1, 2].map((channel) => channelOf(tensor, 0, channel, dataFormat).values);
  paintColours(
    picture.canvas,
    Float32Array.from({ length: 3 * height * width }, (_, i) => maps[i % 3][Math.floor(i / 3)]),
    height,
    width,
  );
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
