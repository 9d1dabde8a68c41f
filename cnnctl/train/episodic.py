"""Learners of few-shot tasks: how each trains, and how each is judged on episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.episodes import Episodes, index_batches
from cnnctl.data.pipeline import Preparation
from cnnctl.spec.experiment import Classifier, Maml, Prototypical
from cnnctl.spec.few_shot import distance_of
from cnnctl.train.few_shot import COSINE_SCALE, cross_entropy, embedded_logits, episode_labels, maml_logits, prototype_logits
from cnnctl.train.loops import Learner
from cnnctl.train.observe import NORMAL_95, Score
from cnnctl.train.steps import Metrics, count_batch
from cnnctl.train.views import AS_IT_IS, Views, vectors_of

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


def judge_of(model: keras.Model, spec: LearnerSpec) -> Judge:
    """Returns what judges a network on episodes.

    Args:
        model: images (B, H, W, C) to logits (B, way) for `maml`, else to embeddings (B, D).
        spec: the learner's section of the config.
    """
    if isinstance(spec, Maml):
        return _judge_by_adapting(model, spec)
    scale = spec.scale if isinstance(spec, Classifier) else COSINE_SCALE
    return _judge_by_comparing(model, distance_of(spec), scale)


def _scores(batches: tf.data.Dataset, step: Callable[[Any], tuple[Any, Any]]) -> EpisodeScores:
    losses, accuracies = zip(*(step(indices) for indices in batches), strict=True)
    return EpisodeScores(np.concatenate(losses).astype(np.float64), np.concatenate(accuracies).astype(np.float64))


def _judge_by_comparing(model: keras.Model, distance: str, scale: float) -> Judge:
    """Every image is embedded once, however many episodes it is in: in inference its embedding depends on no other."""
    embed = tf.function(lambda images: _embedded(model, images), autograph=False, reduce_retracing=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def judge_episodes(vectors: Any, indices: Any, shot: int) -> tuple[Any, Any]:
        gathered = tf.gather(vectors, indices)  # (E, way, shot + query, D)
        way, query = indices.shape[1], indices.shape[2] - shot
        queries = tf.reshape(gathered[:, :, shot:], (-1, way * query, vectors.shape[1]))
        return _judged(prototype_logits(gathered[:, :, :shot], queries, distance, scale), way, query)

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
                cosine=distance == "cosine",
            )
        )
        at_once = max(_VALUES_AT_ONCE // (episodes.size.images * vectors.shape[1]), 1)
        batches = index_batches(episodes, series.seed, series.count, at_once)
        return _scores(batches, lambda indices: judge_episodes(vectors, indices, episodes.size.shot))

    return judge


def _embedded(model: keras.Model, images: Any) -> Any:
    return tf.cast(model(images, training=False), tf.float32)


def _judge_by_adapting(model: keras.Model, spec: Maml) -> Judge:
    @tf.function(autograph=False, reduce_retracing=True)
    def judge_episodes(images: Any, shot: int) -> tuple[Any, Any]:
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
            losses, accuracies = judge_episodes(tf.reshape(images, (*indices.shape, *images.shape[1:])), episodes.size.shot)
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


# learners


@dataclass(frozen=True)
class ClassifierLearner(Learner):
    """Learns to tell all training classes apart; then the nearest class mean names classes never trained on.

    Attributes:
        embedding: the part of the model whose vectors are compared.
        spec: the learner's section of the config.
    """

    embedding: keras.Model
    spec: Classifier

    def evaluation(self) -> Callable[[EpisodeSeries], Score]:
        """Returns what judges the embedding on episodes."""
        judge = judge_of(self.embedding, self.spec)
        return lambda series: judge(series).score


@dataclass(frozen=True)
class PrototypicalLearner:
    """Learns to embed images so that they are near the mean of their class.

    Attributes:
        model: images (B, H, W, C) to embeddings (B, D).
        optimizer: not yet built.
        metrics: of training.
        spec: the learner's section of the config.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    metrics: Metrics
    spec: Prototypical

    @cached_property
    def step(self) -> Any:
        """A step, compiled: takes labelled images (E, way, shot, H, W, C) and query images (E, way, query, H, W, C)."""

        def training_step(support: Any, queries: Any) -> None:
            with tf.GradientTape() as tape:
                logits = embedded_logits(self._in_training, support, queries, self.spec.distance)
                labels = labels_of(queries)
                loss = keras.ops.sum([cross_entropy(logits, labels), *self.model.losses])
                scaled = self.optimizer.scale_loss(loss)
            self.optimizer.apply(tape.gradient(scaled, self.model.trainable_variables), self.model.trainable_variables)
            _count(self.metrics, loss, labels, logits)

        return tf.function(training_step, autograph=False)

    def _in_training(self, images: Any) -> Any:
        return self.model(images, training=True)

    def loss_with(self, weights: Sequence[Any], support: Any, queries: Any) -> Any:
        """Returns the loss of episodes under other values of the trained weights; no state changes."""
        states = [tf.convert_to_tensor(variable) for variable in self.model.non_trainable_variables]
        extra: list[Any] = []

        def embed(images: Any) -> Any:
            vectors, _, losses = self.model.stateless_call(weights, states, images, training=True, return_losses=True)
            extra.extend(losses)
            return vectors

        logits = embedded_logits(embed, support, queries, self.spec.distance)
        return keras.ops.sum([cross_entropy(logits, labels_of(queries)), *extra])

    def evaluation(self) -> Callable[[EpisodeSeries], Score]:
        """Returns what judges the network on episodes."""
        judge = judge_of(self.model, self.spec)
        return lambda series: judge(series).score


