"""Draw a transposed convolution at work: each input pixel adds its value times the filter to a window of the output.

The windows lie as in Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cnnctl.draw.boxes import COLOURS
from cnnctl.draw.example_numbers import BIAS, Map, strokes, weights_of
from cnnctl.draw.grids import STYLE, Grid, drawn_grid, shown
from cnnctl.draw.grids import field as shaded
from cnnctl.draw.labels import SIZE, by, details_of
from cnnctl.draw.texts import MARGIN, drawn_texts, text_width
from cnnctl.draw.timeline import animations
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import Facts, HeightWidth, Window, show_shape, transposed_arithmetic, transposed_size, window_of
from cnnctl.svg import element, picture, text

MOST_PIXELS = 3
"""Rows or columns of the shown input, at most."""
CELL, GAP, LABEL, SMALLEST = 30.0, 54.0, 22.0, 560.0


@dataclass
class Scatter:
    """A small input, a filter, and the output while it grows.

    Attributes:
        layer: the transposed convolution.
        size: rows and columns of the shown input.
        values, weights: of the input and of the filter.
        sums: the output, without what was not yet added.
    """

    layer: L.Conv2DTranspose
    size: HeightWidth
    values: Map = field(init=False)
    weights: Map = field(init=False)
    sums: Map = field(init=False)

    def __post_init__(self) -> None:
        rows, columns = self.output
        self.values = [[each + 1 for each in line] for line in strokes(self.size, 0)]
        self.weights = weights_of(self.layer.kernel_size)
        self.sums = [[BIAS * self.layer.use_bias] * columns for _ in range(rows)]

    @property
    def window(self) -> Window:
        """The window on the output."""
        return window_of(self.layer)

    @property
    def output(self) -> HeightWidth:
        """Rows and columns of the output."""
        return transposed_size(self.layer, self.size[0], 0), transposed_size(self.layer, self.size[1], 1)

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Return row and column of the output where the window of an input pixel starts; negative where it is cropped."""
        window, output = self.window, self.output
        top, left = (window.padding(output[axis], axis)[0] for axis in (0, 1))
        return row * window.strides[0] - top, column * window.strides[1] - left

    def add(self, row: int, column: int) -> list[tuple[int, int]]:
        """Add the window of an input pixel; return the places of the output that it reaches."""
        first, window, (rows, columns) = self.corner(row, column), self.window, self.output
        reached = []
        for i, weights in enumerate(self.weights):
            for j, weight in enumerate(weights):
                r, c = first[0] + i * window.dilation[0], first[1] + j * window.dilation[1]
                if 0 <= r < rows and 0 <= c < columns:
                    self.sums[r][c] += self.values[row][column] * weight
                    reached.append((r, c))
        return reached


def scatter_size(pixels: HeightWidth) -> HeightWidth:
    """Choose the rows and columns of the shown input."""
    return min(pixels[0], MOST_PIXELS), min(pixels[1], MOST_PIXELS)


def scatter_picture(layer: L.Conv2DTranspose, facts: Facts, pixels: HeightWidth, maps: int, theme: str) -> str:
    """Draw a transposed convolution at work.

    Args:
        layer: the layer.
        facts: its shapes.
        pixels: rows and columns of its own input; `maps` is the number of its maps.
        theme: `auto`, `light` or `dark`, see `svg.picture`.
    """
    scatter = Scatter(layer, scatter_size(pixels))
    steps = [(row, column) for row in range(scatter.size[0]) for column in range(scatter.size[1])]
    texts = list(_texts(scatter, facts, pixels, maps))
    inputs, weights, output = _grids(scatter, LABEL + MARGIN + 28 + 17 * (len(texts) - 1))
    bottom = max(grid.y + grid.height for grid in (inputs, weights, output))
    lines = [_line(scatter, *place) for place in steps]
    still = len(steps) // 2
    parts = [*drawn_texts(texts), *_givens(scatter, inputs, weights, output)]
    parts += _growing(scatter, output, steps)
    parts += _windows(scatter, inputs, output, steps, still)
    parts += [text(MARGIN, bottom + 30, line, f"ink now n{step}", font_size=SIZE) for step, line in enumerate(lines)]
    width = max(output.x + output.width + MARGIN, text_width([*texts, *lines]), SMALLEST)
    moves = [_shift(scatter, output, place) for place in steps]
    return picture(
        width, bottom + 2 * MARGIN + 8, parts, texts[0], " ".join(texts[1:]), theme, STYLE + animations(moves, still)
    )


