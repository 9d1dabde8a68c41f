"""Receptive fields, exactly: which rows and columns of the image can change a value of a layer.

Rows and columns are followed separately. For each, a `_Sight` holds what every value of a layer sees, as bit masks: bit i is row
(or column) i of the image, and one bit more says that zeros of a padding are seen. A layer's masks are kept as an OR of products,
`mask(i, j, k) = OR over terms of (a[i] & b[j] & c[k])`, one factor for each axis of its output, which every layer here keeps:
a window is an OR along one axis, a padding adds empty entries to one, a join adds terms. So nothing is as large as the outputs.

Weights count as any numbers, none of them 0; a window's size and stride as in Araujo, Norris and Sim, "Computing receptive fields
of convolutional neural networks" (Distill, 2019). Equality with the pixels that change a Keras model's outputs is a property test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from operator import and_, or_
from typing import NamedTuple

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import Facts, HeightWidth, LayerContext, Shape, Window, format_of, window_of
from cnnctl.spec.stack import INPUT, Node

LARGEST_SIDE = 4096
"""Images of longer sides get no receptive fields: a mask for each row and column would take the memory of the image again."""
MAX_MASKS = 2**18
"""No factor has more masks; a network that needs more gets no receptive fields from there on."""

EVERYTHING = -1  # Python's -1 has every bit set
Masks = tuple[int, ...]
"""What is seen along one axis of an output: a mask for each place, or one for all places."""
Term = tuple[Masks, ...]


class _TooLarge(Exception):
    """What is seen would need too many masks."""


@dataclass(frozen=True)
class Receptive:
    """What the values of a layer see of the image.

    Attributes:
        field: rows and columns of the smallest rectangle that holds all that one value can see; of the value that sees most.
        seen: rows and columns of this rectangle that it does see: fewer where windows have gaps.
        same: whether all values see so much; at the edges of a padded image some see less.
        padded: whether every value that sees so much sees zeros of a padding too, so that its window is larger than the field.
        stride: rows and columns between the fields of neighbours; None where a layer's values have no order along an axis.
        unseen: rows and columns of the image that change no value of the layer.
    """

    field: HeightWidth
    seen: HeightWidth
    same: bool
    padded: bool
    stride: tuple[int | None, int | None]
    unseen: tuple[tuple[int, ...], tuple[int, ...]]


def receptive_fields(
    nodes: Sequence[Node], facts: Sequence[Facts], image: Shape, around: LayerContext
) -> list[Receptive | None]:
    """Compute what every layer sees of the image; None from where on it would take too much memory."""
    axes = (1, 2) if around.data_format == "channels_first" else (0, 1)
    known: dict[str, tuple[_Sight, _Sight] | None] = {INPUT: _of_image(image, axes)}
    found: list[Receptive | None] = []
    for node, each in zip(nodes, facts, strict=True):
        known[node.name] = _both(node, each, known, around)
        found.append(_measured(known[node.name], [image[axis] for axis in axes]))
    return found


def never_seen(fields: Sequence[Receptive | None], image: Shape, around: LayerContext) -> str:
    """Describe the rows and columns of the image that change no output of the network; empty where all do."""
    end = fields[-1]
    if end is None or not any(end.unseen):
        return ""
    if 0 in end.field:
        return "no output of the network depends on the image"
    height, width = image[1:] if around.data_format == "channels_first" else image[:2]
    lost = [_listed("row", end.unseen[0], height), _listed("column", end.unseen[1], width)]
    return f"the network never sees {' and '.join(filter(None, lost))} of the image"


def _listed(word: str, places: Sequence[int], side: int) -> str:
    """Return `rows 26 and 27`, `row 27`, `rows 20 to 27`, `14 of 28 rows (1, 3, 5, ...)`, or nothing."""
    if not places:
        return ""
    if len(places) == 1:
        return f"{word} {places[0]}"
    if len(places) == 2:
        return f"{word}s {places[0]} and {places[1]}"
    if places[-1] - places[0] + 1 == len(places):
        return f"{word}s {places[0]} to {places[-1]}"
    return f"{len(places)} of {side} {word}s ({', '.join(map(str, places[:3]))}, ...)"


def _of_image(image: Shape, axes: tuple[int, int]) -> tuple[_Sight, _Sight] | None:
    if max(image[axis] for axis in axes) > LARGEST_SIDE:
        return None
    rows, columns = (_Sight.of_image(image, axis) for axis in axes)
    return rows, columns


def _both(
    node: Node, facts: Facts, known: Mapping[str, tuple[_Sight, _Sight] | None], around: LayerContext
) -> tuple[_Sight, _Sight] | None:
    """Return what a layer sees of rows and of columns."""
    before = [known[name] for name in node.inputs]
    taken = [each for each in before if each is not None]
    if len(taken) < len(before):
        return None
    try:
        rows, columns = (_through(node.layer, [each[axis] for each in taken], facts, around) for axis in (0, 1))
    except _TooLarge:
        return None
    return rows, columns


def _measured(both: tuple[_Sight, _Sight] | None, sides: Sequence[int]) -> Receptive | None:
    if both is None:
        return None
    rows, columns = (sight.widest(side) for sight, side in zip(both, sides, strict=True))
    return Receptive(
        field=(rows.span, columns.span),
        seen=(rows.lines, columns.lines),
        same=rows.same and columns.same,
        padded=rows.padded or columns.padded,
        stride=(both[0].stride, both[1].stride),
        unseen=(both[0].unseen(sides[0]), both[1].unseen(sides[1])),
    )


class _Widest(NamedTuple):
    """The widest field along one axis: its span, how many lines of it are seen, and as in `Receptive`."""

    span: int
    lines: int
    same: bool
    padded: bool


@dataclass(frozen=True)
class _Sight:
    """What every value of one layer sees of the image's rows, or of its columns.

    Attributes:
        shape: of the layer's output; of a vector that a flatten made, that of the image before it, in the vector's order.
        terms: the masks; see the module.
        zeros: the bit that says that zeros are seen.
        axis: the axis of the output along which the values keep the order of the rows; None where there is none.
        stride: rows between the fields of neighbours along this axis; None where there are no neighbours.
    """

    shape: Shape
    terms: tuple[Term, ...]
    zeros: int
    axis: int | None
    stride: int | None

    @staticmethod
    def of_image(image: Shape, axis: int) -> _Sight:
        own = tuple(1 << place for place in range(image[axis]))
        term = tuple(own if each == axis else (EVERYTHING,) for each in range(3))
        return _Sight(image, (term,), 1 << image[axis], axis, 1 if image[axis] > 1 else None)

    def with_axis(self, axis: int, size: int, change: Callable[[Masks], Masks], stride: int | None = None) -> _Sight:
        """Return the sight with the masks of one axis changed; `stride` is the new one, where the axis has the order."""
        terms = [(*term[:axis], _shortest(change(term[axis])), *term[axis + 1 :]) for term in self.terms]
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        new = stride if axis == self.axis else self.stride
        return _Sight(shape, _fewest(terms), self.zeros, self.axis, new)

    def mixed(self, axis: int, size: int) -> _Sight:
        """Return the sight where all values along an axis are mixed into each of `size` new ones."""
        return self.with_axis(axis, size, lambda masks: (reduce(or_, masks),))

    def as_whole(self, size: int) -> _Sight:
        """Return the sight of a vector each of whose values sees what all of these see."""
        return _Sight((size,), (((reduce(or_, self.masks(), 0),),),), self.zeros, None, None)

    def masks(self) -> set[int]:
        """Return the masks of all values, each once."""
        along = [self._places(axis) for axis in range(len(self.shape) if self.terms else 0)]
        return {reduce(or_, (reduce(and_, factors) for factors in zip(*places, strict=True)), 0) for places in product(*along)}

    def _places(self, axis: int) -> set[Masks]:
        """Return the masks of all terms at each place along an axis, each combination once."""
        factors = [term[axis] for term in self.terms]
        size = max(map(len, factors))
        return set(zip(*(_spread(masks, size) for masks in factors), strict=True))

    def widest(self, side: int) -> _Widest:
        """Return the widest field of a value, for an image of `side` rows."""
        image = (1 << side) - 1
        masks = self.masks()
        spans = {_span(mask & image) for mask in masks}
        widest = [mask for mask in masks if _span(mask & image) == max(spans)]
        count = max((mask & image).bit_count() for mask in widest)
        return _Widest(max(spans), count, len(spans) == 1, count > 0 and all(mask & self.zeros for mask in widest))

    def unseen(self, side: int) -> tuple[int, ...]:
        """Return the rows that no value sees."""
        seen = reduce(or_, self.masks(), 0)
        return tuple(row for row in range(side) if not seen >> row & 1)

    def in_a_row(self) -> _Sight:
        """Return the sight of a vector with one axis, whatever shape was flattened."""
        count = prod(self.shape)
        if len(self.shape) == 1:
            return self
        if all(len(masks) == 1 for term in self.terms for masks in term):
            return self.as_whole(count)
        if count > MAX_MASKS:
            raise _TooLarge
        spread = [[_spread(masks, size) for masks, size in zip(term, self.shape, strict=True)] for term in self.terms]
        terms = [(tuple(reduce(and_, factors) for factors in product(*term)),) for term in spread]
        return _Sight((count,), _fewest(terms), self.zeros, None, None)


def _through(layer: L.Layer, taken: Sequence[_Sight], facts: Facts, around: LayerContext) -> _Sight:
    """Return what a layer's values see, by what those of its inputs see."""
    sight, output = taken[0], facts.output_shape
    match layer:
        case L.Conv2D():
            sight = _convolved(sight, layer, around)
        case L.Pooling():
            sight = _slid(sight, layer, around)
        case L.ZeroPadding2D():
            sight = _padded(sight, layer, around)
        case L.GlobalPooling():
            sight = _pooled(sight, layer, around)
        case L.Flatten() if len(facts.input_shapes[0]) == 3:
            sight = _flattened(sight, layer, around)
        case L.Dense():
            sight = _dense(sight, output)
        case L.Add():
            sight = _added(taken, facts)
        case L.Concatenate():
            sight = _side_by_side(_tensors(taken, facts), layer.axis - 1 if layer.axis > 0 else len(output) + layer.axis)
    return _normalized(sight, output) if getattr(layer, "activation", None) == "softmax" else sight


