"""Several replicas of a network train as one: each computes a part of every batch, and what they find is summed.

A step means the same as on one device: the loss is the mean over the whole batch, whatever parts it was dealt out in,
the gradient is that of this mean before the optimizer clips it, batch normalization takes the mean and variance of the whole
batch, and dropout draws otherwise for each image. What differs is the order of the sums, so the last digits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.pipeline import Shares, iterate, relay
from cnnctl.model.guard import only_if_finite
from cnnctl.model.replicated import summed, training
from cnnctl.train.steps import Agreement, Metrics

LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.InternalError, tf.errors.UnknownError,
)  # fmt: skip
"""What TensorFlow raises in one worker when another has gone."""
Totals = tuple[Any, Any, Any]
"""Over the images of a whole batch: the sum of their losses, how many were named rightly, how many there are."""


@dataclass(frozen=True)
class Replicas:
    """Where the replicas are.

    Attributes:
        strategy: TensorFlow's.
        workers: processes that train together; each has its own replicas, equally many.
        worker: number of this process; 0 is the chief.
    """

    strategy: tf.distribute.Strategy
    workers: int = 1
    worker: int = 0

    def __len__(self) -> int:
        return int(self.strategy.num_replicas_in_sync)

    @property
    def shares(self) -> Shares:
        """Returns which part of each batch this process reads."""
        own = len(self) // self.workers
        return Shares(range(self.worker * own, (self.worker + 1) * own), len(self))

    def dealt_out(self, batches: tf.data.Dataset) -> Any:
        """Returns batches whose elements are read by `shares` as TensorFlow deals them out to the replicas of this process."""
        return self.strategy.distribute_datasets_from_function(lambda _: batches)

    def together(self, compute: Callable[..., Totals], metrics: Metrics) -> Callable[..., None]:
        """Returns a step that has each replica compute its part of a batch, and tells the metrics of the whole."""

        def step(*batch: Any) -> None:
            totals = self.strategy.run(compute, args=batch)
            loss, right, count = (_own(self.strategy, each) for each in totals)
            count_together(metrics, (loss, right, count))

        return step

    def gathered(self, values: Sequence[float]) -> NDArray[np.float64]:
        """Returns what each worker says, (workers, len(values)); all say as many values, one or more, at the same time."""
        said = np.zeros((self.workers, len(values)))
        said[self.worker] = values
        return self._summed(said) if self.workers > 1 else said

    def leave_together(self) -> None:
        """Returns once all workers have got what was gathered last: who ends before that would pass for dead to the others."""
        with contextlib.suppress(*LOST):
            self.gathered([0])

    def decided_by_chief(self, content: bytes) -> bytes:
        """Returns what the chief says; whatever the others say is left out."""
        if self.workers == 1:
            return content
        length = int(self.gathered([len(content)])[0, 0])
        if not length:  # TensorFlow's sum of nothing ends the process
            return b""
        said = np.frombuffer(content, np.uint8) if self.worker == 0 else np.zeros(length, np.uint8)
        return self._summed(said.astype(np.float32)).astype(np.uint8).tobytes()

    def _summed(self, said: NDArray[Any]) -> NDArray[Any]:
        """Returns the sum over the workers of what each says."""
        total: NDArray[Any] = self._sum_of_workers(tf.constant(said)).numpy()
        return total

    @cached_property
    def _sum_of_workers(self) -> Callable[[Any], Any]:
        first = self.shares.replicas.start

        def of_replica(said: Any) -> Any:
            speaks = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32) == first
            return summed([said * tf.cast(speaks, said.dtype)])[0]  # one replica of a worker speaks for it

        def of_workers(said: Any) -> Any:
            return _own(self.strategy, self.strategy.run(of_replica, args=(said,)))

        compiled: Callable[[Any], Any] = tf.function(of_workers, autograph=False, reduce_retracing=True)
        return compiled


def steps_of_replicas(replicas: Replicas | None, batches: tf.data.Dataset) -> int:
    """Count the whole batches of a dataset of known length; with replicas its elements are parts of batches."""
    return int(batches.cardinality()) // (len(replicas.shares.replicas) if replicas else 1)


@contextlib.contextmanager
def relay_for(replicas: Replicas | None, batches: tf.data.Dataset) -> Iterator[Any]:
    """Give a dataset, distributed to replicas if there are any, whose threads stop at the end of the block."""
    with relay(batches) as dataset:
        yield replicas.dealt_out(dataset) if replicas else dataset


@contextlib.contextmanager
def iterate_for(replicas: Replicas | None, batches: tf.data.Dataset) -> Iterator[Any]:
    """Give an iterator over a dataset, distributed to replicas if there are any; its threads stop at the end of the block."""
    if replicas is None:
        with iterate(batches) as iterator:
            yield iterator
    else:
        with relay_for(replicas, batches) as dataset:
            yield iter(dataset)


def agreement(replicas: Replicas | None) -> Agreement:
    """Return the function that all workers call with the steps that suit each, and that gives all the smallest."""
    if not replicas or replicas.workers == 1:
        return lambda fitting: fitting
    return lambda fitting: int(replicas.gathered([fitting]).min())


def _own(strategy: tf.distribute.Strategy, results: Any) -> Any:
    """Returns what the first replica of this process has found; all have found the same."""
    return strategy.experimental_local_results(results)[0]


def train_together(
    model: keras.Model, optimizer: keras.Optimizer, loss_function: keras.Loss, images: Any, labels: Any, rows: Any
) -> Totals:
    """Changes the weights by one step of the optimizer; called by each replica, with its part of a batch.

    Each replica's loss is weighted before it is differentiated: through batch normalization the images of one replica
    have a part in the losses of all. A loss that is no number fails the step in all, before it changes a weight.

    Args:
        model: built network.
        optimizer: built for the model's trainable variables; sums no gradients, refuses no loss.
        loss_function: averages over the batch.
        images: (B, H, W, C), float32.
        labels: (B,) integers or (B, classes) one-hot.
        rows: (2,), how many images the batch has of the replica's own, B or 0, and how many in all; where it has none,
            the images are those of another replica and count for nothing.
    """
    own, whole = _counts(rows)
    with tf.GradientTape() as tape, training(counts=tf.minimum(own, 1)):
        outputs = model(images, training=True)
        loss = _mean_loss(model, loss_function, labels, outputs)
        scaled = optimizer.scale_loss(own / whole * loss)
    gradients = tape.gradient(scaled, model.trainable_variables)
    *gradients, loss, right = summed([*gradients, *_totals(own, loss, labels, outputs)])
    optimizer.apply(only_if_finite(loss, gradients), model.trainable_variables)
    return loss, right, whole


def evaluate_together(model: keras.Model, loss_function: keras.Loss, images: Any, labels: Any, rows: Any) -> Totals:
    """Returns how the network does on a batch; called by each replica, with its part; arguments as in `train_together`."""
    own, whole = _counts(rows)
    outputs = model(images, training=False)
    loss, right = summed(_totals(own, _mean_loss(model, loss_function, labels, outputs), labels, outputs))
    return loss, right, whole


def _counts(rows: Any) -> tuple[Any, Any]:
    own, whole = tf.unstack(tf.cast(rows, tf.float32), num=2)
    return own, whole


def _mean_loss(model: keras.Model, loss_function: keras.Loss, labels: Any, outputs: Any) -> Any:
    """Returns the loss of a part with the regularization terms of the call before."""
    each = loss_function.call(labels, tf.cast(outputs, tf.float32))  # (B,); called by itself it would divide by the replicas
    return keras.ops.sum([tf.reduce_mean(each), *model.losses])


def _totals(own: Any, loss: Any, labels: Any, outputs: Any) -> list[Any]:
    """Returns, over a replica's own images, the sum of the losses and how many were named rightly."""
    matches = keras.metrics.categorical_accuracy if len(labels.shape) > 1 else keras.metrics.sparse_categorical_accuracy
    right = tf.reduce_mean(tf.cast(matches(labels, outputs), tf.float32))
    return [own * loss, own * right]


def count_together(metrics: Metrics, totals: Totals) -> None:
    """Tells metrics about one whole batch; called once for all replicas."""
    loss, right, count = totals
    for metric, total in ((metrics.loss, loss), (metrics.accuracy, right)):
        metric.total.assign_add(total)
        metric.count.assign_add(count)


def count_once(metrics: Metrics, totals: Totals) -> None:
    """Tells metrics about one whole batch; called by each replica of one process."""

    def count(strategy: tf.distribute.Strategy, *of_replicas: Any) -> None:
        loss, right, count = (_own(strategy, each) for each in of_replicas)
        count_together(metrics, (loss, right, count))

    tf.distribute.get_replica_context().merge_call(count, args=totals)
