"""Shapes and costs of dense layers, normalizations and dropout."""

from __future__ import annotations

from math import prod

from cnnctl.spec import layers as L
from cnnctl.spec.section import show
from cnnctl.spec.shapes.basics import Costs, DoesNotFit, LayerContext, Shape, axis_of, check_weights


def units_of(layer: L.Dense, context: LayerContext) -> int:
    """Return the number of units, with `classes` resolved."""
    return context.classes if isinstance(layer.units, str) else layer.units


def dense(layer: L.Dense, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Compute shape and costs of a dense layer.

    Raises:
        DoesNotFit: the kernel has one row or column, and a regularizer needs more.
    """
    units = units_of(layer, context)
    check_weights(layer, {"kernel": (shape[-1], units)})
    kernel = shape[-1] * units
    return (*shape[:-1], units), Costs(kernel + (units if layer.use_bias else 0), 0, kernel * prod(shape[:-1]))


def batch_normalization(layer: L.BatchNormalization, shape: Shape, context: LayerContext) -> tuple[Shape, Costs]:
    """Count the parameters of a batch normalization."""
    channels = shape[axis_of(layer.axis, shape)]
    return shape, Costs(channels * (layer.center + layer.scale), 2 * channels)


def dropout(layer: L.Dropout | L.AlphaDropout, shape: Shape, context: LayerContext) -> Shape:
    """Check the noise shape of a dropout; the shape is unchanged."""
    noise = layer.noise_shape
    if noise is None:
        return shape
    full = (1, *shape)  # batches differ in size: one mask per image, or one for all
    if len(noise) != len(full) or any(n not in (None, 1, size) for n, size in zip(noise, full, strict=True)):
        raise DoesNotFit(
            f"noise_shape {show(noise)} requires one value per axis of (batch, {str(shape)[1:]}: null, 1 or the axis's size"
        )
    return shape
