"""Integer arithmetic on stacks: output shape, parameters and MACs of each layer.

Shapes are without the batch axis: (H, W, C), or (C, H, W) with `channels_first`. The formulas are from Dumoulin and Visin,
"A guide to convolution arithmetic for deep learning" (2016). A property-based test compares them with Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from cnnctl.spec import layers as L
from cnnctl.spec.shapes.activations import alpha_shape, prelu, softmax, softmax_places
from cnnctl.spec.shapes.basics import (
    MAX,
    MAX_VALUES,
    Costs,
    DoesNotFit,
    HeightWidth,
    LayerContext,
    Shape,
    Window,
    axes_of,
    axis_of,
    format_of,
    input_shape,
    show_shape,
    spatial,
)
from cnnctl.spec.shapes.convolutions import depthwise, separable, transposed, transposed_arithmetic, transposed_size
from cnnctl.spec.shapes.custom import custom
from cnnctl.spec.shapes.images import cropping, global_pooling, interpolated_from, unchanged_image, up_sampling, zero_padding
from cnnctl.spec.shapes.joins import broadcast_shape, concatenation
from cnnctl.spec.shapes.normalizations import (
    batch_normalization,
    group_normalization,
    groups_of,
    kept_axes,
    layer_normalization,
    normalization,
    unit_normalization,
    values_per_mean,
)
from cnnctl.spec.shapes.values import (
    channel_axis,
    dense,
    dropout,
    per_channel,
    permute,
    rescaling,
    reshape,
    units_of,
)
from cnnctl.spec.shapes.windows import arithmetic, convolution, pooling, window_of
from cnnctl.spec.stack import INPUT, INSIDE, Node

__all__ = [
    "MAX", "MAX_VALUES", "Costs", "DoesNotFit", "Facts", "HeightWidth", "LayerContext", "Misfit", "Shape", "Window",
    "alpha_shape", "apply", "arithmetic", "axes_of", "axis_of", "channel_axis", "format_of", "groups_of", "input_shape", "interpolated_from", "kept_axes", "per_channel", "show_shape", "softmax_places", "spatial", "trace", "transposed_arithmetic", "transposed_size", "units_of", "values_per_mean", "window_of",
]  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """Shapes and costs of one layer, per image.

    Attributes:
        name: the layer's name; `kind`: its kind, such as conv2d.
        inputs: names of its inputs; `input_shapes`: their shapes.
        output_shape: without the batch axis.
        trainable: parameters that training updates.
        non_trainable: other parameters, such as moving averages.
        macs: multiply-accumulates with weights, without biases and batch norm; 0 where they are unknown.
        macs_known: False for a layer of one's own that does not count them.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    trainable: int
    non_trainable: int
    macs: int
    macs_known: bool = True

    @property
    def parameters(self) -> int:
        """All parameters, trainable and non-trainable."""
        return self.trainable + self.non_trainable


def trace(nodes: Sequence[Node], image: Shape, context: LayerContext) -> list[Facts]:
    """Compute the facts of every layer.

    Args:
        nodes: the stack, as returned by `stack.nodes_of`.
        image: shape of one image, (H, W, C) or (C, H, W).
        context: the number of classes and the model's data format.

    Raises:
        Misfit: a layer does not fit; it has the facts of the layers before it.
    """
    facts: dict[str, Facts] = {}
    for node in nodes:
        try:
            facts[node.name] = _facts(node, facts, image, context)
        except DoesNotFit as reason:
            raise Misfit(node, list(facts.values()), reason) from None
    return list(facts.values())


class Misfit(Exception):
    """The stack does not fit at `node`; `facts` are those of the layers before it."""

    def __init__(self, node: Node, facts: list[Facts], reason: DoesNotFit) -> None:
        super().__init__(reason.message)
        self.node = node
        self.facts = facts
        self.reason = reason


