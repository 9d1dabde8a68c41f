"""The part `network` of the page's data: every layer with its resolved fields, shapes and costs, and the places of its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, get_args

import numpy as np

from cnnctl.errors import UsageError
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.few_shot import with_head
from cnnctl.spec.groups import enclosing
from cnnctl.spec.head import LOGITS, PROBABILITIES, chosen_loss, output_kind
from cnnctl.spec.network import Network
from cnnctl.spec.receptive import Receptive, receptive_fields
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import Facts, LayerContext, Shape, format_of, kept_axes, spatial, units_of
from cnnctl.spec.stack import Node

Plain = dict[str, Any]
Group = list[list[Any]]

EMBEDDING = "embedding"
SHOWN = frozenset(
    {
        "conv2d", "zero_padding2d", "max_pooling2d", "average_pooling2d", "global_average_pooling2d",
        "global_max_pooling2d", "flatten", "dense", "batch_normalization", "dropout", "activation", "add", "concatenate",
    }
)  # fmt: skip
"""The layer types that page/arithmetic/operations.js computes; a test compares the two lists."""
SHOWN_ACTIVATIONS = frozenset(get_args(L.Activation)) - {"log_softmax"}
"""The activations that page/arithmetic/activations.js computes; a test compares the two lists."""


def network_description(experiment: Experiment, class_names: Sequence[str]) -> Plain:
    """Describe the network of a checked experiment for the page; needs no TensorFlow.

    Args:
        experiment: the config.
        class_names: names of the classes of the output; empty for an embedding.

    Raises:
        UsageError: the page cannot compute a layer.
    """
    network = experiment.network
    layers = layers_of(network)
    for layer, group in zip(layers, _groups(network, with_head(experiment).model.layers), strict=True):
        layer["group"] = group
    return {
        "input": {"shape": list(network.image), "data_format": network.data_format},
        "classes": list(class_names),
        "output": _output(experiment, network),
        "loss": _loss(experiment),
        "layers": layers,
        "weights_count": count_weights(layers),
    }


def layers_of(network: Network) -> list[Plain]:
    """Describe the layers: resolved fields, shapes, costs, receptive fields, and where their weights are in a set.

    Raises:
        UsageError: the page cannot compute a layer.
    """
    _refuse_unknown(network.nodes)
    fields = receptive_fields(network.nodes, network.facts, network.image, network.context)
    layers: list[Plain] = []
    known: dict[str, Plain] = {}
    offset = 0
    for node, facts, field in zip(network.nodes, network.facts, fields, strict=True):
        places, offset = (
            (known[node.owner], offset)
            if node.shares
            else _places(weight_shapes(node.layer, facts.input_shapes[0], network.context), offset)
        )
        known[node.name] = places
        layers.append(_layer(node, facts, network.context, field) | {"group": [], "weights": places})
    return layers


def count_weights(layers: Sequence[Plain]) -> int:
    """Count the values of one set of weights."""
    return sum(prod(place["shape"]) for layer in with_own_weights(layers) for place in layer["weights"].values())


def with_own_weights(layers: Sequence[Plain]) -> list[Plain]:
    """Return the described layers that have weights which they do not share from another."""
    return [layer for layer in layers if layer["weights"] and not layer["shares"]]


def _refuse_unknown(nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.layer.kind not in SHOWN:
            raise UsageError(f"explore cannot show layer type {node.layer.kind} ('{node.name}')")
        if isinstance(node.layer, L.BatchNormalization) and node.layer.renorm:
            raise UsageError(f"explore cannot show batch renormalization (renorm of '{node.name}')")
        activation = getattr(node.layer, "activation", None)
        if activation is not None and activation not in SHOWN_ACTIVATIONS:
            raise UsageError(f"explore cannot show activation {activation} ('{node.name}')")


def _layer(node: Node, facts: Facts, context: LayerContext, field: Receptive | None) -> Plain:
    receptive = field and {"height": field.field[0], "width": field.field[1], "stride": list(field.stride)}
    return {
        "name": node.name,
        "kind": node.layer.kind,
        "shares": node.shares or None,
        "inputs": list(node.inputs),
        "fields": resolved_fields(node.layer, context),
        "input_shapes": [list(shape) for shape in facts.input_shapes],
        "shape": list(facts.output_shape),
        "trainable": facts.trainable,
        "non_trainable": facts.non_trainable,
        "macs": facts.macs,
        "receptive": receptive,
    }


def resolved_fields(layer: L.Layer, context: LayerContext) -> Plain:
    """Return the fields of a layer as JSON, with units, data format and strides resolved."""
    fields: Plain = {
        name: value for name, value in layer.model_dump(mode="json").items() if name not in ("name", "inputs")
    }  # fmt: skip
    if hasattr(layer, "data_format"):
        fields["data_format"] = format_of(layer, context)
    if isinstance(layer, L.Dense):
        fields["units"] = units_of(layer, context)
    if isinstance(layer, L.Pooling):
        fields["strides"] = list(layer.strides or layer.pool_size)
    return fields


def weight_shapes(layer: L.Layer, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    """Compute the shapes of the weights of a layer with an input of `shape`, in Keras's order."""
    match layer:
        case L.Conv2D():
            _, channels = spatial(shape, format_of(layer, context), layer.kind)
            kernel = (*layer.kernel_size, channels // layer.groups, layer.filters)
            return {"kernel": kernel} | ({"bias": (layer.filters,)} if layer.use_bias else {})
        case L.Conv2DTranspose():
            kernel = (*layer.kernel_size, layer.filters, spatial(shape, format_of(layer, context), layer.kind)[1])
            return {"kernel": kernel} | ({"bias": (layer.filters,)} if layer.use_bias else {})
        case L.DepthwiseConv2D() | L.SeparableConv2D():
            return _depthwise_shapes(layer, spatial(shape, format_of(layer, context), layer.kind)[1])
        case L.Dense():
            units = units_of(layer, context)
            return {"kernel": (shape[-1], units)} | ({"bias": (units,)} if layer.use_bias else {})
        case L.LayerNormalization():
            axes = sorted(
                [layer.axis] if isinstance(layer.axis, int) else layer.axis
            )  # as Keras sorts them: negative ones first
            return dict.fromkeys(layer.trained, tuple(shape[axis - 1 if axis > 0 else axis] for axis in axes))
        case L.Normalization(mean=None):
            return dict.fromkeys(("adapt_mean", "adapt_variance"), tuple(shape[axis] for axis in kept_axes(layer, shape)))
        case L.GroupNormalization():
            return dict.fromkeys(layer.trained, (shape[layer.axis - 1 if layer.axis > 0 else layer.axis],))
        case L.BatchNormalization():
            length = (shape[layer.axis - 1 if layer.axis > 0 else layer.axis],)
            return dict.fromkeys((*layer.trained, *layer.states), length)
    return {}


def _depthwise_shapes(layer: L.DepthwiseConv2D | L.SeparableConv2D, channels: int) -> dict[str, Shape]:
    """Compute the shapes of the weights of a convolution of each channel, and of the one that mixes them."""
    kernel, between = (*layer.kernel_size, channels, layer.depth_multiplier), channels * layer.depth_multiplier
    if isinstance(layer, L.DepthwiseConv2D):
        return {"kernel": kernel} | ({"bias": (between,)} if layer.use_bias else {})
    kernels: dict[str, Shape] = {"depthwise_kernel": kernel, "pointwise_kernel": (1, 1, between, layer.filters)}
    return kernels | ({"bias": (layer.filters,)} if layer.use_bias else {})


def _places(shapes: Mapping[str, Shape], offset: int) -> tuple[Plain, int]:
    """Place weights one after the other; return their places and the offset after the last."""
    places: Plain = {}
    for name, shape in shapes.items():
        places[name] = {"offset": offset, "shape": list(shape)}
        offset += prod(shape)
    return places, offset


def _groups(network: Network, stack: Sequence[Section]) -> Iterator[Group]:
    """Yield the repeats and blocks around each layer: [label, round from 1 or null for a block, its place in the config]."""
    for around in enclosing(network.nodes, stack):
        yield [
            [
                each.block.title if each.block else f"repeat {each.times}",
                None if each.block else each.number + 1,
                ".".join(str(key) for key in each.where if isinstance(key, int)),
            ]
            for each in around
        ]


def _output(experiment: Experiment, network: Network) -> str:
    if experiment.few_shot is not None and len(with_head(experiment).model.layers) == len(experiment.model.layers):
        return EMBEDDING
    kind = output_kind(network.nodes)
    return kind if kind in (LOGITS, PROBABILITIES) else EMBEDDING


def _loss(experiment: Experiment) -> Plain | None:
    """Describe the loss of the training; None for few-shot methods, which have their own."""
    if experiment.few_shot is not None:
        return None
    loss = chosen_loss(experiment)
    return {"name": loss.name, "label_smoothing": loss.label_smoothing}


def weights_of(description: Plain, model: Any) -> bytes:
    """Return one set of weights as little-endian float32, in the places of the description.

    Args:
        description: the result of `network_description`.
        model: a built Keras model with its layers by name.
    """
    layers = with_own_weights(description["layers"])
    from cnnctl.model.styles import layers_by_name  # needs Keras

    found = layers_by_name(model)
    arrays = {f"{layer['name']}/{name}": getattr(found[layer["name"]], name) for layer in layers for name in layer["weights"]}
    return weights_from(description, arrays)


def weights_from(description: Plain, arrays: Mapping[str, Any]) -> bytes:
    """Return one set of weights as little-endian float32 from arrays by `layer/weight`.

    Raises:
        ValueError: an array has another shape.
    """
    parts = []
    for layer in with_own_weights(description["layers"]):
        for name, place in layer["weights"].items():
            array = np.asarray(arrays[f"{layer['name']}/{name}"], "<f4")
            if array.shape != tuple(place["shape"]):
                raise ValueError(f"{layer['name']}/{name} has shape {array.shape}, expected {tuple(place['shape'])}")
            parts.append(array.tobytes())
    return b"".join(parts)
