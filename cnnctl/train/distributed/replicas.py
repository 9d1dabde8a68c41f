"""Several replicas of a network train as one: each computes a part of every batch, and the results are summed.

A step means the same as on one device. The loss is the mean over the whole batch, however it is split. The gradient is that of
this mean before the optimizer clips it. Batch normalization uses the mean and variance of the whole batch, and dropout has its
own mask for each image. Only the order of the sums differs, and so the last digits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.pipeline import Shares
from cnnctl.model.guard import only_if_finite
from cnnctl.model.replicated import summed, training
from cnnctl.train.steps import Agreement, Metrics

LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.InternalError, tf.errors.UnknownError,
)  # fmt: skip
"""The errors that TensorFlow raises in a worker when another has ended."""
Totals = tuple[Any, Any, Any]
"""Over the images of a whole batch: the sum of the losses, the correct predictions, the images."""


@dataclass(frozen=True)
class Replicas:
    """The replicas that share each batch.

    Attributes:
        strategy: TensorFlow's.
        workers: processes that train together, each with the same number of replicas.
        worker: number of this process; 0 is the chief.
    """

    strategy: tf.distribute.Strategy
    workers: int = 1
    worker: int = 0

    def __len__(self) -> int:
        return int(self.strategy.num_replicas_in_sync)

    @property
    def shares(self) -> Shares:
        """The part of each batch that this process reads."""
        own = len(self) // self.workers
        return Shares(range(self.worker * own, (self.worker + 1) * own), len(self))

    def distribute(self, batches: tf.data.Dataset) -> Any:
        """Distribute a dataset, whose elements are read by `shares`, to the replicas of this process."""
        return self.strategy.distribute_datasets_from_function(lambda _: batches)

    def together(self, compute: Callable[..., Totals], metrics: Metrics) -> Callable[..., None]:
        """Make a step in which each replica computes its part of a batch, and which updates the metrics for the whole batch."""

        def step(*batch: Any) -> None:
            totals = self.strategy.run(compute, args=batch)
            loss, correct, count = (_own(self.strategy, each) for each in totals)
            count_together(metrics, (loss, correct, count))

        return step

    def gathered(self, values: Sequence[float]) -> NDArray[np.float64]:
        """Gather the values of all workers, (workers, len(values)); all call this together with as many values, one or more."""
        own = np.zeros((self.workers, len(values)))
        own[self.worker] = values
        return self._summed(own) if self.workers > 1 else own

    def leave_together(self) -> None:
        """Wait until all workers have received the last result; to the others a worker that ends earlier looks lost."""
        with contextlib.suppress(*LOST):
            self.gathered([0])

    def decided_by_chief(self, content: bytes) -> bytes:
        """Send the chief's bytes to all workers; the others' are ignored."""
        if self.workers == 1:
            return content
        length = int(self.gathered([len(content)])[0, 0])
        if not length:  # TensorFlow aborts when it sums an empty tensor
            return b""
        own = np.frombuffer(content, np.uint8) if self.worker == 0 else np.zeros(length, np.uint8)
        return self._summed(own.astype(np.float32)).astype(np.uint8).tobytes()

    def _summed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum the values of all workers."""
        total: NDArray[Any] = self._sum_of_workers(tf.constant(values)).numpy()
        return total

    @cached_property
    def _sum_of_workers(self) -> Callable[[Any], Any]:
        first = self.shares.replicas.start

        def of_replica(values: Any) -> Any:
            counts = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32) == first
            return summed([values * tf.cast(counts, values.dtype)])[0]  # only one replica of a worker counts

        def of_workers(values: Any) -> Any:
            return _own(self.strategy, self.strategy.run(of_replica, args=(values,)))

        compiled: Callable[[Any], Any] = tf.function(of_workers, autograph=False, reduce_retracing=True)
        return compiled


def steps_of_replicas(replicas: Replicas | None, batches: tf.data.Dataset) -> int:
    """Count the whole batches of a dataset of known length; with replicas its elements are parts of batches."""
    return int(batches.cardinality()) // (len(replicas.shares.replicas) if replicas else 1)


