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
from cnnctl.spec.groups import enclosing
from cnnctl.spec.head import LOGITS, PROBABILITIES, chosen_loss, output_kind
from cnnctl.spec.network import Network
from cnnctl.spec.receptive import Receptive, receptive_fields
from cnnctl.spec.section import Section
from cnnctl.spec.shapes import Facts, LayerContext, Shape, alpha_shape, format_of, kept_axes, spatial, units_of
from cnnctl.spec.stack import Node

Plain = dict[str, Any]
Group = list[list[Any]]

EMBEDDING = "embedding"
MAX_AXES = 3
"""Of an output without the batch: rows, columns and maps."""
SHOWN = frozenset(
    {
        "conv2d", "depthwise_conv2d", "separable_conv2d", "conv2d_transpose",
        "zero_padding2d", "cropping2d", "up_sampling2d", "max_pooling2d", "average_pooling2d", "global_average_pooling2d",
        "global_max_pooling2d", "flatten", "reshape", "permute", "dense", "rescaling", "normalization",
        "batch_normalization", "layer_normalization", "group_normalization", "unit_normalization",
        "dropout", "spatial_dropout2d", "gaussian_noise", "gaussian_dropout", "alpha_dropout",
        "activation", "relu", "leaky_relu", "prelu", "elu", "softmax",
        "add", "subtract", "multiply", "average", "maximum", "minimum", "concatenate",
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
    refuse_unknown(network)
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


def refuse_unknown(network: Network) -> None:
    """Refuse a network that the page cannot compute or show, with all such layer types, activations and shapes.

    Raises:
        UsageError: there is one.
    """
    unknown: dict[str, list[str]] = {}
    for node, facts in zip(network.nodes, network.facts, strict=True):
        activation = getattr(node.layer, "activation", None)
        if node.layer.kind not in SHOWN:
            unknown.setdefault(f"layer type {node.layer.kind}", []).append(f"'{node.name}'")
        elif activation is not None and activation not in SHOWN_ACTIVATIONS:
            unknown.setdefault(f"activation {activation}", []).append(f"'{node.name}'")
        elif len(facts.output_shape) > MAX_AXES:
            unknown.setdefault(f"outputs of {len(facts.output_shape)} axes", []).append(f"'{node.name}'")
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
        "shares": node.shares or None,
        "inputs": list(node.inputs),
        "fields": resolved_fields(node.layer, facts.input_shapes[0], context),
        "input_shapes": [list(shape) for shape in facts.input_shapes],
        "shape": list(facts.output_shape),
        "trainable": facts.trainable,
        "non_trainable": facts.non_trainable,
        "macs": facts.macs,
        "receptive": receptive,
    }


def resolved_fields(layer: L.Layer, shape: Shape, context: LayerContext) -> Plain:
    """Return the fields of a layer with an input of `shape` as JSON: units, data format, strides and broadcasting are resolved."""
    fields: Plain = {
        name: value for name, value in layer.model_dump(mode="json").items() if name not in ("name", "inputs")
    }  # fmt: skip
    if hasattr(layer, "data_format"):
        fields["data_format"] = format_of(layer, context)
    if isinstance(layer, L.Dense):
        fields["units"] = units_of(layer, context)
    if isinstance(layer, L.Pooling):
        fields["strides"] = list(layer.strides or layer.pool_size)
    return fields | (_broadcast(layer, shape, context) if layer.kind in ("rescaling", "normalization") else {})


def _broadcast(layer: Any, shape: Shape, context: LayerContext) -> Plain:
    """Return the numbers of a layer as lists, for the `places` of a shape in which shared axes have length 1."""
    if layer.kind == "normalization":
        kept, names = kept_axes(layer, shape), ("mean", "variance")
    else:
        channels = 0 if context.data_format == "channels_first" and len(shape) == 3 else len(shape) - 1
        kept, names = (channels,), ("scale", "offset")
    places = [size if axis in kept else 1 for axis, size in enumerate(shape)]
    given = {name: np.asarray(getattr(layer, name), float) for name in names if getattr(layer, name) is not None}
    if layer.kind == "rescaling":  # a list has one number per channel, whatever the data format
        given = {name: numbers.reshape(places) if numbers.size > 1 else numbers for name, numbers in given.items()}
    flat = {name: np.broadcast_to(numbers, places).ravel().tolist() for name, numbers in given.items()}
    return {"places": places, **flat}


def weight_shapes(layer: L.Layer, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    """Compute the shapes of the weights of a layer with an input of `shape`, in Keras's order."""
    rule = _WEIGHTS.get(layer.kind)
    return rule(layer, shape, context) if rule else {}


def _of_convolution(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    kernel = (*layer.kernel_size, _channels(layer, shape, context) // layer.groups, layer.filters)
    return {"kernel": kernel} | _bias(layer, layer.filters)


def _of_depthwise(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    channels = _channels(layer, shape, context)
    kernel = (*layer.kernel_size, channels, layer.depth_multiplier)
    return {"kernel": kernel} | _bias(layer, channels * layer.depth_multiplier)


def _of_separable(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    channels = _channels(layer, shape, context)
    depthwise = (*layer.kernel_size, channels, layer.depth_multiplier)
    pointwise = (1, 1, channels * layer.depth_multiplier, layer.filters)
    return {"depthwise_kernel": depthwise, "pointwise_kernel": pointwise} | _bias(layer, layer.filters)


def _of_transposed(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    kernel = (*layer.kernel_size, layer.filters, _channels(layer, shape, context))
    return {"kernel": kernel} | _bias(layer, layer.filters)


def _channels(layer: Any, shape: Shape, context: LayerContext) -> int:
    return spatial(shape, format_of(layer, context), layer.kind)[1]


def _bias(layer: Any, length: int) -> dict[str, Shape]:
    return {"bias": (length,)} if layer.use_bias else {}


def _of_dense(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    units = units_of(layer, context)
    return {"kernel": (shape[-1], units)} | _bias(layer, units)


def _of_batch_normalization(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    used = {"gamma": layer.scale, "beta": layer.center, "moving_mean": True, "moving_variance": True}
    of_renorm = ("moving_stddev", "renorm_mean", "renorm_stddev") if layer.renorm else ()
    names = (*(name for name, there in used.items() if there), *of_renorm)
    return dict.fromkeys(names, (shape[_index(layer.axis, shape)],))


def _of_layer_normalization(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    axes = sorted([layer.axis] if isinstance(layer.axis, int) else layer.axis)  # as Keras sorts them: negative ones first
    return dict.fromkeys(layer.trained, tuple(shape[_index(axis, shape)] for axis in axes))


def _of_group_normalization(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    return dict.fromkeys(layer.trained, (shape[_index(layer.axis, shape)],))


def _of_normalization(layer: Any, shape: Shape, context: LayerContext) -> dict[str, Shape]:
    kept = tuple(shape[axis] for axis in kept_axes(layer, shape))
    return dict.fromkeys(("adapt_mean", "adapt_variance"), kept) if layer.mean is None else {}


def _index(axis: int, shape: Shape) -> int:
    """Return the index in a shape of an axis of Keras, which counts the batch."""
    return axis - 1 if axis > 0 else len(shape) + axis


_Rule = Callable[[Any, Shape, LayerContext], dict[str, Shape]]
_WEIGHTS: dict[str, _Rule] = {
    "conv2d": _of_convolution,
    "depthwise_conv2d": _of_depthwise,
    "separable_conv2d": _of_separable,
    "conv2d_transpose": _of_transposed,
    "dense": _of_dense,
    "batch_normalization": _of_batch_normalization,
    "layer_normalization": _of_layer_normalization,
    "group_normalization": _of_group_normalization,
    "normalization": _of_normalization,
    "prelu": lambda layer, shape, context: {"alpha": alpha_shape(layer, shape)},
}
"""Shapes of weights by layer type; others have none."""


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
