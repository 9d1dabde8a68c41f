"""Prepare a network and its optimizer for replicas that train as one; `train.distributed.replicas` has their step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from cnnctl.model.styles import layers_by_name

_SEED_DISTANCE = 0x9E3779B1
"""Distance between the seeds of replicas, far from those of other layers: 2³² over the golden ratio, as in Fibonacci hashing."""


def summed(tensors: list[Any]) -> list[Any]:
    """Sum tensors over all replicas; called in each replica."""
    sums: list[Any] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)
    return sums


def train_as_one(network: keras.Model, optimizer: keras.Optimizer) -> None:
    """Prepare a network and its optimizer for training on replicas; called in the scope of the strategy."""
    optimizer.build(network.trainable_variables)
    _step_alone(optimizer)
    _draw_apart(network)
    _normalize_together(network)


_OF_TENSORFLOW = next(each for each in keras.optimizers.Optimizer.__mro__ if "_all_reduce_sum_gradients" in vars(each))
_OF_ANY_BACKEND = next(each for each in reversed(_OF_TENSORFLOW.__mro__) if "_backend_update_step" in vars(each))


class _Alone(_OF_TENSORFLOW):  # type: ignore[misc, valid-type]
    """The methods of Keras for other backends, in place of those for TensorFlow's strategies.

    Those would sum the gradients of the replicas after clipping each, and leave the replica context to update weights,
    which TensorFlow refuses inside a branch, as needed for gradient accumulation and moving averages of weights. Here the
    gradients are summed before, and all replicas apply the same update to their own copies of the weights.
    """

    _backend_update_step = _OF_ANY_BACKEND._backend_update_step
    _apply_weight_decay = _OF_ANY_BACKEND._apply_weight_decay
    _backend_increment_gradient_accumulators = _OF_ANY_BACKEND._backend_increment_gradient_accumulators
    _overwrite_model_variables_with_average_value = _OF_ANY_BACKEND._overwrite_model_variables_with_average_value


def _step_alone(optimizer: keras.Optimizer) -> None:
    """Make an optimizer update the weights of each replica locally, with the gradients as passed.

    `_Alone` is placed after the methods that an optimizer overrides, and before those that it inherits.
    """
    plain = getattr(optimizer, "inner_optimizer", optimizer)
    own = type(plain)
    plain.__class__ = type(own.__name__, (own, _Alone), {})


def _draw_apart(network: keras.Model) -> None:
    """Give dropout of each replica its own seeds; those of the first replica equal the seeds on one device."""
    for layer in layers_by_name(network).values():
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = partial(_drawn_apart, generator.next)


def _drawn_apart(draw: Callable[..., Any], ordered: bool = True) -> Any:
    drawn = draw(ordered)
    context = tf.distribute.get_replica_context()
    number = tf.cast(context.replica_id_in_sync_group if context else 0, drawn.dtype)
    return drawn + tf.stack([number * tf.constant(_SEED_DISTANCE, drawn.dtype), tf.zeros((), drawn.dtype)])


def _normalize_together(network: keras.Model) -> None:
    """Make batch normalization compute mean and variance over the images of all replicas in training."""
    for layer in layers_by_name(network).values():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer._moments = partial(_moments, layer._moments, layer._reduction_axes)


class _Step(threading.local):
    """The state of the replica of this thread: TensorFlow switches between the threads of the replicas.

    Attributes:
        counts: in training, 1 if the images of the replica count, else 0; None outside of training.
    """

    counts: Any = None


_STEP = _Step()


@contextlib.contextmanager
def training(counts: Any) -> Iterator[None]:
    """Mark that a replica trains; `counts` is 1 if its images count, else 0."""
    _STEP.counts = counts
    try:
        yield
    finally:
        _STEP.counts = None


def _moments(alone: Callable[..., Any], axes: Sequence[int], inputs: Any, mask: Any = None) -> Any:
    """Compute mean and variance per channel, (C,): over all replicas in a training step, else with Keras's method `alone`."""
    return alone(inputs, mask) if _STEP.counts is None else _moments_over_replicas(axes, _STEP.counts, inputs)


def _moments_over_replicas(axes: Sequence[int], counts: Any, inputs: Any) -> tuple[Any, Any]:
    """Compute mean and variance per channel, (C,), in two passes, since E(x²) - E(x)² suffers from cancellation."""
    values = tf.cast(inputs, tf.float32)
    rows = counts * tf.cast(tf.size(values) / tf.shape(values)[_kept(axes, values)], tf.float32)
    total, count = summed([counts * tf.reduce_sum(values, axes, keepdims=True), rows])
    mean = total / count
    (squares,) = summed([counts * tf.reduce_sum((values - mean) ** 2, axes, keepdims=True)])
    return tf.cast(tf.squeeze(mean, axes), inputs.dtype), tf.cast(tf.squeeze(squares / count, axes), inputs.dtype)


def _kept(axes: Sequence[int], values: Any) -> int:
    rank = len(values.shape)
    return next(axis for axis in range(rank) if axis not in {other % rank for other in axes})