@dataclass(frozen=True)
class MamlLearner:
    """Learns weights from which a few steps of gradient descent lead to a good network for an episode.

    Attributes:
        model: images (B, H, W, C) to logits (B, way), twice differentiable.
        optimizer: of the outer loop, not yet built.
        metrics: of training.
        spec: the learner's section of the config.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    metrics: Metrics
    spec: Maml

    @cached_property
    def step(self) -> Any:
        """A step, compiled: changes the initial weights by the mean gradient of episodes; takes what `PrototypicalLearner` takes."""

        def training_step(support: Any, queries: Any) -> None:
            weights = [tf.convert_to_tensor(variable) for variable in self.model.trainable_variables]
            shapes = [tf.TensorSpec(weight.shape, tf.float32) for weight in weights]
            way, query = queries.shape[1], queries.shape[2]
            logits, losses, gradients = tf.map_fn(
                lambda episode: self._outer(weights, *episode),
                (support, queries),
                fn_output_signature=(tf.TensorSpec((way * query, way)), tf.TensorSpec(()), shapes),
            )
            means = [tf.reduce_mean(gradient, axis=0) for gradient in gradients]
            self.optimizer.apply(means, self.model.trainable_variables)
            _count(self.metrics, tf.reduce_mean(losses), labels_of(queries), logits)

        return tf.function(training_step, autograph=False)

    def _outer(self, weights: list[Any], support: Any, queries: Any) -> tuple[Any, Any, list[Any]]:
        """Returns logits, loss and the gradient through the adaptation, of one episode."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits, loss = self._logits_and_loss(weights, support, queries)
        return logits, loss, tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def _logits_and_loss(self, weights: list[Any], support: Any, queries: Any) -> tuple[Any, Any]:
        logits = maml_logits(
            self.model,
            weights,
            support,
            queries,
            steps=self.spec.inner_steps,
            rate=self.spec.inner_learning_rate,
            first_order=self.spec.first_order,
        )
        return logits, cross_entropy(logits, episode_labels(queries.shape[0], queries.shape[1]))

    def loss_with(self, weights: Sequence[Any], support: Any, queries: Any) -> Any:
        """Returns the mean loss of episodes after adaptation from these weights; no state changes."""
        losses = [
            self._logits_and_loss(list(weights), *episode)[1]
            for episode in zip(tf.unstack(support), tf.unstack(queries), strict=True)
        ]
        return tf.reduce_mean(losses)

    def evaluation(self) -> Callable[[EpisodeSeries], Score]:
        """Returns what judges the network on episodes."""
        judge = judge_of(self.model, self.spec)
        return lambda series: judge(series).score


def labels_of(queries: Any) -> Any:
    """Returns the labels (E, way · query) of query images (E, way, query, H, W, C)."""
    labels = episode_labels(queries.shape[1], queries.shape[2])
    return tf.tile(labels[tf.newaxis], (tf.shape(queries)[0], 1))


def _count(metrics: Metrics, loss: Any, labels: Any, logits: Any) -> None:
    count_batch(metrics, loss, tf.reshape(labels, (-1,)), tf.reshape(logits, (-1, logits.shape[-1])))
