"""Receptive fields of layers that move values without computing, on the masks of `receptive_masks`."""

from __future__ import annotations

from functools import reduce
from math import gcd
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import HeightWidth, interpolated_from

if TYPE_CHECKING:
    from cnnctl.spec.receptive_masks import AxisField

MAX_MASKS = 2**18
"""Most masks per factor; from a layer that needs more on, there are no receptive fields."""


class TooLarge(Exception):
    """The receptive fields would need too many masks."""


def few(count: int) -> int:
    """Return a number of masks that is not too large."""
    if count > MAX_MASKS:
        raise TooLarge
    return count


class Stride(NamedTuple):
    """The distance between fields: those that are `positions` apart lie `rows` apart.

    An up-sampling by 2 gives 1 row per 2 positions, at unequal steps; every second position has equal ones again.
    """

    rows: int
    positions: int = 1

    def slid(self, stride: int) -> Stride:
        """Take every position that is a multiple of `stride`."""
        shared = gcd(stride, self.positions)
        return Stride(self.rows * (stride // shared), self.positions // shared)


def cropped(field: AxisField, layer: L.Cropping2D, axes: HeightWidth) -> AxisField:
    """Remove positions at the sides of the rows and columns, which are the axes `axes`."""
    for axis, (first, last) in zip(axes, layer.cropping, strict=True):
        end = field.shape[axis] - last
        stride = field.stride if end - first > 1 else None

        def inside(masks: tuple[int, ...], start: int = first, end: int = end) -> tuple[int, ...]:
            return masks if len(masks) == 1 else masks[start:end]

        field = field.with_axis(axis, end - first, inside, stride)
    return field


def up_sampled(field: AxisField, layer: L.UpSampling2D, axes: HeightWidth) -> AxisField:
    """Interpolate between the positions along rows and columns, which are the axes `axes`."""
    for axis, factor in zip(axes, layer.size, strict=True):
        pixels = field.shape[axis]

        def between(masks: tuple[int, ...], pixels: int = pixels, factor: int = factor) -> tuple[int, ...]:
            if len(masks) == 1:
                return masks
            sources = (interpolated_from(layer.interpolation, factor, pixels, each) for each in range(few(pixels * factor)))
            return tuple(reduce(or_, masks[places.start : places.stop]) for places in sources)

        stride = Stride(field.stride.rows, field.stride.positions * factor) if field.stride else None
        field = field.with_axis(axis, pixels * factor, between, stride)
    return field
