/** Few-shot networks: the scores of an image for each class of an episode, from the embeddings of its support images. */

import { classScores, gradientOfScore } from "./arithmetic/fewshot.js";

const known = new WeakMap(); // network → embeddings of the support images

/** Return whether the network's classes are those of an episode, found by distances between embeddings. */
export function comparesEmbeddings(page) {
  return Boolean(page.few_shot?.distance);
}

/** Return whether the network has a loss of classes: an embedding has none, and few-shot methods have their own. */
export function hasLoss({ network }) {
  return network.loss !== null && network.output !== "embedding";
}

/** Return the names of the classes among which the page classifies; an embedding without an episode has none. */
export function classNames(page) {
  if (comparesEmbeddings(page)) return page.few_shot.classes.map((each) => each.name);
  const { classes, layers, output } = page.network;
  if (classes.length || output === "embedding") return classes;
  return Array.from({ length: layers.at(-1).shape[0] }, (_, index) => String(index));
}

/** Compute {prototype, distance, score} of each class of the episode for an embedding. */
export function episodeScores(page, network, embedding) {
  return classScores(embedding, supportVectors(page, network), optionsOf(page));
}

/** Compute the gradient of the score of a class by the embedding. */
export function scoreGradient(page, network, embedding, chosen) {
  return gradientOfScore(embedding, supportVectors(page, network), chosen, optionsOf(page));
}

function optionsOf({ few_shot: episode }) {
  return { distance: episode.distance, scale: episode.scale ?? undefined };
}

/** Embed the support images in inference mode, once per set of weights; a list of vectors per class. */
function supportVectors(page, network) {
  if (!known.has(network)) known.set(network, page.few_shot.classes.map(({ support }) => support.map((index) => embed(page.images[index], network)))); // prettier-ignore
  return known.get(network);
}

function embed(image, network) {
  const tensor = { shape: [1, ...network.description.input.shape], values: image.values };
  return network.forward(tensor).outputs.get(network.last.name).values;
}
