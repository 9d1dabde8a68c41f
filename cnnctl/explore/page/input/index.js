/** The input of the network: an image of the data, a drawing, or a file. */

import { element } from "../dom.js";
import { change, state } from "../state.js";
import { filePanel } from "./chooser.js";
import { drawingPanel } from "./drawing.js";
import { pickerPanel } from "./picker.js";
import { tabbed } from "./tabs.js";

/**
 * Build the parts that choose or make an image into an element, and show the first image of the data.
 *
 * @param host an empty element, 220 pixels wide or more.
 */
export function mountInput(host) {
  const { page } = state;
  const show = (image) => change({ image });
  const drawing = drawingPanel(page, show);
  const file = filePanel(page, show, () => tabs.select("file"));
  const panels = [
    { name: "draw", title: "Draw", content: drawing.root, chosen: drawing.showIfDrawn },
    { name: "file", title: "Your image", content: file.root },
  ];
  if (page.images.length) panels.unshift({ name: "images", title: "Images", content: pickerPanel(page, show).root });
  const tabs = tabbed("where the image comes from", panels);
  host.append(element("div", { class: "input" }, tabs.root));
  if (page.images.length) show(page.images[0]);
  else drawing.showDrawing();
}
