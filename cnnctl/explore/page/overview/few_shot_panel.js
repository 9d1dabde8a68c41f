/** The episode of a few-shot network: the support images of each class, and how far the page's image is from them. */

import { element, number, setText } from "../dom.js";
import { comparesEmbeddings, episodeScores } from "../episode.js";
import { paintImage } from "../paint.js";
import { change, outputValues, state } from "../state.js";
import { percent, probabilities } from "./classes.js";

const DISTANCES = { squared_euclid: "squared Euclidean distance", cosine: "cosine distance" };

/** Create the panel in a host; returns {update}. */
export function fewShotPanel(host) {
  const episode = state.page.few_shot;
  const cards = episode.classes.map((each) => classCard(each, episode));
  const title = `${episode.way}-way ${episode.shot}-shot episode: ${methodText(episode)}`;
  host.append(
    element("h2", { text: title }),
    ...(episode.note ? [element("p", { class: "note", text: episode.note })] : []),
    element("ol", { class: "episode" }, ...cards.map((card) => card.root)),
  );
  cards.forEach((card) => card.paint());

  function update() {
    const scores = comparesEmbeddings(state.page) ? episodeScores(state.page, state.network, outputValues()) : [];
    const shares = probabilities();
    const best = shares.indexOf(Math.max(...shares));
    cards.forEach((card, index) => card.show(scores[index], shares[index], index === best));
  }

  return { update };
}

/** Describe how the class of an image is found. */
function methodText(episode) {
  if (!episode.distance) return `the network is adapted to the support images (${episode.method})`;
  return `the class whose mean embedding is nearest, by ${DISTANCES[episode.distance] ?? episode.distance}`;
}

function classCard({ name, support }, episode) {
  const images = support.map((index) => state.page.images[index]);
  const thumbs = images.map((image) => supportButton(image, name));
  const measured = element("span", { class: "measured" });
  const share = element("span", { class: "class-value" });
  const bar = element("span", { class: "class-bar" });
  const root = element(
    "li",
    { class: "episode-class" },
    element("h3", { text: name, title: name }),
    element("div", { class: "supports" }, ...thumbs.map((thumb) => thumb.root)),
    ...(episode.distance ? [measured] : []),
    element("div", { class: "episode-share" }, element("span", { class: "class-track" }, bar), share),
  );

  function show(score, probability, isBest) {
    if (score) setText(measured, `distance ${number(score.distance)}, score ${number(score.score)}`);
    setText(share, percent(probability));
    bar.style.inlineSize = `${(100 * probability).toFixed(2)}%`;
    root.classList.toggle("best", isBest);
  }

  return { root, show, paint: () => thumbs.forEach((thumb) => thumb.paint()) };
}

/** Create a button with a support image; pressed, it becomes the page's image. */
function supportButton(image, name) {
  const canvas = element("canvas");
  const label = `${image.name ?? "support image"} of ${name}: show it`;
  const root = element(
    "button",
    { type: "button", class: "support", title: label, aria: { label }, on: { click: () => change({ image }) } },
    canvas,
  );
  const { shape, data_format: format } = state.page.network.input;
  return { root, paint: () => paintImage(canvas, { shape: [1, ...shape], values: image.values }, 0, format) };
}
