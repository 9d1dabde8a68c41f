"""Shapes and costs of convolutions and pooling, after Dumoulin and Visin, "A guide to convolution arithmetic" (2016)."""

from __future__ import annotations

from math import prod

from cnnctl.spec import layers as L
from cnnctl.spec.shapes.basics import Costs, DoesNotFit, LayerContext, Shape, Window, format_of, joined_shape, spatial


def window_of(layer: L.Convolution | L.Conv2DTranspose | L.Pooling) -> Window:
    """Return the sliding window of a convolution or pooling; that of a transposed convolution slides over its output."""
    if isinstance(layer, L.Pooling):
        return Window(layer.pool_size, layer.strides or layer.pool_size, (1, 1), layer.padding == "same")
    return Window(layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding == "same")


def slide(window: Window, shape: Shape, data_format: L.DataFormat, kind: str) -> Shape:
    """Compute the shape of the positions of a window."""
    pixels, channels = spatial(shape, data_format, kind)
    for axis, side in enumerate(("height", "width")):
        if window.output(pixels[axis], axis) < 1:
            raise DoesNotFit(_shrunk(window, pixels[axis], axis, side), shrinks=True)
    return joined_shape([window.output(pixels[axis], axis) for axis in (0, 1)], channels, data_format)


def _shrunk(window: Window, pixels: int, axis: int, side: str) -> str:
    return f"needs {window.extent(axis)} pixels of {side} but receives {pixels}: {arithmetic(window, pixels, axis)}"


def arithmetic(window: Window, pixels: int, axis: int) -> str:
    """Write out the arithmetic of the output size, such as `floor((1 - 2) / 2) + 1 = 0`."""
    result = window.output(pixels, axis)
    if window.same:
        return f"ceil({pixels} / {window.strides[axis]}) = {result}"
    return f"floor(({pixels} - {window.extent(axis)}) / {window.strides[axis]}) + 1 = {result}"


def convolution(layer: L.Conv2D, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Compute shape and costs of a convolution."""
    data_format = format_of(layer, context)
    _, channels = spatial(shape, data_format, layer.kind)
    if channels % layer.groups:
        raise DoesNotFit(f"the channels of its input ({channels}) must be a multiple of groups ({layer.groups})")
    output = slide(window_of(layer), shape, data_format, layer.kind)
    pixels, _ = spatial(output, data_format, layer.kind)
    kernel = prod(layer.kernel_size) * (channels // layer.groups) * layer.filters
    bias = layer.filters if layer.use_bias else 0
    return joined_shape(pixels, layer.filters, data_format), Costs(kernel + bias, 0, kernel * prod(pixels))


def pooling(layer: L.Pooling, shape: Shape, context: LayerContext) -> Shape:
    """Compute the shape of one value per window and channel."""
    return slide(window_of(layer), shape, format_of(layer, context), layer.kind)
