"""Bars of the whole network: which layers hold its parameters, and which need its MACs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from cnnctl.draw.boxes import COLOURS
from cnnctl.draw.labels import SIZE, Line, percent, short, shortened
from cnnctl.draw.stations import Station
from cnnctl.spec.groups import local
from cnnctl.svg import element, text

BAR, NEXT, NAMES = 20.0, 30.0, 132.0
"""Height of a bar, distance to the next, and width of the text before them, in pixels."""


def drawn_shares(stations: Sequence[Station], x: float, y: float, width: float) -> Iterator[str]:
    """Yield the two bars, each as long as the whole.

    Args:
        stations: the boxes, whose shares are drawn.
        x, y, width: of the text and the bars, in pixels.
    """
    parameters = [station.parameters for station in stations]
    macs = [station.macs for station in stations]
    known = "" if all(station.macs_known for station in stations) else "≥ "
    for row, (what, total, counts) in enumerate(
        (("parameters", f"{sum(parameters):,}", parameters), ("MACs", known + short(sum(macs)), macs))
    ):
        top = y + NEXT * row
        yield text(x, top + 14, f"{total} {what}", font_size=SIZE)
        yield from _bar(stations, counts, x + NAMES, top, width - NAMES, what)


def _bar(stations: Sequence[Station], counts: Sequence[int], x: float, y: float, width: float, what: str) -> Iterator[str]:
    whole = sum(counts)
    often = Counter(local(station.name) for station, count in zip(stations, counts, strict=True) if count)
    for station, count in zip(stations, counts, strict=True):
        if not count:
            continue
        length = width * count / whole
        colour = COLOURS.get(station.kind, "grey")
        yield element("rect", x=x, y=y, width=length, height=BAR, class_=f"share {colour} paper-edge", data_share=what)
        name = station.name if often[local(station.name)] > 1 else local(station.name)
        label = next((each for each in _labels(name, count, whole) if Line(each).width + 8 < length), None)
        if label:
            yield text(x + length / 2, y + 14, label, text_anchor="middle", font_size=SIZE)
        x += length


def _labels(name: str, count: int, whole: int) -> tuple[str, ...]:
    """Write a label in full and, where that is too long, the share alone."""
    share = percent(count, whole)
    return f"{shortened(name)} {share}", share
