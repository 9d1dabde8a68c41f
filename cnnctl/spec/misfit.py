"""Explain a stack whose shapes do not fit: the layer, the cause, and changes that fit.

Every suggested change has been checked: the whole stack was traced with it, by the arithmetic of `shapes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import (
    MAX_VALUES,
    DoesNotFit,
    Facts,
    LayerContext,
    Misfit,
    Shape,
    format_of,
    input_shape,
    show_shape,
    spatial,
    trace,
    window_of,
)
from cnnctl.spec.stack import INPUT, Node, below, without

MAX_REMEDIES = 5
MAX_PLACES = 50
"""Farthest that a layer is moved down, in layers."""
LARGEST_GROWTH = 8
"""Largest image tried, as a multiple of the size in the config."""
MAX_SIZES = 1000
"""Most image sizes tried."""
MAX_TRACED = 50_000
"""Most layers traced for all sizes together, which keeps the answer immediate."""
MAX_NODES = 500
"""Layers up to which changes are searched for, for the same reason."""
MAX_ROWS = 40


@dataclass(frozen=True)
class _Change:
    """A changed network: the text to write, and the stack and image shape that result."""

    text: str
    nodes: Sequence[Node]
    image: Shape


def explain(misfit: Misfit, nodes: Sequence[Node], image: Shape, context: LayerContext) -> str:
    """Write the message for a stack that does not fit; several lines."""
    lines = [misfit.reason.message, *_rows(misfit, image)]
    culprit = _culprit(misfit, image, context) if misfit.reason.shrinks else None
    if culprit:
        lines.append(f"  '{culprit.name}' shrank the image most: {_pixels(culprit, context)}")
    changes = _changes(misfit, culprit, nodes, image, context) if len(nodes) <= MAX_NODES else ()
    fitting = [change for change in changes if _fits(change, context)]
    # Prefer changes after which the network also has one output per class; otherwise its end is a second error.
    remedies = [change.text for change in fitting if _ends_well(change, context)] or [change.text for change in fitting]
    if remedies:
        lines.append("  each of these changes alone was checked and fits:")
        lines += [f"    - {text}" for text in remedies[:MAX_REMEDIES]]
    return "\n".join(lines)


def _rows(misfit: Misfit, image: Shape) -> list[str]:
    names = [INPUT, *(facts.name for facts in misfit.facts), misfit.node.name]
    shapes = [show_shape(image), *(show_shape(facts.output_shape) for facts in misfit.facts), "does not fit"]
    left_out = max(len(names) - MAX_ROWS, 0)
    if left_out:  # the first two and the last rows are enough
        names[2 : 2 + left_out] = ["..."]
        shapes[2 : 2 + left_out] = [f"{left_out:,} layers"]
    width = max(map(len, names))
    return [f"    {name:<{width}}  {shape}" for name, shape in zip(names, shapes, strict=True)]


def _pixels(facts: Facts, context: LayerContext) -> str:
    (before, _), (after, _) = (spatial(shape, context.data_format, "") for shape in (facts.input_shapes[0], facts.output_shape))
    return f"{before[0]}×{before[1]} to {after[0]}×{after[1]} pixels"


def _culprit(misfit: Misfit, image: Shape, context: LayerContext) -> Facts | None:
    """Find the layer before the misfit that reduced the pixels most; ties go to the last."""

    def division(facts: Facts) -> float:
        if len(facts.output_shape) != 3 or len(facts.input_shapes[0]) != 3:
            return 0
        (before, _), (after, _) = (spatial(s, context.data_format, "") for s in (facts.input_shapes[0], facts.output_shape))
        return (before[0] * before[1]) / (after[0] * after[1])

    return max((facts for facts in reversed(misfit.facts) if division(facts) > 1), key=division, default=None)


def _fits(change: _Change, context: LayerContext) -> bool:
    if not change.nodes:
        return False
    try:
        trace(change.nodes, change.image, context)
    except Misfit:
        return False
    return True


def _ends_well(change: _Change, context: LayerContext) -> bool:
    return trace(change.nodes, change.image, context)[-1].output_shape == (context.classes,)


def _changes(
    misfit: Misfit, culprit: Facts | None, nodes: Sequence[Node], image: Shape, context: LayerContext
) -> Iterator[_Change]:
    if not misfit.reason.shrinks:
        yield from _inferred(misfit.node, nodes, image)
        yield from _other_groups(misfit, nodes, image)
        yield from _without_flattening(misfit, nodes, image, context)
        return
    owner = next(node for node in nodes if node.name == misfit.node.owner)
    yield from _easier(owner, nodes, image)
    pixels = _given(misfit, image, context)
    if pixels:
        yield from _smaller_window(owner, pixels, nodes, image)
    before = next((node for node in nodes if culprit and node.name == culprit.name), None)
    if before and before.written != owner.written:  # in a repeat both are the same change
        yield from _easier(before, nodes, image)
    yield from _larger_images(nodes, image, context)


def _other_groups(misfit: Misfit, nodes: Sequence[Node], image: Shape) -> Iterator[_Change]:
    """Yield the groups of a group normalization that divide its channels: the most below those in the config, and one each."""
    node, shapes = misfit.node, {INPUT: image, **{facts.name: facts.output_shape for facts in misfit.facts}}
    if isinstance(node.layer, L.GroupNormalization):
        shape, layer = shapes[node.inputs[0]], node.layer
        if 0 < layer.axis <= len(shape) or -len(shape) <= layer.axis < 0:
            channels = shape[layer.axis - 1 if layer.axis > 0 else layer.axis]
            most = max(count for count in range(1, min(layer.groups, channels) + 1) if channels % count == 0)
            for groups in (-1,) if most == channels else (most, -1):
                yield _changed(node, nodes, image, f"groups: {groups}", groups=groups)


def _without_flattening(misfit: Misfit, nodes: Sequence[Node], image: Shape, context: LayerContext) -> Iterator[_Change]:
    """Yield the stack without a flatten or global pooling, and with it moved down."""
    place = next(index for index, node in enumerate(nodes) if node.name == misfit.node.name)
    candidates = {
        node.written: node
        for node in nodes[:place]
        if isinstance(node.layer, L.Flatten | L.GlobalPooling | L.Reshape | L.Permute)
    }
    for node in islice(candidates.values(), MAX_REMEDIES):
        yield _Change(f"remove '{node.name}'", without(nodes, node.written), image)
        lower = (
            _Change(f"move '{node.name}' below '{target.name}'", below(nodes, node, target), image)
            for target in nodes[place : place + MAX_PLACES]
        )
        yield from islice((change for change in lower if _fits(change, context) and _ends_well(change, context)), 1)


def _inferred(node: Node, nodes: Sequence[Node], image: Shape) -> Iterator[_Change]:
    """Yield a reshape with each of its sizes inferred."""
    if not isinstance(node.layer, L.Reshape):
        return
    target = node.layer.target_shape
    for place in range(len(target)):
        inferred = tuple(-1 if each == place else max(n, 1) for each, n in enumerate(target))
        yield _changed(node, nodes, image, f"target_shape: {list(inferred)}", target_shape=inferred)


def _easier(node: Node, nodes: Sequence[Node], image: Shape) -> Iterator[_Change]:
    """Yield changes of one layer that use fewer pixels."""
    layer = node.layer
    if isinstance(layer, L.Cropping2D):
        yield _Change(f"remove '{node.name}'", without(nodes, node.written), image)
    if not isinstance(layer, L.Convolution | L.Pooling):
        return
    if layer.padding == "valid":
        yield _changed(node, nodes, image, "padding: same", padding="same")
    if max(window_of(layer).strides) > 1:
        yield _changed(node, nodes, image, "strides: 1", strides=(1, 1))
    alone = sum(other.blocks == node.blocks for other in nodes) == 1  # a block without it would be empty
    if isinstance(layer, L.Pooling) and not (node.blocks and alone):
        yield _Change(f"remove '{node.name}'", without(nodes, node.written), image)


def _smaller_window(node: Node, pixels: tuple[int, int], nodes: Sequence[Node], image: Shape) -> Iterator[_Change]:
    layer = node.layer
    if not isinstance(layer, L.Convolution | L.Pooling):
        return
    field = "pool_size" if isinstance(layer, L.Pooling) else "kernel_size"
    dilation = window_of(layer).dilation
    size = tuple(min(k, (n - 1) // d + 1) for k, n, d in zip(getattr(layer, field), pixels, dilation, strict=True))
    if min(size) > 0:
        yield _changed(node, nodes, image, f"{field}: {list(size)}", **{field: size})


def _given(misfit: Misfit, image: Shape, context: LayerContext) -> tuple[int, int] | None:
    """Return height and width of the input of the layer that does not fit."""
    shapes = {INPUT: image, **{facts.name: facts.output_shape for facts in misfit.facts}}
    try:
        return spatial(shapes[misfit.node.inputs[0]], format_of(misfit.node.layer, context), "")[0]
    except DoesNotFit:
        return None


def _changed(node: Node, nodes: Sequence[Node], image: Shape, text: str, **fields: object) -> _Change:
    """Change fields of one written layer, in all rounds of a repeat, uses of a block and calls of the layer."""
    owners = {other.name for other in nodes if other.written == node.written}
    new = [replace(other, layer=other.layer.model_copy(update=fields)) if other.owner in owners else other for other in nodes]
    return _Change(f"'{node.name}': {text}", new, image)


def _larger_images(nodes: Sequence[Node], image: Shape, context: LayerContext) -> Iterator[_Change]:
    """Yield the smallest larger image that fits, keeping the aspect ratio."""
    (height, width), channels = spatial(image, context.data_format, "")
    sizes = min(height * (LARGEST_GROWTH - 1), MAX_SIZES, MAX_TRACED // len(nodes))
    for more in range(1, sizes + 1):
        size = (height + more, round(width * (height + more) / height))
        if prod((*size, channels)) > MAX_VALUES:
            return
        shape = input_shape(*size, channels, context.data_format)
        change = _Change(f"data.image_size: [{size[0]}, {size[1]}]", nodes, shape)
        if _fits(change, context):
            yield change
            return
