"""The arithmetic of the few-shot methods: logits for the query images of an episode, from its labelled images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Embed = Callable[[Any], Any]
"""Images (B, H, W, C) → vectors (B, D)."""
COSINE_SCALE = 10.0
"""Cosines are between -1 and 1, so a softmax of them alone is almost uniform. Gidaris and Komodakis 2018, section 3.2."""


def episode_labels(way: int, each: int) -> Any:
    """Create the labels (way · each,) of an episode's images, class by class."""
    return tf.repeat(tf.range(way, dtype=tf.int64), each)


# Prototypes


def prototype_logits(support: Any, queries: Any, distance: str, scale: float = COSINE_SCALE) -> Any:
    """Compute the similarity of each query image to the mean of each class, (E, Q, way).

    Snell, Swersky, Zemel 2017, "Prototypical Networks for Few-shot Learning", equations 1 and 2.

    Args:
        support: embeddings (E, way, shot, D).
        queries: embeddings (E, Q, D).
        distance: `squared_euclid` or `cosine`.
        scale: factor of the cosines.
    """
    prototypes = tf.reduce_mean(support, axis=2)  # (E, way, D)
    if distance == "cosine":
        products = tf.matmul(tf.math.l2_normalize(queries, -1), tf.math.l2_normalize(prototypes, -1), transpose_b=True)
        return scale * products
    return -squared_distances(queries, prototypes)


def pose_logits(support: Any, queries: Any, distance: str, scale: float = COSINE_SCALE) -> Any:
    """Compute the logits of `prototype_logits`, averaged over the poses of the images, (E, Q, way).

    Args:
        support: embeddings (E, way, shot, poses, D).
        queries: embeddings (E, Q, poses, D).
        distance, scale: as in `prototype_logits`.
    """
    pairs = zip(tf.unstack(support, axis=3), tf.unstack(queries, axis=2), strict=True)
    return tf.add_n([prototype_logits(*pair, distance, scale) for pair in pairs]) / queries.shape[2]


def squared_distances(first: Any, second: Any) -> Any:
    """Compute |a - b|² = |a|² - 2ab + |b|² of all pairs, (E, N, M), for (E, N, D) and (E, M, D).

    Computed in float64: the three terms may be a million times their sum, which float32 would lose to rounding.
    """
    first, second = tf.cast(first, tf.float64), tf.cast(second, tf.float64)
    products = tf.matmul(first, second, transpose_b=True)
    squares = tf.reduce_sum(first**2, -1)[:, :, tf.newaxis] - 2 * products + tf.reduce_sum(second**2, -1)[:, tf.newaxis]
    return tf.cast(squares, tf.float32)


def embedded_logits(embed: Embed, support: Any, queries: Any, distance: str) -> Any:
    """Compute the logits (E, way · query, way) of episodes whose images are all embedded in one call.

    Args:
        embed: images (B, H, W, C) to vectors (B, D).
        support: (E, way, shot, H, W, C).
        queries: (E, way, query, H, W, C).
        distance: `squared_euclid` or `cosine`.
    """
    sizes = [tf.shape(part)[0] * part.shape[1] * part.shape[2] for part in (support, queries)]
    image = support.shape[3:]
    together = tf.concat([tf.reshape(part, (-1, *image)) for part in (support, queries)], axis=0)
    vectors = tf.cast(embed(together), tf.float32)
    of_support, of_queries = tf.split(vectors, sizes)
    width = vectors.shape[-1]
    way, shot, query = support.shape[1], support.shape[2], queries.shape[2]
    return prototype_logits(
        tf.reshape(of_support, (-1, way, shot, width)), tf.reshape(of_queries, (-1, way * query, width)), distance
    )


# Model-agnostic meta-learning


def adapt(
    model: keras.Model, weights: list[Any], images: Any, labels: Any, *, steps: int, rate: float, first_order: bool
) -> list[Any]:
    """Compute weights after some steps of gradient descent on a few labelled images.

    Finn, Abbeel, Levine 2017, "Model-Agnostic Meta-Learning", equation 1. The result depends on `weights`
    differentiably: through the gradients too (second order), or not through them (first order). Batch norm
    always uses the statistics of the batch and no moving average, as in the paper's code.

    Args:
        model: images (B, H, W, C) to logits (B, way).
        weights: values of its trainable variables, to start from.
        images: (way · shot, H, W, C).
        labels: (way · shot,).
        steps: number of steps.
        rate: learning rate.
        first_order: leave out second derivatives.
    """
    for _ in range(steps):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = cross_entropy(stateless(model, weights, images), labels)
        gradients = tape.gradient(loss, weights)
        if first_order:
            gradients = [tf.stop_gradient(gradient) for gradient in gradients]
        weights = [weight - rate * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    return weights


def stateless(model: keras.Model, weights: list[Any], images: Any) -> Any:
    """Compute the outputs of a network with other weights, in training mode. The network's states do not change."""
    states = [tf.convert_to_tensor(variable) for variable in model.non_trainable_variables]
    outputs, _ = model.stateless_call(weights, states, images, training=True)
    return outputs


def cross_entropy(logits: Any, labels: Any) -> Any:
    """Compute the mean loss of logits (..., way) for labels (...)."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def maml_logits(
    model: keras.Model, weights: list[Any], support: Any, queries: Any, *, steps: int, rate: float, first_order: bool
) -> Any:
    """Compute the logits (way · query, way) of one episode with a network adapted to its labelled images.

    Args:
        model: images (B, H, W, C) to logits (B, way).
        weights: values of its trainable variables, to start from.
        support: (way, shot, H, W, C).
        queries: (way, query, H, W, C).
        steps, rate, first_order: as in `adapted`.
    """
    way, shot = support.shape[0], support.shape[1]
    flat = tf.reshape(support, (-1, *support.shape[2:]))
    weights = adapt(model, weights, flat, episode_labels(way, shot), steps=steps, rate=rate, first_order=first_order)
    return stateless(model, weights, tf.reshape(queries, (-1, *queries.shape[2:])))
