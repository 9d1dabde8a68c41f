/** Takes an image file that is chosen, pasted, or dropped anywhere onto the page. */

import { toValues } from "../data.js";
import { element, setText } from "../dom.js";
import { decodeImageFile } from "./file.js";
import { prepareImage } from "./prepare.js";
import { paintBytes } from "./thumbnail.js";

/**
 * Build the panel of image files.
 *
 * @param show receives the prepared image.
 * @param reveal is called before, to bring the panel into view.
 * @returns {root}.
 */
export function filePanel(page, show, reveal) {
  const { height, width, channels } = page.preparation;
  const choose = element("input", {
    type: "file",
    accept: "image/*",
    class: "file-input",
    on: { change: () => take(choose.files[0]) },
  });
  const invert = element("input", { type: "checkbox", on: { change: () => decoded && showDecoded() } });
  const status = element("p", { class: "input-caption", role: "status" });
  const seen = element("canvas", {
    class: "seen",
    width,
    height,
    role: "img",
    aria: { label: "the image as the network takes it" },
  });
  seen.hidden = true;
  let decoded = null;
  let latest = 0;

  async function take(file) {
    if (!file) return;
    const number = ++latest; // a later file may be decoded sooner
    reveal();
    setText(status, "Decoding…");
    try {
      const image = await decodeImageFile(file);
      if (number !== latest) return;
      decoded = { image, name: file.name };
      showDecoded();
    } catch (error) {
      if (number === latest) setText(status, error.message);
    }
  }

  function showDecoded() {
    const preparation = { ...page.preparation, invert: page.preparation.invert !== invert.checked };
    const bytes = prepareImage(decoded.image, preparation);
    paintBytes(seen, bytes, channels);
    seen.hidden = false;
    setText(status, `${decoded.name}: ${decoded.image.height} × ${decoded.image.width}${stepsOf(preparation)}`);
    show({ values: toValues(bytes, page), label: null, name: decoded.name, tags: [] });
  }

  listenToDrops(take);
  const zone = element(
    "label",
    { class: "drop-zone" },
    element("span", { text: "Drop an image anywhere, paste one, or choose a file. It stays in this page." }),
    choose,
  );
  const invertLabel = element("label", {}, invert, "Invert, for dark ink where the data has light ink or the other way round");
  return {
    root: element("div", { class: "file-panel" }, zone, invertLabel, element("div", { class: "seen-row" }, seen, status)),
  };
}

/** Describe in words what happened to the pixels. */
function stepsOf({ height, width, channels, transpose, fit, invert, pixel_max: white }) {
  const ways = { stretch: "stretched", crop: "cropped", pad: "padded" };
  const steps = [
    white === null ? "" : `${white} as white`,
    channels === 1 ? "grey" : "RGB",
    transpose ? "transposed" : "",
    `${ways[fit]} to ${height} × ${width}`,
    invert ? "inverted" : "",
  ];
  return ` → ${steps.filter((step) => step).join(", ")}`;
}

function listenToDrops(take) {
  const imageIn = (transfer) => [...(transfer?.files ?? [])][0];
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // else the browser would open the file in place of the page
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take(imageIn(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => take(imageIn(event.clipboardData)));
}