def distribute_for(replicas: Replicas | None) -> Callable[[tf.data.Dataset], Any] | None:
    """Return the function that distributes a dataset to replicas; None for one device."""
    return replicas.distribute if replicas else None


def agreement(replicas: Replicas | None) -> Agreement:
    """Return the function that all workers call with the steps that suit each, and that gives all the smallest."""
    if not replicas or replicas.workers == 1:
        return lambda fitting: fitting
    return lambda fitting: int(replicas.gathered([fitting]).min())


def _own(strategy: tf.distribute.Strategy, results: Any) -> Any:
    """Return the result of the first replica of this process; all have the same."""
    return strategy.experimental_local_results(results)[0]


def train_together(
    model: keras.Model, optimizer: keras.Optimizer, loss_function: keras.Loss, images: Any, labels: Any, rows: Any
) -> Totals:
    """Update the weights by one step of the optimizer; called by each replica, with its part of a batch.

    Each replica's loss is weighted before it is differentiated, since batch normalization makes the losses of all replicas
    depend on the images of each. A non-finite loss fails the step in all, before it changes a weight.

    Args:
        model: built network.
        optimizer: built for the model's trainable variables; neither sums gradients nor refuses a loss.
        loss_function: averages over the batch.
        images: (B, H, W, C), float32.
        labels: (B,) integers or (B, classes) one-hot.
        rows: (2,), the replica's own images of the batch, B or 0, and all images of the batch; with 0 the images are those
            of another replica and do not count.
    """
    own, whole = _counts(rows)
    with tf.GradientTape() as tape, training(counts=tf.minimum(own, 1)):
        outputs = model(images, training=True)
        loss = _mean_loss(model, loss_function, labels, outputs)
        scaled = optimizer.scale_loss(own / whole * loss)
    gradients = tape.gradient(scaled, model.trainable_variables)
    *gradients, loss, correct = summed([*gradients, *_totals(own, loss, labels, outputs)])
    optimizer.apply(only_if_finite(loss, gradients), model.trainable_variables)
    return loss, correct, whole


def evaluate_together(model: keras.Model, loss_function: keras.Loss, images: Any, labels: Any, rows: Any) -> Totals:
    """Evaluate on a batch; called by each replica, with its part; arguments as in `train_together`."""
    own, whole = _counts(rows)
    outputs = model(images, training=False)
    loss, correct = summed(_totals(own, _mean_loss(model, loss_function, labels, outputs), labels, outputs))
    return loss, correct, whole


def _counts(rows: Any) -> tuple[Any, Any]:
    own, whole = tf.unstack(tf.cast(rows, tf.float32), num=2)
    return own, whole


def _mean_loss(model: keras.Model, loss_function: keras.Loss, labels: Any, outputs: Any) -> Any:
    """Compute the loss of a part, with the regularization terms of the model's last call."""
    each = loss_function.call(
        labels, tf.cast(outputs, tf.float32)
    )  # (B,); loss_function() would divide by the number of replicas
    return keras.ops.sum([tf.reduce_mean(each), *model.losses])


def _totals(own: Any, loss: Any, labels: Any, outputs: Any) -> list[Any]:
    """Sum the losses and the correct predictions over a replica's own images."""
    matches = keras.metrics.categorical_accuracy if len(labels.shape) > 1 else keras.metrics.sparse_categorical_accuracy
    correct = tf.reduce_mean(tf.cast(matches(labels, outputs), tf.float32))
    return [own * loss, own * correct]


def count_together(metrics: Metrics, totals: Totals) -> None:
    """Update metrics with a whole batch; called once for all replicas."""
    loss, correct, count = totals
    for metric, total in ((metrics.loss, loss), (metrics.accuracy, correct)):
        metric.total.assign_add(total)
        metric.count.assign_add(count)


def count_once(metrics: Metrics, totals: Totals) -> None:
    """Update metrics with a whole batch; called by each replica of one process."""

    def count(strategy: tf.distribute.Strategy, *of_replicas: Any) -> None:
        loss, correct, count = (_own(strategy, each) for each in of_replicas)
        count_together(metrics, (loss, correct, count))

    tf.distribute.get_replica_context().merge_call(count, args=totals)
