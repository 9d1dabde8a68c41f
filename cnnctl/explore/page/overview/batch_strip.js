/** In training mode: the images of the batch, whose statistics batch norm uses, each with its name. */

import { element, refill, setText } from "../dom.js";
import { paintImage } from "../paint.js";
import { change, state } from "../state.js";

/** Create the strip in a host; returns {update}. */
export function batchStrip(host) {
  const title = element("h2");
  const list = element("ol", { class: "batch-images" });
  host.append(title, list);
  const hasBatchNorm = state.page.network.layers.some((layer) => layer.kind === "batch_normalization");
  let shown = [];

  function update() {
    host.hidden = !state.training;
    if (host.hidden) return;
    setText(
      title,
      `Batch of ${state.batch.length}${hasBatchNorm ? ": batch norm uses the mean and variance over these images" : ""}`,
    );
    if (shown.length !== state.batch.length || shown.some((image, index) => index > 0 && image !== state.batch[index])) renew();
    paintThumb(list.firstElementChild.querySelector("canvas"), 0);
    shown = state.batch;
  }

  function renew() {
    refill(list, ...state.batch.map((image, index) => thumb(image, index)));
    [...list.querySelectorAll("canvas")].forEach(paintThumb);
  }

  return { update };
}

function thumb(image, index) {
  const name = index === 0 ? "your image" : nameOf(image);
  const swap = () => index > 0 && change({ image });
  const button = element(
    "button",
    { type: "button", title: name, aria: { label: name }, on: { click: swap } },
    element("canvas"),
    element("span", { text: index === 0 ? "this" : shortName(image) }),
  );
  return element("li", {}, button);
}

function nameOf(image) {
  const label =
    image.label === null || image.label === undefined
      ? ""
      : `, class ${state.page.network.classes[image.label] ?? image.label}`;
  return `${image.name ?? "image"}${label}`;
}

function shortName(image) {
  return image.label === null || image.label === undefined
    ? (image.name ?? "")
    : String(state.page.network.classes[image.label] ?? image.label);
}

function paintThumb(canvas, index) {
  paintImage(canvas, state.pass.images, index, state.page.network.input.data_format);
}
