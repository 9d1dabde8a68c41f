"""Routes of the connections: straight in a lane, around boxes on a track, and from one band to the next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cnnctl.draw.lanes import Edge
from cnnctl.draw.placing import BAND_GAP, TRACK, Page
from cnnctl.draw.stations import Station
from cnnctl.svg import element, text

Point = tuple[float, float]
LEAVE, ARRIVE = 12.0, 12.0
"""Pixels behind a rank and before one at which a connection changes its lane."""
PORTS_APART = 10.0
RADIUS, HEAD, SIGN = 7.0, 6.0, 8.5
SIGN_PLACE = SIGN + 1.5
"""Pixels from the middle of a join's sign to its box."""
APART, ROOM = 5.0, 15.0
"""Pixels between connections that go to another band side by side, and of all of them, at most."""
SIGNS = {"add": "+", "subtract": "−", "multiply": "×", "average": "x̄", "maximum": "max", "minimum": "min", "concatenate": "∥"}


def drawn_edges(stations: Sequence[Station], edges: Sequence[Edge], page: Page) -> Iterator[str]:
    """Yield each connection with its arrowhead, and the sign of each join."""
    offsets = _offsets(edges)
    shifts = _shifts(edges, page)
    for edge in edges:
        points = _route(edge, page, offsets[edge], shifts.get(edge, 0.0))
        names = {"data_from": stations[edge.start].name, "data_to": stations[edge.end].name}
        yield element("path", d=_rounded(points), class_="edge grey-line", **names)
        yield _head(points[-2], points[-1])
    for place, station in enumerate(stations):
        if len(station.inputs) > 1:
            yield from _sign(station, page, place)


def _offsets(edges: Sequence[Edge]) -> dict[Edge, float]:
    """Compute where each connection arrives across the middle of its end: joins have a port for each."""
    offsets = {}
    by_end: dict[int, list[Edge]] = {}
    for edge in edges:
        by_end.setdefault(edge.end, []).append(edge)
    for group in by_end.values():
        ordered = sorted(group, key=lambda edge: (edge.track is None, edge.lane, -edge.start))
        straight = next((place for place, edge in enumerate(ordered) if edge.track is None), 0)
        apart = min(PORTS_APART, SIGN / max(straight, len(ordered) - 1 - straight, 1))
        offsets.update({edge: (place - straight) * apart for place, edge in enumerate(ordered)})
    return offsets


def _shifts(edges: Sequence[Edge], page: Page) -> dict[Edge, float]:
    """Compute how far apart those connections run that leave a band side by side."""
    shifts = {}
    leaving: dict[int, list[Edge]] = {}
    for edge in edges:
        start, end = page.slots[edge.start].band, page.slots[edge.end].band
        if start != end:
            leaving.setdefault(start, []).append(edge)
    for group in leaving.values():
        shifts.update({edge: number * min(APART, ROOM / len(group)) for number, edge in enumerate(group)})
    return shifts


def _route(edge: Edge, page: Page, offset: float, shift: float) -> list[Point]:
    """Compute the corners of a connection, from the middle of its first box to the edge of its second."""
    start, end = page.slots[edge.start], page.slots[edge.end]
    first, last = page.bands[start.band], page.bands[end.band]
    (main, cross), (goal, across) = _turned(page, start.box.x, start.box.y), _turned(page, end.box.x, end.box.y)
    tip = goal - (end.box.width / 2 if page.layout == "row" else end.box.height / 2 + end.box.rise)
    tip -= _before_join(offset) if edge.ports > 1 else 0.0
    leave, arrive = start.end + LEAVE, end.start - ARRIVE
    points = [(main, cross), (leave, cross), (leave, _cross(edge, first.centres, first.tracks, cross))]
    if first is not last:
        turn, back, gutter = first.length - 2 + shift, 6 + shift, first.end + BAND_GAP / 2 + shift
        points += [(turn, points[-1][1]), (turn, gutter), (back, gutter)]
        points.append((back, _cross(edge, last.centres, last.tracks, across)))
    points += [(arrive, points[-1][1]), (arrive, across + offset), (tip, across + offset)]
    return [_turned(page, *point) for point in _simple(points)]


def _before_join(offset: float) -> float:
    """Compute how far before a box its sign is reached, at a distance from the sign's middle."""
    return SIGN_PLACE + math.sqrt(max(SIGN**2 - offset**2, 0.0))


def _cross(edge: Edge, centres: dict[int, float], tracks: dict[int, float], default: float) -> float:
    """Return where a connection runs in a band: on its track, in its lane, or as the box is."""
    if edge.track is not None and edge.lane in tracks:
        return tracks[edge.lane] + TRACK * edge.track
    return centres.get(edge.lane, default)


def _turned(page: Page, main: float, cross: float) -> Point:
    """Swap the axes in a column; in both directions the same."""
    return (main, cross) if page.layout == "row" else (cross, main)


def _simple(points: Sequence[Point]) -> list[Point]:
    """Leave out corners that are none."""
    kept: list[Point] = []
    for point in points:
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and any(kept[-2][axis] == kept[-1][axis] == point[axis] for axis in (0, 1)):
            kept.pop()
        kept.append(point)
    return kept


def _rounded(points: Sequence[Point]) -> str:
    """Write a path with rounded corners."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        path.append(f"L{start[0]:.1f} {start[1]:.1f}Q{corner[0]:.1f} {corner[1]:.1f} {end[0]:.1f} {end[1]:.1f}")
    return "".join([*path, f"L{points[-1][0]:.1f} {points[-1][1]:.1f}"])


def _towards(corner: Point, other: Point) -> Point:
    """Go from a corner towards another point, at most half of the way."""
    x, y = other[0] - corner[0], other[1] - corner[1]
    length = abs(x) + abs(y)
    part = min(RADIUS, length / 2) / length
    return corner[0] + x * part, corner[1] + y * part


def _head(before: Point, tip: Point) -> str:
    (x, y), down = tip, before[0] == tip[0]
    wings = (
        [(x - HEAD / 2, y - HEAD), (x + HEAD / 2, y - HEAD)] if down else [(x - HEAD, y - HEAD / 2), (x - HEAD, y + HEAD / 2)]
    )
    return element("path", d="M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in [tip, *wings]) + "Z", class_="grey")


def _sign(station: Station, page: Page, place: int) -> Iterator[str]:
    """Yield the sign of a join in a circle, before its box."""
    box = page.slots[place].box
    x, y = (box.left - SIGN_PLACE, box.y) if page.layout == "row" else (box.x, box.top - box.rise - SIGN_PLACE)
    yield element("circle", cx=x, cy=y, r=SIGN, class_="front purple purple-edge")
    sign = SIGNS.get(station.kind, "")  # a layer of one's own has none
    size = None if len(sign) < len("max") else 8  # inside its circle
    yield text(x, y + (4.5 if size is None else 3), sign, "purple", text_anchor="middle", font_weight="bold", font_size=size)
