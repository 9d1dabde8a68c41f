"""What the arithmetic of every layer shares: shapes, costs, sliding windows, and why a layer does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnctl.spec import layers as L
from cnnctl.spec.layers.fields import size_complaint, weight_complaint
from cnnctl.spec.section import show

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
class Costs:
    """Parameters and MACs of the weights of a layer; `macs` is 0 where it is unknown."""

    trainable: int = 0
    non_trainable: int = 0
    macs: int = 0
    macs_known: bool = True


@dataclass(frozen=True)
class LayerContext:
    """The values that a layer takes from the rest of the config: the number of classes and the model's data format."""

    classes: int
    data_format: L.DataFormat


def input_shape(height: int, width: int, channels: int, data_format: L.DataFormat) -> Shape:
    """Return the shape of one image as the input of the network."""
    return (channels, height, width) if data_format == "channels_first" else (height, width, channels)


def format_of(layer: L.Layer, context: LayerContext) -> L.DataFormat:
    """Return the data format of the layer, or that of the model."""
    own: L.DataFormat | None = getattr(layer, "data_format", None)
    return own or context.data_format


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


def joined_shape(pixels: Sequence[int], channels: int, data_format: L.DataFormat) -> Shape:
    """Return the shape of an image of these pixels and channels."""
    return (channels, *pixels) if data_format == "channels_first" else (*pixels, channels)


def axis_of(axis: int, shape: Shape) -> int:
    """Convert a Keras axis, which counts the batch as 0, to an index of `shape`."""
    place = axis - 1 if axis > 0 else len(shape) + axis
    if axis == 0 or not 0 <= place < len(shape):
        raise DoesNotFit(f"axis {axis} is not an axis of (batch, {show_shape(shape)[1:]} other than the batch")
    return place


def axes_of(axis: int | tuple[int, ...], shape: Shape) -> tuple[int, ...]:
    """Convert one or several Keras axes to sorted indices of `shape`.

    Raises:
        DoesNotFit: an axis is the batch, outside of the shape, or the same as another.
    """
    places = [axis_of(each, shape) for each in ([axis] if isinstance(axis, int) else axis)]
    if len(set(places)) < len(places):
        raise DoesNotFit(f"axis {show(axis)} has the same axis of {show_shape(shape)} twice")
    return tuple(sorted(places))


def check_weights(layer: L.Weighted, shapes: Mapping[str, Shape]) -> None:
    """Check the initializers, regularizers and constraints of weights whose shapes are known.

    Raises:
        DoesNotFit: a weight has too few or too many axes for one of them, or they are too short.
    """
    for field, weight, part, _ in layer.weights():
        if weight not in shapes:
            continue
        value, shape = getattr(layer, field), shapes[weight]
        complaint = weight_complaint(value, field, weight, part, len(shape)) or size_complaint(value, field, weight, shape)
        if complaint:
            raise DoesNotFit(complaint)


def show_shape(shape: Shape) -> str:
    """Format a shape as `(28, 28, 1)`, or `(10)` for one axis."""
    return f"({', '.join(map(str, shape))})"
