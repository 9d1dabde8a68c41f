"""One step of training and of evaluation, as plain functions; the caller compiles them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cnnctl.spec.experiment import Experiment


@dataclass(frozen=True)
class Metrics:
    """Loss and accuracy over the images seen since the last reset, each image weighted the same."""

    loss: keras.metrics.Metric
    accuracy: keras.metrics.Metric

    def reset(self) -> None:
        """Forgets all images."""
        self.loss.reset_state()
        self.accuracy.reset_state()

    def values(self) -> tuple[float, float]:
        """Returns loss and accuracy."""
        return float(self.loss.result()), float(self.accuracy.result())

    def totals(self) -> tuple[float, ...]:
        """Returns what loss and accuracy are computed from; a float holds them to the bit."""
        return tuple(float(variable.numpy()) for variable in self._variables)

    def load_bytes(self, totals: Sequence[float]) -> None:
        """Takes up what `totals` returned; nothing of an epoch that only begins."""
        for variable, total in zip(self._variables, totals or (0.0,) * len(self._variables), strict=True):
            variable.assign(total)

    @property
    def _variables(self) -> list[Any]:
        return [*self.loss.variables, *self.accuracy.variables]


def build_metrics(experiment: Experiment) -> Metrics:
    """Returns metrics for the labels that the config says."""
    return Metrics(keras.metrics.Mean(name="loss"), accuracy_metric(experiment))


def accuracy_metric(experiment: Experiment) -> keras.metrics.Metric:
    """Returns the accuracy for integer or one-hot labels."""
    if experiment.data.labels == "one_hot":
        return keras.metrics.CategoricalAccuracy(name="accuracy")
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def build_once(optimizer: keras.Optimizer, model: keras.Model) -> None:
    """Makes the optimizer's variables for a model's weights; one that scales the loss would make others at a second call."""
    if not optimizer.built:
        optimizer.build(model.trainable_variables)


def train_step(
    model: keras.Model, optimizer: keras.Optimizer, loss_function: keras.Loss, metrics: Metrics, images: Any, labels: Any
) -> None:
    """Changes the weights by one step of the optimizer.

    Args:
        model: built network.
        optimizer: built for the model's trainable variables.
        loss_function: averages over the batch.
        metrics: told about the batch.
        images: (B, H, W, C), float32.
        labels: (B,) integers or (B, classes) one-hot.
    """
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)  # (B, classes)
        loss = total_loss(model, loss_function, labels, outputs)
        scaled = optimizer.scale_loss(loss)  # refuses what is no number; scales under mixed float16 only
    gradients = tape.gradient(scaled, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    count_batch(metrics, loss, labels, outputs)


def evaluate_step(model: keras.Model, loss_function: keras.Loss, metrics: Metrics, images: Any, labels: Any) -> None:
    """Tells the metrics about one batch; arguments as in `train_step`."""
    outputs = model(images, training=False)
    count_batch(metrics, total_loss(model, loss_function, labels, outputs), labels, outputs)


def total_loss(model: keras.Model, loss_function: keras.Loss, labels: Any, outputs: Any) -> Any:
    """Returns the loss of a batch with the regularization terms of the call before."""
    with tf.name_scope("loss"):
        return keras.ops.sum([loss_function(labels, outputs), *model.losses])  # as fit adds them, to the bit


def total_loss_with(weights: Sequence[Any], model: keras.Model, loss_function: keras.Loss, images: Any, labels: Any) -> Any:
    """Returns the loss of a batch in training under other values of the trained weights; no state changes.

    So the moving averages do not move, and the next step drops what it would have dropped.
    """
    states = [tf.convert_to_tensor(variable) for variable in model.non_trainable_variables]
    outputs, _, extra = model.stateless_call(weights, states, images, training=True, return_losses=True)
    return keras.ops.sum([loss_function(labels, outputs), *extra])


def penalty_of(model: keras.Model) -> float | None:
    """Computes what the regularizers of a model's trained weights add to its loss; None where no weight has one."""
    regularized = [weight for weight in model.trainable_variables if getattr(weight, "regularizer", None)]
    return math.fsum(float(weight.regularizer(weight)) for weight in regularized) if regularized else None


def count_batch(metrics: Metrics, loss: Any, labels: Any, outputs: Any) -> None:
    """Tells the metrics about one batch, weighted by its images."""
    with tf.name_scope("metrics"):
        metrics.loss.update_state(loss, sample_weight=tf.shape(outputs)[0])
        metrics.accuracy.update_state(labels, outputs)
