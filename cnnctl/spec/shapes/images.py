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


def global_pooling(layer: L.GlobalPooling, shape: Shape, context: LayerContext) -> Shape:
    """Compute the shape of one value per channel."""
    data_format = format_of(layer, context)
    _, channels = spatial(shape, data_format, layer.kind)
    return joined_shape([1, 1], channels, data_format) if layer.keepdims else (channels,)


def unchanged_image(layer: L.Layer, shape: Shape, context: LayerContext) -> Shape:
    """Check that the input is an image; the shape is unchanged."""
    spatial(shape, format_of(layer, context), layer.kind)
    return shape
