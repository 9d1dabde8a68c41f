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
  paintColours(picture.canvas, Float32Array.from({ length: 3 * height * width }, (_, i) => maps[i % 3][Math.floor(i / 3)]), height, width);
  picture.frame(height, width);
}
