"""Draw several runs into one picture, or the norms of a run's gradients by layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnctl.errors import RunError, UsageError, counted
from cnnctl.report.chart import Frame, Interval, Line, Panel, Point, drawn, epoch_axis
from cnnctl.report.comparison import Column, RunRow, columns, fitting, usual_keys
from cnnctl.report.tensorboard.reading import scalars
from cnnctl.report.text import printable
from cnnctl.run_folder import RunFolder
from cnnctl.spec.stack import INSIDE
from cnnctl.svg import CHARACTER, cut, element, picture, text

MAX_RUNS = 20
WIDTH = 900.0
LEFT, RIGHT, TOP = 66.0, 44.0, 88.0
"""Room beside the plots and above the first, in pixels."""
BETWEEN, BELOW = 44.0, 62.0
"""Room between two plots, and between the last and the legend, in pixels."""
MARGIN = 24.0
ROW = 20.0
"""Height of a row of the legend, in pixels."""
SAMPLE = 64.0
"""Width of the number and the piece of line at the left of the legend, in pixels."""
SMALL, TITLE = 12, 17
"""Sizes of the legend's text and of the title, in pixels."""
LONGEST = 34
"""Longest text in a cell of the legend, in characters."""
COLOURS = ("blue", "orange", "green", "purple", "yellow", "sky", "grey")
DASHES = (None, "8 4", "2 3")
"""Seven and three have no common factor, so the first 21 lines all differ, and neighbours differ in both."""
MAX_LINES = len(COLOURS) * len(DASHES)
GRADIENT_NORM = "training/gradient_norm/"
"""Tag of the norm of the gradients of a layer's weights, before its name."""
PANELS = {
    "train_loss": "train loss", "validation_loss": "validation loss",
    "train_accuracy": "train accuracy", "validation_accuracy": "validation accuracy",
}  # fmt: skip


@dataclass(frozen=True)
class RunCurves:
    """One run and the columns of its metrics.csv.

    Attributes:
        row: its results and what differs in its config.
        epochs: a row per epoch; None for an empty cell.
    """

    row: RunRow
    epochs: Sequence[Mapping[str, float | None]]


def read_curves(row: RunRow) -> RunCurves:
    """Read the epochs of a run.

    Raises:
        RunError: metrics.csv is damaged.
    """
    run = RunFolder(Path(row.name))
    return RunCurves(row, [_numbers(run, cells) for cells in run.read_epochs()])


def _numbers(run: RunFolder, cells: Mapping[str, str]) -> dict[str, float | None]:
    names = ("epoch", *PANELS, "validation_interval")
    try:
        found = {name: float(cells[name]) if cells.get(name) else None for name in names}
    except ValueError as error:
        raise RunError(f"{run.metrics} is damaged: {printable(str(error)):.60}, expected a number") from error
    if found["epoch"] is None or not 1 <= found["epoch"] <= 2**31:
        raise RunError(
            f"{run.metrics} is damaged: expected an epoch from 1 on, received {printable(cells.get('epoch', '')):.60}"
        )
    return found


def runs_svg(runs: Sequence[RunCurves], theme: str = "auto") -> str:
    """Draw runs: loss and accuracy by epoch, and a legend with results and the config values that differ.

    Args:
        runs: 1 to `MAX_RUNS`, each with at least one epoch.
        theme: as in `svg.picture`.

    Raises:
        UsageError: there are more.
    """
    if len(runs) > MAX_RUNS:
        raise UsageError(
            f"--plot draws at most {MAX_RUNS} runs, received {len(runs)}; name some, or choose with --filter KEY=VALUE"
        )
    validated = any(each.get("validation_loss") is not None for run in runs for each in run.epochs)
    names = ("train_loss", "validation_loss", "validation_accuracy") if validated else ("train_loss", "train_accuracy")
    panels = [panel for name in names if (panel := _panel(name, runs)).lines]
    epochs = [each["epoch"] or 0 for run in runs for each in run.epochs]
    rows = [run.row for run in runs]
    shown, hidden = _legend_columns(rows)
    title = f"{counted(len(runs), 'run')}: loss and accuracy by epoch"
    return _page(title, panels, (min(epochs), max(epochs)), shown, hidden, theme)


