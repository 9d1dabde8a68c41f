"""The memory that a network needs, compared with that of this machine; and the one message for not enough memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from math import prod

import tensorflow as tf

from cnnctl.data.store.memory import too_much
from cnnctl.errors import RunError, counted
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment

FEWER_IMAGES = "use fewer images or --device cpu"
_SMALLER = "lower train.batch_size, filters or image_size"
_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}
"""Bytes per value of a layer's output; weights take four in every precision."""


@contextlib.contextmanager
def as_memory_error(remedy: str) -> Iterator[None]:
    """Raise a RunError with a remedy when Python or TensorFlow runs out of memory."""
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise RunError(f"there is not enough memory for this network; {remedy}") from error


def smaller_training(experiment: Experiment) -> str:
    """Name the fields of a config that make a training smaller."""
    return f"{_SMALLER}{' and, for episodes, train_way, train_query or episodes_per_step' if experiment.few_shot else ''}"


def least_bytes(experiment: Experiment, images: int, training: bool) -> int:
    """Compute a lower bound of the bytes that a network needs.

    It counts the weights, in training their gradients too, and the largest output of a layer for a batch. A network
    above this bound cannot be computed on a machine; one below it may still need too much.

    Args:
        experiment: a checked config, with network and precision.
        images: batch size.
        training: whether gradients are computed.
    """
    facts = experiment.network.facts
    weights = 4 * sum(each.trainable * (2 if training else 1) + each.non_trainable for each in facts)
    outputs = max(prod(each.output_shape) for each in facts)
    return weights + images * outputs * _BYTES[on_any_machine(experiment).train.precision]


def refuse_too_large(experiment: Experiment, images: int, training: bool) -> None:
    """Raise RunError if this machine has less memory than `least_bytes`; arguments as there."""
    batch = "one image" if images == 1 else f"a batch of {counted(images, 'image')}"
    problem = too_much(
        least_bytes(experiment, images, training), f"the weights of this network and its outputs for {batch} take"
    )
    if problem:
        raise RunError(f"{problem}; lower train.batch_size, filters, units or image_size")
