"""Pure integer arithmetic on stacks: what each layer gives, holds and costs.

Shapes leave out the batch axis: (H, W, C), or (C, H, W) with `channels_first`. The formulas are
those of Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016). Equality
with Keras is a property test.
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
"""So many has one image at most: a gigabyte as float32."""
MAX = 2**63 - 1
"""TensorFlow counts the values of a tensor in 64 bits."""


class DoesNotFit(Exception):
    """A layer cannot take what it is given.

    Attributes:
        message: what is wrong, with the arithmetic.
        shrinks: whether the layer ran out of pixels, so that fewer or smaller windows may help.
    """

    def __init__(self, message: str, shrinks: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.shrinks = shrinks


@dataclass(frozen=True)
class Window:
    """A window that slides over rows and columns: a convolution's or a pooling's."""

    size: HeightWidth
    strides: HeightWidth
    dilation: HeightWidth
    same: bool

    def extent(self, axis: int) -> int:
        """Return how many pixels the window spans: `dilation·(k - 1) + 1`."""
        return self.dilation[axis] * (self.size[axis] - 1) + 1

    def output(self, pixels: int, axis: int) -> int:
        """Return how many positions it takes: `floor((n - extent) / stride) + 1`, or `ceil(n / stride)` for same."""
        if self.same:
            return -(-pixels // self.strides[axis])
        return (pixels - self.extent(axis)) // self.strides[axis] + 1

    def padding(self, pixels: int, axis: int) -> HeightWidth:
        """Return the zeros before and after that `same` adds; TensorFlow puts the odd one after."""
        if not self.same:
            return 0, 0
        total = max((self.output(pixels, axis) - 1) * self.strides[axis] + self.extent(axis) - pixels, 0)
        return total // 2, total - total // 2


@dataclass(frozen=True)
class Facts:
    """What one layer of a stack does, for one image.

    Attributes:
        name: the layer's name; `kind`: its kind, such as conv2d.
        inputs: names of what it takes; `input_shapes`: their shapes.
        output_shape: without the batch axis.
        trainable: parameters that training changes.
        non_trainable: parameters that it does not, such as moving averages.
        macs: multiplications with weights (multiply-accumulates), biases and batch norm left out.
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
        """All parameters."""
        return self.trainable + self.non_trainable


@dataclass(frozen=True)
class Costs:
    """The part of `Facts` that weights make."""

    trainable: int = 0
    non_trainable: int = 0
    macs: int = 0


@dataclass(frozen=True)
class LayerContext:
    """What a layer takes from around it: the data's classes and the model's data format."""

    classes: int
    data_format: L.DataFormat


def input_shape(height: int, width: int, channels: int, data_format: L.DataFormat) -> Shape:
    """Return the shape of one image as the network takes it."""
    return (channels, height, width) if data_format == "channels_first" else (height, width, channels)


def trace(nodes: Sequence[Node], image: Shape, around: LayerContext) -> list[Facts]:
    """Return the facts of every layer.

    Args:
        nodes: the stack, as `stack.nodes_of` gives it.
        image: shape of one image, (H, W, C) or (C, H, W).
        around: the data's classes and the model's data format.

    Raises:
        Misfit: a layer does not fit; it holds the facts up to that layer.
    """
    facts: dict[str, Facts] = {}
    for node in nodes:
        try:
            facts[node.name] = _facts(node, facts, image, around)
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


def _facts(node: Node, known: dict[str, Facts], image: Shape, around: LayerContext) -> Facts:
    shapes = tuple(image if name == INPUT else known[name].output_shape for name in node.inputs)
    output, costs = apply(node.layer, shapes, around)
    if prod(output) > MAX:
        raise DoesNotFit(f"its output {show_shape(output)} would have more than 2^63 values, and no tensor has so many")
    return Facts(
        node.name, node.layer.kind, node.inputs, shapes, output, costs.trainable, costs.non_trainable, costs.macs
    )  # fmt: skip


def apply(layer: L.Layer, shapes: tuple[Shape, ...], around: LayerContext) -> tuple[Shape, Costs]:
    """Return the output shape of `layer` and what its weights cost.

    Raises:
        DoesNotFit: the layer cannot take these shapes.
    """
    shape = shapes[0]
    match layer:
        case L.Conv2D():
            return _convolution(layer, shape, around)
        case L.Pooling():
            return _slide(window_of(layer), shape, format_of(layer, around), layer.kind), Costs()
        case L.ZeroPadding2D():
            return _zero_padding(layer, shape, around), Costs()
        case L.GlobalPooling():
            return _global_pooling(layer, shape, around), Costs()
        case L.Flatten():
            return (prod(shape),), Costs()
        case L.Dense():
            return _dense(layer, shape, around)
        case L.BatchNormalization():
            return shape, _batch_normalization(layer, shape)
        case L.Dropout():
            return _dropout(layer, shape), Costs()
        case L.Add():
            return _sum_shape(shapes), Costs()
        case L.Concatenate():
            return _concatenation(layer, shapes), Costs()
    return shape, Costs()


