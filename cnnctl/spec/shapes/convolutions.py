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


def _costs(kernel: int, bias: int, positions: tuple[int, int]) -> Costs:
    """Return the costs of weights that are used once per position."""
    return Costs(kernel + bias, 0, kernel * prod(positions))
