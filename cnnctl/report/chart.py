"""Draw lines over epochs as SVG panels with a common horizontal axis; plain Python, so that an epoch need not wait for it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from cnnctl.svg import element, text, width_of

LOG_FROM = 50.0
"""Ratio of the largest to the smallest value from which an axis that may be logarithmic is."""
LARGEST = 1e300
"""Larger values are not drawn, as NaN and infinity are not."""
MAX_MARKERS = 40
"""Longest line, in points, whose points are marked; their tooltips have the values."""
LABEL_GAP = 15.0
"""Smallest distance of two labels at the ends of lines, in pixels."""
_STEPS = (1, 2, 5, 10)


class Point(NamedTuple):
    """A value at an epoch, or at a part of one."""

    epoch: float
    value: float


class Interval(NamedTuple):
    """The 95 % interval of a value at an epoch."""

    epoch: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One line of a panel.

    Attributes:
        name: for tooltips.
        points: in the order of the epochs; NaN, infinite and very large values leave gaps.
        colour: a colour of `svg`.
        dash: pattern of dashes, as in SVG; None for a solid line.
        label: text at its right end; empty for none.
        intervals: drawn as a band.
    """

    name: str
    points: Sequence[Point]
    colour: str = "blue"
    dash: str | None = None
    label: str = ""
    intervals: Sequence[Interval] = ()


@dataclass(frozen=True)
class Panel:
    """Lines with one vertical axis.

    Attributes:
        title: what is drawn.
        lines: at least one.
        height: of the plot, in pixels.
        percent: whether values are shares, from 0 to 1.
        from_zero: whether a linear axis begins at zero.
        may_be_log: whether the axis is logarithmic where values differ by a factor of `LOG_FROM` or more.
        ticks: about how many.
    """

    title: str
    lines: Sequence[Line]
    height: float = 150
    percent: bool = False
    from_zero: bool = False
    may_be_log: bool = False
    ticks: int = 5


@dataclass(frozen=True)
class Scale:
    """An axis: values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, here = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return self.start + (here - low) / (high - low) * (self.end - self.start)


@dataclass(frozen=True)
class Frame:
    """Where panels are drawn, and what crosses all of them.

    Attributes:
        left, width: of the plots, in pixels.
        epochs: the first and the last.
        shaded: the first and the last epoch of a shaded part; None for none.
        marked: an epoch with a vertical line; None for none.
    """

    left: float
    width: float
    epochs: tuple[float, float]
    shaded: tuple[float, float] | None = None
    marked: float | None = None

    @property
    def scale(self) -> Scale:
        """The horizontal axis; a single epoch is in its middle."""
        first, last = self.epochs
        alone = 0.5 if first == last else 0
        return Scale(first - alone, last + alone, self.left, self.left + self.width)


def drawn(panel: Panel, frame: Frame, top: float) -> list[str]:
    """Draw a panel whose plot begins at `top`; its title is above."""
    across = frame.scale
    low, high, log = value_range(panel)
    up = Scale(low, high, top + panel.height, top, log)
    parts = [text(frame.left, top - 9, panel.title + notes(panel, log), font_weight=600)]
    parts += _shade(frame, across, top, panel.height)
    parts += _grid(panel, frame, up)
    for line in panel.lines:
        parts += _line(line, across, up, panel.percent)
    return [*parts, *_end_labels(panel, frame, across, up)]


def notes(panel: Panel, log: bool) -> str:
    """Describe a logarithmic axis and values that cannot be drawn."""
    lost = sum(not is_drawable(point.value, log) for line in panel.lines for point in line.points)
    said = [*(["log scale"] if log else []), *([f"not drawn: {lost} NaN or infinite"] if lost else [])]
    return f" ({'; '.join(said)})" if said else ""


def is_drawable(value: float, log: bool = False) -> bool:
    """Return True for a finite value that has a place on the axis."""
    return math.isfinite(value) and abs(value) <= LARGEST and (value > 0 or not log)


def value_range(panel: Panel) -> tuple[float, float, bool]:
    """Choose the lowest and highest value of the vertical axis, and whether it is logarithmic."""
    values = [point.value for line in panel.lines for point in line.points if is_drawable(point.value)]
    values += [end for line in panel.lines for each in line.intervals for end in each[1:] if is_drawable(end)]
    if not values:
        return 0.0, 1.0, False
    low, high = min(values), max(values)
    if panel.may_be_log and low > 0 and high / low >= LOG_FROM:
        return low / 1.3, high * 1.3, True
    low = min(low, 0.0) if panel.from_zero else low
    apart = high - low
    if apart <= abs(high) * 1e-9:  # all are equal: the line is in the middle
        apart = abs(high) or 1.0
        return (0.0 if panel.from_zero else low - apart / 2), high + apart / 2, False
    room = 0.06 * apart
    high = min(high + room, 1.0 + room / 2) if panel.percent else high + room
    return (low if panel.from_zero else low - room), high, False


def ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """Choose round values between two, about `count` of them, 1, 2 or 5 times a power of ten apart.

    Args:
        low, high: the ends of a linear axis.
        count: about how many.
        whole: integers only.
    """
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in _STEPS if each * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Choose powers of ten between two positive values, at most seven; of few decades also their 2-fold and 5-fold."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, math.ceil((last - first) / 7))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    found = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    return [value for value in found if low <= value <= high]


def tick_text(values: Sequence[float], percent: bool) -> Callable[[float], str]:
    """Return the format of the ticks of an axis, with as many digits as make them differ."""
    if percent:
        apart = min((b - a for a, b in itertools.pairwise(values)), default=0.1)
        digits = max(0, -math.floor(math.log10(apart * 100) + 1e-9))
        return lambda value: f"{value:.{digits}%}"
    return lambda value: f"{value:.4g}"


def value_text(value: float, percent: bool = False) -> str:
    """Format a value, such as 98.31% or 0.0541."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if percent:
        return f"{value:.2%}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1000 else f"{value:.3g}"


