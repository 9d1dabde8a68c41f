// Few-shot classification: how near a query image is to each class, by the embeddings of a few labelled images.

/** Cosines lie between -1 and 1, so a softmax of them alone is almost uniform (Gidaris and Komodakis 2018, section 3.2). */
export const COSINE_SCALE = 10;

const MIN_SQUARED_NORM = 1e-12; // as in tf.math.l2_normalize

/** Compute the prototype of a class: the mean of the embeddings of its images (Snell et al. 2017, equation 1). */
export function prototypeOf(vectors) {
  const mean = new Float64Array(vectors[0].length);
  for (const vector of vectors) vector.forEach((value, index) => (mean[index] += value / vectors.length));
  return mean;
}

/**
 * Compute the score of a query for each class: minus the squared distance to its prototype, or the scaled cosine.
 * @param query embedding
 * @param supports embeddings of the labelled images, a list per class
 * @param options.distance "squared_euclid" or "cosine"
 * @returns [{ prototype, distance, score }] per class; distance is squared, or 1 - cosine
 */
export function classScores(query, supports, { distance = "squared_euclid", scale = COSINE_SCALE } = {}) {
  return supports.map((vectors) => {
    const prototype = prototypeOf(vectors);
    if (distance === "cosine") {
      const cosine = dotProduct(unitVector(query), unitVector(prototype));
      return { prototype, distance: 1 - cosine, score: scale * cosine };
    }
    const squared = prototype.reduce((sum, value, index) => sum + (value - query[index]) ** 2, 0);
    return { prototype, distance: squared, score: -squared };
  });
}

/** Compute the gradient of a class's score by the query's embedding; a start for Network.backward, { kind: "adjoint" }. */
export function gradientOfScore(query, supports, chosen, { distance = "squared_euclid", scale = COSINE_SCALE } = {}) {
  const prototype = prototypeOf(supports[chosen]);
  if (distance !== "cosine") return Float64Array.from(query, (value, index) => 2 * (prototype[index] - value));
  const [direction, target] = [unitVector(query), unitVector(prototype)];
  const [length, cosine] = [Math.sqrt(Math.max(dotProduct(query, query), MIN_SQUARED_NORM)), dotProduct(direction, target)];
  return direction.map((value, index) => (scale * (target[index] - cosine * value)) / length);
}

function dotProduct(first, second) {
  return first.reduce((sum, value, index) => sum + value * second[index], 0);
}

function unitVector(vector) {
  const length = Math.sqrt(Math.max(dotProduct(vector, vector), MIN_SQUARED_NORM));
  return Float64Array.from(vector, (value) => value / length);
}
