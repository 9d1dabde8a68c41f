"""Shapes and costs of depthwise, separable and transposed convolutions."""

from __future__ import annotations

from math import prod

from cnnctl.spec import layers as L
from cnnctl.spec.shapes.basics import Costs, LayerContext, Shape, format_of, joined_shape, spatial
from cnnctl.spec.shapes.windows import slide, window_of


def depthwise(layer: L.DepthwiseConv2D, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Compute shape and costs of a depthwise convolution: each filter spans one channel."""
    data_format = format_of(layer, context)
    output = slide(window_of(layer), shape, data_format, layer.kind)
    pixels, channels = spatial(output, data_format, layer.kind)
    filters = channels * layer.depth_multiplier
    kernel = prod(layer.kernel_size) * filters
    return joined_shape(pixels, filters, data_format), _costs(kernel, layer.use_bias * filters, pixels)


def separable(layer: L.SeparableConv2D, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Compute shape and costs of a depthwise convolution with a 1×1 convolution after it."""
    data_format = format_of(layer, context)
    output = slide(window_of(layer), shape, data_format, layer.kind)
    pixels, channels = spatial(output, data_format, layer.kind)
    between = channels * layer.depth_multiplier
    kernels = between * (prod(layer.kernel_size) + layer.filters)
    return joined_shape(pixels, layer.filters, data_format), _costs(kernels, layer.use_bias * layer.filters, pixels)


def transposed(layer: L.Conv2DTranspose, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Compute shape and costs of a transposed convolution: every input pixel uses all weights once."""
    data_format = format_of(layer, context)
    pixels, channels = spatial(shape, data_format, layer.kind)
    output = [transposed_size(layer, pixels[axis], axis) for axis in (0, 1)]
    kernel = prod(layer.kernel_size) * channels * layer.filters
    return joined_shape(output, layer.filters, data_format), _costs(kernel, layer.use_bias * layer.filters, pixels)


def transposed_size(layer: L.Conv2DTranspose, pixels: int, axis: int) -> int:
    """Compute the rows or columns of the output of a transposed convolution, as Keras does."""
    window, padding = window_of(layer), layer.output_padding
    stride, extent = window.strides[axis], window.extent(axis)
    if padding is None:
        return pixels * stride if window.same else (pixels - 1) * stride + max(extent, stride)
    added: int = padding[axis]
    return (pixels - 1) * stride + (extent % 2 if window.same else extent) + added


def transposed_arithmetic(layer: L.Conv2DTranspose, pixels: int, axis: int) -> str:
    """Write out the arithmetic of the output size, such as `(4 - 1)·2 + 3 = 9`."""
    window, padding, result = window_of(layer), layer.output_padding, transposed_size(layer, pixels, axis)
    stride, extent = window.strides[axis], window.extent(axis)
    if padding is None and window.same:
        return f"{pixels}·{stride} = {result}"
    last = max(extent, stride) if padding is None else extent % 2 if window.same else extent
    return f"({pixels} - 1)·{stride} + {last}{f' + {padding[axis]}' if padding else ''} = {result}"


def _costs(kernel: int, bias: int, positions: tuple[int, int]) -> Costs:
    """Return the costs of weights that are used once per position."""
    return Costs(kernel + bias, 0, kernel * prod(positions))
