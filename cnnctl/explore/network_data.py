"""The part `network` of the page's data: every layer with its resolved fields, shapes and costs, and the places of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, get_args

import numpy as np

from cnnctl.errors import UsageError
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.few_shot import with_head
from cnnctl.spec.head import LOGITS, PROBABILITIES, chosen_loss, output_kind
from cnnctl.spec.network import Network
from cnnctl.spec.receptive import Receptive, receptive_fields
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import Facts, LayerContext, Shape, alpha_shape, format_of, spatial, units_of
from cnnctl.spec.stack import Node

Plain = dict[str, Any]
Group = list[list[Any]]

EMBEDDING = "embedding"
SHOWN = frozenset(
    {
        "conv2d", "zero_padding2d", "max_pooling2d", "average_pooling2d", "global_average_pooling2d",
        "global_max_pooling2d", "cropping2d", "up_sampling2d", "flatten", "dense",
        "batch_normalization", "layer_normalization", "group_normalization", "unit_normalization",
        "dropout", "spatial_dropout2d", "gaussian_noise", "gaussian_dropout", "alpha_dropout",
        "activation", "relu", "leaky_relu", "prelu", "elu", "softmax",
        "add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate",
    }
)  # fmt: skip
"""The layer types that page/arithmetic/operations.js computes; a test compares the two lists."""
SHOWN_ACTIVATIONS = frozenset(get_args(L.Activation))
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
    for layer, group in zip(layers, _groups(with_head(experiment).model.layers), strict=True):
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
    refuse_unknown(network.nodes)
    fields = receptive_fields(network.nodes, network.facts, network.image, network.context)
    layers, offset = [], 0
    for node, facts, field in zip(network.nodes, network.facts, fields, strict=True):
        places, offset = _places(weight_shapes(node.layer, facts.input_shapes[0], network.context), offset)
        layers.append(_layer(node, facts, network.context, field) | {"group": [], "weights": places})
    return layers


def count_weights(layers: Sequence[Plain]) -> int:
    """Count the values of one set of weights."""
    return sum(prod(place["shape"]) for layer in layers for place in layer["weights"].values())


def refuse_unknown(nodes: Sequence[Node]) -> None:
    """Refuse a network that the page cannot compute, with all of its unknown layer types and activations.

    Raises:
        UsageError: there is one.
    """
    unknown: dict[str, list[str]] = {}
    for node in nodes:
        activation = getattr(node.layer, "activation", None)
        if node.layer.kind not in SHOWN:
            unknown.setdefault(f"layer type {node.layer.kind}", []).append(f"'{node.name}'")
        elif activation is not None and activation not in SHOWN_ACTIVATIONS:
            unknown.setdefault(f"activation {activation}", []).append(f"'{node.name}'")
    if unknown:
        found = "; ".join(f"{what} ({', '.join(names)})" for what, names in unknown.items())
        raise UsageError(
            f"explore cannot show {found}. 'cnnctl summary --explain' describes every layer, 'cnnctl draw' draws it"
        )


def _layer(node: Node, facts: Facts, context: LayerContext, field: Receptive | None) -> Plain:
    receptive = field and {"height": field.field[0], "width": field.field[1], "stride": list(field.stride)}
    return {
        "name": node.name,
        "kind": node.layer.kind,
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
    rule = _WEIGHTS.get(type(layer))
    return rule(layer, shape, context) if rule else {}


def _of_convolution(layer: L.Conv2D, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    _, channels = spatial(shape, format_of(layer, context), layer.kind)
    kernel = (*layer.kernel_size, channels // layer.groups, layer.filters)
    return {"kernel": kernel} | ({"bias": (layer.filters,)} if layer.use_bias else {})


def _of_dense(layer: L.Dense, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    units = units_of(layer, context)
    return {"kernel": (shape[-1], units)} | ({"bias": (units,)} if layer.use_bias else {})


def _of_batch_normalization(layer: L.BatchNormalization, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    length = (shape[layer.axis - 1 if layer.axis > 0 else layer.axis],)
    used = {"gamma": layer.scale, "beta": layer.center, "moving_mean": True, "moving_variance": True}
    return {name: length for name, there in used.items() if there}


_WEIGHTS: dict[type[L.Layer], Callable[[Any, Shape, LayerContext], dict[str, Shape]]] = {
    L.Conv2D: _of_convolution,
    L.Dense: _of_dense,
    L.BatchNormalization: _of_batch_normalization,
    L.PReLU: lambda layer, shape, context: {"alpha": alpha_shape(layer, shape)},
}
"""Shapes of weights by layer class; other layers have none."""


def _places(shapes: Mapping[str, Shape], offset: int) -> tuple[Plain, int]:
    """Place weights one after the other; return their places and the offset after the last."""
    places: Plain = {}
    for name, shape in shapes.items():
        places[name] = {"offset": offset, "shape": list(shape)}
        offset += prod(shape)
    return places, offset


def _groups(items: Sequence[Section], outer: Group | None = None, path: str = "") -> Iterator[Group]:
    """Yield the enclosing repeats of each layer of the expanded stack: [label, round from 1, its place in the config]."""
    for index, item in enumerate(items):
        here = f"{path}{index}"
        if not isinstance(item, L.Repeat):
            yield outer or []
            continue
        for time in range(1, item.times + 1):
            yield from _groups(item.layers, [*(outer or []), [f"repeat {item.times}", time, here]], f"{here}.")


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
    layers = [layer for layer in description["layers"] if layer["weights"]]
    arrays = {
        f"{layer['name']}/{name}": getattr(model.get_layer(layer["name"]), name)
        for layer in layers
        for name in layer["weights"]
    }
    return weights_from(description, arrays)


def weights_from(description: Plain, arrays: Mapping[str, Any]) -> bytes:
    """Return one set of weights as little-endian float32 from arrays by `layer/weight`.

    Raises:
        ValueError: an array has another shape.
    """
    parts = []
    for layer in description["layers"]:
        for name, place in layer["weights"].items():
            array = np.asarray(arrays[f"{layer['name']}/{name}"], "<f4")
            if array.shape != tuple(place["shape"]):
                raise ValueError(f"{layer['name']}/{name} has shape {array.shape}, expected {tuple(place['shape'])}")
            parts.append(array.tobytes())
    return b"".join(parts)