def _image_axes(layer: L.Layer, around: LayerContext) -> tuple[HeightWidth, int]:
    """Return the axes of rows and columns, and that of the channels, as the layer takes them."""
    return ((1, 2), 0) if format_of(layer, around) == "channels_first" else ((0, 1), 2)


def _convolved(sight: _Sight, layer: L.Conv2D, around: LayerContext) -> _Sight:
    _, channels = _image_axes(layer, around)
    slid = _slid(sight, layer, around)
    if layer.groups == 1:
        return slid.mixed(channels, layer.filters)
    count, filters = sight.shape[channels] // layer.groups, layer.filters // layer.groups

    def by_group(masks: Masks) -> Masks:
        groups = (masks[start : start + count] for start in range(0, len(masks), count))
        return masks if len(masks) == 1 else tuple(mask for group in groups for mask in _spread((reduce(or_, group),), filters))

    return slid.with_axis(channels, layer.filters, by_group)


def _slid(sight: _Sight, layer: L.Conv2D | L.Pooling, around: LayerContext) -> _Sight:
    axes, _ = _image_axes(layer, around)
    window = window_of(layer)
    for side, axis in enumerate(axes):
        sight = _slid_along(sight, axis, window, side, sight.zeros if isinstance(layer, L.Conv2D) else 0)
    return sight


