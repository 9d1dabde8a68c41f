"""Grids of numbers: the maps, filters and outputs of a layer that is shown at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnctl.svg import element, text

STYLE = """
.field,.plain{stroke-width:1}.plain{fill-opacity:.2}.zero{fill-opacity:0;stroke-width:1;stroke-dasharray:3 2}.tap{fill-opacity:.28;stroke-width:1.2}
.frame{stroke-width:2;stroke-linejoin:round}.mark{stroke-width:2}
"""


@dataclass(frozen=True)
class Grid:
    """A grid of square cells.

    Attributes:
        x, y: of its upper left corner, in pixels.
        rows, columns: of cells.
        cell: side of a cell, in pixels.
    """

    x: float
    y: float
    rows: int
    columns: int
    cell: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.columns * self.cell

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.rows * self.cell

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Return x and y of the upper left corner of a cell; it may lie outside."""
        return self.x + column * self.cell, self.y + row * self.cell

    def square(self, row: int, column: int, style: str, **more: object) -> str:
        """Write a cell."""
        x, y = self.corner(row, column)
        return element("rect", x=x, y=y, width=self.cell, height=self.cell, class_=style, **more)  # type: ignore[arg-type]

    def number(self, row: int, column: int, content: object, colour: str = "ink", **more: object) -> str:
        """Write a number in the middle of a cell."""
        x, y = self.corner(row, column)
        size = self.cell * (0.46 if len(str(content)) < 4 else 0.36)
        return text(
            x + self.cell / 2, y + self.cell / 2 + size * 0.36, content, colour, text_anchor="middle", font_size=size, **more
        )


def drawn_grid(grid: Grid, values: Sequence[Sequence[int]], colour: str) -> Iterator[str]:
    """Yield the cells and numbers of a whole grid; the larger a number, the darker its cell, and orange where it is negative."""
    largest = max(abs(value) for line in values for value in line)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            yield field(grid, row, column, value, largest, colour)
            yield grid.number(row, column, shown(value))


def field(grid: Grid, row: int, column: int, value: float, largest: float, colour: str) -> str:
    """Write a cell that is as dark as its number is large."""
    fill = "orange" if value < 0 else colour
    return grid.square(row, column, f"field {fill} {colour}-edge", fill_opacity=0.04 + 0.4 * abs(value) / (largest or 1))


def drawn_padding(grid: Grid, padding: tuple[tuple[int, int], tuple[int, int]], content: str) -> Iterator[str]:
    """Yield the cells around a grid that a padding adds, with a faint content such as 0."""
    (top, bottom), (left, right) = padding
    for row in range(-top, grid.rows + bottom):
        for column in range(-left, grid.columns + right):
            if not (0 <= row < grid.rows and 0 <= column < grid.columns):
                yield grid.square(row, column, "zero grey grey-edge")
                yield grid.number(row, column, content, "faint")


def shown(value: object) -> str:
    """Format a number with a true minus sign."""
    return str(value).replace("-", "\u2212")
