/** The switches above the network: training or inference, gradients and their target, the epoch of the weights. */

import { actsInTraining, drawsMasks } from "../arithmetic/noise.js";
import { element, setText } from "../dom.js";
import { classNames, hasLoss } from "../episode.js";
import { batchSizes, change, needGradients, state } from "../state.js";

const STEP_TIME = 700; // milliseconds per snapshot

/** Create the controls in a host; returns {update}. */
export function controls(host) {
  const parts = [modeControl(), gradientControl(), snapshotControl()].filter(Boolean);
  host.append(...parts.map((part) => part.root));
  return { update: () => parts.forEach((part) => part.update()) };
}

/** Create two or more buttons of which one is pressed. */
function segmented(label, choices, chosen) {
  const buttons = choices.map(([value, text, title]) =>
    element("button", { type: "button", class: "segment", text, title, data: { value }, on: { click: () => chosen(value) } }),
  );
  const root = element("div", { class: "segments", role: "group", aria: { label } }, ...buttons);
  const mark = (value) =>
    buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.value === value)));
  return { root, mark };
}

function modeControl() {
  const random = state.page.network.layers.filter(actsInTraining);
  const explanation = "training: batch norm uses the statistics of the batch, dropout and noise act";
  const mode = segmented("mode", [["inference", "Inference", "as in evaluate and predict"], ["training", "Training", explanation]], (value) => change({ training: value === "training" })); // prettier-ignore
  const size = selectMenu("batch", [], (value) => change({ batchSize: Number(value) }));
  const masks = element("button", {
    type: "button",
    text: random.every(drawsMasks) ? "New dropout masks" : "New masks and noise",
    on: { click: () => change({ maskSeed: state.maskSeed + 1, masks: null }) },
  });
  const root = element("div", { class: "control" }, mode.root, size, ...(random.length ? [masks] : []));

  function update() {
    mode.mark(state.training ? "training" : "inference");
    size.hidden = masks.hidden = !state.training;
    setChoices(size, batchSizes().map((count) => [String(count), `batch of ${count}`])); // prettier-ignore
    size.value = String(state.batch.length);
  }

  return { root, update };
}

function selectMenu(label, choices, chosen) {
  const menu = element("select", { aria: { label }, on: { change: (event) => chosen(event.target.value) } });
  setChoices(menu, choices);
  return menu;
}

/** Put choices, [value, text] each, into a menu that has others; an open menu with the same ones stays. */
function setChoices(menu, choices) {
  const known = [...menu.options].map((option) => option.value).join();
  if (known === choices.map(([value]) => value).join()) return;
  menu.replaceChildren(...choices.map(([value, text]) => element("option", { value, text })));
}

function gradientControl() {
  const show = element("button", {
    type: "button",
    class: "toggle",
    text: "Gradients",
    title: "colour every map by the gradient of the target",
    on: { click: toggle },
  });
  const target = selectMenu("target of the gradients", targetChoices(), choose);
  const root = element("div", { class: "control" }, show, ...(targetChoices().length ? [target] : []));

  function toggle() {
    needGradients("overview", !state.showGradients);
    change({ showGradients: !state.showGradients });
  }

  function update() {
    show.setAttribute("aria-pressed", String(state.showGradients));
    target.hidden = !state.showGradients;
    target.value = valueOfTarget(state.target);
  }

  return { root, update };
}

/** List what can be differentiated: the score of each class, and the loss with each class as the true one. */
function targetChoices() {
  const { output } = state.page.network;
  const classes = classNames(state.page);
  const score = output === "probabilities" ? "log probability of" : "score of";
  const kinds = [["class", score], ...(hasLoss(state.page) ? [["loss", "loss, true class"]] : [])]; // prettier-ignore
  return [["follow", "score of the predicted class"], ...kinds.flatMap(([kind, text]) => classes.map((name, index) => [`${kind} ${index}`, `${text} ${name}`]))]; // prettier-ignore
}

function valueOfTarget(target) {
  return target.follows ? "follow" : `${target.kind} ${target.class}`;
}

function choose(value) {
  if (value === "follow")
    return change({ target: { kind: "class", class: state.target.class, follows: true }, image: state.image });
  const [kind, index] = value.split(" ");
  return change({ target: { kind, class: Number(index), follows: false } });
}

/** Create the slider of the epochs whose weights the page has; null where it has one set. */
function snapshotControl() {
  const { snapshots } = state.page;
  if (snapshots.length < 2) return null;
  const text = element("output", { class: "epoch" });
  const slider = element("input", {
    type: "range",
    min: 0,
    max: snapshots.length - 1,
    step: 1,
    aria: { label: "epoch of the weights" },
    on: { input: () => change({ snapshot: Number(slider.value) }) },
  });
  const play = element("button", { type: "button", class: "arrow play", on: { click: turnPlaying } });
  const label = element("label", {}, "Weights ", slider);
  const root = element("div", { class: "control snapshots" }, play, label, text);
  let playing = 0;

  /** Show one snapshot after another, from the first if the last is shown, until the last or until pressed again. */
  function turnPlaying() {
    if (playing) return stop();
    if (state.snapshot === snapshots.length - 1) change({ snapshot: 0 });
    playing = setInterval(
      () => (state.snapshot < snapshots.length - 1 ? change({ snapshot: state.snapshot + 1 }) : stop()),
      STEP_TIME,
    );
    return update();
  }

  function stop() {
    clearInterval(playing);
    playing = 0;
    update();
  }

  function update() {
    setText(play, playing ? "❚❚" : "▶");
    play.setAttribute("aria-label", playing ? "stop" : "play the training");
    slider.value = String(state.snapshot);
    setText(text, snapshotText(snapshots[state.snapshot]));
    slider.setAttribute("aria-valuetext", text.textContent);
  }

  return { root, update };
}

/** Return the words for a snapshot: its own label, "before training" or "after epoch 3". */
export function snapshotText(snapshot) {
  return snapshot.label ?? (snapshot.epoch === 0 ? "before training" : `after epoch ${snapshot.epoch}`);
}
