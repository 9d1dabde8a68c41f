"""Places of the boxes on a page: ranks side by side, lanes below each other, and as many bands as fit the page best.

Everything is computed along two axes: `main`, in which the network computes, and `cross`. In the layout `row` main is x, in
`column` it is y. A band is a row or a column of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from cnnctl.draw.boxes import Box
from cnnctl.draw.labels import LINE, Line
from cnnctl.draw.lanes import Edge
from cnnctl.draw.repeats import Round

PAGE = {"row": 9 / 16, "column": 297 / 210}
"""Height over width: of a slide for `row`, of a sheet of A4 for `column`."""
GAP, MAX_MORE = 40.0, 60.0
"""Pixels between ranks, and the most that are added where a page has room."""
LANE_GAP, BAND_GAP, TRACK, BRACKET = 20.0, 40.0, 12.0, 24.0
TEXT_GAP = {"row": 7.0, "column": 14.0}
JOIN = 22.0
"""Pixels before a join, for the sign at which its inputs meet."""
EDGE_ROOM, BELOW = 24.0, 24.0
"""Pixels at both ends of a band, for the connections to the next one, and below those of a column."""


@dataclass(frozen=True)
class Band:
    """A row, or a column, of the page.

    Attributes:
        ranks: the first rank and the one after the last.
        start, end: of the band along the cross axis.
        length: along the main axis.
        centres: of the lanes, along the cross axis.
        tracks: where the tracks of each lane begin, along the cross axis; they go down from there.
        brackets: where the outermost bracket of each lane is, along the cross axis.
    """

    ranks: tuple[int, int]
    start: float
    end: float
    length: float
    centres: dict[int, float]
    tracks: dict[int, float]
    brackets: dict[int, float]


@dataclass(frozen=True)
class Slot:
    """The place of a station: its box, and where its text is.

    Attributes:
        box: with its centre.
        band: the index of its band; rank, lane: its place in the order of computation, and the branch it lies in.
        start, end: of its rank along the main axis, without the gap.
        text: (x, y) of the first line: its middle in a row, its start in a column.
    """

    box: Box
    band: int
    rank: int
    lane: int
    start: float
    end: float
    text: tuple[float, float]


@dataclass(frozen=True)
class Page:
    """All places, and the size of what is drawn, in pixels."""

    layout: str
    slots: list[Slot]
    bands: list[Band]
    width: float
    height: float


@dataclass(frozen=True)
class Drawing:
    """What is placed: boxes, their lines of text, ranks, lanes, connections, and the repeats and blocks around each station."""

    boxes: Sequence[Box]
    lines: Sequence[Sequence[Line]]
    ranks: Sequence[int]
    lanes: Sequence[int]
    edges: Sequence[Edge]
    rounds: Sequence[Sequence[Round]]

    @cached_property
    def joins(self) -> set[int]:
        """The stations with several inputs."""
        return {edge.end for edge in self.edges if edge.ports > 1}

    @cached_property
    def by_rank(self) -> list[list[int]]:
        """The stations of each rank."""
        found: list[list[int]] = [[] for _ in range(max(self.ranks) + 1)]
        for each, rank in enumerate(self.ranks):
            found[rank].append(each)
        return found

    @cached_property
    def long_edges(self) -> list[Edge]:
        """The connections over several ranks."""
        return [edge for edge in self.edges if self.ranks[edge.end] > self.ranks[edge.start] + 1]

    def main(self, place: int, layout: str) -> tuple[float, float]:
        """Compute the pixels that a station takes before and after its centre, along the main axis."""
        left, right, up, down = self.boxes[place].reach
        join = JOIN if place in self.joins else 0.0
        if layout == "row":
            half = max(line.width for line in self.lines[place]) / 2
            return max(left + join, half), max(right, half)
        half = len(self.lines[place]) * LINE / 2
        return max(up + join, half), max(down, half)

    def cross(self, place: int, layout: str) -> tuple[float, float, float]:
        """Compute the pixels across: of the box before and after its centre, and of the text."""
        left, right, up, down = self.boxes[place].reach
        if layout == "row":
            return up, down, len(self.lines[place]) * LINE
        return left, right, max(line.width for line in self.lines[place])


def placed(drawing: Drawing, layout: str, around: float) -> Page:
    """Place a drawing on the page that shows it largest.

    Args:
        drawing: what is placed.
        layout: `row` or `column`.
        around: pixels of height that the title and the legend need.
    """
    widths = _rank_widths(drawing, layout)
    pages = [_page(drawing, layout, widths, parts, GAP) for parts in _partitions(widths)]
    best = min(pages, key=lambda page: page_width(page, around))
    if layout == "column":
        return best
    room = (page_width(best, around) - best.width) / max(last - first for first, last in (band.ranks for band in best.bands))
    return _page(drawing, layout, widths, [band.ranks for band in best.bands], GAP + min(room, MAX_MORE))


def page_width(page: Page, around: float) -> float:
    """Compute the width of the smallest page of the layout's proportions that holds a drawing.

    Args:
        page: the drawing, placed.
        around: pixels of height that the title and the legend need.
    """
    return max(page.width, (page.height + around) / PAGE[page.layout])


def _rank_widths(drawing: Drawing, layout: str) -> list[tuple[float, float]]:
    widths = [(0.0, 0.0)] * (max(drawing.ranks) + 1)
    for each, rank in enumerate(drawing.ranks):
        before, after = drawing.main(each, layout)
        widths[rank] = max(widths[rank][0], before), max(widths[rank][1], after)
    return widths


def _partitions(widths: Sequence[tuple[float, float]]) -> list[list[tuple[int, int]]]:
    """List ways to break the ranks into bands, one for each number of bands that a length allows, bands of similar length."""
    sizes = [before + after + GAP for before, after in widths]
    found: dict[int, list[tuple[int, int]]] = {}
    longest, total = max(sizes), sum(sizes)
    steps = 60
    for step in range(steps + 1):
        parts = _broken(sizes, longest * (total / longest) ** (step / steps) + 1e-6)
        found.setdefault(len(parts), parts)  # the shortest length first: the most even bands of this number
    return list(found.values())


def _broken(sizes: Sequence[float], length: float) -> list[tuple[int, int]]:
    """Fill bands up to a length."""
    parts, start, used = [], 0, 0.0
    for rank, size in enumerate(sizes):
        if used + size > length and rank > start:
            parts.append((start, rank))
            start, used = rank, 0.0
        used += size
    return [*parts, (start, len(sizes))]


def _page(
    drawing: Drawing, layout: str, widths: Sequence[tuple[float, float]], parts: Sequence[tuple[int, int]], gap: float
) -> Page:
    centres, starts = [0.0] * len(widths), [0.0] * len(widths)
    bands: list[Band] = []
    room = EDGE_ROOM if len(parts) > 1 else 0.0
    cross = 0.0
    for first, last in parts:
        main = room
        for rank in range(first, last):
            before, after = widths[rank]
            starts[rank], centres[rank] = main, main + before
            main += before + after + gap
        length = main - gap + room
        bands.append(_band(drawing, layout, (first, last), cross, length))
        cross = bands[-1].end + BAND_GAP
    slots = _slots(drawing, layout, widths, bands, centres, starts)
    main, cross = max(band.length for band in bands), bands[-1].end
    size = (main, cross) if layout == "row" else (cross, main + (BELOW if len(bands) > 1 else 0.0))
    return Page(layout, slots, bands, *size)


def _band(drawing: Drawing, layout: str, ranks: tuple[int, int], start: float, length: float) -> Band:
    """Place the lanes of a band below each other; a lane may have connections alone."""
    inside = [each for rank in range(*ranks) for each in drawing.by_rank[rank]]
    passing = _passing(drawing, ranks)
    heads = heads_of([(drawing.lanes[each], drawing.rounds[each]) for each in inside])
    cross, centres, tracks, brackets = start, {}, {}, {}
    for lane in sorted({drawing.lanes[each] for each in inside} | {edge.lane for edge in passing}):
        mine = [drawing.cross(each, layout) for each in inside if drawing.lanes[each] == lane]
        before, after, text = (max((each[axis] for each in mine), default=8.0) for axis in range(3))
        brackets[lane] = cross
        cross += BRACKET * max((level + 1 for of_round, level in heads.values() if of_round == lane), default=0)
        tracks[lane] = cross + TRACK / 2
        cross += TRACK * max((edge.track + 1 for edge in passing if edge.track is not None and edge.lane == lane), default=0)
        centres[lane] = cross + before
        cross += before + after + TEXT_GAP[layout] + text + LANE_GAP
    return Band(ranks, start, cross - LANE_GAP, length, centres, tracks, brackets)


def heads_of(stations: Sequence[tuple[int, Sequence[Round]]]) -> dict[Round, tuple[int, int]]:
    """Compute for each bracket of a band the lane above which it is drawn, its first one, and its level there, from 0.

    Args:
        stations: the lane of each box of the band, and the repeats and blocks around it.
    """
    lanes: dict[Round, int] = {}
    for lane, rounds in stations:
        lanes |= {each: min(lane, lanes.get(each, lane)) for each in rounds}
    heads = {}
    for _, rounds in stations:
        for level, each in enumerate(rounds):
            heads[each] = lanes[each], sum(lanes[outer] == lanes[each] for outer in rounds[:level])
    return heads


def _passing(drawing: Drawing, ranks: tuple[int, int]) -> list[Edge]:
    """List the connections over several ranks that touch a band."""
    first, last = ranks
    return [edge for edge in drawing.long_edges if drawing.ranks[edge.start] < last and drawing.ranks[edge.end] > first]


def _slots(
    drawing: Drawing,
    layout: str,
    widths: Sequence[tuple[float, float]],
    bands: Sequence[Band],
    centres: Sequence[float],
    starts: Sequence[float],
) -> list[Slot]:
    band_of = {rank: number for number, band in enumerate(bands) for rank in range(*band.ranks)}
    texts = _text_starts(drawing, layout, band_of)
    slots = []
    for each, (rank, lane) in enumerate(zip(drawing.ranks, drawing.lanes, strict=True)):
        number = band_of[rank]
        main, cross = centres[rank], bands[number].centres[lane]
        text = cross + texts[number, lane] + TEXT_GAP[layout]
        x, y = (main, cross) if layout == "row" else (cross, main)
        at = (main, text + LINE * 0.75) if layout == "row" else (text, main - (len(drawing.lines[each]) / 2 - 0.75) * LINE)
        end = starts[rank] + sum(widths[rank])
        slots.append(Slot(replace(drawing.boxes[each], x=x, y=y), number, rank, lane, starts[rank], end, at))
    return slots


def _text_starts(drawing: Drawing, layout: str, band_of: dict[int, int]) -> dict[tuple[int, int], float]:
    """Compute how far from its centre the text of each lane begins."""
    starts: dict[tuple[int, int], float] = {}
    for each, (rank, lane) in enumerate(zip(drawing.ranks, drawing.lanes, strict=True)):
        key = band_of[rank], lane
        starts[key] = max(starts.get(key, 0.0), drawing.cross(each, layout)[1])
    return starts
