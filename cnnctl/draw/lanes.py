"""Ranks and lanes: the place of each box in the order of computation, and beside which branch it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnctl.draw.stations import Station


@dataclass(frozen=True)
class Edge:
    """A connection between two stations.

    Attributes:
        start, end: their indices.
        port: which input of `end` it is; `ports`: of how many.
        lane: the lane that a connection over several ranks follows.
        track: None where the lane is free there, else the number of the track beside the lane, from 0.
    """

    start: int
    end: int
    port: int
    ports: int
    lane: int
    track: int | None = None


def ranks_of(stations: Sequence[Station]) -> list[int]:
    """Compute the length of the longest path from the input to each station."""
    ranks: list[int] = []
    for station in stations:
        ranks.append(1 + max((ranks[place] for place in station.inputs), default=-1))
    return ranks


def lanes_of(stations: Sequence[Station], ranks: Sequence[int]) -> list[int]:
    """Choose a lane for each station: that of an input where it is free, else the first free one."""
    taken: set[tuple[int, int]] = set()
    lanes: list[int] = []
    for station, rank in zip(stations, ranks, strict=True):
        wanted = sorted({lanes[place] for place in station.inputs})
        lane = next((each for each in wanted if (each, rank) not in taken), None)
        if lane is None:
            lane = next(each for each in range(len(stations) + 1) if (each, rank) not in taken)
        taken.add((lane, rank))
        lanes.append(lane)
    return lanes


def edges_of(stations: Sequence[Station], ranks: Sequence[int], lanes: Sequence[int]) -> list[Edge]:
    """List the connections; one over several ranks follows a free lane, or a track beside its lane."""
    boxes = {(lane, rank) for lane, rank in zip(lanes, ranks, strict=True)}
    tracks: dict[int, list[int]] = {}  # by lane, the rank up to which each track is used
    edges = []
    for end, station in enumerate(stations):
        for port, start in enumerate(station.inputs):
            between = range(ranks[start] + 1, ranks[end])
            free = [lane for lane in (lanes[start], lanes[end]) if not any((lane, rank) in boxes for rank in between)]
            if free or not between:
                edges.append(Edge(start, end, port, len(station.inputs), (free or [lanes[start]])[0]))
                continue
            lane = min(lanes[start], lanes[end])
            track = _track(tracks.setdefault(lane, []), ranks[start], ranks[end])
            edges.append(Edge(start, end, port, len(station.inputs), lane, track))
    return edges


def _track(ends: list[int], start: int, end: int) -> int:
    """Take the first track that is free from a rank on, up to another."""
    for number, until in enumerate(ends):
        if until <= start:
            ends[number] = end
            return number
    ends.append(end)
    return len(ends) - 1
