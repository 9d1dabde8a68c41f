"""Receptive fields of layers that move values without computing, on the masks of `receptive_masks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import chain, product
from math import gcd, prod
from operator import and_, or_
from typing import TYPE_CHECKING, NamedTuple

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import HeightWidth, Shape, interpolated_from

if TYPE_CHECKING:
    from cnnctl.spec.receptive_masks import AxisField

MAX_MASKS = 2**18
"""Most masks per factor; from a layer that needs more on, there are no receptive fields."""

MAX_TERMS = 64
"""Most products of masks after a reshape, for the same reason."""
EVERYTHING = -1  # Python's -1 has every bit set
Masks = tuple[int, ...]
"""The masks along one axis of an output: one per position, or a single one for all positions."""
Term = tuple[Masks, ...]


class NotComputed(Exception):
    """A layer has no receptive fields, and so none after it."""


class TooLarge(NotComputed):
    """The receptive fields would need too many masks."""


def few(count: int) -> int:
    """Return a number of masks that is not too large."""
    if count > MAX_MASKS:
        raise TooLarge
    return count


class Stride(NamedTuple):
    """The distance between fields: those that are `positions` apart lie `rows` apart.

    An up-sampling by 2 gives 1 row per 2 positions, at unequal steps; every second position has equal ones again.
    """

    rows: int
    positions: int = 1

    def slid(self, stride: int) -> Stride:
        """Take every position that is a multiple of `stride`."""
        shared = gcd(stride, self.positions)
        return Stride(self.rows * (stride // shared), self.positions // shared)


def cropped(field: AxisField, layer: L.Cropping2D, axes: HeightWidth) -> AxisField:
    """Remove positions at the sides of the rows and columns, which are the axes `axes`."""
    for axis, (first, last) in zip(axes, layer.cropping, strict=True):
        end = field.shape[axis] - last
        stride = field.stride if end - first > 1 else None

        def inside(masks: tuple[int, ...], start: int = first, end: int = end) -> tuple[int, ...]:
            return masks if len(masks) == 1 else masks[start:end]

        field = field.with_axis(axis, end - first, inside, stride)
    return field


def up_sampled(field: AxisField, layer: L.UpSampling2D, axes: HeightWidth) -> AxisField:
    """Interpolate between the positions along rows and columns, which are the axes `axes`."""
    for axis, factor in zip(axes, layer.size, strict=True):
        pixels = field.shape[axis]

        def between(masks: tuple[int, ...], pixels: int = pixels, factor: int = factor) -> tuple[int, ...]:
            if len(masks) == 1:
                return masks
            sources = (interpolated_from(layer.interpolation, factor, pixels, each) for each in range(few(pixels * factor)))
            return tuple(reduce(or_, masks[places.start : places.stop]) for places in sources)

        stride = Stride(field.stride.rows, field.stride.positions * factor) if field.stride else None
        field = field.with_axis(axis, pixels * factor, between, stride)
    return field


def permuted(field: AxisField, layer: L.Permute) -> AxisField:
    """Bring the axes into another order; a vector has one."""
    if len(layer.dims) == 1:
        return field
    order = [axis - 1 for axis in layer.dims]
    terms = tuple(tuple(term[axis] for axis in order) for term in field.terms)
    axis = None if field.axis is None else order.index(field.axis)
    return replace(field, shape=tuple(field.shape[axis] for axis in order), terms=terms, axis=axis)


def reshaped(field: AxisField, target: Shape) -> AxisField:
    """Give the values another shape in the same order.

    Axes that keep their size keep their masks. Others are merged, whose masks are again one per position, and split. A split
    gives as many terms as the new axis has different parts.

    Raises:
        TooLarge: there would be too many terms.
    """
    if len(target) == 1:
        return replace(field, axis=None, stride=None)
    groups = _groups(field.shape, target)
    terms: list[Term] = []
    for term in field.terms:
        parts = [
            _regrouped([(term[axis], field.shape[axis]) for axis in old], [target[axis] for axis in new]) for old, new in groups
        ]
        terms += [tuple(chain.from_iterable(each)) for each in product(*parts)]
        if len(terms) > MAX_TERMS:
            raise TooLarge
    axis = next((new[old.index(field.axis)] for old, new in _kept(field.shape, target, groups) if field.axis in old), None)
    return replace(field, shape=target, terms=tuple(terms), axis=axis, stride=field.stride if axis is not None else None)


def _groups(old: Shape, new: Shape) -> Sequence[tuple[list[int], list[int]]]:
    """Pair the smallest runs of axes of two shapes that hold equally many values."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        first, second, group = old[i], new[j], ([i], [j])
        while first != second:
            if first < second:
                i += 1
                first *= old[i]
                group[0].append(i)
            else:
                j += 1
                second *= new[j]
                group[1].append(j)
        groups.append(group)
        i, j = i + 1, j + 1
    groups[-1][0].extend(range(i, len(old)))  # of length 1
    groups[-1][1].extend(range(j, len(new)))
    return groups