def _texts(scatter: Scatter, facts: Facts, pixels: HeightWidth, maps: int) -> Iterator[str]:
    """Yield the title, the arithmetic of the sizes, and what the shown numbers are."""
    layer = scatter.layer
    details = ", ".join(details_of(layer))
    yield f"{facts.name}: {details}" if facts.name.startswith(layer.kind) else f"{facts.name}: {layer.kind}, {details}"
    rows, columns = (transposed_arithmetic(layer, pixels[axis], axis) for axis in (0, 1))
    sizes = f"rows and columns {rows}" if rows == columns else f"rows {rows}, columns {columns}"
    yield f"{show_shape(facts.input_shapes[0])} → {show_shape(facts.output_shape)}: {sizes}"
    its = "its" if scatter.size == pixels else "a smaller"
    yield f"Shown on {its} input of {by(scatter.size)}, which gives {by(scatter.output)}. Where windows overlap, values are summed."
    some = f" on 1 of its {maps} maps" if maps > 1 else ""
    bias = f", bias {BIAS}" if layer.use_bias else ""
    before = f", before {layer.activation}" if layer.activation not in (None, "linear") else ""
    yield f"The numbers are an example, not trained weights: one filter{some}{bias}{before}."


def _grids(scatter: Scatter, top: float) -> tuple[Grid, Grid, Grid]:
    """Place the input, the filter and the output; a cropped window starts left of the output or above it."""
    inputs = Grid(MARGIN, top, *scatter.size, CELL)
    rows, columns = scatter.layer.kernel_size
    weights = Grid(inputs.x + inputs.width + GAP, top, rows, columns, CELL)
    above, left = scatter.corner(0, 0)
    output = Grid(weights.x + weights.width + GAP - left * CELL, top - above * CELL, *scatter.output, CELL)
    return inputs, weights, output


def _givens(scatter: Scatter, inputs: Grid, weights: Grid, output: Grid) -> Iterator[str]:
    """Yield the input, the filter, the output before anything is added, and their labels."""
    colour = COLOURS[scatter.layer.kind]
    yield text(inputs.x, inputs.y - 7, "input", font_size=11.5)
    yield from drawn_grid(inputs, scatter.values, "grey")
    yield text(weights.x - GAP / 2, weights.y + CELL / 2 + 7, "×", "faint", text_anchor="middle", font_size=20)
    yield text(weights.x, weights.y - 7, "one filter", colour, font_size=11.5)
    yield from drawn_grid(weights, scatter.weights, colour)
    yield text(weights.x + weights.width + GAP / 2, weights.y + CELL / 2 + 7, "→", "faint", text_anchor="middle", font_size=20)
    yield text(output.x, inputs.y - 7, "output, 1 map per filter", font_size=11.5)
    for row, line in enumerate(scatter.sums):
        for column, value in enumerate(line):
            yield output.square(row, column, f"zero {colour} {colour}-edge")
            yield output.number(row, column, shown(value), "faint")


def _growing(scatter: Scatter, output: Grid, steps: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Yield at each step the cells that change, over those from before."""
    colour = COLOURS[scatter.layer.kind]
    states = [(scatter.add(*place), [list(line) for line in scatter.sums]) for place in steps]
    largest = max(abs(value) for _, sums in states for line in sums for value in line)
    for step, (reached, sums) in enumerate(states):
        cells: list[str] = []
        for row, column in reached:
            value = sums[row][column]
            cells += [output.square(row, column, "paper"), shaded(output, row, column, value, largest, colour)]
            cells.append(output.number(row, column, shown(value)))
        yield element("g", cells, class_=f"u{step}")


def _windows(scatter: Scatter, inputs: Grid, output: Grid, steps: Sequence[tuple[int, int]], still: int) -> Iterator[str]:
    """Yield a ring around the input pixel of each step, and the window that moves over the output."""
    colour, window = COLOURS[scatter.layer.kind], scatter.window
    for step, place in enumerate(steps):
        yield inputs.square(*place, f"mark {colour}-line now n{step}")
    taps = [
        output.square(i * window.dilation[0], j * window.dilation[1], f"tap {colour} {colour}-edge")
        for i in range(window.size[0])
        for j in range(window.size[1])
    ]
    width, height = window.extent(1) * CELL, window.extent(0) * CELL
    taps.append(element("rect", x=output.x, y=output.y, width=width, height=height, class_=f"frame {colour}-line"))
    x, y = _shift(scatter, output, steps[still])
    yield element("g", taps, class_="move", transform=f"translate({x:g} {y:g})")


def _shift(scatter: Scatter, output: Grid, place: tuple[int, int]) -> tuple[float, float]:
    """Compute how far a window is from the upper left corner of the output, in pixels."""
    row, column = scatter.corner(*place)
    return column * output.cell, row * output.cell


def _line(scatter: Scatter, row: int, column: int) -> str:
    """Describe what one input pixel adds."""
    (top, left), (rows, columns) = scatter.corner(row, column), scatter.output
    bottom, right = top + scatter.window.extent(0) - 1, left + scatter.window.extent(1) - 1
    cropped = top < 0 or left < 0 or bottom >= rows or right >= columns
    return (
        f"input ({row}, {column}) = {scatter.values[row][column]}: adds {scatter.values[row][column]} × the filter to rows "
        f"{max(top, 0)} to {min(bottom, rows - 1)}, columns {max(left, 0)} to {min(right, columns - 1)}"
        f"{'; what is outside is cropped' if cropped else ''}"
    )
