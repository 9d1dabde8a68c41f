"""Several replicas of a network train as one: each computes a part of every batch, and what they find is summed.

A step means the same as on one device: the loss is the mean over the whole batch, whatever parts it was dealt out in,
the gradient is that of this mean before the optimizer clips it, batch normalization takes the mean and variance of the whole
batch, and dropout draws otherwise for each image. What differs is the order of the sums, so the last digits.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import MethodType
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.build.guard import only_if_finite
from cnnctl.data.pipeline import Shares
from cnnctl.train.steps import Metrics

_APART = 0x9E3779B1
"""Far from the seeds of other layers: 2³² over the golden ratio, as in Fibonacci hashing."""
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

    def steps_of(self, batches: tf.data.Dataset) -> int:
        """Returns how many whole batches a dataset of known length has the parts of."""
        return int(batches.cardinality()) // len(self.shares.replicas)

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

    def told_by_chief(self, content: bytes) -> bytes:
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
        summed: NDArray[Any] = self._sum_of_workers(tf.constant(said)).numpy()
        return summed

    @cached_property
    def _sum_of_workers(self) -> Callable[[Any], Any]:
        first = self.shares.replicas.start

        def of_replica(said: Any) -> Any:
            speaks = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32) == first
            return _sum([said * tf.cast(speaks, said.dtype)])[0]  # one replica of a worker speaks for it

        def summed(said: Any) -> Any:
            return _own(self.strategy, self.strategy.run(of_replica, args=(said,)))

        compiled: Callable[[Any], Any] = tf.function(summed, autograph=False, reduce_retracing=True)
        return compiled


def _own(strategy: tf.distribute.Strategy, results: Any) -> Any:
    """Returns what the first replica of this process has found; all have found the same."""
    return strategy.experimental_local_results(results)[0]


def _sum(tensors: list[Any]) -> list[Any]:
    """Returns the sums of tensors over all replicas; called by each of them."""
    summed: list[Any] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)
    return summed


def train_as_one(network: keras.Model, optimizer: keras.Optimizer) -> None:
    """Makes a network and its optimizer ready for `train_together`; called where the strategy's variables are made."""
    optimizer.build(network.trainable_variables)
    _step_alone(optimizer)
    _draw_apart(network)
    _normalize_together(network)


_ALONE = (
    "_backend_update_step",
    "_apply_weight_decay",
    "_backend_increment_gradient_accumulators",
    "_overwrite_model_variables_with_average_value",
)


def _step_alone(optimizer: keras.Optimizer) -> None:
    """Lets an optimizer change each replica's weights by itself, with gradients as they are given.

    Keras's own way with TensorFlow sums the gradients of the replicas only after it has clipped each, and leaves the
    replica to change weights, which TensorFlow refuses in a branch, as accumulated gradients and moving averages of the
    weights need. Here the gradients are summed before, so that all replicas do the same, and what Keras does on other
    backends serves.
    """
    plain = getattr(optimizer, "inner_optimizer", optimizer)
    for name in _ALONE:
        neutral = next(vars(each)[name] for each in reversed(type(plain).__mro__) if name in vars(each))
        setattr(plain, name, MethodType(neutral, plain))


def _draw_apart(network: keras.Model) -> None:
    """Lets dropout of each replica draw otherwise; the first draws as one device does."""
    for layer in network.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = partial(_drawn_apart, generator.next)


def _drawn_apart(draw: Callable[..., Any], ordered: bool = True) -> Any:
    drawn = draw(ordered)
    context = tf.distribute.get_replica_context()
    number = tf.cast(context.replica_id_in_sync_group if context else 0, drawn.dtype)
    return drawn + tf.stack([number * tf.constant(_APART, drawn.dtype), tf.zeros((), drawn.dtype)])


