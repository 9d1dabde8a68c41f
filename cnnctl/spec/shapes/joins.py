"""Shapes of layers with several inputs."""

from __future__ import annotations

from cnnctl.spec import layers as L
from cnnctl.spec.shapes.basics import DoesNotFit, Shape, axis_of, show_shape


def broadcast_shape(layer: L.ValueJoin, shapes: tuple[Shape, ...]) -> Shape:
    """Compute the broadcast shape, as Keras does: axes of length 1 and missing axes are expanded."""
    rank = max(map(len, shapes))
    sides = list(zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True))
    if any(len({*axis} - {1}) > 1 for axis in sides):
        raise DoesNotFit(f"{layer.kind} requires inputs of the same shape, received {' and '.join(map(show_shape, shapes))}")
    return tuple(max(axis) for axis in sides)


def concatenation(layer: L.Concatenate, shapes: tuple[Shape, ...]) -> Shape:
    """Compute the shape of the inputs side by side."""
    if len({len(shape) for shape in shapes}) > 1:
        raise DoesNotFit(f"concatenate requires inputs of the same rank, received {' and '.join(map(show_shape, shapes))}")
    place = axis_of(layer.axis, shapes[0])
    others = {shape[:place] + shape[place + 1 :] for shape in shapes}
    if len(others) > 1:
        raise DoesNotFit(
            f"concatenate along axis {layer.axis} requires inputs that are equal along the other axes, "
            f"received {' and '.join(map(show_shape, shapes))}"
        )
    return (*shapes[0][:place], sum(shape[place] for shape in shapes), *shapes[0][place + 1 :])
