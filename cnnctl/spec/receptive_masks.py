"""Receptive fields along one axis as bit masks.

Rows and columns are computed separately. For each, an `AxisField` holds the receptive field of every value of a layer as bit
masks: bit i is row (or column) i of the image, and one more bit stands for the zeros of a padding. The masks of a layer are
stored as an OR of products, `mask(i, j, k) = OR over terms of (a[i] & b[j] & c[k])`, with one factor per axis of its output.
Every layer preserves this form: a window is an OR along one axis, a padding adds entries to one factor, a join adds terms.
So no array is as large as the outputs.

All weights are assumed to be nonzero. Size and stride of windows follow Araujo, Norris and Sim, "Computing receptive fields
of convolutional neural networks" (Distill, 2019). A property-based test compares with the pixels that change the outputs of a
Keras model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from operator import and_, or_
from typing import Any, NamedTuple

from cnnctl.spec import layers as L
from cnnctl.spec.receptive_moves import (
    EVERYTHING,
    MAX_MASKS,
    Masks,
    NotComputed,
    Stride,
    Term,
    TooLarge,
    cropped,
    permuted,
    reshaped,
    up_sampled,
)
from cnnctl.spec.receptive_moves import few as _few
from cnnctl.spec.shapes import (
    Facts,
    HeightWidth,
    LayerContext,
    Shape,
    Window,
    channel_axis,
    format_of,
    softmax_places,
    transposed_size,
    window_of,
)


class Unknown(NotComputed):
    """The class of a layer of one's own does not say what its outputs depend on."""


class _Widest(NamedTuple):
    """The largest field along one axis: its span, the rows or columns in it that matter, and flags as in `Receptive`."""

    span: int
    lines: int
    same: bool
    padded: bool


@dataclass(frozen=True)
class AxisField:
    """The receptive fields of all values of one layer, along the rows of the image or along its columns.

    Attributes:
        shape: the output shape; for a flattened vector that of the image before, in the order of the vector.
        terms: the masks; see the module docstring.
        zeros: the bit of the padding.
        axis: the axis of the output that follows the rows; None if there is none.
        stride: the distance between neighbouring fields along this axis; None if there are no neighbours.
    """

    shape: Shape
    terms: tuple[Term, ...]
    zeros: int
    axis: int | None
    stride: Stride | None

    @staticmethod
    def of_image(image: Shape, axis: int) -> AxisField:
        """Create the field of the image itself: each row, or column, is its own field."""
        own = tuple(1 << place for place in range(image[axis]))
        term = tuple(own if each == axis else (EVERYTHING,) for each in range(3))
        return AxisField(image, (term,), 1 << image[axis], axis, Stride(1) if image[axis] > 1 else None)

    def with_axis(self, axis: int, size: int, change: Callable[[Masks], Masks], stride: Stride | None = None) -> AxisField:
        """Apply `change` to the masks of one axis; `stride` is the new stride if the axis follows the rows."""
        terms = [(*term[:axis], _shortest(change(term[axis])), *term[axis + 1 :]) for term in self.terms]
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        new = stride if axis == self.axis else self.stride
        return AxisField(shape, _fewest(terms), self.zeros, self.axis, new)

    def mixed(self, axis: int, size: int) -> AxisField:
        """Combine all values along an axis in each of `size` new ones."""
        return self.with_axis(axis, size, lambda masks: (reduce(or_, masks),))

    def as_whole(self, size: int) -> AxisField:
        """Combine all values in each value of a vector."""
        return AxisField((size,), (((reduce(or_, self.masks(), 0),),),), self.zeros, None, None)

    def masks(self) -> set[int]:
        """Return the distinct masks of all values."""
        along = [self._places(axis) for axis in range(len(self.shape) if self.terms else 0)]
        return {reduce(or_, (reduce(and_, factors) for factors in zip(*places, strict=True)), 0) for places in product(*along)}

    def _places(self, axis: int) -> set[Masks]:
        """Return the distinct combinations of the masks of all terms along an axis."""
        factors = [term[axis] for term in self.terms]
        size = max(map(len, factors))
        return set(zip(*(_spread(masks, size) for masks in factors), strict=True))

    def widest(self, side: int) -> _Widest:
        """Find the largest field of a value, in an image of `side` rows."""
        image = (1 << side) - 1
        masks = self.masks()
        spans = {_span(mask & image) for mask in masks}
        widest = [mask for mask in masks if _span(mask & image) == max(spans)]
        count = max((mask & image).bit_count() for mask in widest)
        return _Widest(max(spans), count, len(spans) == 1, count > 0 and all(mask & self.zeros for mask in widest))

    def unseen(self, side: int) -> tuple[int, ...]:
        """Return the rows that affect no value."""
        seen = reduce(or_, self.masks(), 0)
        return tuple(row for row in range(side) if not seen >> row & 1)

    def in_a_row(self) -> AxisField:
        """Convert the fields of a flattened vector to a single axis."""
        count = prod(self.shape)
        if len(self.shape) == 1:
            return self
        if all(len(masks) == 1 for term in self.terms for masks in term):
            return self.as_whole(count)
        if count > MAX_MASKS:
            raise TooLarge
        spread = [[_spread(masks, size) for masks, size in zip(term, self.shape, strict=True)] for term in self.terms]
        terms = [(tuple(reduce(and_, factors) for factors in product(*term)),) for term in spread]
        return AxisField((count,), _fewest(terms), self.zeros, None, None)