def _normalize_together(network: keras.Model) -> None:
    """Lets batch normalization take mean and variance over the images of all replicas, as they train."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer._moments = partial(_moments, layer._moments, layer._reduction_axes)


class _Step(threading.local):
    """What the replica is doing that this thread computes for: TensorFlow goes from one replica's thread to the other's.

    Attributes:
        weight: while it trains, 1 where its images count, else 0; None otherwise.
    """

    weight: Any = None


_STEP = _Step()


@contextlib.contextmanager
def _training(weight: Any) -> Iterator[None]:
    _STEP.weight = weight
    try:
        yield
    finally:
        _STEP.weight = None


def _moments(alone: Callable[..., Any], axes: Sequence[int], inputs: Any, mask: Any = None) -> Any:
    """Returns mean and variance by channel, (C,): of all replicas in a step of theirs, elsewhere as Keras does `alone`."""
    return alone(inputs, mask) if _STEP.weight is None else _moments_over_replicas(axes, _STEP.weight, inputs)


def _moments_over_replicas(axes: Sequence[int], weight: Any, inputs: Any) -> tuple[Any, Any]:
    """Returns mean and variance by channel, (C,), in two passes: E(x²) - E(x)² would lose what they have in common."""
    values = tf.cast(inputs, tf.float32)
    rows = weight * tf.cast(tf.size(values) / tf.shape(values)[_kept(axes, values)], tf.float32)
    total, count = _sum([weight * tf.reduce_sum(values, axes, keepdims=True), rows])
    mean = total / count
    (squares,) = _sum([weight * tf.reduce_sum((values - mean) ** 2, axes, keepdims=True)])
    return tf.cast(tf.squeeze(mean, axes), inputs.dtype), tf.cast(tf.squeeze(squares / count, axes), inputs.dtype)


def _kept(axes: Sequence[int], values: Any) -> int:
    rank = len(values.shape)
    return next(axis for axis in range(rank) if axis not in {other % rank for other in axes})


def train_together(
    model: keras.Model, optimizer: keras.Optimizer, loss_function: keras.Loss, images: Any, labels: Any, own: Any
) -> Totals:
    """Changes the weights by one step of the optimizer; called by each replica, with its part of a batch.

    A loss that is no number fails the step in all replicas, before it changes a weight.

    Args:
        model: built network.
        optimizer: built for the model's trainable variables; sums no gradients, refuses no loss.
        loss_function: averages over the batch.
        images: (B, H, W, C), float32.
        labels: (B,) integers or (B, classes) one-hot.
        own: B, or 0 where the images are those of another replica and count for nothing.
    """
    weight = tf.cast(own, tf.float32)
    with tf.GradientTape() as tape, _training(tf.minimum(weight, 1)):
        outputs = model(images, training=True)
        loss = _mean_loss(model, loss_function, labels, outputs)
        scaled = optimizer.scale_loss(loss)
    gradients = tape.gradient(scaled, model.trainable_variables)
    *summed, loss, right, count = _sum([*(weight * each for each in gradients), *_totals(weight, loss, labels, outputs)])
    optimizer.apply(only_if_finite(loss, [each / count for each in summed]), model.trainable_variables)
    return loss, right, count


def judge_together(model: keras.Model, loss_function: keras.Loss, images: Any, labels: Any, own: Any) -> Totals:
    """Returns how the network does on a batch; called by each replica, with its part; arguments as in `train_together`."""
    outputs = model(images, training=False)
    loss = _mean_loss(model, loss_function, labels, outputs)
    loss, right, count = _sum(_totals(tf.cast(own, tf.float32), loss, labels, outputs))
    return loss, right, count


def _mean_loss(model: keras.Model, loss_function: keras.Loss, labels: Any, outputs: Any) -> Any:
    """Returns the loss of a part with the regularization terms of the call before."""
    each = loss_function.call(labels, tf.cast(outputs, tf.float32))  # (B,); called by itself it would divide by the replicas
    return keras.ops.sum([tf.reduce_mean(each), *model.losses])


def _totals(weight: Any, loss: Any, labels: Any, outputs: Any) -> list[Any]:
    matches = keras.metrics.categorical_accuracy if len(labels.shape) > 1 else keras.metrics.sparse_categorical_accuracy
    right = tf.reduce_mean(tf.cast(matches(labels, outputs), tf.float32))
    return [weight * loss, weight * right, weight]


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
