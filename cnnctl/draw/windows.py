"""The windows of convolutions and poolings: where one is on its input, and where its value is on the output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnctl.draw.boxes import COLOURS, Box, Scale, polygon
from cnnctl.draw.placing import Slot
from cnnctl.draw.stations import Station
from cnnctl.spec import layers as L
from cnnctl.spec.shapes import transposed_size, window_of
from cnnctl.svg import element

Point = tuple[float, float]
FRACTIONS = (0.3, 0.7)
"""Where on the output the shown value is: by turns, so that the value of one layer and the window of the next lie apart."""


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def corners(self) -> list[Point]:
        """The four corners."""
        x, y, w, h = self.x, self.y, self.width, self.height
        return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]


@dataclass(frozen=True)
class Place:
    """One position of a window.

    Attributes:
        output: row and column of the value on the output.
        first: row and column of the window's first pixel on the input; negative in a padding.
        extent: rows and columns that it spans.
        reached: rows and columns of the output, more than one for a transposed convolution.
    """

    output: tuple[int, int]
    first: tuple[int, int]
    extent: tuple[int, int]
    reached: tuple[int, int] = (1, 1)


def place_of(layer: L.Convolution | L.Pooling, size: Sequence[int], fraction: float) -> Place:
    """Choose a position of a layer's window.

    Args:
        layer: the convolution or pooling.
        size: (height, width, ...) of its input.
        fraction: of the output's rows and columns that lie before the value.
    """
    window = window_of(layer)
    output = [min(int(window.output(size[axis], axis) * fraction), window.output(size[axis], axis) - 1) for axis in (0, 1)]
    first = [output[axis] * window.strides[axis] - window.padding(size[axis], axis)[0] for axis in (0, 1)]
    return Place((output[0], output[1]), (first[0], first[1]), (window.extent(0), window.extent(1)))


def place_on_output(layer: L.Conv2DTranspose, size: Sequence[int], fraction: float) -> Place:
    """Choose a pixel of the input of a transposed convolution, and the window on the output that it is added to."""
    window = window_of(layer)
    pixel = [min(int(size[axis] * fraction), size[axis] - 1) for axis in (0, 1)]
    cropped = [window.padding(transposed_size(layer, size[axis], axis), axis)[0] for axis in (0, 1)]
    output = [pixel[axis] * window.strides[axis] - cropped[axis] for axis in (0, 1)]
    return Place((output[0], output[1]), (pixel[0], pixel[1]), (1, 1), (window.extent(0), window.extent(1)))


def drawn_windows(stations: Sequence[Station], slots: Sequence[Slot], scale: Scale) -> Iterator[str]:
    """Yield the window of each layer that has one, the value that it computes, and the way between them."""
    turn = 0
    for station, slot in zip(stations, slots, strict=True):
        if not station.inputs:
            continue
        before, start = stations[station.inputs[0]], slots[station.inputs[0]]
        if isinstance(station.layer, L.Convolution | L.Conv2DTranspose | L.Pooling):
            yield from _window(station, before, start, slot, scale, FRACTIONS[turn % 2])
            turn += 1
        elif isinstance(station.layer, L.Flatten | L.GlobalPooling | L.Dense | L.UpSampling2D | L.Reshape) and _side_by_side(
            start, slot
        ):
            yield _way(_front(start.box), _front(slot.box), COLOURS[station.kind])


def _side_by_side(start: Slot, end: Slot) -> bool:
    """Return True for neighbours in a lane of one band: from others the way would cross text."""
    return start.band == end.band and start.lane == end.lane and start.rank + 1 == end.rank


def _window(station: Station, before: Station, start: Slot, end: Slot, scale: Scale, fraction: float) -> Iterator[str]:
    assert isinstance(station.layer, L.Convolution | L.Conv2DTranspose | L.Pooling)
    if isinstance(station.layer, L.Conv2DTranspose):
        place = place_on_output(station.layer, before.size, fraction)
    else:
        place = place_of(station.layer, before.size, fraction)
    taken, value = _pixels(start.box, place.first, place.extent, scale), _pixels(end.box, place.output, place.reached, scale)
    colour = COLOURS[station.kind]
    if _side_by_side(start, end):
        yield _way(taken, value, colour)
    named = {"data_layer": station.name, "class_": f"window {colour} {colour}-edge"}
    yield element("rect", x=taken.x, y=taken.y, width=taken.width, height=taken.height, **named)
    named["class_"] = f"value {colour} {colour}-edge"
    yield element("rect", x=value.x, y=value.y, width=value.width, height=value.height, **named)


def _pixels(box: Box, first: tuple[int, int], extent: tuple[int, int], scale: Scale) -> Rectangle:
    """Convert rows and columns on a front face to pixels."""
    row, column = first
    rows, columns = extent
    unit = scale.pixel
    return Rectangle(box.left + column * unit, box.top + row * unit, columns * unit, rows * unit)


def _front(box: Box) -> Rectangle:
    return Rectangle(box.left, box.top, box.width, box.height)


def _way(start: Rectangle, end: Rectangle, colour: str) -> str:
    """Draw the hull of two rectangles: every line from the one to the other lies in it."""
    return polygon(hull([*start.corners, *end.corners]), f"way {colour} {colour}-edge")


def hull(points: Sequence[Point]) -> list[Point]:
    """Compute the convex hull, by Andrew's monotone chain (1979)."""
    ordered = sorted(set(points))
    return [*_half(ordered)[:-1], *_half(ordered[::-1])[:-1]]


def _half(points: Sequence[Point]) -> list[Point]:
    chain: list[Point] = []
    for point in points:
        while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
            chain.pop()
        chain.append(point)
    return chain


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
