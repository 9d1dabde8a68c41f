"""Draw a layer that moves values without computing: zero padding, cropping and flatten, as a still picture."""

from __future__ import annotations

from collections.abc import Iterator

from cnnctl.draw.example_numbers import Map, strokes
from cnnctl.draw.grids import STYLE, Grid, drawn_grid, drawn_padding
from cnnctl.draw.labels import by, details_of
from cnnctl.draw.texts import MARGIN, drawn_texts, text_width
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import Facts, HeightWidth, spatial
from cnnctl.spec.shapes import show_shape as show
from cnnctl.svg import element, picture, text

Sides = tuple[HeightWidth, HeightWidth]
TOP, CELL, LABEL, SMALLEST = 104.0, 30.0, 24.0, 480.0
SIDE, MAPS = 3, 3
"""Rows and columns, and maps, of the example of flatten, at most."""
PADDED_SIDE = 6
"""Rows and columns of the example of zero padding, and those that a cropping leaves, at most."""
WIDEST = 480.0
COLOURS = ("blue", "orange", "green")
BY_ROW = 14
"""Values of a vector that are drawn in one line."""


def still_picture(
    layer: L.Flatten | L.ZeroPadding2D | L.Cropping2D, facts: Facts, data_format: L.DataFormat, theme: str
) -> str:
    """Draw zero padding, cropping or flatten on a small example.

    Args:
        layer: the layer.
        facts: its shapes; it takes maps.
        data_format: of its input.
        theme: `auto`, `light` or `dark`, see `svg.picture`.
    """
    (height, width), channels = spatial(facts.input_shapes[0], data_format, layer.kind)
    if isinstance(layer, L.ZeroPadding2D):
        size = min(height, PADDED_SIDE), min(width, PADDED_SIDE)
        notes = [f"Shown on an input of {by(size)}. Each map is padded by itself."]
        parts, right, bottom = _sides(layer.padding, size, "0", f"{by(size)} becomes {by(with_sides(size, layer.padding))}")
    elif isinstance(layer, L.Cropping2D):
        (rows, columns), _ = spatial(facts.output_shape, data_format, layer.kind)
        size = min(rows, PADDED_SIDE), min(columns, PADDED_SIDE)
        whole = with_sides(size, layer.cropping)
        notes = [f"Shown on an input of {by(whole)}. Each map is cropped by itself; × is removed."]
        parts, right, bottom = _sides(layer.cropping, size, "×", f"{by(whole)} becomes {by(size)}")
    else:
        size, maps = (min(height, SIDE), min(width, SIDE)), min(channels, MAPS)
        notes = [f"Shown on {maps} {'maps' if maps > 1 else 'map'} of {by(size)}; a number is the place in the vector.",
                 "Row by row, column by column, and in each place all maps. The batch axis stays."]  # fmt: skip
        parts, right, bottom = _flatten(size, maps)
    title = f"{facts.name}: {', '.join(details_of(layer))}"
    texts = [title, f"{show(facts.input_shapes[0])} → {show(facts.output_shape)}", *notes]
    page = max(right + MARGIN, text_width(texts), SMALLEST)
    return picture(page, bottom + MARGIN, [*drawn_texts(texts), *parts], title, " ".join(texts[1:]), theme, STYLE)


def with_sides(size: HeightWidth, sides: Sides) -> HeightWidth:
    """Return rows and columns with those at the sides."""
    return size[0] + sum(sides[0]), size[1] + sum(sides[1])


def _sides(sides: Sides, size: HeightWidth, content: str, title: str) -> tuple[list[str], float, float]:
    """Draw a map with cells around it that hold `content`; return the elements, and the right and lower end."""
    (above, _), (before, _) = sides
    rows, columns = with_sides(size, sides)
    cell: float = min(CELL, WIDEST / max(rows, columns))
    grid = Grid(MARGIN + before * cell, TOP + LABEL + above * cell, *size, cell)
    label = text(MARGIN, TOP + LABEL - 7, title, font_size=11.5)
    parts = [label, *drawn_padding(grid, sides, content), *drawn_grid(grid, strokes(size, 0), "blue")]
    return parts, MARGIN + columns * cell, TOP + LABEL + rows * cell


def _flatten(size: tuple[int, int], maps: int) -> tuple[list[str], float, float]:
    """Draw maps, and the vector of their values; return the elements, and the right and lower end."""
    rows, columns = size
    grids = [Grid(MARGIN + number * (columns * CELL + 40), TOP + LABEL, rows, columns, CELL) for number in range(maps)]
    parts: list[str] = []
    for number, grid in enumerate(grids):
        parts.append(text(grid.x, grid.y - 7, f"map {number + 1}", COLOURS[number], font_size=11.5))
        places: Map = [[(row * columns + column) * maps + number for column in range(columns)] for row in range(rows)]
        parts += _cells(grid, places, COLOURS[number])
    top = TOP + 2 * LABEL + rows * CELL + 20
    count = rows * columns * maps
    parts.append(text(MARGIN, top - 7, f"vector of {rows}·{columns}·{maps} = {count} values", font_size=11.5))
    for place in range(count):
        line, column = divmod(place, BY_ROW)
        grid = Grid(MARGIN, top + line * (CELL + 8), 1, BY_ROW, CELL)
        parts += [grid.square(0, column, _style(COLOURS[place % maps])), grid.number(0, column, place)]
    right = max(MARGIN + min(count, BY_ROW) * CELL, grids[-1].x + grids[-1].width)
    return parts, right, top + -(-count // BY_ROW) * (CELL + 8)


def _cells(grid: Grid, values: Map, colour: str) -> Iterator[str]:
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            yield element("g", [grid.square(row, column, _style(colour)), grid.number(row, column, value)])


def _style(colour: str) -> str:
    return f"plain {colour} {colour}-edge"
