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
    ("wall_seconds", "whole", "{:.1f} s".format),
    ("start_seconds", "start", "{:.1f} s".format),
    ("end_seconds", "end", "{:.1f} s".format),
    ("cpu_seconds", "CPU", "{:.1f} s".format),
    ("peak_bytes", "memory", lambda count: show_bytes(round(count))),
    ("test_accuracy", "accuracy", "{:.2%}".format),
)
TEXTS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("share_of_peak", "peak", "{:.0%}".format),
    ("precision", "precision", str),
)
GROWTH_COLUMNS = ("images/s", "whole", "memory")
SUMMARY_FIGURES: tuple[tuple[str, str, Show], ...] = (
    ("wall_seconds", "whole", "{:.2f} s".format),
    ("cpu_seconds", "CPU", "{:.2f} s".format),
)
LEGEND = (
    "images/s: the training steps alone, with tracing and compiling, without validation; whole: the process from start to "
    "end; start: until the first step, with the compiling of torch-best; end: after the last step, of cnnctl with one epoch "
    "only; CPU: user and system; memory: peak resident memory of the host; peak: the fraction of the measured speed of matrix "
    "products, in its precision, that the training reaches"
)


def as_text(results: Results) -> str:
    """Draw the results for a terminal."""
    drawn = [f"{fill(title, PAGE_WIDTH)}\n\n{text_table(columns, rows, left=1)}" for title, columns, rows in tables(results)]
    before, after = ([fill(text, PAGE_WIDTH) for text in texts] for texts in (facts(results), [f"{LEGEND}."]))
    return "\n\n".join([*before, *drawn, *after, *failures(results)])


def as_markdown(results: Results) -> str:
    """Draw the results as Markdown."""
    drawn = [f"{title}:\n\n{markdown_table(columns, rows, left=1)}" for title, columns, rows in tables(results)]
    return "\n\n".join([*facts(results), *drawn, f"{LEGEND}.", *failures(results)])


def facts(results: Results) -> list[str]:
    """Describe the machine and its peak in one paragraph each."""
    machine = results["machine"]
    flags = ", ".join(machine["cpu_flags"]) or "no flags of interest"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    measured = ", ".join(f"{precision} {speed:,.0f} GFLOP/s" for precision, speed in results["peak_gflops"].items())
    rows = [*(row for each in results["comparisons"] for row in each["contenders"]), *results["growth"]]
    return [
        f"{machine['gpu'] or 'no GPU'}; {machine['cpu']}, {machine['cores']} cores ({flags}), "
        f"{show_bytes(machine['memory_bytes'])} of memory; Python {machine['python']}, {versions}",
        *([f"measured peak: {measured}"] if measured else []),
        *(_trial(network, trial) for network, trial in results["trials"].items() if trial),
        *company(rows, machine["cores"]),
        *(f"{name} left out: {reason}" for name, reason in results["left_out"].items()),
    ]


def counted(count: int, what: str) -> str:
    """Return `1 round` or `3 rounds`."""
    return f"{count} {what}{'s' if count > 1 else ''}"


def tables(results: Results) -> list[Table]:
    """Build every table that has rows."""
    found = [table for each in results["comparisons"] for table in _compared(results, each)]
    return [table for table in [*found, _growth(results)] if table[2]]


def _compared(results: Results, comparison: dict[str, Any]) -> list[Table]:
    """Build the tables of one network."""
    return [
        _contenders(_title(results, comparison["setting"]), comparison["contenders"], FIGURES),
        _contenders("Summary", comparison["summary"], SUMMARY_FIGURES),
        _ratios(comparison["ratios"]),
    ]


def _title(results: Results, setting: dict[str, Any]) -> str:
    return (
        f"Training the network of configs/{setting['network']}.yaml: {results['data']}, {setting['train_images']:,} training "
        f"images, {counted(results['epochs'], 'epoch')}, batches of {setting['batch_size']}, "
        f"{counted(results['rounds'], 'round')}: median (least–most)"
    )


def _trial(network: str, trial: Sequence[dict[str, Any]]) -> str:
    """Describe the ways in which PyTorch at its best was tried, the chosen one first."""
    ways = [
        f"{way['precision']}{' compiled' if way['compiled'] else ''} "
        + (f"{way['images_per_second']:,.0f} images/s" if way["images_per_second"] else "failed")
        for way in trial
    ]
    return f"torch-best computes {network} in the fastest way of a trial of some steps: {', '.join(ways)}"


def _contenders(title: str, contenders: Sequence[dict[str, Any]], figures: tuple[tuple[str, str, Show], ...]) -> Table:
    """Build a table of contenders; texts are shown where they are known."""
    texts = [text for text in TEXTS if any(text[0] in each for each in contenders)]
    rows = [
        [
            each["name"],
            *(_cell(each.get(name), show) for name, _, show in figures),
            *(show(each[name]) if name in each else "-" for name, _, show in texts),
        ]
        for each in contenders
        if "wall_seconds" in each
    ]
    return title, ["contender", *(column for _, column, _ in [*figures, *texts])], rows


def _cell(found: dict[str, float] | None, show: Show) -> str:
    """Show a median, and below it the spread of several rounds."""
    if found is None:
        return "-"
    least, middle, most = (show(found[key]) for key in ("min", "median", "max"))
    return middle if least == most else f"{middle}\n({least.split()[0]}–{most.split()[0]})"


def _ratios(rows: Sequence[dict[str, Any]]) -> Table:
    show = "{:.2f}".format
    cells = [[row["meaning"], show(row["median"]), f"{show(row['min'])}–{show(row['max'])}"] for row in rows]
    return "Ratios within a round; above 1, cnnctl is better", ["of", "median", "least–most"], cells


def _growth(results: Results) -> Table:
    rounds, epochs = counted(results["rounds"], "round"), counted(results["epochs"], "epoch")
    title = f"Growth of the network of configs/mnist.yaml: {results['data']}, {epochs}, median of {rounds}"
    shown = [(name, show) for name, column, show in FIGURES if column in GROWTH_COLUMNS]
    cells = [
        [row["grows"].replace("_", " "), f"{row['value']:,g}", row["contender"], *(show(row[name]) for name, show in shown)]
        for row in results["growth"]
    ]
    return title, ["grows", "value", "contender", *GROWTH_COLUMNS], cells


def failures(results: Results) -> list[str]:
    """Describe each failure with the last lines of its output."""
    return [
        "\n".join([f"{each['contender']} failed in {each['when']}:", *(f"    {line}" for line in each["lines"])])
        for each in results["failures"]
    ]
