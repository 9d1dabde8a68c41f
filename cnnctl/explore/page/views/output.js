// The end of the network: logits, exponentials, probabilities, and the cross-entropy for the true class.

import { activationName } from "../arithmetic/activation_layers.js";
import { crossEntropy, crossEntropyOfProbabilities } from "../arithmetic/softmax.js";
import { element, number, refill, setText } from "../dom.js";
import { change, state } from "../state.js";
import { equationOf, valueOf } from "./parts.js";
import { className } from "./target.js";

/** The table of the classes with softmax and the loss; for the layer whose values are one per class. */
export class OutputSection {
  constructor(name) {
    this.name = name;
    this.slider = element("input", {
      type: "range",
      min: "-2",
      max: "2",
      step: "0.05",
      aria: { label: "temperature" },
      on: { input: () => change({ temperature: 10 ** Number(this.slider.value) }) },
    });
    this.temperature = element("output");
    this.reset = element("button", { type: "button", text: "T = 1", on: { click: () => change({ temperature: 1 }) } });
    this.truth = element(
      "select",
      { aria: { label: "true class" }, on: { change: () => this.#choose() } },
      ...Array.from({ length: state.network.layer(name).shape[0] }, (_, index) =>
        element("option", { value: String(index), text: className(index) }),
      ),
    );
    this.steps = element("p", { class: "formula" });
    this.table = element("div", {
      class: "products-scroll",
      tabindex: "0",
      role: "group",
      aria: { label: "logits and probabilities" },
    });
    this.loss = element("div");
    this.note = element("p", { class: "view-note" });
    this.root = element(
      "section",
      { class: "output-section" },
      element("h4", { text: "From logits to probabilities and loss" }),
      element(
        "div",
        { class: "output-controls" },
        element("label", {}, "temperature ", this.slider),
        this.temperature,
        this.reset,
        element("label", {}, "true class ", this.truth),
      ),
      this.steps,
      element("div", { class: "output-parts" }, this.table, this.loss),
      this.note,
    );
  }

  /** Whether a layer's values are the logits or probabilities of the classes. */
  static shows(name) {
    const { layers, output } = state.page.network;
    return output !== "embedding" && layers.at(-1).name === name && layers.at(-1).shape.length === 1;
  }

  #choose() {
    change({ trueClass: { class: Number(this.truth.value), image: state.image } });
  }

  /** Return the true class: the chosen one, else that of the image, else the predicted one. */
  #label(logits) {
    const chosen = state.trueClass;
    if (chosen && isSameSubject(chosen.image, state.image)) return chosen.class;
    return state.image?.label ?? logits.indexOf(Math.max(...logits));
  }

  update() {
    const { logits, probabilities } = this.#values();
    const label = this.#label(Array.from(logits ?? probabilities));
    const options = { temperature: state.temperature, smoothing: state.network.loss?.label_smoothing ?? 0 };
    const steps = logits ? crossEntropy(logits, label, options) : crossEntropyOfProbabilities(probabilities, label, options);
    this.truth.value = String(label);
    if (document.activeElement !== this.slider) this.slider.value = String(Math.log10(state.temperature));
    setText(this.temperature, `T = ${state.temperature.toFixed(state.temperature < 0.1 ? 3 : 2)}`);
    this.reset.disabled = state.temperature === 1;
    this.slider.disabled = !logits;
    this.#write(logits, steps, label, options);
  }

  /** Return the logits of the image, or its probabilities where they do not come from a softmax. */
  #values() {
    const layer = state.network.layer(this.name);
    const first = ({ values, shape }) => values.subarray(0, values.length / shape[0]);
    const outputs = first(state.pass.outputs.get(this.name));
    if (state.network.output !== "probabilities") return { logits: outputs };
    return activationName(layer) === "softmax"
      ? { logits: first(state.pass.before.get(this.name)) }
      : { probabilities: outputs };
  }

  #write(logits, steps, label, { temperature, smoothing }) {
    const by = temperature === 1 ? "z" : "z / T";
    setText(
      this.steps,
      logits
        ? `p = exp(${by} − max) / Σ exp(${by} − max), with max = ${number(steps.largest)} and Σ = ${number(steps.sum)}`
        : "the outputs are used as probabilities as they are",
    );
    refill(this.table, tableOfClasses(logits, steps, label, temperature));
    refill(this.loss, equationOf(lossSteps(steps, label, smoothing)));
    const untrue = temperature === 1 ? "" : " The network trains with T = 1.";
    const guess =
      state.image?.label === null || state.image?.label === undefined ? " The image has no label: choose the true class." : "";
    setText(this.note, `Cross-entropy is small where the true class has a high probability.${untrue}${guess}`);
  }
}

/** Whether two images show the same: while one draws, every stroke makes another image of the same name without a label. */
function isSameSubject(one, other) {
  const isUnlabelled = (image) => image.label === null || image.label === undefined;
  return one === other || (isUnlabelled(one) && isUnlabelled(other) && one.name === other.name);
}

/** Create the table of classes: logit, exponential, probability and its bar. */
function tableOfClasses(logits, { scaled, shifted, exponentials, probabilities, target }, label, temperature) {
  const titles = [
    "class",
    ...(logits ? ["logit z", ...(temperature === 1 ? [] : ["z / T"]), "z − max", "exp"] : []),
    "probability",
    "",
  ];
  const rows = Array.from(probabilities, (probability, index) => {
    const cells = logits
      ? [logits[index], ...(temperature === 1 ? [] : [scaled[index]]), shifted[index], exponentials[index]]
      : [];
    return element(
      "tr",
      {
        class: index === label ? "true-class" : "",
        data: {
          class: index,
          probability: String(probability),
          logit: logits ? String(logits[index]) : "",
          target: String(target[index]),
        },
      },
      element("th", { scope: "row", text: index === label ? `${className(index)} ✓` : className(index) }),
      ...cells.map((value) => element("td", {}, valueOf(value))),
      element("td", {}, valueOf(probability)),
      element("td", { class: "bar-cell" }, probabilityBar(probability)),
    );
  });
  return element(
    "table",
    { class: "classes" },
    element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col", text: title })))),
    element("tbody", {}, ...rows),
  );
}

function probabilityBar(probability) {
  const fill = element("span", { class: "share-fill" });
  fill.style.width = `${probability * 100}%`;
  return element("span", { class: "share", aria: { hidden: "true" } }, fill);
}

function lossSteps({ probabilities, logarithms, target, loss }, label, smoothing) {
  if (!smoothing) {
    return [
      { name: "probability", label: `p of the true class ${className(label)}`, value: probabilities[label] },
      { name: "logarithm", label: "log p", value: logarithms[label] },
      { name: "loss", label: "cross-entropy = −log p", value: loss, total: true },
    ];
  }
  const others = target.reduce((sum, share, index) => (index === label ? sum : sum - share * logarithms[index]), 0);
  return [
    { name: "smoothing", label: "label smoothing ε", value: smoothing },
    { name: "share", label: `target of ${className(label)}: 1 − ε + ε / ${target.length}`, value: target[label] },
    {
      name: "own",
      label: `−${number(target[label])} · log p of ${className(label)}`,
      value: -target[label] * logarithms[label],
    },
    { name: "others", label: `Σ −${number(smoothing / target.length)} · log p of the others`, value: others, sign: "+" },
    { name: "loss", label: "cross-entropy", value: loss, sign: "=", total: true },
  ];
}
