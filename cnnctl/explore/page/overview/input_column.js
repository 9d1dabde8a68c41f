/** The first column: the image as the network takes it; with gradients, the saliency and Grad-CAM beside it. */

import { gradCam, lastConvolution } from "../arithmetic/gradcam.js";
import { element, number, setText, shapeText } from "../dom.js";
import { channelOf, IMAGE_SCALE, paintImage, paintMap, paintOverlay, scaleOf } from "../paint.js";
import { state } from "../state.js";
import { cameraText } from "../views/target.js";
import { INPUT_NAME, mapsOf } from "./graph.js";

/** Create the column of the input; `format` is its data format. Returned as `layerColumn` does. */
export function inputColumn(input, format) {
  const channels = mapsOf(input.shape, format);
  const image = figure("image");
  const separate = channels > 1 ? Array.from({ length: channels }, (_, map) => figure(`channel ${map}`, String(map))) : [];
  const saliency = figure("saliency: the gradient by each pixel, of the channel where it is largest", "saliency");
  const camera = figure("Grad-CAM");
  const extra = element("div", { class: "maps inputs" }, saliency.root, camera.root);
  const range = element("span", { class: "range" });
  const head = element("div", { class: "column-head" }, INPUT_NAME);
  const facts = element("div", { class: "column-facts" }, element("div", { class: "shape", text: shapeText(input.shape) }));
  const maps = element("div", { class: "maps inputs" }, image.root);
  const split = element("div", { class: "maps channels" }, ...separate.map((each) => each.root));
  const root = element(
    "article",
    { class: "column kind-input", data: { layer: INPUT_NAME } },
    head,
    facts,
    maps,
    split,
    extra,
    range,
  );

  function update() {
    const tensor = state.pass.outputs.get(INPUT_NAME);
    const planes = Array.from({ length: channels }, (_, map) => channelOf(tensor, 0, map, format));
    paintImage(image.canvas, tensor, 0, format);
    separate.forEach((each, map) =>
      paintMap(each.canvas, planes[map].values, planes[map].height, planes[map].width, IMAGE_SCALE),
    );
    const scale = scaleOf(state.image.values);
    setText(range, `${number(scale.low)} … ${number(scale.high)}`);
    const gradient = state.showGradients && state.gradients?.get(INPUT_NAME);
    extra.hidden = !gradient;
    if (gradient) paintGradients(gradient, planes);
  }

  function paintGradients(gradient, imagePlanes) {
    const planes = Array.from({ length: channels }, (_, map) => channelOf(gradient, 0, map, format));
    const { height, width } = planes[0];
    const largest = Float32Array.from({ length: height * width }, (_, index) => strongest(planes, index));
    paintMap(saliency.canvas, largest, height, width, scaleOf(largest));
    paintCamera(camera, imagePlanes);
  }

  return { root, head, update, showMap: () => {} };
}

/** Return the gradient of the channel in which it is largest. */
function strongest(planes, index) {
  return planes.reduce((found, plane) => (Math.abs(plane.values[index]) > Math.abs(found) ? plane.values[index] : found), 0);
}

/** Paint the Grad-CAM of the last convolution over the image, enlarged by bilinear interpolation. */
function paintCamera(camera, planes) {
  const layer = lastConvolution(state.network);
  camera.root.hidden = !layer;
  if (!layer) return;
  const { height, width } = planes[0];
  const map = gradCam(state.network, state.pass, state.gradients, layer.name);
  const grey = planes[0].values.map((_, index) => planes.reduce((sum, plane) => sum + plane.values[index], 0) / planes.length);
  paintOverlay(camera.canvas, grey, resized(map, height, width), height, width);
  setText(camera.caption, cameraText(layer.name));
}

/** Resize a map {values, height, width} bilinearly, with centres of pixels aligned. */
function resized(map, height, width) {
  const result = new Float32Array(height * width);
  for (let row = 0; row < height; row++) {
    const [top, bottom, down] = neighbours(row, height, map.height);
    for (let column = 0; column < width; column++) {
      const [left, right, along] = neighbours(column, width, map.width);
      const at = (y, x) => map.values[y * map.width + x];
      const upper = at(top, left) * (1 - along) + at(top, right) * along;
      const lower = at(bottom, left) * (1 - along) + at(bottom, right) * along;
      result[row * width + column] = upper * (1 - down) + lower * down;
    }
  }
  return result;
}

/** Return the two pixels of a line of `length` between which pixel `index` of a line of `large` lies, and how far along. */
function neighbours(index, large, length) {
  const place = Math.max(0, Math.min(length - 1, ((index + 0.5) * length) / large - 0.5));
  const low = Math.floor(place);
  return [low, Math.min(low + 1, length - 1), place - low];
}

function figure(label, text = label) {
  const canvas = element("canvas", { role: "img", title: label, aria: { label } });
  const caption = element("figcaption", { text });
  return { root: element("figure", {}, canvas, caption), canvas, caption };
}
