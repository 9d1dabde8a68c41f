"""Whether this machine has the memory that a network needs, told before anything of it is made."""

from __future__ import annotations

from math import prod

from cnnctl.data.store.memory import too_much
from cnnctl.errors import RunError, counted
from cnnctl.spec.auto import on_any_machine
from cnnctl.spec.experiment import Experiment

_BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}
"""Of a value that a layer gives; weights have four in every precision."""


def least_bytes(experiment: Experiment, images: int, training: bool) -> int:
    """Returns fewer bytes than the network of a checked experiment needs at any rate.

    Counted are the weights, in training their gradients too, and the largest output of a layer for a batch. Whatever
    is above the memory of a machine cannot be computed on it; what is below may still turn out to be too much.

    Args:
        experiment: says the network and the precision.
        images: in a batch.
        training: whether gradients are taken.
    """
    facts = experiment.network.facts
    weights = 4 * sum(each.trainable * (2 if training else 1) + each.non_trainable for each in facts)
    outputs = max(prod(each.output_shape) for each in facts)
    return weights + images * outputs * _BYTES[on_any_machine(experiment).train.precision]


def refuse_too_large(experiment: Experiment, images: int, training: bool) -> None:
    """Raises RunError where this machine has less memory than `least_bytes`; arguments as there."""
    batch = "one image" if images == 1 else f"a batch of {counted(images, 'image')}"
    told = too_much(least_bytes(experiment, images, training), f"the weights of this network and its outputs for {batch} take")
    if told:
        raise RunError(f"{told}; lower train.batch_size, filters, units or image_size")
