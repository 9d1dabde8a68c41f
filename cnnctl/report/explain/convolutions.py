"""Sentences about kinds of convolution, and what each costs against a plain one with the same output."""

from __future__ import annotations

from math import prod

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import (
    Facts,
    HeightWidth,
    LayerContext,
    format_of,
    spatial,
    transposed_arithmetic,
    transposed_size,
    window_of,
)


def variant_lines(layer: L.Conv2D, facts: Facts, context: LayerContext) -> list[str]:
    """Compare a 1×1, dilated or grouped `conv2d` with a plain one; no sentence for a plain one."""
    size = prod(layer.kernel_size)
    lines = []
    if size == 1:
        lines.append(f"1×1: it mixes the channels of each pixel and sees no neighbours; a 3×3 filter has {_more(9, 1)}")
    extent = window_of(layer).extent(0), window_of(layer).extent(1)
    if extent != layer.kernel_size:
        lines.append(
            f"dilated: it spans {_by(extent)} pixels and reads {size} of them; a plain {_by(extent)} filter has "
            f"{_more(prod(extent), size)}"
        )
    if layer.groups > 1:
        kernel = prod(layer.kernel_size) * _channels(layer, facts, context) * layer.filters
        lines.append(
            f"grouped: a filter that spans all channels has {_more(layer.groups, 1)} "
            f"({kernel:,} weights in all); no output mixes two groups"
        )
    return lines


def separated_lines(layer: L.DepthwiseConv2D | L.SeparableConv2D, facts: Facts, context: LayerContext) -> list[str]:
    """Explain filters, parameters, MACs and the saving of a depthwise or separable convolution."""
    channels = _channels(layer, facts, context)
    if isinstance(layer, L.DepthwiseConv2D):
        return _depthwise(layer, facts, context, channels)
    return _separable(layer, facts, context, channels)


def _depthwise(layer: L.DepthwiseConv2D, facts: Facts, context: LayerContext, channels: int) -> list[str]:
    filters = channels * layer.depth_multiplier
    kernel = prod(layer.kernel_size) * filters
    bias = f" + {filters}" if layer.use_bias else ""
    return [
        _one_channel(layer, channels) + ", which is not mixed with the others",
        f"parameters: {_product(layer)}·{channels}·{layer.depth_multiplier}{bias} = {facts.parameters:,}",
        f"MACs: {_positions(layer, facts, context)} · {counted(kernel, 'weight')} = {facts.macs:,}",
        _against_plain(layer, facts, context, kernel, filters),
    ]


def _separable(layer: L.SeparableConv2D, facts: Facts, context: LayerContext, channels: int) -> list[str]:
    between = channels * layer.depth_multiplier
    each, mixing = prod(layer.kernel_size) * between, between * layer.filters
    bias = f" + {layer.filters}" if layer.use_bias else ""
    return [
        f"first depthwise: {_one_channel(layer, channels)}",
        f"then pointwise: {counted(layer.filters, 'filter')} of 1×1 {'mixes' if layer.filters == 1 else 'mix'} these "
        f"{counted(between, 'map')}; there is no activation between the two",
        f"parameters: {_product(layer)}·{channels}·{layer.depth_multiplier} + {between}·{layer.filters}{bias} = {facts.parameters:,}",
        f"MACs: {_positions(layer, facts, context)} · ({each:,} + {mixing:,} weights) = {facts.macs:,}",
        _against_plain(layer, facts, context, each + mixing, layer.filters),
    ]


def transposed_lines(layer: L.Conv2DTranspose, facts: Facts, context: LayerContext) -> list[str]:
    """Explain sizes, windows, parameters, MACs and cost of a transposed convolution."""
    data_format = format_of(layer, context)
    pixels, channels = spatial(facts.input_shapes[0], data_format, facts.kind)
    output, _ = spatial(facts.output_shape, data_format, facts.kind)
    kernel = prod(layer.kernel_size) * channels * layer.filters
    bias = f" + {layer.filters}" if layer.use_bias else ""
    whole = f"all {channels} input channels" if channels > 1 else "the one input channel"
    return [
        *_enlarged(layer, pixels),
        f"each input pixel adds its value times a filter to a window of {_by(layer.kernel_size)} pixels of the output; from one "
        f"input pixel to the next the window moves by {_by(layer.strides)}, and where windows overlap their values are summed",
        *_uneven(layer),
        f"a filter spans {whole} and outputs one map: {_product(layer)}·{channels} = "
        f"{counted(prod(layer.kernel_size) * channels, 'weight')}",
        f"parameters: {_product(layer)}·{layer.filters}·{channels}{bias} = {facts.parameters:,}",
        f"MACs, all weights once per position of the input: {_of(pixels)} · {counted(kernel, 'weight')} = {facts.macs:,}",
        f"a plain conv2d on an input that is enlarged before has as many weights and {_ratio(prod(output), prod(pixels))} the "
        f"MACs: {_of(output)} · {counted(kernel, 'weight')} = {prod(output) * kernel:,}",
    ]