def _slid_along(sight: _Sight, axis: int, window: Window, side: int, zeros: int) -> _Sight:
    size = sight.shape[axis]
    output = window.output(size, side)
    stride = sight.stride * window.strides[side] if sight.stride and output > 1 else None
    return sight.with_axis(axis, output, lambda masks: _windows(_spread(masks, size), window, side, zeros), stride)


def _windows(masks: Masks, window: Window, side: int, zeros: int) -> Masks:
    """Return what each position of a window sees, with `zeros` where it stands over the padding.

    Unions of 1, 2, 4, ... neighbours come first; any number of them is then the union of two such.
    """
    size, stride, step = window.size[side], window.strides[side], window.dilation[side]
    before, _ = window.padding(len(masks), side)
    unions = [masks]
    while 2 ** len(unions) <= size and len(unions[-1]) > (reach := step << len(unions) - 1):
        unions.append(tuple(map(or_, unions[-1], unions[-1][reach:])))

    def seen(start: int) -> int:
        first, last = max(0, -(start // step)), min(size - 1, (len(masks) - 1 - start) // step)
        outside = zeros if last - first + 1 < size else 0
        if first > last:
            return outside
        level = (last - first + 1).bit_length() - 1
        union = unions[level]
        return union[start + first * step] | union[start + (last - (1 << level) + 1) * step] | outside

    return tuple(seen(position * stride - before) for position in range(_few(window.output(len(masks), side))))


def _padded(sight: _Sight, layer: L.ZeroPadding2D, around: LayerContext) -> _Sight:
    axes, _ = _image_axes(layer, around)
    for axis, sides in zip(axes, layer.padding, strict=True):
        sight = _between(sight, axis, sides, sight.zeros) if sum(sides) else sight
    return sight


def _between(sight: _Sight, axis: int, sides: tuple[int, int], mask: int) -> _Sight:
    """Return the sight with so many places before and after, which see `mask`."""
    size, (first, last) = sight.shape[axis], sides
    places = _few(first) * (mask,), _few(last) * (mask,)
    return sight.with_axis(
        axis, first + size + last, lambda masks: (*places[0], *_spread(masks, size), *places[1]), sight.stride
    )


def _pooled(sight: _Sight, layer: L.GlobalPooling, around: LayerContext) -> _Sight:
    axes, channels = _image_axes(layer, around)
    for axis in axes:
        sight = sight.mixed(axis, 1)
    if layer.keepdims:
        return sight
    terms = [(tuple(mask & term[axes[0]][0] & term[axes[1]][0] for mask in term[channels]),) for term in sight.terms]
    return _Sight((sight.shape[channels],), _fewest(terms), sight.zeros, None, None)


def _flattened(sight: _Sight, layer: L.Flatten, around: LayerContext) -> _Sight:
    """Return the sight of a vector; Keras puts the channels last first."""
    order = (1, 2, 0) if format_of(layer, around) == "channels_first" else (0, 1, 2)
    terms = tuple(tuple(term[axis] for axis in order) for term in sight.terms)
    return _Sight(tuple(sight.shape[axis] for axis in order), terms, sight.zeros, None, None)


def _dense(sight: _Sight, output: Shape) -> _Sight:
    return sight.as_whole(output[-1]) if len(output) == 1 else sight.mixed(len(output) - 1, output[-1])


def _normalized(sight: _Sight, output: Shape) -> _Sight:
    """Return the sight after a softmax, which mixes along the last axis; of one value it is always 1."""
    if output[-1] == 1:
        return _Sight(output, (), sight.zeros, None, None)
    return _dense(sight, output)


def _added(taken: Sequence[_Sight], facts: Facts) -> _Sight:
    if len(set(facts.input_shapes)) == 1 and len({sight.shape for sight in taken}) == 1:
        return _joined(taken)
    output = facts.output_shape
    return _joined([_broadcast(sight, output) for sight in _tensors(taken, facts)])


def _broadcast(sight: _Sight, output: Shape) -> _Sight:
    """Return the sight of a tensor that is repeated along the axes that it lacks, or has one place of."""
    lacking: Term = ((EVERYTHING,),) * (len(output) - len(sight.shape))
    terms = tuple((*lacking, *term) for term in sight.terms)
    return _Sight(output, terms, sight.zeros, sight.axis, sight.stride)


def _tensors(taken: Sequence[_Sight], facts: Facts) -> list[_Sight]:
    """Return the sights of a join's inputs, each with the axes that the input has."""
    return [sight.in_a_row() if len(shape) == 1 else sight for sight, shape in zip(taken, facts.input_shapes, strict=True)]


def _side_by_side(taken: Sequence[_Sight], axis: int) -> _Sight:
    sizes = [sight.shape[axis] for sight in taken]
    befores = [sum(sizes[:index]) for index in range(len(sizes))]
    ends = [sum(sizes) - before - size for before, size in zip(befores, sizes, strict=True)]
    return _joined(
        [_between(sight, axis, sides, 0) for sight, sides in zip(taken, zip(befores, ends, strict=True), strict=True)]
    )


def _joined(taken: Sequence[_Sight]) -> _Sight:
    """Return the sight of values each of which sees what those at its place in all inputs see."""
    terms = _fewest([term for sight in taken for term in sight.terms])
    axis = next((sight.axis for sight in taken if sight.axis is not None), None)
    stride = max((sight.stride for sight in taken if sight.stride), default=None)
    return _Sight(taken[0].shape, terms, taken[0].zeros, axis, stride)


def _fewest(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Return terms with the same union, fewer where two can be one."""
    kept: list[Term] = []
    for term in terms:
        new = term
        while found := next(((other, union) for other in kept if (union := _union(new, other))), None):
            kept.remove(found[0])
            new = found[1]
        kept.append(new)
    return tuple(term for term in kept if all(any(masks) for masks in term))


def _union(one: Term, other: Term) -> Term | None:
    """Return one term for two, where they differ along one axis at most; `(a & c) | (b & c)` is `(a | b) & c`."""
    differing = [axis for axis, (mine, its) in enumerate(zip(one, other, strict=True)) if mine != its]
    if len(differing) > 1:
        return None
    if not differing:
        return one
    (axis,) = differing
    size = max(len(one[axis]), len(other[axis]))
    masks = tuple(map(or_, _spread(one[axis], size), _spread(other[axis], size)))
    return (*one[:axis], _shortest(masks), *one[axis + 1 :])


def _spread(masks: Masks, size: int) -> Masks:
    """Return a mask for each of `size` places."""
    return masks if len(masks) == size else masks * _few(size)


def _shortest(masks: Masks) -> Masks:
    """Return one mask where all places have the same."""
    return masks[:1] if masks.count(masks[0]) == len(masks) else masks


def _few(count: int) -> int:
    if count > MAX_MASKS:
        raise _TooLarge
    return count


def _span(mask: int) -> int:
    """Return how far it is from the first bit to the last, both included."""
    return mask.bit_length() - (mask & -mask).bit_length() + 1 if mask else 0
