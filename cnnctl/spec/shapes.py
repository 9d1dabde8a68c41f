"""Integer arithmetic on stacks: output shape, parameters and MACs of each layer.

Shapes are without the batch axis: (H, W, C), or (C, H, W) with `channels_first`. The formulas are from Dumoulin and Visin,
"A guide to convolution arithmetic for deep learning" (2016). A property-based test compares them with Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from cnnctl.spec import layers as L
from cnnctl.spec.section import show
from cnnctl.spec.stack import INPUT, Node

Shape = tuple[int, ...]
HeightWidth = tuple[int, int]


MAX_VALUES = 2**28
"""Most values of one image: a gigabyte as float32."""
MAX = 2**63 - 1
"""Most values of a tensor: TensorFlow counts them in 64 bits."""


class DoesNotFit(Exception):
    """A layer does not accept its input shapes.

    Attributes:
        message: the cause, with the arithmetic.
        shrinks: True if the layer ran out of pixels, so that fewer or smaller windows may help.
    """

    def __init__(self, message: str, shrinks: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.shrinks = shrinks


@dataclass(frozen=True)
class Window:
    """The sliding window of a convolution or a pooling."""

    size: HeightWidth
    strides: HeightWidth
    dilation: HeightWidth
    same: bool

    def extent(self, axis: int) -> int:
        """Compute the pixels that the window spans: `dilation·(k - 1) + 1`."""
        return self.dilation[axis] * (self.size[axis] - 1) + 1

    def output(self, pixels: int, axis: int) -> int:
        """Compute the number of positions: `floor((n - extent) / stride) + 1`, or `ceil(n / stride)` for same."""
        if self.same:
            return -(-pixels // self.strides[axis])
        return (pixels - self.extent(axis)) // self.strides[axis] + 1

    def padding(self, pixels: int, axis: int) -> HeightWidth:
        """Compute the zeros that `same` adds before and after; TensorFlow adds the odd one after."""
        if not self.same:
            return 0, 0
        total = max((self.output(pixels, axis) - 1) * self.strides[axis] + self.extent(axis) - pixels, 0)
        return total // 2, total - total // 2


@dataclass(frozen=True)
class Facts:
    """Shapes and costs of one layer, per image.

    Attributes:
        name: the layer's name; `kind`: its kind, such as conv2d.
        inputs: names of its inputs; `input_shapes`: their shapes.
        output_shape: without the batch axis.
        trainable: parameters that training updates.
        non_trainable: other parameters, such as moving averages.
        macs: multiply-accumulates with weights, without biases and batch norm.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    trainable: int
    non_trainable: int
    macs: int

    @property
    def parameters(self) -> int:
        """All parameters, trainable and non-trainable."""
        return self.trainable + self.non_trainable


@dataclass(frozen=True)
class Costs:
    """Parameters and MACs of the weights of a layer."""

    trainable: int = 0
    non_trainable: int = 0
    macs: int = 0


@dataclass(frozen=True)
class LayerContext:
    """The values that a layer takes from the rest of the config: the number of classes and the model's data format."""

    classes: int
    data_format: L.DataFormat


def input_shape(height: int, width: int, channels: int, data_format: L.DataFormat) -> Shape:
    """Return the shape of one image as the input of the network."""
    return (channels, height, width) if data_format == "channels_first" else (height, width, channels)


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
    return Facts(
        node.name, node.layer.kind, node.inputs, shapes, output, costs.trainable, costs.non_trainable, costs.macs
    )  # fmt: skip


def apply(layer: L.Layer, shapes: tuple[Shape, ...], context: LayerContext) -> tuple[Shape, Costs]:
    """Compute the output shape of `layer` and the costs of its weights.

    Raises:
        DoesNotFit: the layer does not accept these shapes.
    """
    shape = shapes[0]
    match layer:
        case L.Conv2D():
            return _convolution(layer, shape, context)
        case L.Pooling():
            return _slide(window_of(layer), shape, format_of(layer, context), layer.kind), Costs()
        case L.ZeroPadding2D():
            return _zero_padding(layer, shape, context), Costs()
        case L.GlobalPooling():
            return _global_pooling(layer, shape, context), Costs()
        case L.Flatten():
            return (prod(shape),), Costs()
        case L.Dense():
            return _dense(layer, shape, context)
        case L.BatchNormalization():
            return shape, _batch_normalization(layer, shape)
        case L.Dropout():
            return _dropout(layer, shape), Costs()
        case L.Add():
            return _sum_shape(shapes), Costs()
        case L.Concatenate():
            return _concatenation(layer, shapes), Costs()
    return shape, Costs()


def format_of(layer: L.Layer, context: LayerContext) -> L.DataFormat:
    """Return the data format of the layer, or that of the model."""
    own: L.DataFormat | None = getattr(layer, "data_format", None)
    return own or context.data_format


def window_of(layer: L.Conv2D | L.Pooling) -> Window:
    """Return the sliding window of a convolution or pooling."""
    if isinstance(layer, L.Conv2D):
        return Window(layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding == "same")
    return Window(layer.pool_size, layer.strides or layer.pool_size, (1, 1), layer.padding == "same")


def spatial(shape: Shape, data_format: L.DataFormat, kind: str) -> tuple[HeightWidth, int]:
    """Split an image shape into ((height, width), channels).

    Raises:
        DoesNotFit: the shape has no height and width.
    """
    if len(shape) != 3:
        remedy = "it is after flatten or a global pooling" if len(shape) == 1 else "its input is not an image"
        raise DoesNotFit(f"{kind} needs an image (height, width, channels), received {show_shape(shape)}: {remedy}")
    if data_format == "channels_first":
        return (shape[1], shape[2]), shape[0]
    return (shape[0], shape[1]), shape[2]


