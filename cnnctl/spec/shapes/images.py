"""Shapes of layers that change the shape of an image."""

from __future__ import annotations

from cnnctl.spec import layers as L
from cnnctl.spec.shapes.basics import DoesNotFit, LayerContext, Shape, format_of, joined_shape, spatial


def zero_padding(layer: L.ZeroPadding2D, shape: Shape, context: LayerContext) -> Shape:
    """Compute the shape with the zeros around it."""
    data_format = format_of(layer, context)
    pixels, channels = spatial(shape, data_format, layer.kind)
    return joined_shape([n + sum(sides) for n, sides in zip(pixels, layer.padding, strict=True)], channels, data_format)


def cropping(layer: L.Cropping2D, shape: Shape, context: LayerContext) -> Shape:
    """Compute the shape without the rows and columns at the sides.

    Raises:
        DoesNotFit: no pixels remain.
    """
    data_format = format_of(layer, context)
    pixels, channels = spatial(shape, data_format, layer.kind)
    for n, (first, last), word in zip(pixels, layer.cropping, ("rows", "columns"), strict=True):
        if first + last >= n:
            message = f"leaves no {word}: {n} - {first} - {last} = {n - first - last}, but at least 1 is required"
            raise DoesNotFit(message, shrinks=True)
    return joined_shape([n - sum(sides) for n, sides in zip(pixels, layer.cropping, strict=True)], channels, data_format)


def up_sampling(layer: L.UpSampling2D, shape: Shape, context: LayerContext) -> Shape:
    """Compute the shape of the larger image."""
    data_format = format_of(layer, context)
    pixels, channels = spatial(shape, data_format, layer.kind)
    return joined_shape([n * factor for n, factor in zip(pixels, layer.size, strict=True)], channels, data_format)


_REACH = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}
"""Pixels within this distance have a weight in an interpolated value."""


def interpolated_from(interpolation: str, factor: int, pixels: int, position: int) -> range:
    """Return the pixels from which a position is interpolated along one axis.

    Pixel i has its centre at i + 1/2, as in TensorFlow and PIL: the position lies at (position + 1/2) / factor - 1/2 among the
    pixels, here `numerator / (2 · factor)`. On a pixel itself, all other weights are 0.
    """
    if interpolation == "nearest":
        return range(position // factor, position // factor + 1)
    before, numerator = divmod(2 * position + 1 - factor, 2 * factor)
    reach = _REACH[interpolation]
    first, last = (before - reach + 1, before + reach) if numerator else (before, before)
    return range(min(max(first, 0), pixels - 1), max(min(last, pixels - 1), 0) + 1)


def global_pooling(layer: L.GlobalPooling, shape: Shape, context: LayerContext) -> Shape:
    """Compute the shape of one value per channel."""
    data_format = format_of(layer, context)
    _, channels = spatial(shape, data_format, layer.kind)
    return joined_shape([1, 1], channels, data_format) if layer.keepdims else (channels,)


def unchanged_image(layer: L.Layer, shape: Shape, context: LayerContext) -> Shape:
    """Check that the input is an image; the shape is unchanged."""
    spatial(shape, format_of(layer, context), layer.kind)
    return shape
