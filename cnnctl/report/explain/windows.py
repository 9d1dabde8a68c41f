"""Sentences about convolutions and pooling."""

from __future__ import annotations

from math import prod

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.receptive import Receptive
from cnnctl.spec.shapes import Facts, LayerContext, Window, arithmetic, format_of, spatial, window_of

MAX_PIXELS = 100_000


def sliding(layer: L.Convolution | L.Pooling, facts: Facts, context: LayerContext) -> list[str]:
    """Explain the positions of a window, along rows and columns."""
    window = window_of(layer)
    pixels, _ = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    added = "padding added, which is ignored" if isinstance(layer, L.Pooling) else "zeros added"
    rows, columns = (_positions(window, pixels[axis], axis, added) for axis in (0, 1))
    same = rows == columns
    return [f"rows and columns: {rows}"] if same else [f"rows: {rows}", f"columns: {columns}"]


def _positions(window: Window, pixels: int, axis: int, added: str) -> str:
    text = arithmetic(window, pixels, axis)
    if window.dilation[axis] > 1 and window.size[axis] > 1:
        d, k = window.dilation[axis], window.size[axis]
        text += f", where the window spans {d}·({k} - 1) + 1 = {window.extent(axis)}"
    if window.same:
        before, after = window.padding(pixels, axis)
        odd = "; the odd one is after" if before != after else ""
        text += (
            f"; {added}: {before} before, {after} after{odd}" if after else f"; no {added.removesuffix(', which is ignored')}"
        )
        return text
    return text + _left_out(window, pixels, axis)


def _left_out(window: Window, pixels: int, axis: int) -> str:
    """Describe the pixels in no window: the last ones if strides do not divide evenly, or those between windows."""
    if pixels > MAX_PIXELS:
        return ""
    taps = range(0, window.extent(axis), window.dilation[axis])
    covered = {position * window.strides[axis] + tap for position in range(window.output(pixels, axis)) for tap in taps}
    count = pixels - len(covered)
    verb = "is" if count == 1 else "are"
    if count and max(covered) == pixels - count - 1:
        return f"; the last {f'{count} ' if count > 1 else ''}of {pixels} {verb} in no window"
    return f"; {count} of {pixels} {verb} in no window" if count else ""


def filter_lines(layer: L.Conv2D, facts: Facts, context: LayerContext) -> list[str]:
    """Explain filters, parameters and MACs of a convolution."""
    (high, wide), filters = layer.kernel_size, layer.filters
    _, channels = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    pixels, _ = spatial(facts.output_shape, format_of(layer, context), facts.kind)
    spanned = channels // layer.groups
    weights = high * wide * spanned
    group = f" of its group ({layer.groups} groups)" if layer.groups > 1 else ""
    bias = f" + {filters}" if layer.use_bias else ""
    product = f", not {filters}·{spanned}" if spanned > 1 else ""
    whole = f"all {spanned} input channels" if spanned > 1 else "the one input channel"
    return [
        f"a filter spans {whole}{group}: {high}·{wide}·{spanned} = {counted(weights, 'weight')}; it slides "
        f"without being flipped (cross-correlation) and outputs one map, so {counted(filters, 'filter')} "
        f"{'outputs' if filters == 1 else 'output'} {counted(filters, 'map')}{product}",
        f"parameters: {high}·{wide}·{spanned}·{filters}{bias} = {facts.parameters:,}",
        f"MACs: {pixels[0]}·{pixels[1]} {'position' if prod(pixels) == 1 else 'positions'} · {counted(weights * filters, 'weight')} = {facts.macs:,}",
    ]


def pooled(layer: L.Pooling) -> list[str]:
    """Explain a pooling."""
    what = "the largest value" if isinstance(layer, L.MaxPooling2D) else "the mean"
    strides = "strides are the pool size" if layer.strides is None else f"strides {layer.strides[0]}×{layer.strides[1]}"
    return [
        f"{what} of each {layer.pool_size[0]}×{layer.pool_size[1]} window, separately for each map; {strides}; no parameters"
    ]


def field_lines(receptive: Receptive | None) -> list[str]:
    """Describe the receptive field of one output value, and the distance to that of its neighbour."""
    if receptive is None:
        return []
    (high, wide), (rows, columns) = receptive.field, receptive.seen
    if not high or not wide:
        return ["receptive field: empty; no pixel of the image affects its outputs"]
    some = "" if receptive.same else "up to "
    gaps = f", with gaps: {rows} rows and {columns} columns of these" if (rows, columns) != (high, wide) else ""
    zeros = "; the window is larger and reaches into zero padding" if receptive.padded else ""
    pixels = "pixel" if high == wide == 1 else "pixels"
    return [f"receptive field: {some}{high}×{wide} {pixels} of the image{gaps}{zeros}{_distance(receptive)}"]


def _distance(receptive: Receptive) -> str:
    """Describe the distance between neighbouring receptive fields; empty if there are no neighbours."""
    down, right = receptive.stride
    steps = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in ((down, "row"), (right, "column")) if count]
    if not steps:
        return ""
    step = f"{down} pixel{'s' if down and down > 1 else ''}" if down == right else " or ".join(steps)
    lines = zip(receptive.stride, receptive.field, ("rows", "columns"), strict=True)
    skipped = [word for step, span, word in lines if step and step > span]
    between = f"; the {' and '.join(skipped)} between them are in neither" if skipped else ""
    return f"; distance between neighbouring receptive fields: {step}{between}"


def pooled_globally(layer: L.GlobalPooling, facts: Facts, context: LayerContext) -> str:
    """Explain a global pooling."""
    what = "mean" if isinstance(layer, L.GlobalAveragePooling2D) else "maximum"
    pixels, _ = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    alone = " (a single value here, so it is unchanged)" if prod(pixels) == 1 else ""
    return f"the {what} of each map over all its rows and columns{alone}; no parameters"