def _joined(pixels: Sequence[int], channels: int, data_format: L.DataFormat) -> Shape:
    return (channels, *pixels) if data_format == "channels_first" else (*pixels, channels)


def _slide(window: Window, shape: Shape, data_format: L.DataFormat, kind: str) -> Shape:
    pixels, channels = spatial(shape, data_format, kind)
    for axis, side in enumerate(("height", "width")):
        if window.output(pixels[axis], axis) < 1:
            raise DoesNotFit(_shrunk(window, pixels[axis], axis, side), shrinks=True)
    return _joined([window.output(pixels[axis], axis) for axis in (0, 1)], channels, data_format)


def _shrunk(window: Window, pixels: int, axis: int, side: str) -> str:
    return f"needs {window.extent(axis)} pixels of {side} but receives {pixels}: {arithmetic(window, pixels, axis)}"


def arithmetic(window: Window, pixels: int, axis: int) -> str:
    """Write out the arithmetic of the output size, such as `floor((1 - 2) / 2) + 1 = 0`."""
    result = window.output(pixels, axis)
    if window.same:
        return f"ceil({pixels} / {window.strides[axis]}) = {result}"
    return f"floor(({pixels} - {window.extent(axis)}) / {window.strides[axis]}) + 1 = {result}"


def _convolution(layer: L.Conv2D, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    data_format = format_of(layer, context)
    _, channels = spatial(shape, data_format, layer.kind)
    if channels % layer.groups:
        raise DoesNotFit(f"the channels of its input ({channels}) must be a multiple of groups ({layer.groups})")
    output = _slide(window_of(layer), shape, data_format, layer.kind)
    pixels, _ = spatial(output, data_format, layer.kind)
    kernel = prod(layer.kernel_size) * (channels // layer.groups) * layer.filters
    bias = layer.filters if layer.use_bias else 0
    return _joined(pixels, layer.filters, data_format), Costs(kernel + bias, 0, kernel * prod(pixels))


def _zero_padding(layer: L.ZeroPadding2D, shape: Shape, context: LayerContext) -> Shape:
    data_format = format_of(layer, context)
    pixels, channels = spatial(shape, data_format, layer.kind)
    return _joined([n + sum(sides) for n, sides in zip(pixels, layer.padding, strict=True)], channels, data_format)


def _global_pooling(layer: L.GlobalPooling, shape: Shape, context: LayerContext) -> Shape:
    data_format = format_of(layer, context)
    _, channels = spatial(shape, data_format, layer.kind)
    return _joined([1, 1], channels, data_format) if layer.keepdims else (channels,)


def units_of(layer: L.Dense, context: LayerContext) -> int:
    """Return the number of units, with `classes` resolved."""
    return context.classes if isinstance(layer.units, str) else layer.units


def _dense(layer: L.Dense, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    units = units_of(layer, context)
    kernel = shape[-1] * units
    return (*shape[:-1], units), Costs(kernel + (units if layer.use_bias else 0), 0, kernel * prod(shape[:-1]))


def _axis(axis: int, shape: Shape) -> int:
    """Convert a Keras axis, which counts the batch as 0, to an index of `shape`."""
    place = axis - 1 if axis > 0 else len(shape) + axis
    if axis == 0 or not 0 <= place < len(shape):
        raise DoesNotFit(f"axis {axis} is not an axis of (batch, {str(shape)[1:]} other than the batch")
    return place


def _batch_normalization(layer: L.BatchNormalization, shape: Shape) -> Costs:
    channels = shape[_axis(layer.axis, shape)]
    return Costs(channels * (layer.center + layer.scale), 2 * channels)


def _dropout(layer: L.Dropout, shape: Shape) -> Shape:
    noise = layer.noise_shape
    if noise is None:
        return shape
    full = (1, *shape)  # batches differ in size: one mask per image, or one for all
    if len(noise) != len(full) or any(n not in (None, 1, size) for n, size in zip(noise, full, strict=True)):
        raise DoesNotFit(
            f"noise_shape {show(noise)} requires one value per axis of (batch, {str(shape)[1:]}: null, 1 or the axis's size"
        )
    return shape


def _sum_shape(shapes: tuple[Shape, ...]) -> Shape:
    """Compute the broadcast shape, as Keras does: axes of length 1 and missing axes are expanded."""
    rank = max(map(len, shapes))
    sides = list(zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True))
    if any(len({*axis} - {1}) > 1 for axis in sides):
        raise DoesNotFit(f"add requires inputs of the same shape, received {' and '.join(map(show_shape, shapes))}")
    return tuple(max(axis) for axis in sides)


def _concatenation(layer: L.Concatenate, shapes: tuple[Shape, ...]) -> Shape:
    if len({len(shape) for shape in shapes}) > 1:
        raise DoesNotFit(f"concatenate requires inputs of the same rank, received {' and '.join(map(show_shape, shapes))}")
    place = _axis(layer.axis, shapes[0])
    others = {shape[:place] + shape[place + 1 :] for shape in shapes}
    if len(others) > 1:
        raise DoesNotFit(
            f"concatenate along axis {layer.axis} requires inputs that are equal along the other axes, "
            f"received {' and '.join(map(show_shape, shapes))}"
        )
    return (*shapes[0][:place], sum(shape[place] for shape in shapes), *shapes[0][place + 1 :])


def show_shape(shape: Shape) -> str:
    """Format a shape as `(28, 28, 1)`, or `(10)` for one axis."""
    return f"({', '.join(map(str, shape))})"