def _wide(shape: Shape, axes: Sequence[int]) -> list[int]:
    """List the axes that are longer than 1."""
    return [axis for axis in axes if shape[axis] > 1]


def _kept(
    old: Shape, new: Shape, groups: Sequence[tuple[list[int], list[int]]]
) -> Iterator[tuple[list[int | None], list[int]]]:
    """Yield the axes longer than 1 of the groups in which all of them keep their length."""
    for before, after in groups:
        first, second = _wide(old, before), _wide(new, after)
        if [old[axis] for axis in first] == [new[axis] for axis in second]:
            yield [*first], second


def _regrouped(factors: Sequence[tuple[Masks, int]], sizes: Sequence[int]) -> list[Term]:
    """Convert the masks of neighbouring axes, with their lengths, to axes of other lengths; one or several products."""
    wide = [(masks, size) for masks, size in factors if size > 1]
    shared = reduce(and_, (masks[0] for masks, size in factors if size == 1), EVERYTHING)
    if [size for _, size in wide] == [size for size in sizes if size > 1]:
        kept = iter(wide)
        return [_limited([next(kept)[0] if size > 1 else (EVERYTHING,) for size in sizes], shared)]
    if all(len(masks) == 1 for masks, _ in wide):
        both = reduce(and_, (masks[0] for masks, _ in wide), shared)
        return [_limited([(EVERYTHING,)] * len(sizes), both)]
    few(prod(size for _, size in wide))
    spread = [masks if len(masks) == size else masks * size for masks, size in wide]
    merged = tuple(reduce(and_, each) for each in product(*spread))
    return [_limited(list(term), shared) for term in _split(merged, sizes)]


def _limited(factors: list[Masks], mask: int) -> Term:
    """Limit a product to the bits of a mask."""
    return (tuple(each & mask for each in factors[0]), *factors[1:])


def _split(masks: Masks, sizes: Sequence[int]) -> list[Term]:
    """Write masks, one per position, as products of masks along axes: by equal rows, or by equal columns if these are fewer."""
    if len(sizes) == 1:
        return [(masks if len(set(masks)) > 1 else masks[:1],)]
    length = len(masks) // sizes[0]
    rows = [masks[start : start + length] for start in range(0, len(masks), length)]
    columns = list(zip(*rows, strict=True))
    if len(set(rows)) <= len(set(columns)):
        parts = [((_places_of(row, rows),), _split(row, sizes[1:])) for row in dict.fromkeys(rows)]
        terms = [(*first, *term) for first, others in parts for term in others]
    else:
        terms = [
            (column, *term) for column in dict.fromkeys(columns) for term in _split(_places_of(column, columns), sizes[1:])
        ]
    if len(terms) > MAX_TERMS:
        raise TooLarge
    return terms


def _places_of(part: Masks, parts: Sequence[Masks]) -> Masks:
    """Return a mask of every bit where a part stands, and of none elsewhere."""
    places = tuple(EVERYTHING if each == part else 0 for each in parts)
    return places if 0 in places else (EVERYTHING,) * len(places)
