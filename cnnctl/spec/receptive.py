"""Exact receptive fields: the rows and columns of the image that can change a value of a layer.

`receptive_masks` has the arithmetic. A property-based test compares with the pixels that change the outputs of a Keras model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cnnctl.spec.receptive_masks import AxisField, field_after
from cnnctl.spec.receptive_moves import NotComputed, Stride
from cnnctl.spec.receptive_normalizations import NORMALIZATIONS
from cnnctl.spec.shapes import Facts, HeightWidth, LayerContext, Shape
from cnnctl.spec.stack import INPUT, Node

LARGEST_SIDE = 4096
"""Longest side of an image with receptive fields: a mask per row and column would need as much memory as the image."""


@dataclass(frozen=True)
class Receptive:
    """The receptive field of a layer.

    Attributes:
        field: rows and columns of the smallest rectangle around the largest receptive field of a value.
        seen: rows and columns inside this rectangle that affect the value: fewer if windows have gaps.
        same: True if all values have a field of this size; at the edges of a padded image some are smaller.
        padded: True if every field of this size also covers zeros of a padding, so that the window is larger than the field.
        stride: distance between neighbouring receptive fields in rows and columns; None along an axis without order, and where
            an up-sampling makes the distances unequal.
        unseen: rows and columns of the image that affect no value of the layer.
    """

    field: HeightWidth
    seen: HeightWidth
    same: bool
    padded: bool
    stride: tuple[int | None, int | None]
    unseen: tuple[tuple[int, ...], tuple[int, ...]]


def receptive_fields(
    nodes: Sequence[Node], facts: Sequence[Facts], image: Shape, context: LayerContext
) -> list[Receptive | None]:
    """Compute the receptive field of every layer; None from the first layer on where they are unknown or would need too much memory."""
    axes = (1, 2) if context.data_format == "channels_first" else (0, 1)
    known: dict[str, tuple[AxisField, AxisField] | None] = {INPUT: _of_image(image, axes)}
    found: list[Receptive | None] = []
    for node, each in zip(nodes, facts, strict=True):
        known[node.name] = _both(node, each, known, context)
        found.append(_measured(known[node.name], [image[axis] for axis in axes]))
    return found


def never_seen(fields: Sequence[Receptive | None], image: Shape, context: LayerContext) -> str:
    """Describe the rows and columns of the image that affect no output of the network; empty if all do."""
    end = fields[-1]
    if end is None or not any(end.unseen):
        return ""
    if 0 in end.field:
        return "no output of the network depends on the image"
    height, width = image[1:] if context.data_format == "channels_first" else image[:2]
    lost = [_listed("row", end.unseen[0], height), _listed("column", end.unseen[1], width)]
    return f"the network never sees {' and '.join(filter(None, lost))} of the image"


def _listed(word: str, places: Sequence[int], side: int) -> str:
    """Format positions: `rows 26 and 27`, `row 27`, `rows 20 to 27`, `14 of 28 rows (1, 3, 5, ...)`; empty for none."""
    if not places:
        return ""
    if len(places) == 1:
        return f"{word} {places[0]}"
    if len(places) == 2:
        return f"{word}s {places[0]} and {places[1]}"
    if places[-1] - places[0] + 1 == len(places):
        return f"{word}s {places[0]} to {places[-1]}"
    return f"{len(places)} of {side} {word}s ({', '.join(map(str, places[:3]))}, ...)"


def _of_image(image: Shape, axes: tuple[int, int]) -> tuple[AxisField, AxisField] | None:
    if max(image[axis] for axis in axes) > LARGEST_SIDE:
        return None
    rows, columns = (AxisField.of_image(image, axis) for axis in axes)
    return rows, columns


def _both(
    node: Node, facts: Facts, known: Mapping[str, tuple[AxisField, AxisField] | None], context: LayerContext
) -> tuple[AxisField, AxisField] | None:
    """Compute the fields of a layer in rows and in columns."""
    before = [known[name] for name in node.inputs]
    taken = [each for each in before if each is not None]
    if len(taken) < len(before):
        return None
    try:
        after = NORMALIZATIONS.get(type(node.layer), field_after)
        rows, columns = (after(node.layer, [each[axis] for each in taken], facts, context) for axis in (0, 1))
    except NotComputed:
        return None
    return rows, columns


def _measured(both: tuple[AxisField, AxisField] | None, sides: Sequence[int]) -> Receptive | None:
    if both is None:
        return None
    rows, columns = (field.widest(side) for field, side in zip(both, sides, strict=True))
    return Receptive(
        field=(rows.span, columns.span),
        seen=(rows.lines, columns.lines),
        same=rows.same and columns.same,
        padded=rows.padded or columns.padded,
        stride=(_distance(both[0].stride), _distance(both[1].stride)),
        unseen=(both[0].unseen(sides[0]), both[1].unseen(sides[1])),
    )


def _distance(stride: Stride | None) -> int | None:
    """Return the distance between neighbours; None if it differs from one to the next."""
    return stride.rows if stride and stride.positions == 1 else None
