"""Receptive fields of layers that move values without computing, on the masks of `receptive_masks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import HeightWidth

if TYPE_CHECKING:
    from cnnctl.spec.receptive_masks import AxisField


def cropped(field: AxisField, layer: L.Cropping2D, axes: HeightWidth) -> AxisField:
    """Remove positions at the sides of the rows and columns, which are the axes `axes`."""
    for axis, (first, last) in zip(axes, layer.cropping, strict=True):
        end = field.shape[axis] - last
        stride = field.stride if end - first > 1 else None

        def inside(masks: tuple[int, ...], start: int = first, end: int = end) -> tuple[int, ...]:
            return masks if len(masks) == 1 else masks[start:end]

        field = field.with_axis(axis, end - first, inside, stride)
    return field