def field_after(layer: L.Layer, taken: Sequence[AxisField], facts: Facts, context: LayerContext) -> AxisField:
    """Compute the fields of a layer from those of its inputs; without a rule they are those of its input."""
    rule = next((_RULES[kind] for kind in type(layer).__mro__ if kind in _RULES), None)
    field = rule(layer, taken, facts, context) if rule else taken[0]
    places = softmax_places(layer, facts.output_shape)
    return _softmaxed(field, facts.output_shape, places) if places else field


def _image_axes(layer: L.Layer, context: LayerContext) -> tuple[HeightWidth, int]:
    """Return the axes of rows and columns, and the axis of the channels, of a layer's input."""
    return ((1, 2), 0) if format_of(layer, context) == "channels_first" else ((0, 1), 2)


def _convolved(field: AxisField, layer: L.Conv2D, context: LayerContext) -> AxisField:
    _, channels = _image_axes(layer, context)
    slid = _slid(field, layer, context)
    if layer.groups == 1:
        return _mixed_by_filters(slid, layer, context)
    count, filters = field.shape[channels] // layer.groups, layer.filters // layer.groups

    def by_group(masks: Masks) -> Masks:
        groups = (masks[start : start + count] for start in range(0, len(masks), count))
        return masks if len(masks) == 1 else tuple(mask for group in groups for mask in _spread((reduce(or_, group),), filters))

    return slid.with_axis(channels, layer.filters, by_group)


def _mixed_by_filters(field: AxisField, layer: L.Conv2D | L.SeparableConv2D, context: LayerContext) -> AxisField:
    _, channels = _image_axes(layer, context)
    return field.mixed(channels, layer.filters)


def _convolved_alone(field: AxisField, layer: L.DepthwiseConv2D, context: LayerContext) -> AxisField:
    """Apply a depthwise convolution: each channel gives `depth_multiplier` channels of its own."""
    _, channels = _image_axes(layer, context)
    count = layer.depth_multiplier

    def repeated(masks: Masks) -> Masks:
        return masks if len(masks) == 1 else tuple(mask for mask in masks for _ in range(_few(count)))

    return _slid(field, layer, context).with_axis(channels, field.shape[channels] * count, repeated)


def _slid(field: AxisField, layer: L.Convolution | L.Pooling, context: LayerContext) -> AxisField:
    axes, _ = _image_axes(layer, context)
    window = window_of(layer)
    for side, axis in enumerate(axes):
        field = _slid_along(field, axis, window, side, 0 if isinstance(layer, L.Pooling) else field.zeros)
    return field


def _slid_along(field: AxisField, axis: int, window: Window, side: int, zeros: int) -> AxisField:
    size = field.shape[axis]
    output = window.output(size, side)
    stride = field.stride.slid(window.strides[side]) if field.stride and output > 1 else None
    return field.with_axis(axis, output, lambda masks: _windows(_spread(masks, size), window, side, zeros), stride)