def _facts(node: Node, known: dict[str, Facts], image: Shape, context: LayerContext) -> Facts:
    shapes = tuple(image if name == INPUT else known[name].output_shape for name in node.inputs)
    output, costs = apply(node.layer, shapes, context)
    if prod(output) > MAX:
        raise DoesNotFit(f"its output {show_shape(output)} would have more than 2^63 values, the limit of a tensor")
    if node.shares:
        costs = _with_weights_of(known[node.shares], node, shapes, costs)
    return Facts(
        node.name, node.layer.kind, node.inputs, shapes, output,
        costs.trainable, costs.non_trainable, costs.macs, costs.macs_known,
    )  # fmt: skip


def _with_weights_of(owner: Facts, node: Node, shapes: tuple[Shape, ...], costs: Costs) -> Costs:
    """Check that a layer can use the weights of `owner`, which counts them; return the costs without them."""
    layer = node.layer
    if not _in_one_block(node.name, owner.name) and shapes != owner.input_shapes:
        made_for = " and ".join(map(show_shape, owner.input_shapes))
        raise DoesNotFit(
            f"a block that is used again takes inputs of the same shape: '{owner.name}' takes {made_for}, "
            f"received {' and '.join(map(show_shape, shapes))}"
        )
    fit = (owner.trainable, owner.non_trainable) == (costs.trainable, costs.non_trainable)
    by_axes = isinstance(layer, L.Conv2D | L.Dense | L.BatchNormalization)  # their weights go by one axis of the input
    if not fit or (owner.parameters and not by_axes and shapes != owner.input_shapes):
        made_for = " and ".join(map(show_shape, owner.input_shapes))
        raise DoesNotFit(
            f"the weights of '{owner.name}' are for inputs of {made_for}, received {' and '.join(map(show_shape, shapes))}"
        )
    return replace(costs, trainable=0, non_trainable=0)


def _in_one_block(name: str, other: str) -> bool:
    """Return True if two layers are in one use of a block, or both in none."""
    return name.rpartition(INSIDE)[0] == other.rpartition(INSIDE)[0]


Rule = Callable[[Any, Shape, LayerContext], tuple[Shape, Costs]]

_SHAPES: dict[type[L.Layer], Callable[[Any, Shape, LayerContext], Shape]] = {
    L.Pooling: pooling,
    L.ZeroPadding2D: zero_padding,
    L.Cropping2D: cropping,
    L.UpSampling2D: up_sampling,
    L.Rescaling: rescaling,
    L.Reshape: reshape,
    L.Permute: permute,
    L.GlobalPooling: global_pooling,
    L.Flatten: lambda layer, shape, context: (prod(shape),),
    L.Dropout: dropout,
    L.AlphaDropout: dropout,
    L.SpatialDropout2D: unchanged_image,
    L.Softmax: softmax,
    L.UnitNormalization: unit_normalization,
}
"""Output shapes of layers without weights; the shape of others is unchanged."""
_WITH_WEIGHTS: dict[type[L.Layer], Rule] = {
    L.Conv2D: convolution,
    L.DepthwiseConv2D: depthwise,
    L.SeparableConv2D: separable,
    L.Conv2DTranspose: transposed,
    L.Dense: dense,
    L.BatchNormalization: batch_normalization,
    L.LayerNormalization: layer_normalization,
    L.GroupNormalization: group_normalization,
    L.Normalization: normalization,
    L.PReLU: prelu,
}


def apply(layer: L.Layer, shapes: tuple[Shape, ...], context: LayerContext) -> tuple[Shape, Costs]:
    """Compute the output shape of `layer` and the costs of its weights.

    Raises:
        DoesNotFit: the layer does not accept these shapes.
    """
    if isinstance(layer, L.ValueJoin):
        return broadcast_shape(layer, shapes), Costs()
    if isinstance(layer, L.Concatenate):
        return concatenation(layer, shapes), Costs()
    if isinstance(layer, L.CustomLayer):
        return custom(layer, shapes, context)
    for kind in type(layer).__mro__:
        if kind in _WITH_WEIGHTS:
            return _WITH_WEIGHTS[kind](layer, shapes[0], context)
        if kind in _SHAPES:
            return _SHAPES[kind](layer, shapes[0], context), Costs()
    return shapes[0], Costs()