def epoch_axis(frame: Frame, bottom: float, title: str = "epoch") -> list[str]:
    """Draw the numbers of the epochs below the last panel."""
    scale = frame.scale
    shown = [each for each in epoch_ticks(frame) if frame.epochs[0] <= each <= frame.epochs[1]]
    numbers = [text(scale.at(each), bottom + 18, f"{each:.0f}", "faint", text_anchor="middle") for each in shown]
    return [*numbers, text(frame.left + frame.width / 2, bottom + 37, title, "faint", text_anchor="middle")]


def epoch_ticks(frame: Frame) -> list[float]:
    """Choose the epochs with a number; the first and the last epoch are among few."""
    first, last = frame.epochs
    if last - first <= 12 and first == int(first):
        return [first + index for index in range(int(last - first) + 1)]
    return ticks(first, last, 10, whole=True)


def _shade(frame: Frame, across: Scale, top: float, height: float) -> Iterator[str]:
    if frame.shaded:
        begin, end = map(across.at, frame.shaded)
        yield element("rect", x=begin, y=top, width=max(end - begin, 2.0), height=height, class_="grey", fill_opacity=0.2)
    if frame.marked is not None:
        at = across.at(frame.marked)
        yield element("line", x1=at, x2=at, y1=top, y2=top + height, class_="faint-line", stroke_dasharray="2 3")


def _grid(panel: Panel, frame: Frame, up: Scale) -> Iterator[str]:
    right = frame.left + frame.width
    shown = log_ticks(up.low, up.high) if up.log else ticks(up.low, up.high, panel.ticks)
    write = tick_text(shown, panel.percent)
    for value in shown:
        if panel.percent and value > 1 + 1e-9:
            continue
        y = up.at(value)
        yield element("line", x1=frame.left, x2=right, y1=y, y2=y, class_="line-line", stroke_width=0.6)
        yield text(frame.left - 8, y + 4, write(value), "faint", text_anchor="end", font_size=12)
    yield element("line", x1=frame.left, x2=right, y1=up.start, y2=up.start, class_="faint-line", stroke_width=1)


def _line(line: Line, across: Scale, up: Scale, percent: bool) -> Iterator[str]:
    band = [each for each in line.intervals if all(is_drawable(end, up.log) for end in each[1:])]
    if len(band) > 1:
        there = [(across.at(each.epoch), up.at(each.high)) for each in band]
        back = [(across.at(each.epoch), up.at(each.low)) for each in reversed(band)]
        yield element("path", d=_path([*there, *back]) + "Z", class_=line.colour, fill_opacity=0.18)
    elif band:
        x = across.at(band[0].epoch)
        low, high = up.at(band[0].low), up.at(band[0].high)
        yield element("line", x1=x, x2=x, y1=low, y2=high, class_=f"{line.colour}-line", stroke_width=6, stroke_opacity=0.3)
    for run in _runs(line.points, up.log):
        places = [(across.at(point.epoch), up.at(point.value)) for point in run]
        if len(places) > 1:
            yield element(
                "path", d=_path(places), class_=f"{line.colour}-line", stroke_width=2, stroke_linejoin="round",
                stroke_dasharray=line.dash,
            )  # fmt: skip
        if len(places) == 1 or len(line.points) <= MAX_MARKERS:
            for (x, y), point in zip(places, run, strict=True):
                said = f"{line.name}, epoch {point.epoch:g}: {value_text(point.value, percent)}"
                yield element(
                    "circle", element("title", escape(said)), cx=x, cy=y, r=3 if len(run) <= 20 else 2, class_=line.colour
                )


def _runs(points: Sequence[Point], log: bool) -> list[list[Point]]:
    """Split points where one cannot be drawn."""
    found: list[list[Point]] = [[]]
    for point in points:
        if is_drawable(point.value, log):
            found[-1].append(point)
        else:
            found.append([])
    return [each for each in found if each]


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _end_labels(panel: Panel, frame: Frame, across: Scale, up: Scale) -> Iterator[str]:
    """Write the label of each line beside its last point, moved where labels of the same epoch would overlap."""
    ended: dict[float, list[tuple[Line, Point]]] = {}
    for line in panel.lines:
        if line.label and (run := _runs(line.points, up.log)):
            ended.setdefault(line.points[-1].epoch, []).append((line, run[-1][-1]))
    for epoch, labelled in ended.items():
        heights = spread([up.at(point.value) for _, point in labelled], up.end, up.start)
        x = across.at(epoch) + 10
        for (line, _), y in zip(labelled, heights, strict=True):
            if epoch < frame.epochs[1]:  # other lines continue behind it
                yield element(
                    "rect", x=x - 3, y=y - 6, width=width_of(line.label) + 6, height=12, class_="paper", fill_opacity=0.8
                )
            yield text(x, y + 4.5, line.label, line.colour)


def spread(heights: Sequence[float], top: float, bottom: float, gap: float = LABEL_GAP) -> list[float]:
    """Move heights apart, up to `gap` pixels, in their order and as little as keeps them between `top` and `bottom`.

    Where there is no room for all, the gap is smaller.
    """
    gap = min(gap, (bottom - top) / max(len(heights) - 1, 1))
    order = sorted(range(len(heights)), key=lambda index: heights[index])
    placed: list[float] = []
    for index in order:
        placed.append(max(heights[index], placed[-1] + gap if placed else top))
    over = bottom
    for at in reversed(range(len(placed))):
        placed[at] = min(placed[at], over)
        over = placed[at] - gap
    return [placed[order.index(index)] for index in range(len(heights))]
