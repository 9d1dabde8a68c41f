"""The results of a sweep: all trials, the best of them, and its repeats with other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from cnnctl.report.comparison import short_name
from cnnctl.report.progress import show_seconds
from cnnctl.report.tables import as_json, markdown_table, text_table
from cnnctl.report.text import printable
from cnnctl.spec.choices import text_of

DONE, PRUNED, FAILED, RUNNING, INTERRUPTED = "done", "pruned", "failed", "running", "interrupted"
NOT_ENDED = (RUNNING, INTERRUPTED)
"""States of trials that have not ended; no process trains an interrupted one."""
LONGEST_REASON = 60
MAX_PLAIN = 1e4
"""A larger loss is shown by its power of ten."""
MEASURES = ("validation_accuracy", "validation_loss", "test_accuracy", "test_loss")


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        number: from 0.
        state: `done`, `pruned`, `failed`, `running` or `interrupted`.
        values: of the parameters, by config path.
        labels: the values as short texts that differ between the choices of a path.
        value: the objective with the final weights; None where it is not done.
        validation_accuracy, validation_loss: with the final weights; of a pruned trial those of its last epoch.
        epochs: number of trained epochs.
        seconds: of training.
        run: its folder.
        reason: why it was pruned or failed.
    """

    number: int
    state: str
    values: Mapping[str, Any]
    labels: Mapping[str, Any]
    value: float | None
    validation_accuracy: float | None
    validation_loss: float | None
    epochs: int | None
    seconds: float | None
    run: str
    reason: str = ""


@dataclass(frozen=True)
class Repeat:
    """The best trial, trained with another seed.

    Attributes:
        seed: of its config.
        run: its folder.
        results: by the names of `MEASURES`; empty where it is not done.
        reason: why it failed.
    """

    seed: int
    run: str
    results: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it is done or failed."""
        return bool(self.results or self.reason)


@dataclass(frozen=True)
class SweepResults:
    """The results of a sweep.

    Attributes:
        method: of the search.
        objective: measure that trials are compared by.
        folder: of the sweep.
        trials: by number.
        repeats: of the best trial, by seed.
        losses_compare: ties of accuracy go to the lower loss; False where trials have different kinds of losses.
    """

    method: str
    objective: str
    folder: str
    trials: Sequence[TrialRow]
    repeats: Sequence[Repeat] = ()
    losses_compare: bool = True

    @property
    def ranked(self) -> list[TrialRow]:
        """Trials, the best first; those that are not done come last, by state and number."""
        order = {DONE: 0, PRUNED: 1, RUNNING: 2, INTERRUPTED: 3, FAILED: 4}
        return sorted(self.trials, key=lambda row: (order[row.state], *self._better_first(row), row.number))

    @property
    def best(self) -> TrialRow | None:
        """The best trial; ties are decided by the other measure of validation, then by the number. None where none is done."""
        first = next(iter(self.ranked), None)
        return first if first and first.state == DONE else None

    def _better_first(self, row: TrialRow) -> tuple[float, float]:
        """Compute the sort key of a trial that is done. With few images many have the same accuracy, so ties go to the lower loss."""
        if row.state != DONE or row.validation_accuracy is None or row.validation_loss is None:
            return 0.0, 0.0
        measures = -row.validation_accuracy, row.validation_loss if self.losses_compare else 0.0
        return measures if self.objective.endswith("accuracy") else measures[::-1]


# Mean and interval


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        mean: of the values.
        interval: half the width of the 95 % confidence interval, by Student's t; None for fewer than `MIN_FOR_INTERVAL` values, or
            where all are equal.
        values: one per seed.
    """

    mean: float
    interval: float | None
    values: Sequence[float]


MIN_FOR_INTERVAL = 5
"""Values that a mean needs for an interval.

A deviation estimated from two or three values is mostly chance: t is 12.7 and 4.3.
"""


def mean_of(values: Sequence[float]) -> Mean:
    """Compute the mean of one value or more, with t(n - 1)·s/√n where there are enough values that differ."""
    if len(values) < MIN_FOR_INTERVAL or min(values) == max(values):
        return Mean(fmean(values), None, values)
    from scipy.special import stdtrit  # here and not scipy.stats: 0.2 s of imports in place of 0.6

    return Mean(fmean(values), float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5, values)


def means_of(repeats: Sequence[Repeat]) -> dict[str, Mean]:
    """Compute the mean of each measure over the repeats that are done."""
    done = [repeat.results for repeat in repeats if repeat.results]
    values_of = {name: [results[name] for results in done if name in results] for name in MEASURES}
    return {name: mean_of(values) for name, values in values_of.items() if values}


# For people and programs


def as_plain(results: SweepResults) -> dict[str, Any]:
    """Return the results as plain data for JSON. Runs are named by their folder within the sweep's, which may be moved."""
    best = results.best
    return {
        "method": results.method,
        "objective": results.objective,
        "best": best.number if best else None,
        "trials": [{**asdict(row), "run": Path(row.run).name} for row in results.ranked],
        "repeats": [{**asdict(repeat), "run": Path(repeat.run).name} for repeat in results.repeats],
        "repeated": {name: asdict(mean) for name, mean in means_of(results.repeats).items()},
        "interval": f"half the width of the 95 % confidence interval of the mean over seeds, Student's t; null for fewer than {MIN_FOR_INTERVAL} seeds "
        "or equal values",
    }


