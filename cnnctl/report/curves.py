"""The picture of one training, `curves.svg` in its run folder: loss, accuracy and learning rate of every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cnnctl.errors import counted
from cnnctl.files import write_whole
from cnnctl.report.chart import Frame, Interval, Line, Panel, Point, drawn, epoch_axis, value_text
from cnnctl.report.text import printable
from cnnctl.spec.training import EarlyStopping
from cnnctl.svg import cut, element, picture, text, width_of
from cnnctl.train.observers import EpochRecord, Observer, Plan

WIDTH = 760.0
LEFT, RIGHT, TOP = 66.0, 148.0, 112.0
"""Room beside the plots and above the first, in pixels."""
BETWEEN = 44.0
"""Room between two plots, for the title of the lower, in pixels."""
BELOW = 48.0
"""Room for the epochs' numbers, in pixels."""
MARGIN, TITLE = 24.0, 17
"""Room beside the title, and the size of its font, in pixels."""
TRAIN, VALIDATION, RATE = "blue", "orange", "green"


@dataclass(frozen=True)
class Training:
    """What is drawn of a training.

    Attributes:
        name: of the run.
        epochs: how many it was to have.
        rows: of all epochs that are done.
        stopping: early stopping; None without it.
        test: the result on the test split in words; empty before it is known.
    """

    name: str
    epochs: int
    rows: Sequence[EpochRecord] = ()
    stopping: EarlyStopping | None = None
    test: str = ""


@dataclass(frozen=True)
class Best:
    """The best epoch.

    Attributes:
        epoch: counted from 1.
        column: the column of metrics.csv that it is the best by.
        waited: epochs since then; more than 0 counts with early stopping only.
    """

    epoch: int
    column: str
    waited: int


class CurvesFile(Observer):
    """Writes curves.svg after each epoch, the whole file from the records of all epochs, so that resuming gives the same file.

    Args:
        file: where.
        training: with the records of the epochs that are done.
    """

    def __init__(self, file: Path, training: Training) -> None:
        self._file = file
        self._training = training

    def on_start(self, plan: Plan) -> None:
        """Remove what an interrupted run drew after its last checkpoint."""
        if self._training.rows:
            self._write()
        else:
            self._file.unlink(missing_ok=True)

    def on_epoch(self, record: EpochRecord) -> None:
        """Draw one more epoch."""
        self._training = replace(self._training, rows=[*self._training.rows, record])
        self._write()

    def finish(self, test: str) -> None:
        """Draw the picture of the finished training; `test` is its result in words, empty if it was not tested."""
        self._training = replace(self._training, test=test)
        self._write()

    def _write(self) -> None:
        write_whole(self._file, curves_svg(self._training).encode())


def curves_svg(training: Training, theme: str = "auto") -> str:
    """Draw a training with at least one epoch.

    Args:
        training: what is drawn.
        theme: as in `svg.picture`.
    """
    rows, best = training.rows, best_of(training)
    shaded = (best.epoch, best.epoch + best.waited) if best and training.stopping and best.waited else None
    marked = best.epoch if best else None
    frame = Frame(LEFT, WIDTH - LEFT - RIGHT, (rows[0].epoch, rows[-1].epoch), shaded, marked)
    parts = [*_heading(training), *_legend(training, best)]
    top = TOP
    for panel in panels(rows):
        parts += drawn(panel, frame, top)
        top += panel.height + BETWEEN
    bottom = top - BETWEEN
    return picture(
        WIDTH, bottom + BELOW, [*parts, *epoch_axis(frame, bottom)], f"Training curves of {printable(training.name)}",
        _description(training, best), theme,
    )  # fmt: skip


def name_of(folder: Path) -> str:
    """Name a run by the last two parts of its path, such as `mnist/2026-11-24_21-19-03`."""
    return "/".join(folder.absolute().parts[-2:])


def panels(rows: Sequence[EpochRecord]) -> list[Panel]:
    """Return the panels of a training: loss, accuracy, learning rate."""
    band = " (band: 95 % interval)" if any(row.validation_interval for row in rows) else ""
    rate = Line("learning rate", _points(rows, "learning_rate"), RATE, label=f"{rows[-1].learning_rate:.3g}")
    return [
        Panel("loss", _lines(rows, "loss"), 160, from_zero=True, may_be_log=True),
        Panel(f"accuracy{band}", _lines(rows, "accuracy"), 160, percent=True),
        Panel("learning rate", [rate], 56, from_zero=True, ticks=2),
    ]


