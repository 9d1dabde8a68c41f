"""What the loops train: a network with its optimizer, its step and its evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import keras
import tensorflow as tf

from cnnctl.data.pipeline import iterate
from cnnctl.train.averages import AveragedWeights
from cnnctl.train.distributed.replicas import (
    Replicas,
    Totals,
    agreement,
    distribute_for,
    evaluate_together,
    steps_of_replicas,
    train_together,
)
from cnnctl.train.observers import Score
from cnnctl.train.steps import (
    Metrics,
    compiled_steps,
    compiled_train_step,
    evaluate_step,
    penalty_of,
    run_in_chunks,
    total_loss_with,
)

Batches = Callable[[int], tf.data.Dataset]
"""A step, counted from 0 → the batches from it on, to the end of the last epoch."""


class Trainable(Protocol):
    """What the custom loop trains: a classifier, or a learner of few-shot tasks."""

    @property
    def model(self) -> keras.Model:
        """The network, built."""

    @property
    def optimizer(self) -> keras.Optimizer:
        """The optimizer, not yet built."""

    @property
    def averages(self) -> AveragedWeights:
        """Gives the model the weights that a run would save."""

    @property
    def metrics(self) -> Metrics:
        """Loss and accuracy of training."""

    @property
    def replicas(self) -> Replicas | None:
        """The replicas that share each batch; None for one device."""

    @property
    def step(self) -> Any:
        """The training step, compiled once; takes a batch, or one replica's part of it."""
        ...

    def loss_with(self, weights: Sequence[Any], *batch: Any) -> Any:
        """Compute the training loss of a batch under other values of the trained weights; no state changes."""
        ...

    def evaluation(self) -> Callable[[Any], Score]:
        """Return the function that evaluates the network on the learner's kind of validation or test data."""
        ...


class Averaged:
    """The part that all learners share: an optimizer that may keep averages of the weights."""

    model: keras.Model
    optimizer: keras.Optimizer

    @cached_property
    def averages(self) -> AveragedWeights:
        """Gives the model the weights that a run would save."""
        return AveragedWeights(self.model, self.optimizer)


@dataclass(frozen=True)
class Learner(Averaged):
    """A classifier and its training.

    Attributes:
        model: built network.
        optimizer: not yet built.
        loss: averages over a batch.
        metrics: for the custom loop's training; `fit` reports the same `accuracy`.
        replicas: share each batch; None for one device.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    loss: keras.Loss
    metrics: Metrics
    replicas: Replicas | None = field(default=None, kw_only=True)

    @cached_property
    def step(self) -> Any:
        """The custom loop's step, compiled once; takes images and labels of a batch, or a distributed batch."""
        if self.replicas:
            return tf.function(self.replicas.together(self.train_part, self.metrics), autograph=False)
        return compiled_train_step(self.model, self.optimizer, self.loss, self.metrics)

    def train_part(self, images: Any, labels: Any, rows: Any) -> Totals:
        """Train on a batch of which this replica has a part; see `replicas.train_together`."""
        return train_together(self.model, self.optimizer, self.loss, images, labels, rows)

    def evaluate_part(self, images: Any, labels: Any, rows: Any) -> Totals:
        """Evaluate on a batch of which this replica has a part; see `replicas.evaluate_together`."""
        return evaluate_together(self.model, self.loss, images, labels, rows)

    def loss_with(self, weights: Sequence[Any], images: Any, labels: Any) -> Any:
        """Compute the training loss of a batch under other values of the trained weights; no state changes."""
        return total_loss_with(weights, self.model, self.loss, images, labels)

    def evaluation(self) -> Callable[[tf.data.Dataset], Score]:
        """Return the function that computes loss and accuracy over a dataset of known length; compiled once."""
        return self._evaluate

    def rehearse(self, dataset: tf.data.Dataset) -> None:
        """Trace and compile the evaluation of datasets like this one; it makes no step, which might change a layer's state."""
        _, run_steps = self._evaluation
        with iterate(dataset.take(0)) as batches:
            run_steps(batches, tf.constant(0))

    def _evaluate(self, dataset: tf.data.Dataset) -> Score:
        metrics, run_steps = self._evaluation
        metrics.reset()
        stops = [steps_of_replicas(self.replicas, dataset)]
        with iterate(dataset, distribute_for(self.replicas)) as batches:
            for _ in run_in_chunks(run_steps, batches, stops, 0, agreement(self.replicas)):
                pass
        return Score(*metrics.values(), penalty=penalty_of(self.model))

    @cached_property
    def _evaluation(self) -> tuple[Metrics, Callable[[Any, Any], Any]]:
        """The metrics of evaluation, and its steps, compiled once."""
        metrics = Metrics(keras.metrics.Mean(), type(self.metrics.accuracy)())

        def step(images: Any, labels: Any) -> None:
            evaluate_step(self.model, self.loss, metrics, images, labels)

        replicas = self.replicas
        return metrics, compiled_steps(replicas.together(self.evaluate_part, metrics) if replicas else step, metrics)
