"""Draw the results: bars with their spread for each network, and lines for growth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from .report import counted
from .results import Results

BARS = (
    ("images_per_second", 1, "images/s in training", "{:,.0f}"),
    ("wall_seconds", 1, "seconds, whole process", "{:.1f}"),
    ("peak_bytes", 1e9, "peak memory, GB", "{:.2f}"),
)
LINES = (
    ("images_per_second", 1, "images/s in training"),
    ("wall_seconds", 1, "seconds, whole process"),
    ("peak_bytes", 1e9, "peak memory, GB"),
)
GROWS = {"images": "images", "width": "filters, relative to the config", "depth": "convolutions", "batch_size": "batch size"}
COLOURS = {"cnnctl": "#2b6cb0", "keras": "#dd6b20", "torch": "#718096", "lightning": "#a0aec0"}
MARKERS = {"cnnctl": "o", "keras": "s", "torch": "^", "lightning": "v"}
STYLE = {
    "svg.fonttype": "none",  # text stays text: it can be selected and searched
    "svg.hashsalt": "cnnctl",  # the same picture is the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
DOTS_PER_INCH = 130
WIDTH, BAR, LINE, TITLE = 13, 0.38, 2.5, 0.8
"""Inches: of the picture; a bar, a row of lines and the title, from top to bottom."""


def draw(results: Results, file: Path) -> None:
    """Write the picture as PNG or SVG, whichever the name ends with."""
    form = file.suffix[1:]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, sum(_heights(results)) + TITLE))
        draw_on(figure, results)
        figure.savefig(file, format=form, dpi=DOTS_PER_INCH, metadata={"Date": None} if form == "svg" else None)


def draw_on(figure: Figure, results: Results) -> None:
    """Draw the results on an empty figure."""
    figure.set_layout_engine("constrained")
    figure.suptitle(_title(results), fontsize=10)
    heights, comparisons = _heights(results), results["comparisons"]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, comparison in zip(parts, comparisons, strict=False):
        part.suptitle(f"the network of configs/{comparison['setting']['network']}.yaml", fontsize=10)
        _draw_bars(part, comparison["contenders"])
    for part, line in zip(parts[len(comparisons) :], LINES, strict=False):
        _draw_lines(part, results["growth"], *line)


def _heights(results: Results) -> list[float]:
    bars = [1.2 + BAR * len(each["contenders"]) for each in results["comparisons"]]
    return [*bars, *([LINE] * len(LINES) if results["growth"] else [])]


def _title(results: Results) -> str:
    machine, rounds = results["machine"], results["rounds"]
    several = f"; median of {rounds} rounds, lines from minimum to maximum" if rounds > 1 else ""
    epochs = counted(results["epochs"], "epoch")
    return f"{results['data']}, {epochs}{several}\n{machine['gpu'] or machine['cpu']}, {machine['cores']} cores"


def _draw_bars(part: Any, contenders: Sequence[dict[str, Any]]) -> None:
    for axes, (figure, unit, title, form) in zip(part.subplots(1, len(BARS)), BARS, strict=True):
        shown = [each for each in contenders if figure in each]
        for place, each in enumerate(shown):
            _draw_bar(axes, place, each["name"], {key: value / unit for key, value in each[figure].items()}, form)
        axes.set_yticks(range(len(shown)), [each["name"] for each in shown])
        axes.invert_yaxis()  # the first contender on top
        axes.margins(x=0.2)
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_title(title)


def _draw_bar(axes: Any, place: int, name: str, found: dict[str, float], form: str) -> None:
    axes.barh(place, found["median"], color=_of(COLOURS, name))
    if found["min"] < found["max"]:
        sides = [[found["median"] - found["min"]], [found["max"] - found["median"]]]
        axes.errorbar(found["median"], place, xerr=sides, color="black", capsize=3, elinewidth=1)
    axes.text(found["max"], place, f"  {form.format(found['median'])}", va="center", fontsize=8)


def _draw_lines(part: Any, growth: Sequence[dict[str, Any]], figure: str, unit: float, title: str) -> None:
    grown = [grows for grows in GROWS if any(row["grows"] == grows for row in growth)]
    for axes, grows in zip(part.subplots(1, len(grown), squeeze=False)[0], grown, strict=True):
        rows = [row for row in growth if row["grows"] == grows]
        for name in dict.fromkeys(row["contender"] for row in rows):
            _draw_line(axes, name, [(row["value"], row[figure] / unit) for row in rows if row["contender"] == name])
        _scale(axes, sorted({row["value"] for row in rows}), grows)
        axes.set(xlabel=GROWS[grows], ylabel=title if grows == grown[0] else None)
    axes.legend(fontsize=8, frameon=False)


def _draw_line(axes: Any, name: str, points: Sequence[tuple[float, float]]) -> None:
    axes.plot(*zip(*points, strict=True), color=_of(COLOURS, name), marker=_of(MARKERS, name), markersize=4, label=name)


def _scale(axes: Any, values: Sequence[float], grows: str) -> None:
    """Let the vertical axis start at 0; all but images grow by factors, which a logarithm shows at equal distances."""
    if grows != "images":
        axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:,g}" for value in values])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,g}")


def _of(those: dict[str, str], name: str) -> str:
    """Find what belongs to a contender by the first word of its name."""
    return those[name.partition("-")[0]]
