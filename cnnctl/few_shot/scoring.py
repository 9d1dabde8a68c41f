"""Evaluate a network on few-shot episodes, whichever method trained it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.pipeline import Preparation
from cnnctl.few_shot.episodes import Episodes, index_batches
from cnnctl.few_shot.methods import COSINE_SCALE, episode_labels, maml_logits, pose_logits
from cnnctl.few_shot.views import NO_VIEWS, Views, embed_views
from cnnctl.spec.experiment import CosineClassifier, Maml, Prototypical
from cnnctl.spec.few_shot import distance_of
from cnnctl.train.observers import NORMAL_95, Score

MethodSpec = Prototypical | Maml | CosineClassifier
_VALUES_AT_ONCE = 2**24
"""Values of embeddings that are gathered at once, 64 MB in float32: bounds the memory of an evaluation."""


@dataclass(frozen=True)
class EpisodeSeries:
    """Episodes that a network is evaluated on; the same ones every time.

    Attributes:
        episodes: draws them.
        prepare: prepares images for the network.
        seed: of the random draws.
        count: number of episodes, two or more.
        at_once: batch size.
        views: of each image, for methods that compare embeddings.
    """

    episodes: Episodes
    prepare: Preparation
    seed: int
    count: int
    at_once: int
    views: Views = NO_VIEWS


@dataclass(frozen=True)
class EpisodeScores:
    """Loss and accuracy of each episode of a series.

    Attributes:
        losses: (N,), cross-entropy over the query images.
        accuracies: (N,), fraction of the query images that are classified correctly.
    """

    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64]

    @property
    def score(self) -> Score:
        """Compute the means, and 1.96 standard errors of the accuracy over the episodes."""
        error = float(self.accuracies.std(ddof=1)) / math.sqrt(len(self.accuracies))
        return Score(float(self.losses.mean()), float(self.accuracies.mean()), NORMAL_95 * error)


EpisodeEvaluator = Callable[[EpisodeSeries], EpisodeScores]


def episode_evaluator(model: keras.Model, spec: MethodSpec) -> EpisodeEvaluator:
    """Create the function that evaluates a network on episodes.

    Args:
        model: images (B, H, W, C) to logits (B, way) for `maml`, else to embeddings (B, D).
        spec: the config's section of the method.
    """
    if isinstance(spec, Maml):
        return _adapting_evaluator(model, spec)
    scale = spec.scale if isinstance(spec, CosineClassifier) else COSINE_SCALE
    return _comparing_evaluator(model, distance_of(spec), scale)


def episode_scorer(model: keras.Model, spec: MethodSpec) -> Callable[[EpisodeSeries], Score]:
    """Create the function that computes the means over episodes; arguments as in `episode_evaluator`."""
    evaluate = episode_evaluator(model, spec)
    return lambda series: evaluate(series).score


def _scores(batches: tf.data.Dataset, step: Callable[[Any], tuple[Any, Any]]) -> EpisodeScores:
    losses, accuracies = zip(*(step(indices) for indices in batches), strict=True)
    return EpisodeScores(np.concatenate(losses).astype(np.float64), np.concatenate(accuracies).astype(np.float64))


def _comparing_evaluator(model: keras.Model, distance: str, scale: float) -> EpisodeEvaluator:
    """Compare embeddings. Each image is embedded once, however many episodes it is in: in inference no other image matters."""
    embed = tf.function(lambda images: _embedded(model, images), autograph=False, reduce_retracing=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def compare(vectors: Any, indices: Any, shot: int) -> tuple[Any, Any]:
        gathered = tf.gather(vectors, indices)  # (E, way, shot + query, poses, D)
        way, query = indices.shape[1], indices.shape[2] - shot
        queries = tf.reshape(gathered[:, :, shot:], (-1, way * query, *vectors.shape[1:]))
        return _losses_and_accuracies(pose_logits(gathered[:, :, :shot], queries, distance, scale), way, query)

    def evaluate(series: EpisodeSeries) -> EpisodeScores:
        episodes, images = series.episodes, series.episodes.images.images
        vectors = tf.constant(
            embed_views(embed, images, series.prepare, series.views, seed=series.seed, at_once=series.at_once)
        )
        at_once = max(_VALUES_AT_ONCE // (episodes.size.images * vectors.shape[1] * vectors.shape[2]), 1)
        batches = index_batches(episodes, series.seed, series.count, at_once)
        return _scores(batches, lambda indices: compare(vectors, indices, episodes.size.shot))

    return evaluate


def _embedded(model: keras.Model, images: Any) -> Any:
    return tf.cast(model(images, training=False), tf.float32)


def _adapting_evaluator(model: keras.Model, spec: Maml) -> EpisodeEvaluator:
    """Adapt the weights to the labelled images of each episode."""

    @tf.function(autograph=False, reduce_retracing=True)
    def adapt_and_classify(images: Any, shot: int) -> tuple[Any, Any]:
        way, query = images.shape[1], images.shape[2] - shot
        weights = [tf.convert_to_tensor(variable) for variable in model.trainable_variables]

        def logits(episode: Any) -> Any:
            steps, rate = spec.test_steps or spec.inner_steps, spec.inner_learning_rate
            # first order: no gradient is taken through the adaptation
            return maml_logits(model, weights, episode[:, :shot], episode[:, shot:], steps=steps, rate=rate, first_order=True)

        shape = tf.TensorSpec((way * query, way), tf.float32)
        return _losses_and_accuracies(tf.map_fn(logits, images, fn_output_signature=shape), way, query)

    def evaluate(series: EpisodeSeries) -> EpisodeScores:
        size = series.episodes.size
        batches = index_batches(series.episodes, series.seed, series.count, max(series.at_once // size.images, 1))
        return _scores(batches, lambda indices: adapt_and_classify(_inputs(series, indices), size.shot))

    return evaluate


def _inputs(series: EpisodeSeries, indices: Any) -> Any:
    """Read and prepare the images of episodes, (E, way, shot + query, H, W, C)."""
    pixels = series.episodes.images.images
    flat = pixels[indices.numpy()].reshape(-1, *pixels.shape[1:])
    images, _ = series.prepare.network_inputs(flat, np.zeros(len(flat), np.int64))
    return tf.reshape(images, (*indices.shape, *images.shape[1:]))


def _losses_and_accuracies(logits: Any, way: int, query: int) -> tuple[Any, Any]:
    """Compute loss and accuracy (E,) of logits (E, way · query, way)."""
    labels = tf.broadcast_to(episode_labels(way, query), tf.shape(logits)[:2])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, axis=-1), labels), tf.float32)
    return tf.reduce_mean(losses, axis=1), tf.reduce_mean(right, axis=1)
