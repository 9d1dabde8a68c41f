"""Which config a run goes on with: its own, in which nothing but more epochs may be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cnnctl.errors import UsageError
from cnnctl.report.comparison import RunRow, differing
from cnnctl.report.console import Console
from cnnctl.runs import RunFolder
from cnnctl.spec.auto import AUTO_FIELDS, SAME_NUMBERS, with_settings
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.optimizers import Cosine, OneCycle
from cnnctl.spec.section import plain, show
from cnnctl.spec.trial import without_sweep

ROUNDS = "train.strategy"
"""What may change too: it decides in which order sums are computed, and a run that goes on notes the number of its replicas."""
BEFORE = "interrupted before the training began; nothing was written"


def taken_up(run: RunFolder, config: Path | None, overrides: Sequence[str], console: Console) -> tuple[Experiment, bool] | None:
    """Returns what a run goes on with, and whether that is more epochs than it had; None, and says so, where it has finished.

    Args:
        run: held by this process.
        config: what the user gave beside `--resume`; None for nothing.
        overrides: `--set` texts.
        console: where to say that there is nothing to do.

    Raises:
        UsageError: another config than the run's own is asked for.
    """
    own = load(run.config)
    asked = one_training(load(config or run.config, overrides), console) if config or overrides else own
    refuse_other(run, own, asked)
    own = own.model_copy(update={"data": own.data.model_copy(update={"memory": asked.data.memory})})  # see SAME_NUMBERS
    own = with_settings(own, strategy=asked.train.strategy)
    if asked.train.epochs > own.train.epochs:
        return own.model_copy(update={"train": own.train.model_copy(update={"epochs": asked.train.epochs})}), True
    if run.read_result() is not None:
        console.say(f"{run.path} has finished; its results are in {run.result}")
        return None
    return own, False


def one_training(experiment: Experiment, console: Console) -> Experiment:
    """Returns what one training of a config needs of it; says so where that leaves the section sweep out."""
    if experiment.sweep:
        console.say("sweep   is left to 'cnnctl sweep'; this is one training of the config as it is without it")
    return without_sweep(experiment)


def refuse_other(run: RunFolder, own: Experiment, asked: Experiment) -> None:
    """Raises UsageError for a config with which the run would end as no straight run does."""
    lines = [f"  {path}: {show(before)} in the run, {show(now)} asked for" for path, before, now in differences(own, asked)]
    if lines:
        raise UsageError(
            "\n".join((f"{run.path} goes on with its own config only; train anew to change more than train.epochs:", *lines))
        )
    if asked.train.epochs > own.train.epochs and _spans_the_training(own.train.optimizer.learning_rate):
        raise UsageError(
            f"{run.path} cannot be given more epochs: its learning rate is spread over all {own.train.epochs}, so the epochs "
            "done already would have had another one; train anew"
        )


def differences(own: Experiment, asked: Experiment, strict: bool = False) -> Iterator[tuple[str, Any, Any]]:
    """Yields paths with the value of each, but for what `auto` became, more epochs unless strict, and what decides at most rounding."""
    for path, (before, now) in differing([RunRow("", dict(plain(each)), {}) for each in (own, asked)]).items():
        became = path in AUTO_FIELDS and now == "auto"
        more = path == "train.epochs" and now > before and not strict
        if not became and not more and path not in (*SAME_NUMBERS, ROUNDS):
            yield path, before, now


def _spans_the_training(rate: object) -> bool:
    """Returns whether a learning rate is spread over all epochs, however many there are."""
    return (isinstance(rate, Cosine) and rate.decay_steps is None) or (isinstance(rate, OneCycle) and rate.total_steps is None)
