"""The config with which a run resumes: its own, with more epochs at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnctl.errors import RunError, UsageError, counted
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.run_files import PLACES, differences, experiment_of, filed_config, refuse_edited, restored_environment
from cnnctl.spec.auto import with_settings
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.optimizers import Cosine, OneCycle
from cnnctl.spec.section import show
from cnnctl.spec.trial import without_sweep
from cnnctl.train.origin import Origin, newest_origin

NOTHING_WRITTEN = "interrupted before the training began; nothing was written"


def restored(run: RunFolder, config: Path | None, overrides: Sequence[str], console: Console) -> tuple[Experiment, bool] | None:
    """Return the config with which a run resumes, and whether it has more epochs; None, after a message, if the run has finished.

    A run's own config is that of its newest checkpoint; before there is one, its config.yaml.

    Args:
        run: held by this process.
        config: the CONFIG argument beside `--resume`; None without it.
        overrides: `--set` texts.
        console: where to print.

    Raises:
        UsageError: the options or config.yaml differ from the run's own config.
    """
    filed = filed_config(run)
    origin = newest_origin(run.checkpoints)
    own = experiment_of(origin, run) if origin else filed
    refuse_edited(run, own, filed)
    asked = one_training(load(config, overrides) if config else run.read_config(overrides), console)
    refuse_other(run, own, asked)
    free = {field: getattr(asked.data, field) for field in ("memory", *PLACES)}
    own = own.model_copy(update={"data": own.data.model_copy(update=free)})
    own = with_settings(own, strategy=asked.train.strategy)
    if asked.train.epochs > own.train.epochs:
        return own.model_copy(update={"train": own.train.model_copy(update={"epochs": asked.train.epochs})}), True
    if _has_finished(run, origin, console):
        console.say(f"{run.path} has finished; its results are in {run.result}")
        return None
    return own, False


def one_training(experiment: Experiment, console: Console) -> Experiment:
    """Remove the section sweep from a config, with a message."""
    if experiment.sweep:
        console.say("sweep   the section is for 'cnnctl sweep'; this is one training without it")
    return without_sweep(experiment)


def refuse_other(run: RunFolder, own: Experiment, asked: Experiment) -> None:
    """Raise UsageError for a config with which the run would end unlike any uninterrupted run."""
    lines = [f"  {path}: {show(before)} in the run, {show(now)} requested" for path, before, now in differences(own, asked)]
    if lines:
        raise UsageError(
            "\n".join(
                (
                    f"{run.path} can be resumed with its own config only; start a new run to change more than train.epochs:",
                    *lines,
                )
            )
        )
    why = _why_no_more(own)
    if asked.train.epochs > own.train.epochs and why:
        raise UsageError(f"{run.path} cannot be given more epochs: {why}; start a new run")


def _has_finished(run: RunFolder, origin: Origin | None, console: Console) -> bool:
    """Find out whether a run has ended and all its files are there; restore what its newest checkpoint can.

    Raises:
        RunError: result.json is damaged, and there is no checkpoint to restore it from.
    """
    if origin is None:
        return run.read_result() is not None
    if not run.result.exists():
        return False
    lost = [file for file, is_there in _final_files(run) if not is_there]
    for file in lost:
        console.say(f"note    {file} is missing or damaged; restoring it from the checkpoint")
    environment, notes = restored_environment(run, origin.environment)
    if notes:
        run.write_json(run.environment, environment)
        console.say(f"note    {notes[0]}")
    return not lost


def _final_files(run: RunFolder) -> Iterator[tuple[Path, bool]]:
    """Yield the files of a run that has ended, and whether each can be read."""
    yield run.model, run.model.is_file()
    yield run.curves, run.curves.is_file()
    for file, read in ((run.result, run.read_result), (run.metrics, run.read_epochs)):
        try:
            yield file, bool(read())
        except RunError:
            yield file, False


def _why_no_more(own: Experiment) -> str:
    """Say why a training cannot get more epochs: others would have come before; empty if it can."""
    epochs = counted(own.train.epochs, "epoch")
    if _spans_the_training(own.train.optimizer.learning_rate):
        return f"its learning rate schedule spans {epochs}"
    plain = own.train.epochs - own.plain_from
    return f"data.augment.plain_epochs leaves the last {plain} of its {epochs} without augmentation" if plain else ""


def _spans_the_training(rate: object) -> bool:
    """Find out whether a learning rate schedule spans all epochs."""
    return (isinstance(rate, Cosine) and rate.decay_steps is None) or (isinstance(rate, OneCycle) and rate.total_steps is None)
