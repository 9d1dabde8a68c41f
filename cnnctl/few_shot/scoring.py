"""How a network does on few-shot episodes, whichever learner trained it."""

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
from cnnctl.few_shot.methods import COSINE_SCALE, episode_labels, maml_logits, turned_logits
from cnnctl.few_shot.views import AS_IT_IS, Views, vectors_of
from cnnctl.spec.experiment import Classifier, Maml, Prototypical
from cnnctl.spec.few_shot import distance_of
from cnnctl.train.observers import NORMAL_95, Score

LearnerSpec = Prototypical | Maml | Classifier
_VALUES_AT_ONCE = 2**24
"""So many values of embeddings are compared at once: 64 MB."""


@dataclass(frozen=True)
class EpisodeSeries:
    """Episodes that a learner is judged on; the same every time.

    Attributes:
        episodes: draws them.
        prepare: how images are made ready.
        seed: what they are drawn from.
        count: how many, two or more.
        at_once: images that the network takes at once.
        views: of each image, for learners that compare embeddings.
    """

    episodes: Episodes
    prepare: Preparation
    seed: int
    count: int
    at_once: int
    views: Views = AS_IT_IS


@dataclass(frozen=True)
class EpisodeScores:
    """What came of each episode of a series.

    Attributes:
        losses: (N,), cross-entropy over the query images.
        accuracies: (N,), share of the query images that are named rightly.
    """

    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64]

    @property
    def score(self) -> Score:
        """Returns the means, and 1.96 standard errors of the accuracy over the episodes."""
        error = float(self.accuracies.std(ddof=1)) / math.sqrt(len(self.accuracies))
        return Score(float(self.losses.mean()), float(self.accuracies.mean()), NORMAL_95 * error)


Judge = Callable[[EpisodeSeries], EpisodeScores]


def evaluation_of(model: keras.Model, spec: LearnerSpec) -> Judge:
    """Returns what judges a network on episodes.

    Args:
        model: images (B, H, W, C) to logits (B, way) for `maml`, else to embeddings (B, D).
        spec: the learner's section of the config.
    """
    if isinstance(spec, Maml):
        return _judge_by_adapting(model, spec)
    scale = spec.scale if isinstance(spec, Classifier) else COSINE_SCALE
    return _judge_by_comparing(model, distance_of(spec), scale)


def scoring(model: keras.Model, spec: LearnerSpec) -> Callable[[EpisodeSeries], Score]:
    """Returns what gives the means over episodes; arguments as in `evaluation_of`."""
    judge = evaluation_of(model, spec)
    return lambda series: judge(series).score


def _scores(batches: tf.data.Dataset, step: Callable[[Any], tuple[Any, Any]]) -> EpisodeScores:
    losses, accuracies = zip(*(step(indices) for indices in batches), strict=True)
    return EpisodeScores(np.concatenate(losses).astype(np.float64), np.concatenate(accuracies).astype(np.float64))


def _judge_by_comparing(model: keras.Model, distance: str, scale: float) -> Judge:
    """Every image is embedded once, however many episodes it is in: in inference its embedding depends on no other."""
    embed = tf.function(lambda images: _embedded(model, images), autograph=False, reduce_retracing=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def evaluate_episodes(vectors: Any, indices: Any, shot: int) -> tuple[Any, Any]:
        gathered = tf.gather(vectors, indices)  # (E, way, shot + query, turns, D)
        way, query = indices.shape[1], indices.shape[2] - shot
        queries = tf.reshape(gathered[:, :, shot:], (-1, way * query, *vectors.shape[1:]))
        return _judged(turned_logits(gathered[:, :, :shot], queries, distance, scale), way, query)

    def judge(series: EpisodeSeries) -> EpisodeScores:
        episodes = series.episodes
        vectors = tf.constant(
            vectors_of(
                embed,
                episodes.images.images,
                series.prepare,
                series.views,
                seed=series.seed,
                at_once=series.at_once,
            )
        )
        at_once = max(_VALUES_AT_ONCE // (episodes.size.images * vectors.shape[1] * vectors.shape[2]), 1)
        batches = index_batches(episodes, series.seed, series.count, at_once)
        return _scores(batches, lambda indices: evaluate_episodes(vectors, indices, episodes.size.shot))

    return judge


def _embedded(model: keras.Model, images: Any) -> Any:
    return tf.cast(model(images, training=False), tf.float32)


def _judge_by_adapting(model: keras.Model, spec: Maml) -> Judge:
    @tf.function(autograph=False, reduce_retracing=True)
    def evaluate_episodes(images: Any, shot: int) -> tuple[Any, Any]:
        way, query = images.shape[1], images.shape[2] - shot
        weights = [tf.convert_to_tensor(variable) for variable in model.trainable_variables]

        def logits(episode: Any) -> Any:
            return maml_logits(
                model,
                weights,
                episode[:, :shot],
                episode[:, shot:],
                steps=spec.test_steps or spec.inner_steps,
                rate=spec.inner_learning_rate,
                first_order=True,  # nothing is differentiated further
            )

        shape = tf.TensorSpec((way * query, way), tf.float32)
        return _judged(tf.map_fn(logits, images, fn_output_signature=shape), way, query)

    def judge(series: EpisodeSeries) -> EpisodeScores:
        episodes, pixels = series.episodes, series.episodes.images.images

        def step(indices: Any) -> tuple[Any, Any]:
            chosen = pixels[indices.numpy()]
            flat = chosen.reshape(-1, *pixels.shape[1:])
            images, _ = series.prepare.network_inputs(flat, np.zeros(len(flat), np.int64))
            losses, accuracies = evaluate_episodes(tf.reshape(images, (*indices.shape, *images.shape[1:])), episodes.size.shot)
            return losses, accuracies

        at_once = max(series.at_once // episodes.size.images, 1)
        return _scores(index_batches(episodes, series.seed, series.count, at_once), step)

    return judge


def _judged(logits: Any, way: int, query: int) -> tuple[Any, Any]:
    """Returns loss and accuracy (E,) of logits (E, way · query, way)."""
    labels = tf.broadcast_to(episode_labels(way, query), tf.shape(logits)[:2])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, axis=-1), labels), tf.float32)
    return tf.reduce_mean(losses, axis=1), tf.reduce_mean(right, axis=1)
