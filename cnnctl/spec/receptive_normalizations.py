"""Receptive fields of normalizations within an image: each value depends on all that share its mean or norm.

Batch normalization has no rule: the field of a value is that of its input, in inference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any

from cnnctl.spec import layers as L
from cnnctl.spec.receptive_masks import AxisField
from cnnctl.spec.receptive_moves import Masks
from cnnctl.spec.shapes import Facts, LayerContext, Shape, axes_of, groups_of, values_per_mean


def _along_axes(
    layer: L.LayerNormalization | L.UnitNormalization, taken: Sequence[AxisField], facts: Facts, context: LayerContext
) -> AxisField:
    """Normalize over the values along axes; x - mean over a single value is 0."""
    field, output = taken[0], facts.output_shape
    if values_per_mean(layer, output) > 1:
        return _together(field, output, axes_of(layer.axis, output))
    return field if isinstance(layer, L.UnitNormalization) or layer.rms_scaling else _constant(field, output)


def _in_groups(layer: L.GroupNormalization, taken: Sequence[AxisField], facts: Facts, context: LayerContext) -> AxisField:
    """Normalize over groups of the values along an axis, and over all values along the other axes."""
    output = facts.output_shape
    if values_per_mean(layer, output) == 1:
        return _constant(taken[0], output)
    if len(output) == 1:
        return _grouped(taken[0].in_a_row(), 0, output, layer)
    (axis,) = axes_of(layer.axis, output)
    others = [other for other in range(len(output)) if other != axis]
    return _together(_grouped(taken[0], axis, output, layer), output, others)


def _grouped(field: AxisField, axis: int, output: Shape, layer: L.GroupNormalization) -> AxisField:
    """Combine the values of each group along an axis in each value of the group."""
    size = output[axis] // groups_of(layer, output)

    def by_group(masks: Masks) -> Masks:
        if len(masks) == 1:  # the same for all
            return masks
        unions = [reduce(or_, masks[start : start + size]) for start in range(0, len(masks), size)]
        return tuple(union for union in unions for _ in range(size))

    return field.with_axis(axis, output[axis], by_group)


def _together(field: AxisField, output: Shape, places: Sequence[int]) -> AxisField:
    """Combine all values along axes in each of them."""
    if len(output) == 1:
        return field.as_whole(output[0])
    for place in places:
        field = field.mixed(place, output[place])
    return field


def _constant(field: AxisField, output: Shape) -> AxisField:
    """Return the fields of outputs that are the same for every image."""
    return AxisField(output, (), field.zeros, None, None)


NORMALIZATIONS: Mapping[type[L.Layer], Callable[[Any, Sequence[AxisField], Facts, LayerContext], AxisField]] = {
    L.LayerNormalization: _along_axes,
    L.UnitNormalization: _along_axes,
    L.GroupNormalization: _in_groups,
}
"""The fields after each kind, with the arguments of `field_after`."""