def _enlarged(layer: L.Conv2DTranspose, pixels: HeightWidth) -> list[str]:
    """Explain the output size, along rows and columns."""
    rows, columns = (transposed_arithmetic(layer, pixels[axis], axis) + _cropped(layer, pixels, axis) for axis in (0, 1))
    return [f"rows and columns: {rows}"] if rows == columns else [f"rows: {rows}", f"columns: {columns}"]


def _cropped(layer: L.Conv2DTranspose, pixels: HeightWidth, axis: int) -> str:
    """Describe what of the windows is outside the output, or what of the output is in no window."""
    window, output = window_of(layer), transposed_size(layer, pixels[axis], axis)
    whole = (pixels[axis] - 1) * window.strides[axis] + window.extent(axis)
    if output > whole:
        beyond = output - whole
        return f"; the last {f'{beyond} of {output} are' if beyond > 1 else f'of {output} is'} in no window"
    before, after = window.padding(output, axis) if window.same else (0, 0)
    return f"; cropped of the windows: {before} before, {after} after" if before + after else ""


def _uneven(layer: L.Conv2DTranspose) -> list[str]:
    """Describe outputs of which some are in more windows than others; Odena et al., "Deconvolution and checkerboard artifacts" (2016)."""
    pairs = list(zip(layer.kernel_size, layer.strides, strict=True))
    if any(size < stride for size, stride in pairs):
        return ["strides are larger than the filter: output pixels between the windows are the bias alone"]
    if all(size % stride == 0 for size, stride in pairs):
        return []
    return [
        "some outputs are in more windows than others, which can show as a checkerboard; it cannot where kernel_size is a "
        "multiple of strides"
    ]


def _one_channel(layer: L.DepthwiseConv2D | L.SeparableConv2D, channels: int) -> str:
    """Describe the filters of each channel."""
    weights, many = prod(layer.kernel_size), layer.depth_multiplier
    own = "its own filter" if many == 1 else f"{many} filters of its own (depth_multiplier)"
    whose = "the one input channel has" if channels == 1 else f"each of {channels} input channels has"
    return f"{whose} {own} of {_product(layer)} = {counted(weights, 'weight')}, and outputs {counted(many, 'map')}"


def _against_plain(
    layer: L.DepthwiseConv2D | L.SeparableConv2D, facts: Facts, context: LayerContext, kernel: int, filters: int
) -> str:
    """Compare with a `conv2d` with the same output, weights without biases."""
    plain = prod(layer.kernel_size) * _channels(layer, facts, context) * filters
    macs = facts.macs // kernel * plain
    return (
        f"a plain conv2d with the same output has {_more(plain, kernel)}: {_product(layer)}·"
        f"{_channels(layer, facts, context)}·{filters} = {plain:,} weights, {macs:,} MACs"
    )


def _positions(layer: L.Convolution, facts: Facts, context: LayerContext) -> str:
    return _of(spatial(facts.output_shape, format_of(layer, context), facts.kind)[0])


def _of(positions: HeightWidth) -> str:
    """Format a number of positions, such as `26·26 positions`."""
    rows, columns = positions
    return f"{rows}·{columns} {'position' if rows * columns == 1 else 'positions'}"


def _channels(layer: L.Convolution, facts: Facts, context: LayerContext) -> int:
    return spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)[1]


def _product(layer: L.Convolution | L.Conv2DTranspose) -> str:
    return f"{layer.kernel_size[0]}·{layer.kernel_size[1]}"


def _by(size: HeightWidth) -> str:
    return f"{size[0]}×{size[1]}"


def _more(many: int, few: int) -> str:
    """Format how many weights and MACs there are for each one, such as `8 times the weights and MACs`."""
    if many == few:
        return "as many weights and MACs"
    return f"{_ratio(many, few)} the weights and MACs"


def _ratio(many: int, few: int) -> str:
    """Format how often one count goes into another, such as `8 times` or `2.37 times`."""
    return f"{many // few:,} times" if many % few == 0 else f"{many / few:.3g} times"
