"""Draw a convolution or a pooling at work: its window walks over a small input, and each value appears with its arithmetic.

The idea of such pictures is that of Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnctl.draw.boxes import COLOURS
from cnnctl.draw.example_numbers import Example, convolved, rounded
from cnnctl.draw.grids import STYLE, Grid, drawn_grid, drawn_padding, field, shown
from cnnctl.draw.labels import SIZE
from cnnctl.draw.texts import MARGIN, drawn_texts, text_width
from cnnctl.draw.timeline import animations
from cnnctl.spec import layers as L
from cnnctl.svg import element, picture, text

GAP, LABEL = 54.0, 22.0
LARGEST_CELL, SMALL_CELL, WIDEST = 32.0, 24.0, 330.0
"""Pixels of a cell with one map and with several, and of a whole input."""
SMALLEST = 560.0
MOST_TERMS = 9
"""Products that a line of arithmetic lists with their zeros; of more, only those that are not 0."""


@dataclass(frozen=True)
class Places:
    """Where the grids of a picture are.

    Attributes:
        inputs, filters: one grid per shown map.
        output: the grid of the output.
        width, bottom: of all, in pixels.
    """

    inputs: list[Grid]
    filters: list[Grid]
    output: Grid
    width: float
    bottom: float


def motion_picture(layer: L.Convolution | L.Pooling, example: Example, texts: Sequence[str], maps: int, theme: str) -> str:
    """Draw a layer at work.

    Args:
        layer: the convolution or pooling.
        example: what it is shown on.
        texts: the title and the lines below it.
        maps: input maps of one filter, of which some are shown.
        theme: `auto`, `light` or `dark`, see `svg.picture`.
    """
    places = _places(example, LABEL + MARGIN + 28 + 17 * (len(texts) - 1))
    steps = list(example.positions())
    still = len(steps) // 2
    lines = _lines(layer, example, steps)
    width = max(places.width + MARGIN, text_width([texts[0], *texts[1:], *lines]), SMALLEST)
    parts = [
        *drawn_texts(texts),
        *_inputs(layer, example, places, maps),
        *_filters(layer, example, places),
        *_output(layer, example, places, steps),
        *_windows(layer, example, places, steps[still]),
        *_winners(layer, example, places.inputs[0], steps),
        *_arithmetic(layer, example, places, steps),
    ]
    moves = [_shift(example, place, places.inputs[0].cell) for place in steps]
    return picture(
        width, places.bottom + 2 * MARGIN + 8, parts, texts[0], " ".join(texts[1:]), theme, STYLE + animations(moves, still)
    )


def _places(example: Example, top: float) -> Places:
    """Place the inputs below each other, their filters beside them, and the output beside all."""
    (above, below), (before, after) = example.padding
    columns = example.size[1] + before + after
    cell = min(LARGEST_CELL if len(example.maps) == 1 else SMALL_CELL, WIDEST / columns)
    step = (example.size[0] + above + below) * cell + LABEL + 12
    inputs = [
        Grid(MARGIN + before * cell, top + number * step + above * cell, *example.size, cell)
        for number in range(len(example.maps))
    ]
    x, bottom = MARGIN + columns * cell + GAP, top + len(inputs) * step - LABEL
    filters = []
    for number in range(len(example.filters)):
        middle = top + number * step + (step - LABEL - 12) / 2
        filters.append(Grid(x, middle - example.window.size[0] * cell / 2, *example.window.size, cell))
    if filters:
        x += filters[0].width + GAP + (62 if len(filters) > 1 else 0)
    rows, columns = example.output
    big = min(LARGEST_CELL, WIDEST / columns)
    output = Grid(x, max(top, (top + bottom - 12) / 2 - rows * big / 2), rows, columns, big)
    return Places(inputs, filters, output, output.x + max(output.width, 90), max(bottom, output.y + output.height + 12))


def _label(grid: Grid, above: int, content: str, colour: str = "ink") -> str:
    return text(grid.x, grid.y - above * grid.cell - 7, content, colour, font_size=11.5)


def _inputs(layer: L.Convolution | L.Pooling, example: Example, places: Places, maps: int) -> Iterator[str]:
    """Yield the input maps with their padding: zeros of a convolution, nothing that a pooling takes."""
    content = "" if isinstance(layer, L.Pooling) else "0"
    for number, (grid, values) in enumerate(zip(places.inputs, example.maps, strict=True)):
        yield from drawn_padding(grid, example.padding, content)
        yield from drawn_grid(grid, values, "grey")
        name = f"input, map {number + 1} of {maps}" if maps > 1 else "input"
        (above, _), (before, _) = example.padding
        yield text(grid.x - before * grid.cell, grid.y - above * grid.cell - 7, name, font_size=11.5)


def _filters(layer: L.Convolution | L.Pooling, example: Example, places: Places) -> Iterator[str]:
    """Yield the weights on each map and, where there are several maps, the sum of each map at each step."""
    colour = COLOURS[layer.kind]
    for number, (grid, weights) in enumerate(zip(places.filters, example.filters, strict=True)):
        yield text(grid.x - GAP / 2, grid.y + grid.height / 2 + 7, "×", "faint", text_anchor="middle", font_size=20)
        yield from drawn_grid(grid, weights, colour)
        if number == 0:
            yield _label(grid, 0, "one filter", colour)
        if len(places.filters) > 1:
            yield from _sums(example, grid, number)
    last = (places.filters or places.inputs)[-1]
    start = last.x + last.width + (example.padding[1][1] * last.cell if not places.filters else 0)
    middle = (start + places.output.x) / 2 + (26 if len(places.filters) > 1 else 0)
    sign = "→" if len(places.filters) < 2 else "Σ →"
    yield text(middle, places.output.y + places.output.height / 2 + 7, sign, "faint", text_anchor="middle", font_size=20)


def _sums(example: Example, grid: Grid, channel: int) -> Iterator[str]:
    for step, (row, column) in enumerate(example.positions()):
        total = sum(value * weight for value, weight in example.products(channel, row, column))
        x, y = grid.x + grid.width + 8, grid.y + grid.height / 2 + 5
        yield text(x, y, f"= {shown(total)}", f"blue now n{step}", font_size=13, font_weight="bold")


def _output(
    layer: L.Convolution | L.Pooling, example: Example, places: Places, steps: Sequence[tuple[int, int]]
) -> Iterator[str]:
    """Yield the output: each value appears when its window is reached."""
    colour = COLOURS[layer.kind]
    yield _label(places.output, 0, "output" if not places.filters else "output, 1 map per filter")
    values = [_number(layer, example, *place) for place in steps]
    largest = max(map(abs, values))
    for step, ((row, column), value) in enumerate(zip(steps, values, strict=True)):
        yield places.output.square(row, column, f"zero {colour} {colour}-edge")
        cell = field(places.output, row, column, value, largest, colour)
        yield element("g", [cell, places.output.number(row, column, shown(rounded(value)))], class_=f"u{step}")
    for step, (row, column) in enumerate(steps):
        yield places.output.square(row, column, f"mark {colour}-line now n{step}")


def _number(layer: L.Convolution | L.Pooling, example: Example, row: int, column: int) -> float:
    if not isinstance(layer, L.Pooling):
        return convolved(example, row, column)
    values = example.pooled(row, column)
    return max(values) if isinstance(layer, L.MaxPooling2D) else sum(values) / len(values)


def _shift(example: Example, place: tuple[int, int], cell: float) -> tuple[float, float]:
    """Compute how far a window is from the upper left corner of the input, in pixels."""
    _, _, row, column = next(example.taps(*place))
    return column * cell, row * cell


def _windows(layer: L.Convolution | L.Pooling, example: Example, places: Places, still: tuple[int, int]) -> Iterator[str]:
    """Yield the window on each input map; it moves with the steps, and is at one place where nothing moves."""
    colour = COLOURS[layer.kind]
    window = example.window
    for grid in places.inputs:
        taps = []
        for i in range(window.size[0]):
            for j in range(window.size[1]):
                taps.append(grid.square(i * window.dilation[0], j * window.dilation[1], f"tap {colour} {colour}-edge"))
        width, height = window.extent(1) * grid.cell, window.extent(0) * grid.cell
        taps.append(element("rect", x=grid.x, y=grid.y, width=width, height=height, class_=f"frame {colour}-line"))
        x, y = _shift(example, still, grid.cell)
        yield element("g", taps, class_="move", transform=f"translate({x:g} {y:g})")


def _winners(layer: L.Convolution | L.Pooling, example: Example, grid: Grid, steps: Sequence[tuple[int, int]]) -> Iterator[str]:
    """Yield a ring around the largest value of each window of a max pooling, the first of equal ones."""
    if not isinstance(layer, L.MaxPooling2D):
        return
    for step, place in enumerate(steps):
        inside = [(r, c) for _, _, r, c in example.taps(*place) if example.value(0, r, c) is not None]
        row, column = max(inside, key=lambda at: example.value(0, *at) or 0)
        x, y = grid.corner(row, column)
        half = grid.cell / 2
        yield element("circle", cx=x + half, cy=y + half, r=half - 3, class_=f"mark orange-line now n{step}")


def _arithmetic(
    layer: L.Convolution | L.Pooling, example: Example, places: Places, steps: Sequence[tuple[int, int]]
) -> Iterator[str]:
    for step, line in enumerate(_lines(layer, example, steps)):
        yield text(MARGIN, places.bottom + 22, line, f"ink now n{step}", font_size=SIZE)


def _lines(layer: L.Convolution | L.Pooling, example: Example, steps: Sequence[tuple[int, int]]) -> list[str]:
    """Write the arithmetic of every value."""
    terms = _pool_terms if isinstance(layer, L.Pooling) else _sum_terms
    results = [shown(rounded(_number(layer, example, *place))) for place in steps]
    return [
        f"output ({row}, {column}) = {terms(layer, example, row, column)} = {result}"
        for (row, column), result in zip(steps, results, strict=True)
    ]


def _sum_terms(layer: L.Convolution | L.Pooling, example: Example, row: int, column: int) -> str:
    """Write the sum of a convolution: its products, or with several maps the sum of each."""
    several = len(example.maps) > 1
    terms = _map_sums(example, row, column) if several else _products(example, row, column)
    return terms + (f" + bias {example.bias}" if example.bias else "")


def _pool_terms(layer: L.Convolution | L.Pooling, example: Example, row: int, column: int) -> str:
    """Write the maximum or the mean of a window, which leaves out the padding."""
    values = example.pooled(row, column)
    whole = example.window.size[0] * example.window.size[1]
    note = "" if len(values) == whole else " without the padding"
    if isinstance(layer, L.MaxPooling2D):
        return (
            f"max({', '.join(map(str, values))}){note}" if len(values) <= MOST_TERMS else f"max of {len(values)} values{note}"
        )
    total = f"({' + '.join(map(str, values))})" if len(values) <= MOST_TERMS else str(sum(values))
    return f"{total} / {len(values)}{note}"


def _map_sums(example: Example, row: int, column: int) -> str:
    sums = [
        sum(value * weight for value, weight in example.products(channel, row, column)) for channel in range(len(example.maps))
    ]
    return " + ".join(f"({shown(each)})" if each < 0 else str(each) for each in sums)


def _products(example: Example, row: int, column: int) -> str:
    """Write the products of one map; of many those that are not 0, and where these are many too, their sum."""
    pairs = example.products(0, row, column)
    listed = pairs if len(pairs) <= MOST_TERMS else [pair for pair in pairs if pair[0] * pair[1]]
    if len(listed) > MOST_TERMS:
        return f"{shown(sum(value * weight for value, weight in listed))} from {len(pairs)} products"
    terms = [f"{value}·({shown(weight)})" if weight < 0 else f"{value}·{weight}" for value, weight in listed]
    return " + ".join(terms) or "0"
