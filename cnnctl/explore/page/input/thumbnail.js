/** A small picture of an image of the data that one can choose. */

import { element } from "../dom.js";

/** Create the button of an image; `choose` is called when it is pressed. */
export function thumbnail(image, page, choose) {
  const { height, width, channels } = page.preparation;
  const canvas = element("canvas", { width, height });
  paintBytes(canvas, image.bytes, channels);
  const names = page.few_shot ? page.few_shot.classes.map((each) => each.name) : page.network.classes;
  const name = image.label === null ? image.name : `${image.name}, class ${names[image.label] ?? image.label}`;
  const tags = image.tags.join(" ");
  return element(
    "button",
    {
      type: "button",
      role: "option",
      class: "thumb",
      title: name,
      data: { tags },
      aria: { label: name },
      on: { click: choose },
    },
    canvas,
  );
}

/** Paint prepared pixels, uint8 H·W·C with 1 or 3 channels, one by one. */
export function paintBytes(canvas, bytes, channels) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  for (let pixel = 0; pixel < canvas.width * canvas.height; pixel++) {
    for (let colour = 0; colour < 3; colour++)
      picture.data[4 * pixel + colour] = bytes[pixel * channels + (channels === 3 ? colour : 0)];
    picture.data[4 * pixel + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}
