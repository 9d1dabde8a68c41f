"""Brackets over the layers of a `repeat`: one for all rounds where they are equal, else one for each round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnctl.draw.placing import BRACKET, Page
from cnnctl.draw.repeats import Round
from cnnctl.draw.stations import Station
from cnnctl.svg import element, text, width_of

TICK, SIZE = 6.0, 11.5
"""Pixels of the ends of a bracket, and of its label's font."""


def drawn_brackets(stations: Sequence[Station], page: Page) -> Iterator[str]:
    """Yield the brackets with their labels; one that goes over several bands is drawn in each."""
    spans: dict[tuple[int, int, Round], list[int]] = {}
    for place, station in enumerate(stations):
        for level, each in enumerate(station.rounds):
            spans.setdefault((page.slots[place].band, level, each), []).append(place)
    for (band, level, each), places in spans.items():
        start = min(page.slots[place].start for place in places)
        end = max(page.slots[place].end for place in places)
        cross = page.bands[band].brackets + BRACKET * level + BRACKET / 2
        number = f"× {each.times}" if each.folded else f"{each.number + 1} of {each.times}"
        fits = width_of(f"repeat {number}", SIZE) <= end - start
        yield from _bracket(start, end, cross, f"repeat {number}" if fits else number, page.layout)


def _bracket(start: float, end: float, cross: float, label: str, layout: str) -> Iterator[str]:
    corners = [(start, cross + TICK), (start, cross), (end, cross), (end, cross + TICK)]
    middle = (start + end) / 2
    if layout == "column":
        corners = [(y, x) for x, y in corners]
    turn = None if layout == "row" else f"rotate(-90 {cross - 5:.1f} {middle:.1f})"
    x, y = (middle, cross - 5) if layout == "row" else (cross - 5, middle)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    yield element("polyline", points=points, class_="bracket purple-line")
    yield text(x, y, label, "purple", text_anchor="middle", font_size=SIZE, font_weight="bold", transform=turn)
