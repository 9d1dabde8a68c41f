// What one input map adds to a convolution's output map: the map, its kernel and the sums of their products.

import { groupOf, kernelOfLayer, partialMap } from "../arithmetic/terms_convolution.js";
import { paddingOf } from "../arithmetic/window.js";
import { element, refill, setText } from "../dom.js";
import { scaleOf } from "../paint.js";
import { state } from "../state.js";
import { commonScale, layerScale, mapOf } from "./maps.js";
import { signed, valueOf } from "./parts.js";
import { MapPicture } from "./picture.js";
import { select, sizesOf } from "./selection.js";

/** One input map, its kernel and its contribution, side by side. */
export class ContributionRow {
  constructor(view) {
    this.view = view;
    this.input = new MapPicture({ label: "input map", kind: "small" });
    this.kernel = new MapPicture({ label: "kernel", kind: "small kernel" });
    this.partial = new MapPicture({
      label: "contribution",
      kind: "small",
      onPoint: (row, column) => select(view.name, { row, column }),
    });
    this.title = element("button", { type: "button", class: "row-title", on: { click: () => view.show(this.channel) } });
    this.sum = element("span", { class: "row-sum" });
    this.root = element(
      "div",
      { class: "contribution" },
      this.title,
      element(
        "div",
        { class: "contribution-pictures" },
        this.input.root,
        element("span", { class: "sign", text: "∗" }),
        this.kernel.root,
        element("span", { class: "sign", text: "=" }),
        this.partial.root,
      ),
      this.sum,
    );
  }

  /** Draw an input map's part of the output map. */
  update(channel, partial, place, scales) {
    const { name, layer } = this.view;
    const [input] = layer.inputs;
    this.channel = channel;
    this.root.dataset.channel = channel;
    setText(this.title, `input map ${channel}`);
    this.title.setAttribute("aria-pressed", String(channel === this.view.channel));
    this.input.show(
      mapOf(state.pass.outputs, input, channel),
      scales.input,
      layer.kind === "conv2d_transpose" ? undefined : paddingOf(layer, layer.input_shapes[0]),
    );
    this.input.describe(`${input}, map ${channel}, with the window of the value`);
    this.kernel.show(kernelMap(name, place.map, channel), scales.kernel);
    this.partial.show(partial, scales.partial);
    this.partial.mark([{ ...place, kind: "looked-at" }]);
    this.partial.point(place.row, place.column);
    this.partial.describe(`contribution of input map ${channel} to map ${place.map}`);
  }

  /** Draw the window in the input map, and the sum of its products. */
  mark({ terms, sum }) {
    const box = {
      top: terms[0]?.row,
      left: terms[0]?.column,
      rows: [...new Set(terms.map((term) => term.row))].join(" "),
      columns: [...new Set(terms.map((term) => term.column))].join(" "),
    };
    Object.assign(this.root.dataset, box, { sum });
    this.input.mark(...windowMarks(terms, this.view.layer.fields.dilation_rate));
    refill(this.sum, "sum of products ", valueOf(sum, signed(sum)));
  }
}

/** Return the marks of a window: [cells, boxes]; a window without gaps is one box, zeros of the padding are cells. */
function windowMarks(terms, dilation) {
  const outside = terms.filter((term) => term.padding).map((term) => ({ ...term, kind: "window-cell outside", text: "0" }));
  if (Math.max(...dilation) > 1)
    return [[...outside, ...terms.filter((term) => !term.padding).map((term) => ({ ...term, kind: "window-cell" }))], []];
  if (terms.length === 0) return [[], []]; // no pixel reaches the value of a transposed convolution
  const [rows, columns] = [terms.map((term) => term.row), terms.map((term) => term.column)];
  const [top, left] = [Math.min(...rows), Math.min(...columns)];
  return [outside, [{ top, left, bottom: Math.max(...rows), right: Math.max(...columns), kind: "window-box" }]];
}

/** Return the part of a filter's kernel that reads one input map. */
function kernelMap(name, filter, channel) {
  const { kernel } = kernelOfLayer(state.network, state.network.layer(name));
  const [height, width, depth, filters] = kernel.shape;
  const inGroup = channel - groupOf(state.network, state.network.layer(name), filter).first;
  const values = Float32Array.from(
    { length: height * width },
    (_, i) => kernel.values[(i * depth + inGroup) * filters + filter],
  );
  return { values, height, width };
}

/** Return the scale of one filter over all input maps. */
function kernelScale(name, filter) {
  const { kernel } = kernelOfLayer(state.network, state.network.layer(name));
  const filters = kernel.shape[3];
  return scaleOf(Float32Array.from({ length: kernel.values.length / filters }, (_, i) => kernel.values[i * filters + filter]));
}

/** Compute what the maps `channels` add to an output map, with the scales of colours that all rows share. */
export function contributionsOf(name, place, channels) {
  const { height, width } = sizesOf(name);
  const partials = channels.map(({ channel }) => ({
    values: partialMap(state.network, state.pass, name, 0, place.map, channel),
    height,
    width,
  }));
  const input = layerScale(state.network.layer(name).inputs[0]);
  return { partials, scales: { input, kernel: kernelScale(name, place.map), partial: commonScale(partials) } };
}