def _windows(masks: Masks, window: Window, side: int, zeros: int) -> Masks:
    """Compute the mask of each position of a window, with `zeros` where it covers the padding.

    Unions of 1, 2, 4, ... neighbours are computed first; a union of any number of neighbours is then the union of two of these.
    """
    size, stride, step = window.size[side], window.strides[side], window.dilation[side]
    before, _ = window.padding(len(masks), side)
    unions = _unions(masks, size, step)

    def seen(start: int) -> int:
        first, last = max(0, -(start // step)), min(size - 1, (len(masks) - 1 - start) // step)
        outside = zeros if last - first + 1 < size else 0
        if first > last:
            return outside
        return _union_of(unions, start + first * step, last - first + 1, step) | outside

    return tuple(seen(position * stride - before) for position in range(_few(window.output(len(masks), side))))


def _unions(masks: Masks, most: int, step: int) -> list[Masks]:
    """Compute the unions of 1, 2, 4, ... neighbours that are `step` apart, up to `most`."""
    unions = [masks]
    while 2 ** len(unions) <= most and len(unions[-1]) > (reach := step << len(unions) - 1):
        unions.append(tuple(map(or_, unions[-1], unions[-1][reach:])))
    return unions


def _union_of(unions: Sequence[Masks], first: int, count: int, step: int) -> int:
    """Compute the union of `count` neighbours from the two largest known unions within them."""
    level = count.bit_length() - 1
    return unions[level][first] | unions[level][first + (count - (1 << level)) * step]


def _transposed(field: AxisField, layer: L.Conv2DTranspose, context: LayerContext) -> AxisField:
    """Apply a transposed convolution: an output is reached by the inputs whose windows on the output cover it."""
    axes, channels = _image_axes(layer, context)
    for side, axis in enumerate(axes):
        field = _scattered_along(field, axis, layer, side)
    return field.mixed(channels, layer.filters)


def _scattered_along(field: AxisField, axis: int, layer: L.Conv2DTranspose, side: int) -> AxisField:
    size = field.shape[axis]
    output = transposed_size(layer, size, side)
    window = window_of(layer)
    # The fields of neighbours are at different distances if inputs lie between outputs.
    stride = field.stride if window.strides[side] == 1 and output > 1 else None
    return field.with_axis(axis, output, lambda masks: _scattered(_spread(masks, size), window, side, _few(output)), stride)


def _scattered(masks: Masks, window: Window, side: int, output: int) -> Masks:
    """Compute the mask of each output; 0 where no window reaches."""
    size, stride, step = window.size[side], window.strides[side], window.dilation[side]
    before, _ = window.padding(output, side)
    last = len(masks) - 1
    if stride == 1:  # with a dilation: the inputs are `step` apart
        unions = _unions(masks, size, step)

        def dilated(place: int) -> int:
            first = place + before - step * (size - 1)
            start = first + step * max(0, -(first // step))
            count = (min(last, place + before) - start) // step + 1
            return _union_of(unions, start, count, step) if count > 0 else 0

        return tuple(map(dilated, range(output)))
    unions = _unions(masks, -(-size // stride), 1)

    def reached(place: int) -> int:
        first, end = max(0, -((size - 1 - place - before) // stride)), min(last, (place + before) // stride)
        return _union_of(unions, first, end - first + 1, 1) if first <= end else 0

    return tuple(map(reached, range(output)))


def _padded(field: AxisField, layer: L.ZeroPadding2D, context: LayerContext) -> AxisField:
    axes, _ = _image_axes(layer, context)
    for axis, sides in zip(axes, layer.padding, strict=True):
        field = _between(field, axis, sides, field.zeros) if sum(sides) else field
    return field


def _between(field: AxisField, axis: int, sides: tuple[int, int], mask: int) -> AxisField:
    """Add positions before and after along an axis, which have the mask `mask`."""
    size, (first, last) = field.shape[axis], sides
    places = _few(first) * (mask,), _few(last) * (mask,)
    return field.with_axis(
        axis, first + size + last, lambda masks: (*places[0], *_spread(masks, size), *places[1]), field.stride
    )


def _pooled(field: AxisField, layer: L.GlobalPooling, context: LayerContext) -> AxisField:
    axes, channels = _image_axes(layer, context)
    for axis in axes:
        field = field.mixed(axis, 1)
    if layer.keepdims:
        return field
    terms = [(tuple(mask & term[axes[0]][0] & term[axes[1]][0] for mask in term[channels]),) for term in field.terms]
    return AxisField((field.shape[channels],), _fewest(terms), field.zeros, None, None)


def _flattened(field: AxisField, layer: L.Flatten, facts: Facts, context: LayerContext) -> AxisField:
    """Flatten an image; Keras moves the channels last before it flattens."""
    rank = len(facts.input_shapes[0])
    if rank == 1:
        return field
    order = (*range(1, rank), 0) if format_of(layer, context) == "channels_first" else tuple(range(rank))
    terms = tuple(tuple(term[axis] for axis in order) for term in field.terms)
    return AxisField(tuple(field.shape[axis] for axis in order), terms, field.zeros, None, None)


def _rescaled(field: AxisField, layer: L.Rescaling, facts: Facts, context: LayerContext) -> AxisField:
    """Rescale values; a scale of 0 leaves the offset, which sees nothing."""
    scales = layer.scale if isinstance(layer.scale, tuple) else (layer.scale,)
    if all(scales):
        return field
    (field,), shape = _tensors([field], facts), facts.output_shape
    axis = channel_axis(shape, context.data_format)

    def some(masks: Masks) -> Masks:
        return tuple(
            mask if scale else 0 for mask, scale in zip(_spread(masks, shape[axis]), scales * shape[axis], strict=False)
        )

    return field.with_axis(axis, shape[axis], some, field.stride)


def _dense(field: AxisField, output: Shape) -> AxisField:
    return field.as_whole(output[-1]) if len(output) == 1 else field.mixed(len(output) - 1, output[-1])


def _softmaxed(field: AxisField, output: Shape, places: Sequence[int]) -> AxisField:
    """Apply a softmax, which combines all values along its axes; over a single value it is constant."""
    if prod(output[place] for place in places) == 1:
        return AxisField(output, (), field.zeros, None, None)
    return _together(field, output, places)


def _together(field: AxisField, output: Shape, places: Sequence[int]) -> AxisField:
    """Combine all values along axes in each of them."""
    if len(output) == 1:
        return field.as_whole(output[0])
    for place in places:
        field = field.mixed(place, output[place])
    return field


def _subtracted(taken: Sequence[AxisField], facts: Facts) -> AxisField:
    if len(set(facts.inputs)) > 1:
        return _combined(taken, facts)
    return AxisField(facts.output_shape, (), taken[0].zeros, None, None)  # x - x is 0


def _concatenated(layer: L.Concatenate, taken: Sequence[AxisField], facts: Facts) -> AxisField:
    axis = layer.axis - 1 if layer.axis > 0 else len(facts.output_shape) + layer.axis
    return _side_by_side(_tensors(taken, facts), axis)


def _combined(taken: Sequence[AxisField], facts: Facts) -> AxisField:
    if len(set(facts.input_shapes)) == 1 and len({field.shape for field in taken}) == 1:
        return _joined(taken)
    output = facts.output_shape
    return _joined([_broadcast(field, output) for field in _tensors(taken, facts)])


def _broadcast(field: AxisField, output: Shape) -> AxisField:
    """Broadcast a tensor along its missing axes and those of length 1."""
    lacking: Term = ((EVERYTHING,),) * (len(output) - len(field.shape))
    terms = tuple((*lacking, *term) for term in field.terms)
    return AxisField(output, terms, field.zeros, field.axis, field.stride)


def _tensors(taken: Sequence[AxisField], facts: Facts) -> list[AxisField]:
    """Return the fields of the inputs of a join, each with the axes of the input."""
    return [field.in_a_row() if len(shape) == 1 else field for field, shape in zip(taken, facts.input_shapes, strict=True)]


def _side_by_side(taken: Sequence[AxisField], axis: int) -> AxisField:
    sizes = [field.shape[axis] for field in taken]
    befores = [sum(sizes[:index]) for index in range(len(sizes))]
    ends = [sum(sizes) - before - size for before, size in zip(befores, sizes, strict=True)]
    return _joined(
        [_between(field, axis, sides, 0) for field, sides in zip(taken, zip(befores, ends, strict=True), strict=True)]
    )


def _joined(taken: Sequence[AxisField]) -> AxisField:
    """Combine the values at the same position in all inputs."""
    terms = _fewest([term for field in taken for term in field.terms])
    axis = next((field.axis for field in taken if field.axis is not None), None)
    stride = max((field.stride for field in taken if field.stride), default=None)
    return AxisField(taken[0].shape, terms, taken[0].zeros, axis, stride)


def _of_ones_own(layer: L.CustomLayer, taken: Sequence[AxisField], facts: Facts, context: LayerContext) -> AxisField:
    """Compute the fields of a layer of one's own from what its class says that a value depends on."""
    depends_on, output = layer.own.measured(layer, facts.input_shapes, context).field, facts.output_shape
    if depends_on is None:
        raise Unknown
    if depends_on == "all":
        everything = reduce(or_, (mask for field in taken for mask in field.masks()), 0)
        return AxisField(output, (((everything,), *((EVERYTHING,),) * (len(output) - 1)),), taken[0].zeros, None, None)
    field = _combined(taken, facts)
    if depends_on == "value":
        return field
    axes, channels = _image_axes(layer, context)
    if isinstance(depends_on, Window):
        for side, axis in enumerate(axes):
            field = _slid_along(field, axis, depends_on, side, field.zeros)
    return field.mixed(channels, output[channels])


def _fewest(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Merge terms without changing their union."""
    merged: list[Term] = []
    for term in terms:
        new = term
        while found := next(((other, union) for other in merged if (union := _union(new, other))), None):
            merged.remove(found[0])
            new = found[1]
        merged.append(new)
    return tuple(term for term in merged if all(any(masks) for masks in term))


def _union(one: Term, other: Term) -> Term | None:
    """Merge two terms that differ along one axis at most: `(a & c) | (b & c)` is `(a | b) & c`."""
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
    """Expand masks to one per position."""
    return masks if len(masks) == size else masks * _few(size)


def _shortest(masks: Masks) -> Masks:
    """Reduce equal masks to a single one."""
    return masks[:1] if masks.count(masks[0]) == len(masks) else masks


def _span(mask: int) -> int:
    """Return the distance from the first bit to the last, both included."""
    return mask.bit_length() - (mask & -mask).bit_length() + 1 if mask else 0


_RULES: dict[type[L.Layer], Callable[[Any, Sequence[AxisField], Facts, LayerContext], AxisField]] = {
    L.Conv2D: lambda layer, taken, facts, context: _convolved(taken[0], layer, context),
    L.DepthwiseConv2D: lambda layer, taken, facts, context: _convolved_alone(taken[0], layer, context),
    L.SeparableConv2D: lambda layer, taken, facts, context: _mixed_by_filters(_slid(taken[0], layer, context), layer, context),
    L.Conv2DTranspose: lambda layer, taken, facts, context: _transposed(taken[0], layer, context),
    L.Pooling: lambda layer, taken, facts, context: _slid(taken[0], layer, context),
    L.ZeroPadding2D: lambda layer, taken, facts, context: _padded(taken[0], layer, context),
    L.Cropping2D: lambda layer, taken, facts, context: cropped(taken[0], layer, _image_axes(layer, context)[0]),
    L.UpSampling2D: lambda layer, taken, facts, context: up_sampled(taken[0], layer, _image_axes(layer, context)[0]),
    L.Rescaling: lambda layer, taken, facts, context: _rescaled(taken[0], layer, facts, context),
    L.Reshape: lambda layer, taken, facts, context: reshaped(taken[0], facts.output_shape),
    L.Permute: lambda layer, taken, facts, context: permuted(taken[0], layer),
    L.GlobalPooling: lambda layer, taken, facts, context: _pooled(taken[0], layer, context),
    L.Flatten: lambda layer, taken, facts, context: _flattened(taken[0], layer, facts, context),
    L.Dense: lambda layer, taken, facts, context: _dense(taken[0], facts.output_shape),
    L.Subtract: lambda layer, taken, facts, context: _subtracted(taken, facts),
    L.ValueJoin: lambda layer, taken, facts, context: _combined(taken, facts),
    L.Concatenate: lambda layer, taken, facts, context: _concatenated(layer, taken, facts),
    L.CustomLayer: _of_ones_own,
}
"""The fields after each family of layers; the subclass comes before its base."""
