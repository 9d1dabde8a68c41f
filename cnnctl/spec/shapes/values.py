"""Shapes and costs of dense layers and dropout."""

from __future__ import annotations

from math import prod
from typing import Any

from cnnctl.spec import layers as L
from cnnctl.spec.section import show
from cnnctl.spec.shapes.basics import Costs, DoesNotFit, LayerContext, Shape, check_weights, show_shape


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


def rescaling(layer: L.Rescaling, shape: Shape, context: LayerContext) -> Shape:
    """Check that lists have one number per channel; the shape is unchanged."""
    for field, numbers in (("scale", layer.scale), ("offset", layer.offset)):
        if isinstance(numbers, float) or len(numbers) == 1:
            continue
        if context.data_format == "channels_first" and len(shape) != 3:
            raise DoesNotFit(
                f"a list for {field} under channels_first needs an image (channels, height, width), received {show_shape(shape)}; one number "
                "fits any input"
            )
        channels = shape[channel_axis(shape, context.data_format)]
        if len(numbers) != channels:
            values = (
                f"{channels} channel{'s' if channels > 1 else ''}" if len(shape) == 3 else f"{channels} along its last axis"
            )
            raise DoesNotFit(f"{field} has {len(numbers)} numbers, but its input {show_shape(shape)} has {values}")
    return shape


def channel_axis(shape: Shape, data_format: L.DataFormat) -> int:
    """Return the index of the channels of an image, or of the last axis."""
    return 0 if data_format == "channels_first" and len(shape) == 3 else len(shape) - 1


def per_channel(numbers: float | tuple[float, ...], data_format: L.DataFormat) -> float | tuple[Any, ...]:
    """Return a number, or numbers in a shape that Keras broadcasts over the channels of an image."""
    if isinstance(numbers, tuple) and len(numbers) == 1:
        return numbers[0]
    if isinstance(numbers, tuple) and data_format == "channels_first":
        return tuple(((number,),) for number in numbers)
    return numbers


def reshape(layer: L.Reshape, shape: Shape, context: LayerContext) -> Shape:
    """Compute the target shape, with -1 resolved.

    Raises:
        DoesNotFit: it holds another number of values.
    """
    target, values = layer.target_shape, prod(shape)
    known = prod(n for n in target if n != -1)
    product = "·".join(str(n) for n in target if n != -1)
    does_not = f"target_shape {show(target)} does not hold the values of its input {show_shape(shape)}"
    if -1 not in target and known != values:
        raise DoesNotFit(f"{does_not}: {product}{f' = {known}' if len(target) > 1 else ''}, but there are {values}")
    if values % known:
        raise DoesNotFit(f"{does_not}: -1 would be {values} / {known} = {values / known:.4g}, which is not an integer")
    return tuple(values // known if n == -1 else n for n in target)


def permute(layer: L.Permute, shape: Shape, context: LayerContext) -> Shape:
    """Compute the shape with the axes in another order."""
    if len(layer.dims) != len(shape):
        count = f"{len(layer.dims)} {'axis' if len(layer.dims) == 1 else 'axes'}"
        raise DoesNotFit(f"dims {show(layer.dims)} order {count}, but its input {show_shape(shape)} has {len(shape)}")
    return tuple(shape[axis - 1] for axis in layer.dims)


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