def shown(results: SweepResults, form: str) -> str:
    """Format the results as `table`, `json` or `markdown`."""
    if form == "json":
        return as_json(as_plain(results))
    draw = markdown_table if form == "markdown" else text_table
    bullet = "- " if form == "markdown" else ""
    lines = [f"{bullet}{line}" for line in conclusion(results)]
    return "\n".join([draw(*_columns_and_cells(results), left=1), "", *lines])


def _columns_and_cells(results: SweepResults) -> tuple[list[str], list[list[str]]]:
    paths = list(results.trials[0].values) if results.trials else []
    ours = ["val acc", "val loss", "epochs", "time", "state"]
    swept = [
        short_name(path, [*paths, *ours]) for path in paths
    ]  # a parameter train.epochs is not the column of trained epochs
    columns = ["trial", *map(printable, swept), *ours]
    return columns, [_cells(row, paths) for row in results.ranked]


def _cells(row: TrialRow, paths: Sequence[str]) -> list[str]:
    return [
        str(row.number),
        *(show_value(row.labels.get(path)) for path in paths),
        "" if row.validation_accuracy is None else f"{row.validation_accuracy:.2%}",
        "" if row.validation_loss is None else show_measure("validation_loss", row.validation_loss),
        "" if row.epochs is None else str(row.epochs),
        "" if row.seconds is None else show_seconds(row.seconds),
        _state(row),
    ]


def _state(row: TrialRow) -> str:
    reason = printable(row.reason.partition("\n")[0])
    short = reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"
    return f"{row.state}: {short}" if short and row.state == FAILED else row.state


def show_value(value: Any) -> str:
    """Format a number, or the label of a choice."""
    return f"{value:.4g}" if isinstance(value, float) else printable(text_of(value))


def show_values(values: Mapping[str, Any]) -> str:
    """Format the values of a trial on one line."""
    names = [short_name(path, list(values)) for path in values]
    return ", ".join(f"{printable(name)} {show_value(value)}" for name, value in zip(names, values.values(), strict=True))


def trial_line(row: TrialRow, objective: str) -> str:
    """Format the line about a trial that has ended."""
    measure = objective.replace("_", " ")
    if row.state == FAILED:
        ending = f"failed: {printable(row.reason.partition(chr(10))[0])}"
    else:
        value = getattr(row, objective)
        reached = f"{measure} {show_measure(objective, value)}, {show_seconds(row.seconds or 0)}"
        ending = f"pruned after epoch {row.epochs}, {reached}" if row.state == PRUNED else reached
    return f"trial {row.number:<4}{show_values(row.labels)}: {ending}"


def show_measure(name: str, value: float | None) -> str:
    """Format a loss or an accuracy."""
    if value is None:
        return "none"
    if name.endswith("loss"):
        return f"{value:.4f}" if value < MAX_PLAIN else f"{value:.2e}"
    return f"{value:.2%}"


def conclusion(results: SweepResults) -> list[str]:
    """Format the lines below the table: the best trial, and its repeats with other seeds."""
    best = results.best
    if best is None:
        return ["best      none: no trial is done"]
    counts = {
        state: sum(row.state == state for row in results.trials) for state in (DONE, PRUNED, FAILED, RUNNING, INTERRUPTED)
    }
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [
        f"trials    {states}; compared by {results.objective.replace('_', ' ')}, the test split was not read",
        f"best      trial {best.number}, {show_values(best.labels)}: "
        f"{results.objective.replace('_', ' ')} {show_measure(results.objective, best.value)}",
    ]
    return [*lines, *_repeated(results.repeats)]


def _repeated(repeats: Sequence[Repeat]) -> list[str]:
    done = [repeat for repeat in repeats if repeat.results]
    failed = [f"          seed {repeat.seed} failed: {printable(repeat.reason)}" for repeat in repeats if repeat.reason]
    left = [str(repeat.seed) for repeat in repeats if not repeat.has_ended]
    failed += [f"          not done yet: seed{'s' * (len(left) > 1)} {', '.join(left)}"] if left else []
    if not done:
        return failed
    means = {name: mean for name, mean in means_of(repeats).items() if name.endswith("accuracy")}
    parts = [f"{name.replace('_', ' ')} {show_mean(mean)}" for name, mean in means.items()]
    seeds = f"seed{'s' * (len(done) > 1)} {', '.join(str(repeat.seed) for repeat in done)}"
    intervals = any(mean.interval is not None for mean in means.values())
    about = f" (mean ± half the width of its 95 % confidence interval over {len(done)} seeds)" if intervals else ""
    return [f"repeated  with {seeds}: {', '.join(parts)}{about}", *failed]


def show_mean(mean: Mean) -> str:
    """Format the mean of accuracies with its interval, or with the values themselves where there are too few for one."""
    if mean.interval is not None:
        return f"{100 * mean.mean:.2f} ± {100 * mean.interval:.2f} %"
    if min(mean.values) == max(mean.values):
        return f"{mean.mean:.2%}{' with each seed' if len(mean.values) > 1 else ''}"
    return f"{mean.mean:.2%} (mean of {', '.join(f'{value:.2%}' for value in mean.values)})"
