"""Warnings for networks that are valid but probably a mistake, and errors for batch norm that cannot work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.document import Where
from cnnctl.spec.experiment import Experiment, Maml
from cnnctl.spec.few_shot import images_at_once
from cnnctl.spec.head import LOGITS, values_of
from cnnctl.spec.shapes import Facts, LayerContext, show_shape, softmax_places, values_per_mean
from cnnctl.spec.stack import INPUT, Complaint, Node


def oddities(experiment: Experiment) -> list[str]:
    """Return warnings for a checked network; one per repeated layer."""
    network = experiment.network
    layers = network.nodes, network.facts, network.context
    warnings: dict[Where, str] = {}
    found = [
        *_rescaled(network.nodes),
        *_unequal_channels(*layers),
        *_cancelled(network.nodes),
        *_hidden_softmax(*layers),
        *_normalized_alone(network.nodes, network.facts),
        *_deprecated(network.nodes),
    ]
    for node, text in [*found, *([] if experiment.few_shot else _dropped_outputs(network.nodes))]:
        warnings.setdefault(node.written, f"warning: '{node.name}' {text}")
    return list(warnings.values())


def odd_plain_epochs(experiment: Experiment) -> list[str]:
    """Return a warning where `plain_epochs` has no effect, or may have none. A sweep may try such values, so it is no error."""
    augment, epochs = experiment.data.augment, experiment.train.epochs
    if augment is None or not augment.plain_epochs:
        return []
    start = f"warning: data.augment.plain_epochs: {augment.plain_epochs}"
    if not augment.transforms:
        return [f"{start} has no effect, since no transformation is set"]
    if augment.plain_epochs >= epochs:
        return [f"{start} leaves none of {counted(epochs, 'epoch')} to augment"]
    early = f"{start}: train.early_stopping may end the training before these last epochs"
    return [early] if experiment.train.early_stopping else []


def _unequal_channels(nodes: Sequence[Node], facts: Sequence[Facts], context: LayerContext) -> Iterator[tuple[Node, str]]:
    """Yield the joins that broadcast an input with one channel over several; a product with one map is a usual mask."""
    by_name = {node.name: node for node in nodes}
    for node, each in zip(nodes, facts, strict=True):
        if not isinstance(node.layer, L.ValueJoin) or isinstance(node.layer, L.Multiply):
            continue
        verb, to = ("adds", "to") if isinstance(node.layer, L.Add) else ("combines", "with")
        output = each.output_shape
        axis = 0 if len(output) == 3 and context.data_format == "channels_first" else len(output) - 1
        for name, shape in zip(each.inputs, each.input_shapes, strict=True):
            aligned = (1,) * (len(output) - len(shape)) + shape
            if aligned[axis] < output[axis]:
                yield (
                    node,
                    f"{verb} the one channel of '{name}' {show_shape(shape)} {to} each of the {output[axis]} channels of its output "
                    f"{show_shape(output)}. Unless this is intended, {_with_channels(by_name.get(name), name, output[axis])}",
                )


def _rescaled(nodes: Sequence[Node]) -> Iterator[tuple[Node, str]]:
    """Yield the rescalings that output a constant, and those of pixels as if they were not divided by 255."""
    for node in nodes:
        if not isinstance(node.layer, L.Rescaling):
            continue
        scales = node.layer.scale if isinstance(node.layer.scale, tuple) else (node.layer.scale,)
        if not any(scales):
            yield node, "multiplies by 0, so its output is the same for every image: no layer before it can learn"
        elif node.inputs == (INPUT,) and max(map(abs, scales)) <= 1 / 100:
            yield (
                node,
                f"makes the pixels, which are always divided by 255, lie between 0 and {max(map(abs, scales)):.2g} apart from the "
                "offset; remove it, or write scale: 2.0 and offset: -1.0 for values from -1 to 1",
            )


def _with_channels(node: Node | None, name: str, count: int) -> str:
    if node and isinstance(node.layer, L.Conv2D | L.SeparableConv2D | L.Conv2DTranspose):
        return f"set filters: {count} for '{name}'"
    if node and isinstance(node.layer, L.Dense):
        return f"set units: {count} for '{name}'"
    return f"insert conv2d: {{filters: {count}, kernel_size: 1}} between them"


def _cancelled(nodes: Sequence[Node]) -> Iterator[tuple[Node, str]]:
    """Yield the layers that subtract an output from itself."""
    for node in nodes:
        if isinstance(node.layer, L.Subtract) and len(set(node.inputs)) == 1:
            yield (
                node,
                f"subtracts '{node.inputs[0]}' from itself, which is 0 for every image: no layer before it can learn by it",
            )


def _hidden_softmax(nodes: Sequence[Node], facts: Sequence[Facts], context: LayerContext) -> Iterator[tuple[Node, str]]:
    """Yield the layers with a softmax that is not the output of the network."""
    last = values_of(nodes, facts, context)[nodes[-1].name].softmax
    for node, each in zip(nodes, facts, strict=True):
        places = softmax_places(node.layer, each.output_shape)
        if not places or node in (*last, nodes[-1]):
            continue
        name = getattr(node.layer, "activation", "softmax")
        if prod(each.output_shape[place] for place in places) == 1:
            axis = "the last axis" if places == (len(each.output_shape) - 1,) else "along axes of length 1"
            always = 0 if name == "log_softmax" else 1
            yield node, f"is a {name} over one value, {axis}, which is always {always}: no layer before it can learn"
        elif places == (len(each.output_shape) - 1,):  # along other axes it is attention
            values = "logarithms of probabilities" if name == "log_softmax" else "values that sum to 1"
            yield node, f"is a {name}, but more layers follow and receive {values}; between layers relu is usual"


def _normalized_alone(nodes: Sequence[Node], facts: Sequence[Facts]) -> Iterator[tuple[Node, str]]:
    """Yield the normalizations within an image whose means, or norms, are over one value each."""
    for node, each in zip(nodes, facts, strict=True):
        layer = node.layer
        if not isinstance(layer, _WITHIN_AN_IMAGE) or values_per_mean(layer, each.output_shape) > 1:
            continue
        if isinstance(layer, L.UnitNormalization):
            yield node, f"divides each value by its own size: its outputs are -1, 0 or 1; {_over_all(layer, each)}"
        elif not getattr(layer, "rms_scaling", False):
            beta = "beta" if layer.center else "0"
            yield (
                node,
                f"has a mean over one value, so x - mean is always 0 and every output is {beta}: no layer before it can learn; "
                f"{_over_all(layer, each)}",
            )


_WITHIN_AN_IMAGE = (L.LayerNormalization, L.GroupNormalization, L.UnitNormalization)


def _over_all(layer: L.Layer, facts: Facts) -> str:
    """Suggest the field with which a normalization is over several values, where there is one."""
    rank = len(facts.output_shape)
    if prod(facts.output_shape) == 1:
        return "remove it"
    if isinstance(layer, L.GroupNormalization):
        return "write groups: 1"
    return f"write axis: {list(range(1, rank + 1))} for all values of an image" if rank > 1 else "write axis: -1"


def _deprecated(nodes: Sequence[Node]) -> Iterator[tuple[Node, str]]:
    """Yield the layer normalizations with the option that Keras deprecated."""
    for node in nodes:
        if isinstance(node.layer, L.LayerNormalization) and node.layer.rms_scaling:
            yield (
                node,
                "has rms_scaling, which Keras has deprecated: it divides by the standard deviation, not by the root mean square, "
                "subtracts no mean and has no beta",
            )


def _dropped_outputs(nodes: Sequence[Node]) -> Iterator[tuple[Node, str]]:
    """Yield the dropout and noise between the last weights and the outputs."""
    by_name = {node.name: node for node in nodes}
    values = values_of(nodes)[nodes[-1].name]
    node = nodes[-1]
    while values.kind == LOGITS and node is not values.node:
        if isinstance(node.layer, L.RandomLayer) and node.layer.acts and values.node:
            does = (
                "sets outputs of the network to 0"
                if isinstance(node.layer, L.Dropout | L.SpatialDropout2D)
                else "changes outputs of the network at random"
            )
            yield node, f"{does} in training; move it before '{values.node.name}'"
        if node.inputs[0] not in by_name:
            return
        node = by_name[node.inputs[0]]


def of_one_value(nodes: Sequence[Node], facts: Sequence[Facts]) -> list[Node]:
    """Return the batch norms that normalize one value per image: in a batch of one image (x - mean) is always 0."""
    return [
        node
        for node, each in zip(nodes, facts, strict=True)
        if isinstance(node.layer, L.BatchNormalization) and values_per_mean(node.layer, each.output_shape) == 1
    ]


def batch_norm_complaints(experiment: Experiment, nodes: Sequence[Node], facts: Sequence[Facts]) -> list[Complaint]:
    """Check for batch norms that cannot learn, since every batch has one value per mean."""
    complaints = list(_of_renorm(experiment, nodes))
    if images_at_once(experiment) > 1:
        return complaints
    for node in of_one_value(nodes, facts):
        assert isinstance(node.layer, L.BatchNormalization)
        beta = "beta" if node.layer.center else "0"
        effect = "its gradient too" if node.layer.renorm else f"every output is {beta}, whatever the image"
        complaints.append(
            (
                node.where,
                f"with train.batch_size: 1 each mean is over one value, so x - mean is always 0 and {effect}; "
                "write batch_size: 2 under train, or remove it",
            )
        )
    return complaints


def _of_renorm(experiment: Experiment, nodes: Sequence[Node]) -> Iterator[Complaint]:
    """Yield the batch renormalizations of maml: its statistics never move, so the corrections would undo the normalization."""
    if experiment.few_shot and isinstance(experiment.few_shot.method, Maml):
        for node in nodes:
            if isinstance(node.layer, L.BatchNormalization) and node.layer.renorm:
                yield (
                    (*node.where, "renorm"),
                    "corrects towards moving statistics, which maml does not have: it normalizes each batch by itself; "
                    "write renorm: false, or remove it",
                )


def last_batch_warning(nodes: Sequence[Node], facts: Sequence[Facts], examples: int, batch_size: int) -> str:
    """Return a warning if the last batch of every epoch has one image, which batch norm cannot use; else an empty text."""
    normalized = of_one_value(nodes, facts)
    if examples % batch_size != 1 or not normalized:
        return ""
    name = normalized[0].name
    if examples == 1:
        return f"warning: with one training image '{name}' outputs the same values for every image; train on more images, or remove it"
    better = next(size for size in range(batch_size + 1, examples + batch_size + 2) if examples % size != 1)
    return (
        f"warning: the last batch of every epoch has one image ({examples:,} images in batches of {batch_size}), for which "
        f"'{name}' outputs the same values as for any other image; set train.batch_size to {better}"
    )
