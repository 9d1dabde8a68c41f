"""Shapes and costs of layers of one's own, which their Keras classes compute."""

from __future__ import annotations

from cnnctl.spec import layers as L
from cnnctl.spec.shapes.basics import Costs, LayerContext, Shape


def custom(layer: L.CustomLayer, shapes: tuple[Shape, ...], context: LayerContext) -> tuple[Shape, Costs]:
    """Return the output shape and the costs of a layer of one's own."""
    found = layer.own.measured(layer, shapes, context)
    return found.shape, Costs(found.trainable, found.non_trainable, found.macs or 0, found.macs is not None)
