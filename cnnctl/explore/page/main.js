/** The page: puts the parts into `#app` and connects them with the state. Open `state.js` next. */

import { createApi } from "./api.js";
import { readPage } from "./data.js";
import { countText, element, setText } from "./dom.js";
import { classNames } from "./episode.js";
import { mountInput } from "./input/index.js";
import { batchStrip } from "./overview/batch_strip.js";
import { classesText, classPanel } from "./overview/classes.js";
import { controls } from "./overview/controls.js";
import { detailPanel } from "./overview/detail.js";
import { diagram } from "./overview/diagram.js";
import { parametersOf } from "./overview/facts.js";
import { fewShotPanel } from "./overview/few_shot_panel.js";
import { themeButton } from "./overview/theme_button.js";
import { IMAGE_SCALE, legend } from "./paint.js";
import { change, startState, state, subscribe } from "./state.js";

/** Build the page and show its first image. */
function startPage() {
  const page = readPage();
  startState(page);
  const hosts = hostsOf(page);
  document.getElementById("app").append(...hosts.all);
  const network = diagram(hosts.network, page.network);
  const outputs = [
    ...(classNames(page).length ? [classPanel(hosts.outputs)] : []),
    ...(page.few_shot ? [fewShotPanel(hosts.episode)] : []),
  ];
  const parts = [
    network,
    ...outputs,
    controls(hosts.controls),
    batchStrip(hosts.batch),
    detailPanel(hosts.detail, network.focus),
  ];
  parts.forEach((part) => subscribe(part.update));
  subscribe(() => {
    hosts.hint.hidden = state.selected !== null;
    setText(hosts.problem, state.error ? `Something went wrong: ${state.error}` : "");
  });
  window.cnnctl = createApi();
  change({ image: blankImage(page) });
  mountInput(hosts.input); // shows an image, if the page has one
  if (page.few_shot?.queries.length) change({ image: page.images[page.few_shot.queries[0]] });
}

/** Create the regions of the page. */
function hostsOf(page) {
  const region = (tag, name, label) => element(tag, { class: name, aria: { label } });
  const hosts = {
    controls: element("div", { class: "controls", role: "toolbar", aria: { label: "mode, gradients and weights" } }),
    input: region("section", "input-panel", "image"),
    network: element("section", { class: "network", tabindex: -1, aria: { label: "layers" } }),
    outputs: region("section", "output-panel", "prediction"),
    episode: region("section", "episode-panel", "support images and distances"),
    batch: region("section", "batch-panel", "images of the batch"),
    detail: region("section", "detail-panel", "layer"),
    problem: element("p", { class: "problem", role: "alert" }),
    hint: element("p", { class: "hint", text: "Open a map or a layer to see how each of its values is computed." }),
  };
  const stage = element("main", { class: "stage" }, hosts.input, hosts.network, hosts.outputs);
  hosts.batch.hidden = true;
  hosts.episode.hidden = !page.few_shot;
  hosts.outputs.hidden = !classNames(page).length;
  return {
    ...hosts,
    all: [
      pageHead(page, hosts.controls),
      hosts.problem,
      stage,
      hosts.episode,
      hosts.batch,
      hosts.hint,
      hosts.detail,
      pageFoot(page),
    ],
  };
}

function pageHead(page, controlsHost) {
  const { layers, input } = page.network;
  const parameters = layers.reduce((sum, layer) => sum + parametersOf(layer), 0);
  const macs = layers.reduce((sum, layer) => sum + layer.macs, 0);
  const totals = [
    `${layers.length} layers`,
    `${countText(parameters)} parameters`,
    `${countText(macs)} MACs per image`,
    input.shape.join("×"),
    classNames(page).length ? classesText(classNames(page).length) : "an embedding",
  ];
  return element(
    "header",
    { class: "page-head" },
    element(
      "div",
      { class: "page-title" },
      element("h1", { text: page.title }),
      element("p", { class: "totals", text: `${sourceText(page)} · ${totals.join(" · ")}` }),
    ),
    controlsHost,
    themeButton(),
  );
}

function sourceText({ source }) {
  return source.kind === "run" ? `trained network of ${source.name}` : `${source.name}, before training`;
}

function pageFoot(page) {
  const key = element(
    "p",
    { class: "key" },
    "Maps: blue is negative, orange is positive, each layer has its own scale. Image: ",
    legend(IMAGE_SCALE),
  );
  const keys = "Arrow keys move between maps, Enter opens one, Esc closes it. In the console: window.cnnctl.";
  const notes = (page.notes ?? []).map((text) => element("p", { text }));
  return element(
    "footer",
    { class: "page-foot" },
    key,
    ...notes,
    element("p", { text: `${keys} Made by cnnctl ${page.cnnctl}.` }),
  );
}

function blankImage(page) {
  const size = page.network.input.shape.reduce((product, length) => product * length, 1);
  return { values: new Float32Array(size), label: null, name: "blank" };
}

startPage();
