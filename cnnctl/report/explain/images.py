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


def flattened(layer: L.Flatten, facts: Facts, context: LayerContext) -> str:
    """Explain a flatten."""
    shape = facts.input_shapes[0]
    if len(shape) == 1:
        return f"the input is already a vector: (B, {shape[0]}) is unchanged"
    moved = ", after the channels are moved to the end" if format_of(layer, context) == "channels_first" else ""
    product = " · ".join(map(str, shape))
    return f"the batch axis is unchanged: (B, {', '.join(map(str, shape))}) becomes (B, {product}) = (B, {prod(shape)}){moved}"