def _panel(name: str, runs: Sequence[RunCurves]) -> Panel:
    lines = []
    for index, run in enumerate(runs):
        points = [Point(each["epoch"] or 0, value) for each in run.epochs if (value := each.get(name)) is not None]
        if points:
            intervals = _intervals(run) if name == "validation_accuracy" and len(runs) == 1 else []
            lines.append(_line(index, run.row.name, points, intervals))
    is_loss = name.endswith("loss")
    height = max(160.0, 13.0 * len(lines))
    return Panel(PANELS[name], lines, height, percent=not is_loss, from_zero=is_loss, may_be_log=is_loss)


def _line(index: int, name: str, points: Sequence[Point], intervals: Sequence[Interval] = ()) -> Line:
    return Line(printable(name), points, *_style(index), str(index + 1), intervals)


def _style(index: int) -> tuple[str, str | None]:
    return COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]


def _intervals(run: RunCurves) -> list[Interval]:
    return [
        Interval(each["epoch"] or 0, max(value - half, 0.0), min(value + half, 1.0))
        for each in run.epochs
        if (value := each["validation_accuracy"]) is not None and (half := each["validation_interval"]) is not None
    ]


def _legend_columns(rows: Sequence[RunRow]) -> tuple[list[Column], list[Column]]:
    """Choose the columns of `cnnctl runs` that fit below the plots, and return those left out too."""
    short = [
        Column(each.key, " ".join(each.heading.split()), [_short(cell) for cell in each.cells])
        for each in columns(rows, usual_keys(rows))
    ]
    room = int((WIDTH - 2 * MARGIN - SAMPLE) / (CHARACTER * SMALL / 13))
    return fitting(short, room, 2)


def _short(cell: str) -> str:
    one_line = " ".join(cell.split())
    return one_line if len(one_line) <= LONGEST else f"…{one_line[1 - LONGEST :]}"


def gradients_svg(run: RunFolder, theme: str = "auto") -> str:
    """Draw the Euclidean norm of the gradients of each layer's weights over a training.

    Where there are more layers than lines that look different, those of a block are one line.

    Raises:
        RunError: the run has none, or its files cannot be read.
    """
    by_layer = {layer: values for layer, values in scalars(run.tensorboard, GRADIENT_NORM, run.path).items() if values}
    epochs = run.read_epochs()
    if not by_layer or not epochs:
        raise RunError(
            f"{run.path} has no gradient norms: they are written for TensorBoard with its histograms, so train with "
            "log.tensorboard: true and without log.every_epochs: 0; log.every_epochs: 1 writes them after every epoch"
        )
    per_epoch = _numbers_of_steps(run, epochs[0])
    norms = by_block(by_layer)
    lines = [
        _line(index, layer, [Point(step / per_epoch, value) for step, value in values])
        for index, (layer, values) in enumerate(norms.items())
    ]
    places = [point.epoch for line in lines for point in line.points]
    panel = Panel("norm of the gradients", lines, max(280.0, 13.0 * len(lines)), from_zero=True, may_be_log=True)
    legend = [Column("layer", "layer", [_short(printable(layer)) for layer in norms])]
    what = "layer's" if norms is by_layer else "block's"
    title = f"{printable(run.path.name)}: gradients of each {what} weights"
    return _page(title, [panel], (min(places), max(places)), legend, [], theme)


Norms = Mapping[str, Sequence[tuple[int, float]]]
"""(step, norm) by the name of a layer or block."""


