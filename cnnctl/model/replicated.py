"""A network and its optimizer made ready for replicas that train as one; `train.replicas` has their step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

_APART = 0x9E3779B1
"""Far from the seeds of other layers: 2³² over the golden ratio, as in Fibonacci hashing."""


def summed(tensors: list[Any]) -> list[Any]:
    """Return the sums of tensors over all replicas; called by each of them."""
    sums: list[Any] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)
    return sums


def train_as_one(network: keras.Model, optimizer: keras.Optimizer) -> None:
    """Makes a network and its optimizer ready for `train_together`; called where the strategy's variables are made."""
    optimizer.build(network.trainable_variables)
    _step_alone(optimizer)
    _draw_apart(network)
    _normalize_together(network)


_OF_TENSORFLOW = next(each for each in keras.optimizers.Optimizer.__mro__ if "_all_reduce_sum_gradients" in vars(each))
_OF_ANY_BACKEND = next(each for each in reversed(_OF_TENSORFLOW.__mro__) if "_backend_update_step" in vars(each))


class _Alone(_OF_TENSORFLOW):  # type: ignore[misc, valid-type]
    """What Keras does on backends other than TensorFlow, in place of what it does with TensorFlow's strategies.

    That would sum the gradients of the replicas only after it has clipped each, and leave the replica to change weights,
    which TensorFlow refuses in a branch, as accumulated gradients and moving averages of the weights need. Here gradients
    are summed before, so that all replicas do the same, each to its own copy of the weights.
    """

    _backend_update_step = _OF_ANY_BACKEND._backend_update_step
    _apply_weight_decay = _OF_ANY_BACKEND._apply_weight_decay
    _backend_increment_gradient_accumulators = _OF_ANY_BACKEND._backend_increment_gradient_accumulators
    _overwrite_model_variables_with_average_value = _OF_ANY_BACKEND._overwrite_model_variables_with_average_value


def _step_alone(optimizer: keras.Optimizer) -> None:
    """Lets an optimizer change each replica's weights by itself, with gradients as they are given.

    `_Alone` comes after what an optimizer itself overrides, and before what that takes over.
    """
    plain = getattr(optimizer, "inner_optimizer", optimizer)
    own = type(plain)
    plain.__class__ = type(own.__name__, (own, _Alone), {})


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
        counts: while it trains, 1 where its images count, else 0; None otherwise.
    """

    counts: Any = None


_STEP = _Step()


@contextlib.contextmanager
def training(counts: Any) -> Iterator[None]:
    """Says that a replica trains meanwhile; `counts` is 1 where its images count, else 0."""
    _STEP.counts = counts
    try:
        yield
    finally:
        _STEP.counts = None


def _moments(alone: Callable[..., Any], axes: Sequence[int], inputs: Any, mask: Any = None) -> Any:
    """Return mean and variance by channel, (C,): of all replicas in a step of theirs, elsewhere as Keras does `alone`."""
    return alone(inputs, mask) if _STEP.counts is None else _moments_over_replicas(axes, _STEP.counts, inputs)


def _moments_over_replicas(axes: Sequence[int], counts: Any, inputs: Any) -> tuple[Any, Any]:
    """Return mean and variance by channel, (C,), in two passes: E(x²) - E(x)² would lose what they have in common."""
    values = tf.cast(inputs, tf.float32)
    rows = counts * tf.cast(tf.size(values) / tf.shape(values)[_kept(axes, values)], tf.float32)
    total, count = summed([counts * tf.reduce_sum(values, axes, keepdims=True), rows])
    mean = total / count
    (squares,) = summed([counts * tf.reduce_sum((values - mean) ** 2, axes, keepdims=True)])
    return tf.cast(tf.squeeze(mean, axes), inputs.dtype), tf.cast(tf.squeeze(squares / count, axes), inputs.dtype)


def _kept(axes: Sequence[int], values: Any) -> int:
    rank = len(values.shape)
    return next(axis for axis in range(rank) if axis not in {other % rank for other in axes})
