"""Shapes, parameters and counts of normalizations."""

from __future__ import annotations

from math import prod

from cnnctl.errors import counted
from cnnctl.spec import layers as L
from cnnctl.spec.layers.fields import weight_complaint
from cnnctl.spec.section import show
from cnnctl.spec.shapes.basics import Costs, DoesNotFit, LayerContext, Shape, axes_of, axis_of, show_shape


def batch_normalization(layer: L.BatchNormalization, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Count the parameters of a batch normalization."""
    channels = shape[axis_of(layer.axis, shape)]
    return shape, Costs(channels * len(layer.trained), channels * len(layer.states))


def layer_normalization(layer: L.LayerNormalization, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Count the parameters of a layer normalization: one of each kind per value along its axes.

    Raises:
        DoesNotFit: there is no such axis, or the weights have too few axes for an initializer or constraint.
    """
    axes = axes_of(layer.axis, shape)
    for field, weight, part, _ in layer.weights():
        if complaint := weight_complaint(getattr(layer, field), field, weight, part, len(axes)):
            raise DoesNotFit(complaint)
    return shape, Costs(prod(shape[axis] for axis in axes) * len(layer.trained))


def group_normalization(layer: L.GroupNormalization, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Count the parameters of a group normalization.

    Raises:
        DoesNotFit: there is no such axis, or its length is not a multiple of the groups.
    """
    channels = shape[axis_of(layer.axis, shape)]
    if channels % groups_of(layer, shape):
        raise DoesNotFit(
            f"{channels} values along axis {layer.axis} of (batch, {show_shape(shape)[1:]} cannot be divided into {layer.groups} "
            "groups of equal size"
        )
    return shape, Costs(channels * len(layer.trained))


def groups_of(layer: L.GroupNormalization, shape: Shape) -> int:
    """Return the number of groups, with -1 resolved."""
    return shape[axis_of(layer.axis, shape)] if layer.groups == -1 else layer.groups


def unit_normalization(layer: L.UnitNormalization, shape: Shape, context: LayerContext) -> Shape:
    """Check the axes of a unit normalization; the shape is unchanged."""
    axes_of(layer.axis, shape)
    return shape


def normalization(layer: L.Normalization, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Count mean, variance and Keras's counter of a normalization; those that are set in the config are no weights.

    Raises:
        DoesNotFit: there is no such axis, or the mean does not fit it.
    """
    kept = [shape[axis] for axis in kept_axes(layer, shape)]
    for size, length in zip(layer.sizes[::-1], kept[::-1], strict=False):
        if size not in (1, length):
            raise DoesNotFit(
                f"mean has the shape {list(layer.sizes)}, but {show_shape(shape)} has {counted(length, 'value')} along its axis: "
                f"axis {show(layer.axis)} needs the shape {kept}, or one number"
            )
    return shape, Costs(0, 2 * prod(kept) + 1 if layer.adapted else 0)


def kept_axes(layer: L.Normalization, shape: Shape) -> tuple[int, ...]:
    """Return the indices of the axes along which each value has its own mean."""
    return () if layer.axis is None else axes_of(layer.axis, shape)


def values_per_mean(layer: L.Layer, shape: Shape) -> int:
    """Count the values of one image that share a mean, or in a unit normalization a norm."""
    match layer:
        case L.BatchNormalization():
            return prod(shape) // shape[axis_of(layer.axis, shape)]
        case L.Normalization():
            return prod(shape) // prod(shape[axis] for axis in kept_axes(layer, shape))
        case L.LayerNormalization() | L.UnitNormalization():
            return prod(shape[axis] for axis in axes_of(layer.axis, shape))
        case L.GroupNormalization():
            return prod(shape) // groups_of(layer, shape)
    raise NotImplementedError(layer.kind)