def _lines(rows: Sequence[EpochRecord], measure: str) -> list[Line]:
    """Return the lines of a measure, train and, where there is any, validation with its intervals."""
    percent = measure == "accuracy"
    found = []
    for split, colour, dash in (("train", TRAIN, "6 4"), ("validation", VALIDATION, None)):
        points = _points(rows, f"{split}_{measure}")
        if points:
            intervals = _intervals(rows) if percent and split == "validation" else []
            label = f"{split} {value_text(points[-1].value, percent)}"
            found.append(Line(f"{split} {measure}", points, colour, dash, label, intervals))
    return found


def _points(rows: Sequence[EpochRecord], column: str) -> list[Point]:
    return [Point(row.epoch, value) for row in rows if (value := getattr(row, column)) is not None]


def _intervals(rows: Sequence[EpochRecord]) -> list[Interval]:
    """Return the 95 % intervals of the accuracy over episodes, of few-shot tasks."""
    pairs = [(row.epoch, row.validation_accuracy, row.validation_interval) for row in rows]
    return [
        Interval(epoch, max(value - half, 0.0), min(value + half, 1.0))
        for epoch, value, half in pairs
        if value is not None and half is not None
    ]


def best_of(training: Training) -> Best | None:
    """Find the best epoch: with early stopping as it does, else by validation loss, or training loss without validation.

    NaN and infinite values are never the best.
    """
    stopping = training.stopping
    column = stopping.monitor if stopping else _loss_column(training.rows)
    sign, smallest = (-1 if column.endswith("accuracy") else 1), (stopping.min_delta if stopping else 0.0)
    best, epoch = math.inf, 0
    for row in training.rows:
        value = getattr(row, column)
        if value is not None and math.isfinite(value) and sign * value < best - smallest:
            best, epoch = sign * value, row.epoch
    return Best(epoch, column, training.rows[-1].epoch - epoch) if epoch else None


def _loss_column(rows: Sequence[EpochRecord]) -> str:
    return "validation_loss" if rows[-1].validation_loss is not None else "train_loss"


def _heading(training: Training) -> list[str]:
    said = " · ".join(part for part in (_epochs_text(training), training.test) if part)
    return [
        text(MARGIN, 32, cut(printable(training.name), WIDTH - 2 * MARGIN, TITLE), font_size=TITLE, font_weight=600),
        text(MARGIN, 54, said, "faint"),
    ]


def _epochs_text(training: Training) -> str:
    done, best = len(training.rows), best_of(training)
    stopped = training.stopping and best and best.waited >= training.stopping.patience and done < training.epochs
    if done == training.epochs:
        return counted(done, "epoch")
    return f"{done} of {counted(training.epochs, 'epoch')}{', stopped early' if stopped else ''}"


def _legend(training: Training, best: Best | None) -> list[str]:
    """Explain the marked epoch and the shaded epochs."""
    parts: list[str] = []
    x, y = MARGIN, 78.0
    for symbol, words in _explained(training, best):
        parts += [_symbol(symbol, x, y), text(x + 24, y, words, "faint", font_size=12)]
        x += 24 + width_of(words, 12) + 22
    return parts


def _explained(training: Training, best: Best | None) -> list[tuple[str, str]]:
    found = []
    if best:
        order = "highest" if best.column.endswith("accuracy") else "lowest"
        found.append(("line", f"best epoch {best.epoch}, {order} {best.column}"))
    if best and training.stopping and best.waited:
        found.append(
            ("shade", f"early stopping: no improvement for {best.waited} of {counted(training.stopping.patience, 'epoch')}")
        )
    return found


def _symbol(kind: str, x: float, y: float) -> str:
    if kind == "line":
        return element("line", x1=x + 9, x2=x + 9, y1=y - 12, y2=y + 3, class_="faint-line", stroke_dasharray="2 3")
    return element("rect", x=x, y=y - 10, width=18, height=12, class_="grey", fill_opacity=0.35)


def _description(training: Training, best: Best | None) -> str:
    last = training.rows[-1]
    values = [
        f"{name.replace('_', ' ')} {value_text(value, name.endswith('accuracy'))}"
        for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
        if (value := getattr(last, name)) is not None
    ]
    chosen = f" Best epoch: {best.epoch}, by {best.column}." if best else ""
    return f"{_epochs_text(training)}. After the last: {', '.join(values)}.{chosen} {training.test}".strip()
