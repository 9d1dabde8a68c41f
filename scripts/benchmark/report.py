"""Draw the results as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

from cnnctl.report.tables import PAGE_WIDTH, markdown_table, show_bytes, text_table

from .others import company
from .results import Results

Table = tuple[str, Sequence[str], list[list[str]]]
"""Title, columns, rows; text in the first column, numbers in the others."""
Show = Callable[[float], str]

FIGURES: tuple[tuple[str, str, Show], ...] = (
    ("images_per_second", "images/s", "{:,.0f}".format),
    ("train_seconds", "training", "{:.1f} s".format),
    ("wall_seconds", "whole", "{:.1f} s".format),
    ("start_seconds", "start", "{:.1f} s".format),
    ("cpu_seconds", "CPU", "{:.1f} s".format),
    ("peak_bytes", "memory", lambda count: show_bytes(round(count))),
    ("test_accuracy", "accuracy", "{:.2%}".format),
)
SUMMARY_FIGURES: tuple[tuple[str, str, Show], ...] = (
    ("wall_seconds", "whole", "{:.2f} s".format),
    ("cpu_seconds", "CPU", "{:.2f} s".format),
)
LEGEND = (
    "images/s and training: the training steps alone, with tracing and compiling, without validation; whole: the process "
    "from start to end; start: until the first step; CPU: user and system; memory: peak resident memory of the host; "
    "peak: the fraction of the measured speed of matrix products that the training reaches, by precision"
)


def as_text(results: Results) -> str:
    """Draw the results for a terminal."""
    drawn = [f"{title}\n\n{text_table(columns, rows, left=1)}" for title, columns, rows in tables(results)]
    before, after = ([fill(text, PAGE_WIDTH) for text in texts] for texts in (facts(results), [f"{LEGEND}."]))
    return "\n\n".join([*before, *drawn, *after, *failures(results)])


def as_markdown(results: Results) -> str:
    """Draw the results as Markdown."""
    drawn = [f"{title}:\n\n{markdown_table(columns, rows, left=1)}" for title, columns, rows in tables(results)]
    return "\n\n".join([*facts(results), *drawn, f"{LEGEND}.", *failures(results)])


def facts(results: Results) -> list[str]:
    """Describe setting, machine and peak in one paragraph each."""
    machine, setting = results["machine"], results["setting"]
    flags = ", ".join(machine["cpu_flags"]) or "no flags of interest"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    measured = ", ".join(f"{precision} {speed:,.0f} GFLOP/s" for precision, speed in results["peak_gflops"].items())
    return [
        f"{setting['data']}, {setting['train_images']:,} training images, {counted(setting['epochs'], 'epoch')}, "
        f"batches of {setting['batch_size']}, {counted(setting['rounds'], 'round')}: median (least–most)",
        f"{machine['gpu'] or 'no GPU'}; {machine['cpu']}, {machine['cores']} cores ({flags}), "
        f"{show_bytes(machine['memory_bytes'])} of memory; Python {machine['python']}, {versions}",
        *([f"measured peak: {measured}"] if measured else []),
        *company(results["contenders"], machine["cores"]),
        *(f"{name} left out: {reason}" for name, reason in results["left_out"].items()),
    ]


def counted(count: int, what: str) -> str:
    """Return `1 round` or `3 rounds`."""
    return f"{count} {what}{'s' if count > 1 else ''}"


def tables(results: Results) -> list[Table]:
    """Build every table that has rows."""
    found = [
        _contenders("Training", results["contenders"], FIGURES),
        _contenders("Summary", results["summary"], SUMMARY_FIGURES),
        _ratios(results["ratios"]),
        _growth(results["growth"]),
    ]
    return [table for table in found if table[2]]


def _contenders(title: str, contenders: Sequence[dict[str, Any]], figures: tuple[tuple[str, str, Show], ...]) -> Table:
    shares = any("share_of_peak" in each for each in contenders)
    columns = ["contender", *(column for _, column, _ in figures), *(["peak"] if shares else [])]
    rows = [
        [each["name"], *(_cell(each.get(name), show) for name, _, show in figures), *([_share(each)] if shares else [])]
        for each in contenders
        if "wall_seconds" in each
    ]
    return title, columns, rows


def _cell(found: dict[str, float] | None, show: Show) -> str:
    """Show a median, and below it the spread of several rounds."""
    if found is None:
        return "-"
    least, middle, most = (show(found[key]) for key in ("min", "median", "max"))
    return middle if least == most else f"{middle}\n({least.split()[0]}–{most.split()[0]})"


def _share(row: dict[str, Any]) -> str:
    return f"{row['share_of_peak']:.0%}\n{row['peak_precision']}" if "share_of_peak" in row else "-"


def _ratios(rows: Sequence[dict[str, Any]]) -> Table:
    show = "{:.2f}".format
    cells = [[row["meaning"], show(row["median"]), f"{show(row['min'])}–{show(row['max'])}"] for row in rows]
    return "Ratios within a round; above 1, cnnctl is better", ["of", "median", "least–most"], cells


def _growth(rows: Sequence[dict[str, Any]]) -> Table:
    columns = ["grows", "value", "contender", "images/s", "training", "whole", "memory"]
    cells = [
        [
            row["grows"].replace("_", " "),
            f"{row['value']:,g}",
            row["contender"],
            *(show(row[name]) for name, column, show in FIGURES if column in columns),
        ]
        for row in rows
    ]
    return "Growth, one round", columns, cells


def failures(results: Results) -> list[str]:
    """Describe each failure with the last lines of its output."""
    return [
        "\n".join([f"{each['contender']} failed in {each['when']}:", *(f"    {line}" for line in each["lines"])])
        for each in results["failures"]
    ]
