"""Draw one layer of a network: a convolution or a pooling at work, or where padding, cropping and flatten put each value."""

from __future__ import annotations

from collections.abc import Iterator

from cnnctl.draw.example_numbers import MOST_CHANNELS, Example, example_of, shown_size
from cnnctl.draw.labels import by, details_of
from cnnctl.draw.motion import motion_picture
from cnnctl.draw.scatter import Scatter, scatter_picture, scatter_size
from cnnctl.draw.still import PADDED_SIDE, still_picture, with_sides
from cnnctl.errors import UsageError, suggestion
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.shapes import Facts, arithmetic, format_of, show_shape, spatial, window_of
from cnnctl.spec.stack import Node

DRAWN = (
    L.Conv2D, L.DepthwiseConv2D, L.SeparableConv2D, L.Conv2DTranspose, L.Pooling, L.ZeroPadding2D, L.Cropping2D, L.Flatten
)  # fmt: skip
"""The layers that have a picture of their own."""
MOST_CELLS = 32
"""Rows or columns of cells in which numbers can be read."""


def layer_named(experiment: Experiment, name: str) -> tuple[Node, Facts]:
    """Return the layer with this name.

    Raises:
        UsageError: there is no such layer, its kind has no picture of its own, or it is too large for one.
    """
    network = experiment.network
    found = {node.name: (node, facts) for node, facts in zip(network.nodes, network.facts, strict=True)}
    drawn = [name for name, each in found.items() if _has_picture(*each)]
    choices = f"one of {', '.join(drawn)}" if drawn else "no --layer: no layer of this network takes maps"
    if name not in found:
        raise UsageError(f"--layer {name}: there is no such layer{suggestion(name, found)}; expected {choices}")
    node, facts = found[name]
    if not _has_picture(node, facts):
        raise UsageError(
            f"--layer {name}: {node.layer.kind} has no picture of its own; expected {choices}. "
            "The whole network is drawn without --layer"
        )
    cells = _cells(node.layer, facts, format_of(node.layer, network.context))
    if max(cells) > MOST_CELLS:
        raise UsageError(
            f"--layer {name}: a picture with every value would have {by(cells)} cells; the maximum is {by((MOST_CELLS, MOST_CELLS))}. "
            "The whole network is drawn without --layer"
        )
    return node, facts


def _cells(layer: L.Layer, facts: Facts, data_format: L.DataFormat) -> tuple[int, int]:
    """Count the rows and columns of cells that the picture of a layer needs for its input with padding."""
    pixels, _ = spatial(facts.input_shapes[0], data_format, layer.kind)
    if isinstance(layer, L.Convolution | L.Pooling):
        window = window_of(layer)
        rows, columns = shown_size(window, pixels)
        return rows + sum(window.padding(rows, 0)), columns + sum(window.padding(columns, 1))
    if isinstance(layer, L.Conv2DTranspose):
        scatter = Scatter(layer, scatter_size(pixels))
        return max(scatter.output[0], layer.kernel_size[0]), max(scatter.output[1], layer.kernel_size[1])
    if isinstance(layer, L.ZeroPadding2D):
        return with_sides((min(pixels[0], PADDED_SIDE), min(pixels[1], PADDED_SIDE)), layer.padding)
    if isinstance(layer, L.Cropping2D):
        (rows, columns), _ = spatial(facts.output_shape, data_format, layer.kind)
        return with_sides((min(rows, PADDED_SIDE), min(columns, PADDED_SIDE)), layer.cropping)
    return 1, 1


def _has_picture(node: Node, facts: Facts) -> bool:
    """Return True for a layer of a drawn kind that takes maps; flatten may take a vector."""
    return isinstance(node.layer, DRAWN) and len(facts.input_shapes[0]) == 3


def layer_picture(experiment: Experiment, name: str, theme: str = "auto") -> str:
    """Draw one layer.

    Args:
        experiment: the checked config.
        name: of the layer.
        theme: `auto`, `light` or `dark`, see `svg.picture`.

    Raises:
        UsageError: there is no such layer, or its kind has no picture of its own.
    """
    node, facts = layer_named(experiment, name)
    layer, data_format = node.layer, format_of(node.layer, experiment.network.context)
    if isinstance(layer, L.Flatten | L.ZeroPadding2D | L.Cropping2D):
        return still_picture(layer, facts, data_format, theme)
    pixels, channels = spatial(facts.input_shapes[0], data_format, layer.kind)
    if isinstance(layer, L.Conv2DTranspose):
        return scatter_picture(layer, facts, pixels, channels, theme)
    assert isinstance(layer, L.Convolution | L.Pooling)
    maps = _maps(layer, channels)
    window = window_of(layer)
    example = example_of(layer, window, pixels, maps)
    return motion_picture(layer, example, list(_texts(node, facts, example, pixels, maps)), maps, theme)


def _maps(layer: L.Convolution | L.Pooling, channels: int) -> int:
    """Return how many of the input's maps one filter takes."""
    if isinstance(layer, L.DepthwiseConv2D | L.SeparableConv2D):
        return 1
    return channels // layer.groups if isinstance(layer, L.Conv2D) else channels


def _texts(node: Node, facts: Facts, example: Example, pixels: tuple[int, int], maps: int) -> Iterator[str]:
    """Yield the title, the arithmetic of the layer's sizes, and what the shown numbers are."""
    layer = node.layer
    details = ", ".join(details_of(layer))
    yield f"{node.name}: {details}" if node.name.startswith(layer.kind) else f"{node.name}: {layer.kind}, {details}"
    rows, columns = (arithmetic(example.window, pixels[axis], axis) for axis in (0, 1))
    sizes = f"rows and columns {rows}" if rows == columns else f"rows {rows}, columns {columns}"
    yield f"{show_shape(facts.input_shapes[0])} → {show_shape(facts.output_shape)}: {sizes}"
    its = "its" if example.size == pixels else "a smaller"
    yield f"Shown on {its} input of {by(example.size)}, which gives {by(example.output)}."
    yield _numbers(layer, example, maps)


def _numbers(layer: L.Layer, example: Example, maps: int) -> str:
    if isinstance(layer, L.Pooling):
        return "The numbers are an example. Each map is pooled by itself."
    if isinstance(layer, L.SeparableConv2D):
        return "The numbers are an example: one map and its filter, before the 1×1 filters that mix the maps."
    assert isinstance(layer, L.Conv2D | L.DepthwiseConv2D)
    before = f", before {layer.activation}" if layer.activation not in (None, "linear") else ""
    bias = f", bias {example.bias}" if example.bias else ""
    some = f" on {MOST_CHANNELS} of its {maps} maps" if maps > MOST_CHANNELS else ""
    if isinstance(layer, L.DepthwiseConv2D):
        return f"The numbers are an example, not trained weights: one map and its filter{bias}{before}. Each map has its own."
    return f"The numbers are an example, not trained weights: one filter{some}{bias}{before}."