def format_of(layer: L.Layer, around: LayerContext) -> L.DataFormat:
    """Return the layer's own data format, or the model's."""
    own: L.DataFormat | None = getattr(layer, "data_format", None)
    return own or around.data_format


def window_of(layer: L.Conv2D | L.Pooling) -> Window:
    """Return the window that a convolution or pooling slides."""
    if isinstance(layer, L.Conv2D):
        return Window(layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding == "same")
    return Window(layer.pool_size, layer.strides or layer.pool_size, (1, 1), layer.padding == "same")


def spatial(shape: Shape, data_format: L.DataFormat, kind: str) -> tuple[HeightWidth, int]:
    """Return ((height, width), channels) of an image shape.

    Raises:
        DoesNotFit: the shape has no height and width.
    """
    if len(shape) != 3:
        remedy = "it stands after flatten or a global pooling" if len(shape) == 1 else "its input is no image"
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
    return f"needs {window.extent(axis)} pixels of {side} and gets {pixels}: {arithmetic(window, pixels, axis)}"


def arithmetic(window: Window, pixels: int, axis: int) -> str:
    """Return the output size as written arithmetic, such as `floor((1 - 2) / 2) + 1 = 0`."""
    result = window.output(pixels, axis)
    if window.same:
        return f"ceil({pixels} / {window.strides[axis]}) = {result}"
    return f"floor(({pixels} - {window.extent(axis)}) / {window.strides[axis]}) + 1 = {result}"


def _convolution(layer: L.Conv2D, shape: Shape, around: LayerContext) -> tuple[Shape, Costs]:
    data_format = format_of(layer, around)
    _, channels = spatial(shape, data_format, layer.kind)
    if channels % layer.groups:
        raise DoesNotFit(f"the channels of its input ({channels}) must be a multiple of groups ({layer.groups})")
    output = _slide(window_of(layer), shape, data_format, layer.kind)
    pixels, _ = spatial(output, data_format, layer.kind)
    kernel = prod(layer.kernel_size) * (channels // layer.groups) * layer.filters
    bias = layer.filters if layer.use_bias else 0
    return _joined(pixels, layer.filters, data_format), Costs(kernel + bias, 0, kernel * prod(pixels))


def _zero_padding(layer: L.ZeroPadding2D, shape: Shape, around: LayerContext) -> Shape:
    data_format = format_of(layer, around)
    pixels, channels = spatial(shape, data_format, layer.kind)
    return _joined([n + sum(sides) for n, sides in zip(pixels, layer.padding, strict=True)], channels, data_format)


def _global_pooling(layer: L.GlobalPooling, shape: Shape, around: LayerContext) -> Shape:
    data_format = format_of(layer, around)
    _, channels = spatial(shape, data_format, layer.kind)
    return _joined([1, 1], channels, data_format) if layer.keepdims else (channels,)


def units_of(layer: L.Dense, around: LayerContext) -> int:
    """Return the number of units, `classes` resolved."""
    return around.classes if isinstance(layer.units, str) else layer.units


def _dense(layer: L.Dense, shape: Shape, around: LayerContext) -> tuple[Shape, Costs]:
    units = units_of(layer, around)
    kernel = shape[-1] * units
    return (*shape[:-1], units), Costs(kernel + (units if layer.use_bias else 0), 0, kernel * prod(shape[:-1]))


def _axis(axis: int, shape: Shape) -> int:
    """Return the place in `shape` of a Keras axis, which counts the batch as 0."""
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
    full = (1, *shape)  # batches differ in size: one mask for each image, or one for all
    if len(noise) != len(full) or any(n not in (None, 1, size) for n, size in zip(noise, full, strict=True)):
        raise DoesNotFit(
            f"noise_shape {show(noise)} needs one value for each axis of (batch, {str(shape)[1:]}: null, 1 or the axis's size"
        )
    return shape


def _sum_shape(shapes: tuple[Shape, ...]) -> Shape:
    """Return the common shape; an axis of 1, or one that is not there, spreads over the others, as in Keras."""
    rank = max(map(len, shapes))
    sides = list(zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True))
    if any(len({*axis} - {1}) > 1 for axis in sides):
        raise DoesNotFit(f"add needs inputs of one shape, received {' and '.join(map(show_shape, shapes))}")
    return tuple(max(axis) for axis in sides)


def _concatenation(layer: L.Concatenate, shapes: tuple[Shape, ...]) -> Shape:
    if len({len(shape) for shape in shapes}) > 1:
        raise DoesNotFit(f"concatenate needs inputs of one rank, received {' and '.join(map(show_shape, shapes))}")
    place = _axis(layer.axis, shapes[0])
    others = {shape[:place] + shape[place + 1 :] for shape in shapes}
    if len(others) > 1:
        raise DoesNotFit(
            f"concatenate along axis {layer.axis} needs inputs that agree elsewhere, "
            f"received {' and '.join(map(show_shape, shapes))}"
        )
    return (*shapes[0][:place], sum(shape[place] for shape in shapes), *shapes[0][place + 1 :])


def show_shape(shape: Shape) -> str:
    """Return `(28, 28, 1)`, and `(10)` for one axis."""
    return f"({', '.join(map(str, shape))})"
