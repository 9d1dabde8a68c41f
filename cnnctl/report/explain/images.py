"""Sentences about layers that change the shape of an image."""

from __future__ import annotations

from math import prod

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import Facts, LayerContext, format_of, spatial


def zeros(layer: L.ZeroPadding2D) -> str:
    """Explain a zero padding."""
    (top, bottom), (left, right) = layer.padding
    if not top + bottom + left + right:
        return "padding of 0 adds nothing"
    rows = f"{counted(top, 'row')} above, {bottom:,} below"
    return f"zeros: {rows}, {counted(left, 'column')} left, {right:,} right; no parameters"


def cropped(layer: L.Cropping2D, facts: Facts, context: LayerContext) -> list[str]:
    """Explain a cropping."""
    pixels, _ = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    sides = ((word, n, *both) for word, n, both in zip(("rows", "columns"), pixels, layer.cropping, strict=True))
    lines = [f"{word}: {n} - {first} - {last} = {n - first - last}" for word, n, first, last in sides if first + last]
    if not lines:
        return ["cropping of 0 removes nothing"]
    return [*lines, "the removed values reach no later layer through it, and no gradient flows back into them; no parameters"]


def enlarged(layer: L.UpSampling2D, facts: Facts, context: LayerContext) -> list[str]:
    """Explain an up-sampling."""
    pixels, _ = spatial(facts.input_shapes[0], format_of(layer, context), facts.kind)
    rows, columns = (f"{n} · {factor} = {n * factor}" for n, factor in zip(pixels, layer.size, strict=True))
    sizes = [f"rows and columns: {rows}"] if rows == columns else [f"rows: {rows}", f"columns: {columns}"]
    if layer.size == (1, 1):
        return [*sizes, "size 1 changes nothing"]
    learned = "nothing is learned; a transposed convolution would learn its weights; no parameters"
    if layer.interpolation == "nearest":
        return [*sizes, f"each value becomes a block of {layer.size[0]}×{layer.size[1]} equal values; {learned}"]
    return [*sizes, f"{_weights_between(layer)}; {learned}"]


_LINES_BETWEEN = {"bilinear": 2, "bicubic": 4, "lanczos3": 6, "lanczos5": 10}


def _weights_between(layer: L.UpSampling2D) -> str:
    """Describe an interpolation; for bilinear with the weights of the first value between two pixels."""
    count = _LINES_BETWEEN[layer.interpolation]
    which = f"each value is a weighted mean over the {count} nearest rows and {count} nearest columns ({layer.interpolation})"
    if layer.interpolation != "bilinear":
        return f"{which}; some weights are negative, so values may go beyond those of the input"
    factor = max(layer.size)
    far = (factor % 2 + 1) / (2 * factor)  # the first position behind the centre of a pixel
    return f"{which}, by the distance of their centres: with a factor of {factor} first by {1 - far:.3g} and {far:.3g}"


def flattened(layer: L.Flatten, facts: Facts, context: LayerContext) -> str:
    """Explain a flatten."""
    shape = facts.input_shapes[0]
    if len(shape) == 1:
        return f"the input is already a vector: (B, {shape[0]}) is unchanged"
    first = "channels are" if len(shape) == 3 else "first axis is"
    moved = f", after the {first} moved to the end" if format_of(layer, context) == "channels_first" else ""
    product = " · ".join(map(str, shape))
    return f"the batch axis is unchanged: (B, {', '.join(map(str, shape))}) becomes (B, {product}) = (B, {prod(shape)}){moved}"
