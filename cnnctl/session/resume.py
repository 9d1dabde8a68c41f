"""Which config a run goes on with: its own, in which nothing but more epochs may be asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnctl.errors import RunError, UsageError
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
    """Returns what a run goes on with, and whether that is more epochs than it had; None, and says so, where it has finished.

    A run's own config is that of its newest checkpoint; before there is one, its config.yaml.

    Args:
        run: held by this process.
        config: what the user gave beside `--resume`; None for nothing.
        overrides: `--set` texts.
        console: where to say that there is nothing to do.

    Raises:
        UsageError: another config than the run's own is asked for, by options or in its config.yaml.
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


def _has_finished(run: RunFolder, origin: Origin | None, console: Console) -> bool:
    """Return whether a run has ended and all that it left is there; what its newest checkpoint can bring back is brought back.

    Raises:
        RunError: result.json is damaged, and there is no checkpoint to make it again from.
    """
    if origin is None:
        return run.read_result() is not None
    if not run.result.exists():
        return False
    lost = [file for file, is_there in _left_by(run) if not is_there]
    for file in lost:
        console.say(f"note    {file} is gone or damaged; it is made again from the checkpoint")
    environment, notes = restored_environment(run, origin.environment)
    if notes:
        run.write_json(run.environment, environment)
        console.say(f"note    {notes[0]}")
    return not lost


def _left_by(run: RunFolder) -> Iterator[tuple[Path, bool]]:
    """Yield the files that a run leaves when it has ended, and whether each is there and can be read."""
    yield run.model, run.model.is_file()
    for file, read in ((run.result, run.read_result), (run.metrics, run.read_epochs)):
        try:
            yield file, bool(read())
        except RunError:
            yield file, False


def _spans_the_training(rate: object) -> bool:
    """Returns whether a learning rate is spread over all epochs, however many there are."""
    return (isinstance(rate, Cosine) and rate.decay_steps is None) or (isinstance(rate, OneCycle) and rate.total_steps is None)
