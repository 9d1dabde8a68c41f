"""What the loops drive: a network, what trains it, and its steps, compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import keras
import tensorflow as tf

from cnnctl.train.averages import AveragedWeights
from cnnctl.train.chunks import agreement, compiled_steps, run_in_chunks
from cnnctl.train.distributed.replicas import Replicas, Totals, evaluate_together, train_together
from cnnctl.train.observers import Score
from cnnctl.train.steps import Metrics, evaluate_step, penalty_of, total_loss_with, train_step

Batches = Callable[[int], tf.data.Dataset]
"""Gives the batches of a training from a step on, counted from 0, to the end of its last epoch."""


class Trainable(Protocol):
    """What the custom loop drives: a classifier, or a learner of few-shot tasks."""

    @property
    def model(self) -> keras.Model:
        """Built network."""

    @property
    def optimizer(self) -> keras.Optimizer:
        """Not yet built."""

    @property
    def averages(self) -> AveragedWeights:
        """What gives the model the weights that a run would leave."""

    @property
    def metrics(self) -> Metrics:
        """Of training."""

    @property
    def replicas(self) -> Replicas | None:
        """What computes parts of each batch; None for one device."""

    @property
    def step(self) -> Any:
        """A step of training, compiled once: takes a batch, or what is dealt out of one."""
        ...

    def loss_with(self, weights: Sequence[Any], *batch: Any) -> Any:
        """Returns the training loss of a batch under other values of the trained weights; no state changes."""
        ...

    def evaluation(self) -> Callable[[Any], Score]:
        """Returns what judges the network on validation or test data of the learner's own kind."""
        ...


class Averaged:
    """What all learners have in common: an optimizer that may keep averages of the weights."""

    model: keras.Model
    optimizer: keras.Optimizer

    @cached_property
    def averages(self) -> AveragedWeights:
        """What gives the model the weights that a run would leave."""
        return AveragedWeights(self.model, self.optimizer)


@dataclass(frozen=True)
class Learner(Averaged):
    """A network that tells classes apart, and what trains it.

    Attributes:
        model: built network.
        optimizer: not yet built.
        loss: averages over a batch.
        metrics: for the custom loop's training; `accuracy` is also what `fit` reports.
        replicas: what computes parts of each batch; None for one device.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    loss: keras.Loss
    metrics: Metrics
    replicas: Replicas | None = field(default=None, kw_only=True)

    @cached_property
    def step(self) -> Any:
        """The custom loop's step, compiled once: takes the images and labels of a batch, or what is dealt out of one."""
        if self.replicas:
            return tf.function(self.replicas.together(self.train_part, self.metrics), autograph=False)

        def training_step(images: Any, labels: Any) -> None:
            train_step(self.model, self.optimizer, self.loss, self.metrics, images, labels)

        return tf.function(training_step, autograph=False)

    def train_part(self, images: Any, labels: Any, rows: Any) -> Totals:
        """Trains on the whole batch that a replica has a part of; see `replicas.train_together`."""
        return train_together(self.model, self.optimizer, self.loss, images, labels, rows)

    def evaluate_part(self, images: Any, labels: Any, rows: Any) -> Totals:
        """Judges the network on the whole batch that a replica has a part of; see `replicas.evaluate_together`."""
        return evaluate_together(self.model, self.loss, images, labels, rows)

    def loss_with(self, weights: Sequence[Any], images: Any, labels: Any) -> Any:
        """Returns the training loss of a batch under other values of the trained weights; no state changes."""
        return total_loss_with(weights, self.model, self.loss, images, labels)

    def evaluation(self) -> Callable[[tf.data.Dataset], Score]:
        """Returns what gives loss and accuracy over a dataset of known length; compiled once, for validation and test."""
        return self._evaluate

    @cached_property
    def _evaluate(self) -> Callable[[tf.data.Dataset], Score]:
        metrics = Metrics(keras.metrics.Mean(), type(self.metrics.accuracy)())

        def step(images: Any, labels: Any) -> None:
            evaluate_step(self.model, self.loss, metrics, images, labels)

        replicas = self.replicas
        run_steps = compiled_steps(replicas.together(self.evaluate_part, metrics) if replicas else step, metrics)

        def evaluate(dataset: tf.data.Dataset) -> Score:
            metrics.reset()
            batches = replicas.dealt_out(dataset) if replicas else dataset
            steps = replicas.steps_of(dataset) if replicas else int(dataset.cardinality())
            for _ in run_in_chunks(run_steps, iter(batches), [steps], 0, agreement(replicas)):
                pass
            return Score(*metrics.values(), penalty=penalty_of(self.model))

        return evaluate
