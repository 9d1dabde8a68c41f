"""Brackets over the layers of a `repeat` or block: one for all rounds where they are equal, else one for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnctl.draw.placing import BRACKET, Page, heads_of
from cnnctl.draw.repeats import Round
from cnnctl.draw.stations import Station
from cnnctl.svg import element, text, width_of

TICK, SIZE = 6.0, 11.5
"""Pixels of the ends of a bracket, and of its label's font."""


def drawn_brackets(stations: Sequence[Station], page: Page) -> Iterator[str]:
    """Yield the brackets with their labels; one that goes over several bands is drawn in each."""
    for number, band in enumerate(page.bands):
        inside = [place for place, slot in enumerate(page.slots) if slot.band == number]
        for each, (lane, level) in heads_of([(page.slots[place].lane, stations[place].rounds) for place in inside]).items():
            slots = [page.slots[place] for place in inside if each in stations[place].rounds]
            start, end = min(slot.start for slot in slots), max(slot.end for slot in slots)
            cross = band.brackets[lane] + BRACKET * level + BRACKET / 2
            yield from _bracket(start, end, cross, _fitting(each, end - start), page.layout)


def _fitting(each: Round, length: float) -> str:
    """Shorten a label to the length of its bracket, in pixels: without the word repeat, then at its end."""
    label = each.label if width_of(each.label, SIZE) <= length else each.label.removeprefix("repeat ")
    while len(label) > 2 and width_of(label, SIZE) > length:
        label = f"{label.rstrip('…')[:-1]}…"
    return label


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
