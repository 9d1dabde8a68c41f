"""Shapes and parameters of activations as layers."""

from __future__ import annotations

from math import prod

from cnnctl.spec import layers as L
from cnnctl.spec.shapes.basics import Costs, LayerContext, Shape, axes_of, check_weights


def prelu(layer: L.PReLU, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Count the slopes of a parametric ReLU.

    Raises:
        DoesNotFit: there is no such shared axis, or alpha has too few axes for its initializer or constraint.
    """
    alpha = alpha_shape(layer, shape)
    check_weights(layer, {"alpha": alpha})
    return shape, Costs(prod(alpha))


def alpha_shape(layer: L.PReLU, shape: Shape) -> Shape:
    """Return the shape of the slopes: 1 along the shared axes."""
    shared = axes_of(layer.shared_axes, shape) if layer.shared_axes is not None else ()
    return tuple(1 if place in shared else size for place, size in enumerate(shape))


def softmax(layer: L.Softmax, shape: Shape, context: LayerContext) -> Shape:
    """Check the axes of a softmax; the shape is unchanged."""
    axes_of(layer.axis, shape)
    return shape


def softmax_places(layer: L.Layer, shape: Shape) -> tuple[int, ...]:
    """Return the indices of the axes along which a layer ends with a softmax or log_softmax; empty if it does not."""
    if isinstance(layer, L.Softmax):
        return axes_of(layer.axis, shape)
    return (len(shape) - 1,) if getattr(layer, "activation", None) in L.OF_ROWS else ()
