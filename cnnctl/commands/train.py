"""`cnnctl train`: config → checked experiment → run folder with a trained network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnctl.errors import Interrupted, UsageError
from cnnctl.report.console import Console
from cnnctl.run_folder import STUDY_FILE, TRIAL_FILE, RunFolder, new_run_folder, open_run_folder, refuse_unusable
from cnnctl.session.resume import NOTHING_WRITTEN, one_training, restored
from cnnctl.session.run_files import restore_config
from cnnctl.spec.cluster import VARIABLE, Cluster, known_cluster
from cnnctl.spec.document import read_text
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.listing import listings_kept
from cnnctl.spec.load import load
from cnnctl.spec.section import one_line
from cnnctl.surroundings import shell_word
from cnnctl.train.quiet import import_tensorflow
from cnnctl.train.signals import Interruption


@dataclass(frozen=True)
class _Request:
    """What is to be trained.

    Attributes:
        experiment: its checked config.
        run: the run to resume; None for a new one.
        more_epochs: the run is given more epochs than it had.
        written: the config as its user wrote it, of a new run.
    """

    experiment: Experiment
    run: RunFolder | None = None
    more_epochs: bool = False
    written: str = ""


@listings_kept()
def train(
    config: Path | None,
    overrides: Sequence[str],
    run_dir: Path | None,
    resume: Path | None,
    device: str,
    console: Console,
    verbose: bool,
) -> None:
    """Train a config, or resume a run.

    Args:
        config: the YAML file; None with `resume` for the run's own.
        overrides: `--set` texts.
        run_dir: folder of the new run; None for `runs/NAME/DATE_TIME`.
        resume: folder of the run to resume; None for a new run.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        verbose: show TensorFlow's log.

    Raises:
        CnnctlError: see `errors`.
    """
    with _interruptible(resume, console) as interruption, contextlib.ExitStack() as held:
        if resume is not None:
            request = _request_to_resume(resume, config, overrides, run_dir, console, held)
        else:
            request = _request_for_new_run(config, overrides, run_dir, console)
        if request is None:
            return  # the run has finished
        cluster = _cluster(request.experiment, console)
        with console.working("starting TensorFlow"):
            import_tensorflow(verbose)
            from cnnctl.few_shot.task import make_task
            from cnnctl.session import session as training
        resumed = request.run is not None
        session = training.prepare(
            request.experiment, make_task, device, console, interruption, cluster=cluster, resumed=resumed
        )
        if not session.workers.is_chief:
            training.assist(session)
            return
        run = request.run or _new_run(config, run_dir, held)
        training.train(session, run, request.more_epochs, request.written)


@contextlib.contextmanager
def _interruptible(resume: Path | None, console: Console) -> Iterator[Interruption]:
    """Receive signals, and raise Interrupted for one that comes before the training."""
    interruption = Interruption(console.interrupted)
    try:
        with interruption.listening(), interruption.passing_on():
            yield interruption
    except KeyboardInterrupt as pressed:
        before = f"interrupted before the training resumed; {resume} is unchanged" if resume else NOTHING_WRITTEN
        raise Interrupted(before, interruption.signal) from pressed


def _request_for_new_run(config: Path | None, overrides: Sequence[str], run_dir: Path | None, console: Console) -> _Request:
    if config is None:
        raise UsageError("expected a config, or --resume RUN; for example: cnnctl train config.yaml")
    found: list[str] = []
    experiment = one_training(load(config, overrides, notes=found), console)
    for note in found:
        console.say(note if note.startswith("warning") else f"note    {note}")
    refuse_unusable(_name(config), run_dir)
    return _Request(experiment, written=_written(config, overrides))


def _new_run(config: Path | None, run_dir: Path | None, held: contextlib.ExitStack) -> RunFolder:
    """Make the folder of a new run, not before the training is ready to start, and hold it."""
    assert config
    run = new_run_folder(_name(config), run_dir)
    held.enter_context(run.held())
    return run


def _written(config: Path, overrides: Sequence[str]) -> str:
    """Read a config as its user wrote it, with a comment per `--set`; empty for a pipe, which was read already."""
    if not config.is_file():
        return ""
    changed = [f"# --set {one_line(each)}" for each in overrides]
    return "\n".join([read_text(config).rstrip(), *changed])


def _request_to_resume(
    resume: Path,
    config: Path | None,
    overrides: Sequence[str],
    run_dir: Path | None,
    console: Console,
    held: contextlib.ExitStack,
) -> _Request | None:
    """Hold a run and read what is left to train; None, after a message, if it has finished."""
    if run_dir:
        raise UsageError("--resume continues in the run's own folder; leave out --run-dir")
    run = open_run_folder(resume, config_may_be_gone=True)
    _refuse_trial(run)
    restore_config(run, console)
    if _may_write(config or run.config, overrides):
        held.enter_context(run.held())
    found = restored(run, config, overrides, console)
    if found is None:
        return None
    experiment, more_epochs = found
    return _Request(experiment, run, more_epochs)


def _refuse_trial(run: RunFolder) -> None:
    """Raise UsageError for a trial in the folder of its sweep, whose study would no longer match the run."""
    sweep = Path(os.path.realpath(run.path)).parent
    if (run.path / TRIAL_FILE).exists() and (sweep / STUDY_FILE).exists():
        raise UsageError(
            f"{run.path} is a trial of the sweep in {sweep}, whose study would no longer match it; to resume the trial, run "
            f"that sweep again. To train it further by itself, copy it: cp -r {shell_word(run.path)} COPY, then "
            "cnnctl train --resume COPY"
        )


def _may_write(config: Path, overrides: Sequence[str]) -> bool:
    """Find out whether this process writes the run's folder; of several workers the chief alone does."""
    cluster = known_cluster()
    alone = ("one_device", "mirrored")
    return cluster is None or cluster.index == 0 or load(config, overrides, look_at_data=False).train.strategy in alone


def _cluster(experiment: Experiment, console: Console) -> Cluster | None:
    """Read the workers of `TF_CONFIG`; print a line if the config does not use them."""
    cluster = known_cluster()
    strategy = experiment.train.strategy
    if cluster and len(cluster) > 1 and strategy in ("one_device", "mirrored"):
        console.say(f"train.strategy is {strategy}, so this process trains by itself and ignores the workers of {VARIABLE}")
    return cluster


def _name(config: Path) -> str:
    """Name the runs of a config after its file, or those of a run's own config.yaml after that run.

    Runs of a trial's config get the sweep's name and the trial's, since they do not belong in the sweep's folder.
    """
    run = config.absolute().parent
    if not (run / "environment.json").is_file():
        return config.stem
    return f"{run.parent.name}-{run.name}" if (run.parent / STUDY_FILE).is_file() else run.parent.name
