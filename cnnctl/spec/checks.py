"""The checks between the sections of a config, each of which is valid by itself.

In: the valid sections. Out: a `Complaint` per error. Each tuple below lists checks that need the same parts, so that a typo
under `train` does not hide a stack that does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from math import prod

from cnnctl.errors import counted
from cnnctl.spec.auto import shared_batches_reason, whole_batch_reason
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment, ModelSpec
from cnnctl.spec.few_shot import embedding_complaints, few_shot_complaints
from cnnctl.spec.head import head_complaints, loss_complaints
from cnnctl.spec.layers import Conv2DTranspose, Convolution, Normalization
from cnnctl.spec.network import Network, input_of, network_of
from cnnctl.spec.oddities import batch_norm_complaints
from cnnctl.spec.optimizers import constant_rate
from cnnctl.spec.section import one_line
from cnnctl.spec.shapes import MAX_VALUES, Misfit, format_of, show_shape
from cnnctl.spec.stack import INPUT, Complaint, nodes_of

NOT_BY_FIT = "Keras 3 cannot train by model.fit on several workers; write loop: custom"


def complaints(
    data: DataSpec | None, model: ModelSpec | None, experiment: Experiment | None, classifies: bool
) -> Iterator[Complaint]:
    """Run every check that the valid parts allow.

    Args:
        data: the data section with the facts of its source; None if it is wrong.
        model: the model section; None if it is wrong.
        experiment: the config with this data section; None if any section is wrong.
        classifies: whether the task is classification, which is known even without an experiment.
    """
    if data is None:
        return
    for check_data in DATA_CHECKS:
        yield from ((where, one_line(message)) for where, message in check_data(data))
    if experiment:
        for check_experiment in EXPERIMENT_CHECKS:
            yield from check_experiment(experiment)
    if model:
        yield from _stack_complaints(data, model, experiment, classifies)


def _stack_complaints(data: DataSpec, model: ModelSpec, experiment: Experiment | None, classifies: bool) -> Iterator[Complaint]:
    nodes, found = nodes_of(model)
    yield from found
    if found:
        return
    try:
        network = network_of(nodes, data, model)
    except Misfit as misfit:
        from cnnctl.spec.misfit import explain  # not needed by a stack that fits

        yield misfit.node.where, explain(misfit, nodes, *input_of(data, model))
        return
    for check_network in (*NETWORK_CHECKS, *(CLASSIFIER_CHECKS if classifies else ())):
        yield from check_network(network)
    if experiment:
        for check_training in TRAINING_CHECKS:
            yield from check_training(experiment, network)


# data


def check_image_size(data: DataSpec) -> Iterator[Complaint]:
    """Check that an image is not larger than cnnctl can handle."""
    assert data.image_size and data.channels
    values = prod((*data.image_size, data.channels))
    if values > MAX_VALUES:
        size = "×".join(map(str, (*data.image_size, data.channels)))
        remedy = "write image_size: [256, 256], or another smaller size"
        yield ("data", "image_size"), f"an image of {size} has {values:,} values; the maximum is {MAX_VALUES:,}; {remedy}"


def check_fractions(data: DataSpec) -> Iterator[Complaint]:
    """Check that validation and test leave images to train on."""
    taken = sum(part for part in (data.validation, data.test) if isinstance(part, float))
    if taken >= 1:
        parts = f"validation ({data.validation}) and test ({data.test}) take {taken:.0%} of '{data.train}'"
        yield ("data",), f"{parts} and leave nothing to train on; write validation: 0.1, test: 0.2"


def check_splits_are_disjoint(data: DataSpec) -> Iterator[Complaint]:
    """Check that no two roles share images by the names of their splits."""
    named = [(role, part) for role in ("train", "validation", "test") if isinstance(part := getattr(data, role), str)]
    for (before, other), (role, part) in combinations(named, 2):
        if _overlap(other, part):
            use = "trained" if before == "train" else "selected"
            yield (
                ("data", role),
                f"'{part}' shares images with data.{before} ('{other}'), "
                f"so the network would be evaluated on images that it was {use} on; write {role}: 0.1, or name another split",
            )


def _overlap(one: str, other: str) -> bool:
    """Return True if two splits certainly share images; only TFDS knows where `train[:50%]` and `train[40%:]` end."""
    return any(_parts_overlap(mine, its) for mine in _parts_of(one) for its in _parts_of(other))


def _parts_of(split: str) -> list[str]:
    """Split a sum such as `train+test[:50%]` into its parts."""
    return [part.strip() for part in split.split("+")]


def _parts_overlap(one: str, other: str) -> bool:
    same_split = one.partition("[")[0] == other.partition("[")[0]
    return one == other or (same_split and not ("[" in one and "[" in other))


# the whole config


def check_monitors(experiment: Experiment) -> Iterator[Complaint]:
    """Check that the columns monitored by early stopping and by reductions of the learning rate exist."""
    for field in ("early_stopping", "reduce_on_plateau"):
        section = getattr(experiment.train, field)
        if section and experiment.data.validation is None and section.monitor.startswith("validation"):
            yield (
                ("train", field, "monitor"),
                f"'{section.monitor}' requires validation data, but data.validation is null; "
                "write monitor: train_loss, or set data.validation to a fraction",
            )


def check_plateau(experiment: Experiment) -> Iterator[Complaint]:
    """Check that the learning rate that is to be reduced is constant.

    A schedule sets the rate of every step from the step alone. Keras refuses to change it too.
    """
    optimizer = experiment.train.optimizer
    if experiment.train.reduce_on_plateau and constant_rate(optimizer.learning_rate) is None:
        rate = f"train.optimizer.{optimizer.kind}.learning_rate"
        yield (
            ("train", "reduce_on_plateau"),
            f"reduces a constant learning rate, but {rate} is the schedule '{optimizer.learning_rate.kind}', which sets the rate of "
            "every step; write learning_rate: 0.001, or remove reduce_on_plateau",
        )


def check_strategy(experiment: Experiment) -> Iterator[Complaint]:
    """Check that the training can be distributed as configured."""
    strategy = experiment.train.strategy
    if strategy not in ("mirrored", "multi_worker"):
        return
    reason = shared_batches_reason(experiment)
    if reason:
        yield ("train", "strategy"), f"{reason}; write strategy: one_device, or remove it"
    elif strategy == "multi_worker" and experiment.train.loop == "fit":
        yield ("train", "strategy"), NOT_BY_FIT


def check_snapshots(experiment: Experiment) -> Iterator[Complaint]:
    """Check that there are enough epochs for the snapshots."""
    asked, epochs = experiment.log.snapshots, experiment.train.epochs
    if asked and asked > epochs + 1:
        yield (
            ("log", "snapshots"),
            f"{counted(epochs, 'epoch')} and the weights before training give {epochs + 1} snapshots, received {asked}; "
            f"write snapshots: {epochs + 1}, or less",
        )


# the network


def check_bias(network: Network) -> Iterator[Complaint]:
    """Check for convolutions whose bias Keras 3.15 would add along the columns instead of the channels.

    With channels_first under TensorFlow, its `ops.add` infers the channel axis from sizes alone, and the last axis has precedence.
    """
    for node, facts in zip(network.nodes, network.facts, strict=True):
        if (
            isinstance(node.layer, Convolution | Conv2DTranspose)
            and node.layer.use_bias
            and format_of(node.layer, network.context) == "channels_first"
            and facts.output_shape[0] == facts.output_shape[2]
        ):
            yield (
                node.where,
                "under channels_first Keras adds the bias along the columns if the output has as many columns as channels, "
                f"{show_shape(facts.output_shape)}; write use_bias: false, or other filters or channels_last",
            )


def check_adapted(network: Network) -> Iterator[Complaint]:
    """Check that a normalization by statistics of the training images takes the images themselves, and is in no block."""
    for node in network.nodes:
        if isinstance(node.layer, Normalization) and node.blocks:
            yield node.where, "normalization has its own mean and variance, so a block cannot have it; write it in model.layers"
        elif isinstance(node.layer, Normalization) and node.layer.adapted and node.inputs != (INPUT,):
            yield (
                node.where,
                "takes its mean and variance from the training images, so its input must be the image itself, "
                f"but it takes '{node.inputs[0]}'. With mean and variance in the config it may take any layer; remove this one",
            )


def check_head(network: Network) -> Iterable[Complaint]:
    """Check that a classifier has an output per class, as logits or probabilities."""
    return head_complaints(network.nodes, network.facts, network.context)


# the network and its training


def check_embedding(experiment: Experiment, network: Network) -> Iterable[Complaint]:
    """Check that the stack of a few-shot task is an embedding."""
    few_shot = experiment.few_shot
    return embedding_complaints(few_shot, network.nodes, network.facts) if few_shot else ()


def check_loss(experiment: Experiment, network: Network) -> Iterable[Complaint]:
    """Check the loss of a classification against the outputs and the labels."""
    return () if experiment.few_shot else loss_complaints(experiment, network.nodes)


def check_batch_parts(experiment: Experiment, network: Network) -> Iterator[Complaint]:
    """Check that a batch can be divided into its parts."""
    parts, batch_size = experiment.train.batch_parts, experiment.train.batch_size
    if parts in (1, "auto"):
        return
    reason = whole_batch_reason(experiment, network.nodes)
    if reason:
        yield ("train", "batch_parts"), f"{reason}; write batch_parts: 1, or remove it"
    elif isinstance(parts, int) and parts > batch_size:
        message = (
            f"a batch of {counted(batch_size, 'image')} cannot have {parts} parts; write batch_parts: {batch_size}, or less"
        )
        yield ("train", "batch_parts"), message


def check_batch_norm(experiment: Experiment, network: Network) -> Iterable[Complaint]:
    """Check that batch norm has more than one value per mean."""
    return batch_norm_complaints(experiment, network.nodes, network.facts)


DATA_CHECKS = (check_image_size, check_fractions, check_splits_are_disjoint)
EXPERIMENT_CHECKS = (few_shot_complaints, check_monitors, check_plateau, check_strategy, check_snapshots)
NETWORK_CHECKS = (check_bias, check_adapted)
CLASSIFIER_CHECKS = (check_head,)
TRAINING_CHECKS = (check_embedding, check_loss, check_batch_parts, check_batch_norm)
