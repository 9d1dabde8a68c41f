"""The training steps of the few-shot methods, as the custom loop runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf

from cnnctl.few_shot.methods import cross_entropy, embedded_logits, episode_labels, maml_logits
from cnnctl.few_shot.scoring import EpisodeSeries, episode_scorer
from cnnctl.model.guard import only_if_finite
from cnnctl.spec.experiment import CosineClassifier, Maml, Prototypical
from cnnctl.train.learner import Averaged, Learner
from cnnctl.train.observers import Score
from cnnctl.train.steps import Metrics, count_batch


@dataclass(frozen=True)
class CosineClassifierLearner(Learner):
    """Train a classifier of all training classes. Classes never trained on are then classified by the nearest class mean.

    Attributes:
        embedding: the part of the model whose outputs are compared.
        spec: the config's section of the method.
    """

    embedding: keras.Model
    spec: CosineClassifier

    def evaluation(self) -> Callable[[EpisodeSeries], Score]:
        """Create the function that evaluates the embedding on episodes."""
        return episode_scorer(self.embedding, self.spec)


class _OnEpisodes(Averaged):
    """Base of the learners whose whole model is evaluated on episodes."""

    replicas = None
    """Episodes are computed on one device."""

    spec: Any

    def evaluation(self) -> Callable[[EpisodeSeries], Score]:
        """Create the function that evaluates the network on episodes."""
        return episode_scorer(self.evaluated, self.spec)

    @property
    def evaluated(self) -> keras.Model:
        """The network that is evaluated."""
        return self.model


@dataclass(frozen=True)
class PrototypicalLearner(_OnEpisodes):
    """Train an embedding in which images are near the mean of their class.

    Attributes:
        model: images (B, H, W, C) to embeddings (B, D).
        optimizer: not yet built.
        metrics: of training.
        spec: the config's section of the method.
        network: with the weights of `model`, which may be a faster way to compute it.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    metrics: Metrics
    spec: Prototypical
    network: keras.Model

    @cached_property
    def step(self) -> Any:
        """Compiled training step for labelled images (E, way, shot, H, W, C) and query images (E, way, query, H, W, C)."""

        def training_step(support: Any, queries: Any) -> None:
            with tf.GradientTape() as tape:
                logits = embedded_logits(self._in_training, support, queries, self.spec.distance)
                labels = labels_of(queries)
                loss = keras.ops.sum([cross_entropy(logits, labels), *self.model.losses])
                scaled = self.optimizer.scale_loss(loss)
            self.optimizer.apply(tape.gradient(scaled, self.model.trainable_variables), self.model.trainable_variables)
            _count(self.metrics, loss, labels, logits)

        return tf.function(training_step, autograph=False)

    @property
    def evaluated(self) -> keras.Model:
        """The network that is evaluated: as it is when the run is opened again."""
        return self.network

    def _in_training(self, images: Any) -> Any:
        return self.model(images, training=True)

    def loss_with(self, weights: Sequence[Any], support: Any, queries: Any) -> Any:
        """Compute the loss of episodes with other values of the trained weights. No state changes."""
        states = [tf.convert_to_tensor(variable) for variable in self.model.non_trainable_variables]
        extra: list[Any] = []

        def embed(images: Any) -> Any:
            vectors, _, losses = self.model.stateless_call(weights, states, images, training=True, return_losses=True)
            extra.extend(losses)
            return vectors

        logits = embedded_logits(embed, support, queries, self.spec.distance)
        return keras.ops.sum([cross_entropy(logits, labels_of(queries)), *extra])


@dataclass(frozen=True)
class MamlLearner(_OnEpisodes):
    """Train initial weights from which a few steps of gradient descent lead to a good network for an episode.

    Attributes:
        model: images (B, H, W, C) to logits (B, way), twice differentiable.
        optimizer: of the outer loop, not yet built.
        metrics: of training.
        spec: the config's section of the method.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    metrics: Metrics
    spec: Maml

    @cached_property
    def step(self) -> Any:
        """Compiled training step: the mean gradient of the episodes. Same arguments as in `PrototypicalLearner`."""

        def training_step(support: Any, queries: Any) -> None:
            weights = [tf.convert_to_tensor(variable) for variable in self.model.trainable_variables]
            shapes = [tf.TensorSpec(weight.shape, tf.float32) for weight in weights]
            way, query = queries.shape[1], queries.shape[2]
            logits, losses, gradients = tf.map_fn(
                lambda episode: self._outer(weights, *episode),
                (support, queries),
                fn_output_signature=(tf.TensorSpec((way * query, way)), tf.TensorSpec(()), shapes),
            )
            loss = tf.reduce_mean(losses)
            means = only_if_finite(loss, [tf.reduce_mean(gradient, axis=0) for gradient in gradients])
            self.optimizer.apply(means, self.model.trainable_variables)
            _count(self.metrics, loss, labels_of(queries), logits)

        return tf.function(training_step, autograph=False)

    def _outer(self, weights: list[Any], support: Any, queries: Any) -> tuple[Any, Any, list[Any]]:
        """Compute logits, loss and the gradient through the adaptation, of one episode."""
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
        """Compute the mean loss of episodes after adaptation from these weights. No state changes."""
        losses = [
            self._logits_and_loss(list(weights), *episode)[1]
            for episode in zip(tf.unstack(support), tf.unstack(queries), strict=True)
        ]
        return tf.reduce_mean(losses)


def labels_of(queries: Any) -> Any:
    """Create the labels (E, way · query) of query images (E, way, query, H, W, C)."""
    labels = episode_labels(queries.shape[1], queries.shape[2])
    return tf.tile(labels[tf.newaxis], (tf.shape(queries)[0], 1))


def _count(metrics: Metrics, loss: Any, labels: Any, logits: Any) -> None:
    count_batch(metrics, loss, tf.reshape(labels, (-1,)), tf.reshape(logits, (-1, logits.shape[-1])))
