"""Boxes to scale: height and width of maps in proportion, channels and vectors by their logarithm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

from cnnctl.draw.stations import Station
from cnnctl.svg import element

LARGEST_SIDE, DEEPEST, LONGEST = 132.0, 40.0, 150.0
"""Pixels of the longest side of a map, of the most channels, and of the longest vector."""
MAX_DEPTH_UNIT, MAX_VECTOR_UNIT, MAX_PIXEL = 4.5, 14.0, 14.0
SLANT = (0.78, -0.5)
"""Where depth goes: right and up, per unit."""
THICK = 12.0
"""Width of the bar of a vector."""
SHEET_STEP, SHEETS_APART = 5.0, 4.0
CELLS = 16
"""Vectors up to this length show a cell per value."""

COLOURS = {
    "input": "grey", "conv2d": "blue",
    "depthwise_conv2d": "blue", "separable_conv2d": "blue", "conv2d_transpose": "blue",
    "cropping2d": "grey", "up_sampling2d": "orange", "rescaling": "purple", "reshape": "grey", "permute": "grey",
    "dense": "green", "flatten": "grey", "zero_padding2d": "grey",
    "max_pooling2d": "orange", "average_pooling2d": "orange", "global_average_pooling2d": "orange",
    "global_max_pooling2d": "orange", "add": "purple", "subtract": "purple", "multiply": "purple", "average": "purple",
    "maximum": "purple", "minimum": "purple", "concatenate": "purple", "relu": "yellow", "leaky_relu": "yellow",
    "prelu": "yellow", "elu": "yellow", "softmax": "yellow", "spatial_dropout2d": "grey", "gaussian_noise": "grey",
    "gaussian_dropout": "grey", "alpha_dropout": "grey",
    "normalization": "purple", "activation": "yellow", "dropout": "grey", "batch_normalization": "purple",
    "layer_normalization": "purple", "group_normalization": "purple", "unit_normalization": "purple",
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """Pixels per value: `pixel` of height and width, `depth` and `vector` per doubling of channels and values."""

    pixel: float
    depth: float
    vector: float


@dataclass(frozen=True)
class Box:
    """The front face of a station, its depth and its sheets, in pixels.

    Attributes:
        width, height: of the front face, or of the bar of a vector.
        depth: of the channels, along the slant; 0 for a vector.
        sheets: number of sheets on it.
        lying: True for the bar of a vector that lies, as in a column.
        x, y: centre of the front face.
    """

    width: float
    height: float
    depth: float
    sheets: int
    lying: bool = False
    x: float = 0.0
    y: float = 0.0

    @property
    def left(self) -> float:
        """x of the left edge of the front face."""
        return self.x - self.width / 2

    @property
    def top(self) -> float:
        """y of the upper edge of the front face."""
        return self.y - self.height / 2

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Pixels from the centre to the left, to the right, up and down that it takes, with depth and sheets."""
        right, up, down = self.width / 2 + self.depth * SLANT[0], self.height / 2 - self.depth * SLANT[1], self.height / 2
        more = SHEETS_APART + SHEET_STEP * self.sheets if self.sheets else 0.0
        return self.width / 2, right + (0.0 if self.lying else more), up, down + (more if self.lying else 0.0)

    @property
    def rise(self) -> float:
        """Pixels that the box rises above the middle of the upper edge of its front face."""
        shift = self.depth * SLANT[0]
        return -self.depth * SLANT[1] * min(1.0, self.width / 2 / shift) if shift else 0.0


def scale_of(stations: Sequence[Station]) -> Scale:
    """Choose the scale of a picture: one for all boxes, so that their sizes can be compared."""
    maps = [station.size for station in stations if len(station.size) == 3]
    vectors = [station.size[0] for station in stations if len(station.size) == 1]
    side = max(max(size[:2]) for size in maps)
    return Scale(
        pixel=min(LARGEST_SIDE / side, MAX_PIXEL),
        depth=min(MAX_DEPTH_UNIT, DEEPEST / log2(1 + max(size[2] for size in maps))),
        vector=min(MAX_VECTOR_UNIT, LONGEST / log2(1 + max(vectors, default=1))),
    )


