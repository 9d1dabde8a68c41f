"""Small numbers on which a layer is shown, and what it computes of them. They are formulas, not trained weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cnnctl.spec import layers as L
from cnnctl.spec.shapes import HeightWidth, Window

Map = list[list[int]]
LARGEST, MOST_POSITIONS, MOST_CHANNELS = 8, 5, 3
"""Rows or columns of the shown input, positions of the window along them, and maps that a filter is shown on, at most."""
BIAS = 1
"""The bias of a layer that has one."""


@dataclass(frozen=True)
class Example:
    """A small input of a layer, with its filter.

    Attributes:
        window: the layer's window.
        size: rows and columns of the shown input.
        maps: the values of each shown input map.
        filters: the weights on each map; empty for a pooling.
        bias: what is added to the sum of the products; 0 for a layer without one.
    """

    window: Window
    size: HeightWidth
    maps: list[Map]
    filters: list[Map]
    bias: int = 0

    @property
    def output(self) -> HeightWidth:
        """Rows and columns of the output."""
        return self.window.output(self.size[0], 0), self.window.output(self.size[1], 1)

    @property
    def padding(self) -> tuple[HeightWidth, HeightWidth]:
        """Rows before and after the input, and columns, that the padding adds."""
        return self.window.padding(self.size[0], 0), self.window.padding(self.size[1], 1)

    def positions(self) -> Iterator[HeightWidth]:
        """Yield the rows and columns of the output, row by row."""
        rows, columns = self.output
        yield from ((row, column) for row in range(rows) for column in range(columns))

    def taps(self, row: int, column: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (i, j, r, c) for one position: place in the filter, and row and column of the input, outside for padding."""
        (top, _), (left, _) = self.padding
        for i in range(self.window.size[0]):
            for j in range(self.window.size[1]):
                r = row * self.window.strides[0] - top + i * self.window.dilation[0]
                yield i, j, r, column * self.window.strides[1] - left + j * self.window.dilation[1]

    def value(self, channel: int, row: int, column: int) -> int | None:
        """Return a value of the input, None in the padding."""
        inside = 0 <= row < self.size[0] and 0 <= column < self.size[1]
        return self.maps[channel][row][column] if inside else None

    def products(self, channel: int, row: int, column: int) -> list[tuple[int, int]]:
        """List the pairs of value and weight whose products make up one map's part of an output value."""
        weights = self.filters[channel]
        return [(self.value(channel, r, c) or 0, weights[i][j]) for i, j, r, c in self.taps(row, column)]

    def pooled(self, row: int, column: int) -> list[int]:
        """List the values in a window of the first map; padding has none."""
        found = (self.value(0, r, c) for _, _, r, c in self.taps(row, column))
        return [value for value in found if value is not None]


def example_of(layer: L.Convolution | L.Pooling, window: Window, size: HeightWidth, channels: int) -> Example:
    """Make the example of a layer.

    Args:
        layer: the convolution or pooling.
        window: its window.
        size: rows and columns of its own input.
        channels: maps that one of its filters takes.
    """
    shown = shown_size(window, size)
    if isinstance(layer, L.Pooling):
        return Example(window, shown, [_varied(shown)], [])
    count = min(channels, MOST_CHANNELS)
    maps = [strokes(shown, channel) for channel in range(count)]
    filters = [_filter(layer.kernel_size, channel) for channel in range(count)]
    return Example(window, shown, maps, filters, BIAS if layer.use_bias and not isinstance(layer, L.SeparableConv2D) else 0)


def shown_size(window: Window, size: HeightWidth) -> HeightWidth:
    """Choose the rows and columns of the shown input for a layer whose own input has `size`."""
    return _side(window, size[0], 0), _side(window, size[1], 1)


def _side(window: Window, pixels: int, axis: int) -> int:
    """Choose rows or columns to show: few positions, and the same padding as on the layer's own input where that is possible."""
    sides = range(1, pixels + 1)
    fits = [side for side in sides if window.output(side, axis) >= 1]
    small = [side for side in fits if side <= LARGEST and window.output(side, axis) <= MOST_POSITIONS]
    several = [side for side in fits if window.output(side, axis) >= 2]
    alike = [side for side in small if window.padding(side, axis) == window.padding(pixels, axis) and side in several]
    return max(alike, default=0) or max(small, default=0) or min(several or fits)


def strokes(size: HeightWidth, channel: int) -> Map:
    """Draw a stroke of 3 with edges of 1: falling, rising or level."""
    rows, columns = size
    return [[max(0, 3 - 2 * abs(_apart(r, c, rows, columns, channel))) for c in range(columns)] for r in range(rows)]


def _apart(r: int, c: int, rows: int, columns: int, channel: int) -> int:
    """Compute how far a place is from the stroke of a channel."""
    return (r - c, r + c - min(rows, columns) + 1, r - rows // 2)[channel]


def _filter(size: HeightWidth, channel: int) -> Map:
    """Make weights that are largest on the stroke of the same channel."""
    rows, columns = size
    return [[_weight(i, j, rows, columns, channel) for j in range(columns)] for i in range(rows)]


def _weight(i: int, j: int, rows: int, columns: int, channel: int) -> int:
    falling, rising = i == j, i + j == min(rows, columns) - 1
    if channel == 2:
        return 1 if i == rows // 2 else -1 if i == 0 else 0
    first, second = (falling, rising) if channel == 0 else (rising, falling)
    return 1 if first else -1 if second else 0


def weights_of(size: HeightWidth) -> Map:
    """Make weights from 0 to 3 that fall from the middle to the edges."""
    return [
        [max(1, 3 - abs(2 * i - size[0] + 1) // 2 - abs(2 * j - size[1] + 1) // 2) for j in range(size[1])]
        for i in range(size[0])
    ]


def _varied(size: HeightWidth) -> Map:
    """Make values from 0 to 9 of which neighbours differ."""
    return [[(3 * r * r + 5 * c + r * c) % 10 for c in range(size[1])] for r in range(size[0])]


def convolved(example: Example, row: int, column: int) -> int:
    """Compute one output value of a convolution, before its activation."""
    products = (pair for channel in range(len(example.maps)) for pair in example.products(channel, row, column))
    return sum(value * weight for value, weight in products) + example.bias


def rounded(value: float) -> str:
    """Format a number with two digits at most after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
