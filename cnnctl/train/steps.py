"""The gradient step, the evaluation step, and calls of TensorFlow that run many of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf

SECONDS_PER_CALL = 0.2
"""Target length of one call of TensorFlow: observers are notified, and signals handled, between calls only."""

Agreement = Callable[[int], int]
"""Steps that suit this worker → steps of the next call, the same for all workers."""


@dataclass(frozen=True)
class Metrics:
    """Loss and accuracy over the images seen since the last reset, each image weighted the same."""

    loss: keras.metrics.Metric
    accuracy: keras.metrics.Metric

    def reset(self) -> None:
        """Reset loss and accuracy."""
        self.loss.reset_state()
        self.accuracy.reset_state()

    def values(self) -> tuple[float, float]:
        """Return loss and accuracy."""
        return float(self.loss.result()), float(self.accuracy.result())

    def totals(self) -> tuple[float, ...]:
        """Return the sums and counts behind loss and accuracy; a float holds each exactly."""
        return tuple(float(variable.numpy()) for variable in self._variables)

    def restore(self, totals: Sequence[float]) -> None:
        """Restore what `totals` returned; an empty sequence resets the metrics."""
        for variable, total in zip(self._variables, totals or (0.0,) * len(self._variables), strict=True):
            variable.assign(total)

    @property
    def _variables(self) -> list[Any]:
        return [*self.loss.variables, *self.accuracy.variables]


def build_metrics(labels: str) -> Metrics:
    """Build loss and accuracy for `integer` or `one_hot` labels."""
    accuracy = keras.metrics.CategoricalAccuracy if labels == "one_hot" else keras.metrics.SparseCategoricalAccuracy
    return Metrics(keras.metrics.Mean(name="loss"), accuracy(name="accuracy"))


def build_once(optimizer: keras.Optimizer, model: keras.Model) -> None:
    """Create the optimizer's variables for a model's weights."""
    if not optimizer.built:  # a LossScaleOptimizer that is built again gets new variables
        optimizer.build(model.trainable_variables)


def train_step(
    model: keras.Model, optimizer: keras.Optimizer, loss_function: keras.Loss, metrics: Metrics, images: Any, labels: Any
) -> None:
    """Update the weights by one step of the optimizer.

    Args:
        model: built network.
        optimizer: built for the model's trainable variables.
        loss_function: averages over the batch.
        metrics: updated with the batch.
        images: (B, H, W, C), float32.
        labels: (B,) integers or (B, classes) one-hot.
    """
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)  # (B, classes)
        loss = total_loss(model, loss_function, labels, outputs)
        scaled = optimizer.scale_loss(loss)  # refuses a non-finite loss; scales under mixed float16 only
    gradients = tape.gradient(scaled, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    count_batch(metrics, loss, labels, outputs)


def compiled_train_step(
    model: keras.Model, optimizer: keras.Optimizer, loss_function: keras.Loss, metrics: Metrics
) -> Callable[[Any, Any], None]:
    """Compile `train_step` for one network, as a function of a batch's images and labels."""
    step: Callable[[Any, Any], None] = tf.function(
        partial(train_step, model, optimizer, loss_function, metrics), autograph=False
    )
    return step


def evaluate_step(model: keras.Model, loss_function: keras.Loss, metrics: Metrics, images: Any, labels: Any) -> None:
    """Update the metrics with one batch; arguments as in `train_step`."""
    outputs = model(images, training=False)
    count_batch(metrics, total_loss(model, loss_function, labels, outputs), labels, outputs)


def total_loss(model: keras.Model, loss_function: keras.Loss, labels: Any, outputs: Any) -> Any:
    """Compute the loss of a batch, with the regularization terms of the model's last call."""
    with tf.name_scope("loss"):
        return keras.ops.sum([loss_function(labels, outputs), *model.losses])  # as fit adds them, to the bit


def total_loss_with(weights: Sequence[Any], model: keras.Model, loss_function: keras.Loss, images: Any, labels: Any) -> Any:
    """Compute the training loss of a batch under other values of the trained weights.

    No state changes: moving averages stay, and the next step draws the same dropout mask as without this call.
    """
    states = [tf.convert_to_tensor(variable) for variable in model.non_trainable_variables]
    outputs, _, extra = model.stateless_call(weights, states, images, training=True, return_losses=True)
    return keras.ops.sum([loss_function(labels, outputs), *extra])


def penalty_of(model: keras.Model) -> float | None:
    """Compute what the regularizers of a model's trained weights add to its loss; None if no weight has one."""
    regularized = [weight for weight in model.trainable_variables if getattr(weight, "regularizer", None)]
    return math.fsum(float(weight.regularizer(weight)) for weight in regularized) if regularized else None


def count_batch(metrics: Metrics, loss: Any, labels: Any, outputs: Any) -> None:
    """Update the metrics with one batch, weighted by its images."""
    with tf.name_scope("metrics"):
        metrics.loss.update_state(loss, sample_weight=tf.shape(outputs)[0])
        metrics.accuracy.update_state(labels, outputs)


def compiled_steps(
    step: Callable[..., None], metrics: Metrics, started: tf.Variable | None = None
) -> Callable[[Any, Any], Any]:
    """Compile a function of an iterator and a count, which runs `step` on that many batches.

    It returns the loss of `metrics`, so that the caller can wait for the last step.

    Args:
        step: takes a batch.
        metrics: updated by the step.
        started: counts the steps that were started, and so names the one that failed.
    """

    # A tf.while_loop, since AutoGraph falls back to Python without an error where warnings are errors.
    @tf.function(autograph=False, reduce_retracing=True)
    def run_steps(batches: Any, count: Any) -> Any:
        def one_step(done: Any) -> tuple[Any]:
            with tf.control_dependencies([] if started is None else [started.assign_add(1)]):
                batch = batches.get_next()
            step(*batch)
            return (done + 1,)

        tf.while_loop(lambda done: done < count, one_step, (tf.constant(0),))
        return metrics.loss.result()

    run: Callable[[Any, Any], Any] = run_steps
    return run


def run_in_chunks(
    run_steps: Callable[[Any, Any], Any], batches: Any, stops: Sequence[int], done: int, agree: Agreement
) -> Iterator[int]:
    """Run steps in calls of about `SECONDS_PER_CALL`, and yield the steps done after each call.

    Args:
        run_steps: from `compiled_steps`.
        batches: iterator.
        stops: steps at which a call must end, in ascending order; the last is the end.
        done: steps of the same count that are done already.
        agree: makes all workers run the same calls.
    """
    fitting = 1
    for stop in stops:
        while done < stop:
            count = min(fitting, stop - done)
            start = time.perf_counter()
            run_steps(batches, tf.constant(count)).numpy()  # waits for a device that computes asynchronously
            seconds = time.perf_counter() - start
            done += count
            yield done
            fitting = agree(min(max(int(count * SECONDS_PER_CALL / seconds), 1), 2 * fitting))