def by_block(norms: Norms) -> Norms:
    """Join the norms of the layers of a block, the innermost blocks first, until there are no more than `MAX_LINES`.

    The norm of several layers is the square root of the sum of the squares of theirs.
    """
    depth = max(name.count(INSIDE) for name in norms)
    joined = norms
    while len(joined) > MAX_LINES and depth:
        joined = _joined(norms, depth)
        depth -= 1
    return joined


def _joined(norms: Norms, depth: int) -> Norms:
    """Join the norms of all layers that are in the same `depth` blocks."""
    squares: dict[str, dict[int, float]] = {}
    layers: Counter[str] = Counter()
    for name, values in norms.items():
        blocks = name.split(INSIDE)[:-1]
        key = INSIDE.join(blocks[:depth]) if len(blocks) >= depth else name
        layers[key] += len(blocks) >= depth
        for step, value in values:
            sums = squares.setdefault(key, {})
            sums[step] = sums.get(step, 0.0) + value**2
    return {
        f"{name} ({counted(layers[name], 'layer')})" if layers[name] else name: [
            (step, math.sqrt(each)) for step, each in sums.items()
        ]
        for name, sums in squares.items()
    }


def _numbers_of_steps(run: RunFolder, first: Mapping[str, str]) -> int:
    """Return the steps per epoch, from the first row of metrics.csv."""
    step = first.get("step", "")
    if not (step.isascii() and step.isdigit() and int(step[:20]) > 0):
        raise RunError(f"{run.metrics} is damaged: step is {printable(step):.60}, expected a number")
    return int(step[:20])


def _page(
    title: str,
    panels: Sequence[Panel],
    epochs: tuple[float, float],
    legend: Sequence[Column],
    hidden: Sequence[Column],
    theme: str,
) -> str:
    frame = Frame(LEFT, WIDTH - LEFT - RIGHT, epochs)
    parts, top = [text(MARGIN, 36, cut(title, WIDTH - 2 * MARGIN, TITLE), font_size=TITLE, font_weight=600)], TOP
    for panel in panels:
        parts += drawn(panel, frame, top)
        top += panel.height + BETWEEN
    bottom = top - BETWEEN
    parts += epoch_axis(frame, bottom)
    rows = len(legend[0].cells)
    parts += _legend(legend, bottom + BELOW)
    end = bottom + BELOW + (rows + 1) * ROW
    if hidden:
        names = ", ".join(each.heading for each in hidden)
        parts.append(text(MARGIN, end + 4, _cut(f"not shown: {names}"), "faint", font_size=SMALL))
        end += ROW
    return picture(WIDTH, end, parts, title, _description(legend), theme)


def _cut(words: str) -> str:
    most = int((WIDTH - 2 * MARGIN) / (CHARACTER * SMALL / 13))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _legend(legend: Sequence[Column], top: float) -> list[str]:
    """Write a table with a row per line of the plots, and its number, colour and dashes at the left."""
    rows = len(legend[0].cells)
    parts = []
    for index in range(rows):
        y, (colour, dash) = top + (index + 1) * ROW, _style(index)
        parts.append(text(MARGIN + 18, y, index + 1, colour, text_anchor="end", font_size=SMALL))
        path = f"M{MARGIN + 24:.0f} {y - 4:.0f}H{MARGIN + SAMPLE - 10:.0f}"
        parts.append(element("path", d=path, class_=f"{colour}-line", stroke_width=2, stroke_dasharray=dash))
    x = MARGIN + SAMPLE
    for column in legend:
        parts.append(text(x, top, column.heading, "faint", font_size=SMALL))
        parts += [text(x, top + (index + 1) * ROW, cell, font_size=SMALL) for index, cell in enumerate(column.cells)]
        x += (column.width + 2) * CHARACTER * SMALL / 13
    return parts


def _description(legend: Sequence[Column]) -> str:
    rows = zip(*(column.cells for column in legend), strict=True)
    return "; ".join(
        f"{number}: " + ", ".join(f"{column.heading} {cell}" for column, cell in zip(legend, row, strict=True) if cell)
        for number, row in enumerate(rows, 1)
    )
