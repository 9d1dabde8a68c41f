"""Draw the results: bars with their spread, and lines for growth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .report import counted
from .results import Results

BARS = (
    ("images_per_second", 1, "images/s in training", "{:,.0f}"),
    ("wall_seconds", 1, "seconds, whole process", "{:.1f}"),
    ("peak_bytes", 1e9, "peak memory, GB", "{:.2f}"),
)
LINES = (("wall_seconds", 1, "seconds, whole process"), ("peak_bytes", 1e9, "peak memory, GB"))
GROWS = {"images": "images", "width": "filters, relative to the config", "batch_size": "batch size"}
CNNCTL, OTHERS = "#2a6fb0", "#9a9a9a"
DOTS_PER_INCH = 130


def draw(results: Results, file: Path) -> None:
    """Write the picture as PNG."""
    grown = [grows for grows in GROWS if any(row["grows"] == grows for row in results["growth"])]
    rows = 1 + (len(LINES) if grown else 0)
    names = len(results["contenders"])
    heights = [1.2 + 0.38 * names, *([2.8] * (rows - 1))]
    figure = Figure(figsize=(13, sum(heights) + 0.8), layout="constrained")
    parts = figure.subfigures(rows, 1, squeeze=False, height_ratios=heights)[:, 0]
    figure.suptitle(_title(results), fontsize=10)
    _draw_bars(parts[0], results["contenders"])
    for part, line in zip(parts[1:], LINES, strict=False):
        _draw_lines(part, results["growth"], grown, *line)
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)


def _title(results: Results) -> str:
    machine, setting = results["machine"], results["setting"]
    rounds = f"; median of {setting['rounds']} rounds, lines from minimum to maximum" if setting["rounds"] > 1 else ""
    return (
        f"{setting['data']}, {counted(setting['epochs'], 'epoch')}, batches of {setting['batch_size']}{rounds}\n"
        f"{machine['gpu'] or machine['cpu']}, {machine['cores']} cores"
    )


def _draw_bars(part: Any, contenders: list[dict[str, Any]]) -> None:
    for axes, (figure, unit, title, form) in zip(part.subplots(1, len(BARS)), BARS, strict=True):
        shown = [each for each in contenders if figure in each]
        for place, each in enumerate(shown):
            found = {key: value / unit for key, value in each[figure].items()}
            colour = CNNCTL if each["name"].startswith("cnnctl") else OTHERS
            axes.barh(place, found["median"], color=colour)
            if found["min"] < found["max"]:
                sides = [[found["median"] - found["min"]], [found["max"] - found["median"]]]
                axes.errorbar(found["median"], place, xerr=sides, color="black", capsize=3, elinewidth=1)
            axes.text(found["max"], place, f"  {form.format(found['median'])}", va="center", fontsize=8)
        axes.set_yticks(range(len(shown)), [each["name"] for each in shown], fontsize=9)
        axes.invert_yaxis()  # the first contender on top
        axes.margins(x=0.2)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)


def _draw_lines(part: Any, growth: list[dict[str, Any]], grown: list[str], figure: str, unit: float, title: str) -> None:
    for axes, grows in zip(part.subplots(1, len(grown), squeeze=False)[0], grown, strict=True):
        rows = [row for row in growth if row["grows"] == grows]
        for name in dict.fromkeys(row["contender"] for row in rows):
            own = [row for row in rows if row["contender"] == name]
            colour = CNNCTL if name.startswith("cnnctl") else OTHERS
            axes.plot([row["value"] for row in own], [row[figure] / unit for row in own], "o-", color=colour, label=name)
        axes.set_xticks(values := sorted({row["value"] for row in rows}), [f"{value:,g}" for value in values])
        axes.set_ylim(0, 1.15 * max(row[figure] for row in rows) / unit)
        axes.set(xlabel=GROWS[grows])
        axes.set_ylabel(title)
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