def box_of(station: Station, scale: Scale, lying: bool) -> Box:
    """Compute the box of a station; `lying` lays vectors down."""
    sheets = len(station.sheets)
    if len(station.size) == 1:
        length = scale.vector * log2(1 + station.size[0])
        return Box(length, THICK, 0.0, sheets, True) if lying else Box(THICK, length, 0.0, sheets)
    height, width, channels = station.size
    return Box(width * scale.pixel, height * scale.pixel, scale.depth * log2(1 + channels), sheets)


def drawn_box(station: Station, box: Box) -> Iterator[str]:
    """Yield the elements of a box: its faces, the cells of a short vector, and its sheets."""
    colour = COLOURS.get(station.kind, "grey")
    yield from _sheets(station, box)
    if box.depth:
        yield from _solid(box, colour)
    face: dict[str, Any] = {
        "x": box.left,
        "y": box.top,
        "width": box.width,
        "height": box.height,
        "rx": None if box.depth else 2.5,
    }
    yield element("rect", **face, class_="paper")
    yield element("rect", **face, class_=f"front {colour} {colour}-edge")
    if len(station.size) == 1 and station.size[0] <= CELLS:
        yield from _cells(box, station.size[0], colour)


def _solid(box: Box, colour: str) -> Iterator[str]:
    """Yield the top and the right face, behind which nothing shines through."""
    x, y, w, h = box.left, box.top, box.width, box.height
    dx, dy = box.depth * SLANT[0], box.depth * SLANT[1]
    outline = [(x, y + h), (x, y), (x + dx, y + dy), (x + w + dx, y + dy), (x + w + dx, y + h + dy), (x + w, y + h)]
    yield polygon(outline, "paper")
    yield polygon([(x, y), (x + dx, y + dy), (x + w + dx, y + dy), (x + w, y)], f"top {colour} {colour}-edge")
    yield polygon([(x + w, y), (x + w + dx, y + dy), (x + w + dx, y + h + dy), (x + w, y + h)], f"side {colour} {colour}-edge")


def _cells(box: Box, count: int, colour: str) -> Iterator[str]:
    for place in range(1, count):
        if box.lying:
            x = box.left + box.width * place / count
            yield _line((x, box.top), (x, box.top + box.height), f"cell {colour}-edge")
        else:
            y = box.top + box.height * place / count
            yield _line((box.left, y), (box.left + box.width, y), f"cell {colour}-edge")


def _sheets(station: Station, box: Box) -> Iterator[str]:
    """Yield the sheets, the last first, so that the first covers the others."""
    for place, sheet in reversed(list(enumerate(station.sheets))):
        colour = COLOURS[sheet.kind]
        shift = SHEETS_APART + SHEET_STEP * (place + 1)
        if not box.depth:
            x, y = (box.left, box.top + box.height + shift) if box.lying else (box.left + box.width + shift, box.top)
            end = (x + box.width, y) if box.lying else (x, y + box.height)
            yield _line((x, y), end, f"sheet {colour}-edge")
            continue
        x, y, h = box.left + box.width + shift, box.top, box.height
        dx, dy = box.depth * SLANT[0], box.depth * SLANT[1]
        corners = [(x, y), (x + dx, y + dy), (x + dx, y + h + dy), (x, y + h)]
        yield polygon(corners, "paper")
        yield polygon(corners, f"side {colour} {colour}-edge")


def polygon(points: Sequence[tuple[float, float]], style: str) -> str:
    """Write a polygon with CSS classes."""
    return element("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=style)


def _line(start: tuple[float, float], end: tuple[float, float], style: str) -> str:
    return element("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], class_=style)
