"""`cnnctl train`: config → checked experiment → run folder with a trained network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.errors import Interrupted, UsageError
from cnnctl.report.console import Console
from cnnctl.run_folder import STUDY_FILE, TRIAL_FILE, RunFolder, new_run_folder, open_run_folder, refuse_unusable
from cnnctl.session.resume import BEFORE, one_training, restored
from cnnctl.session.run_files import restore_config
from cnnctl.spec.cluster import VARIABLE, known_cluster
from cnnctl.spec.document import read_text
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.section import one_line
from cnnctl.surroundings import shell_word
from cnnctl.train.quiet import import_tensorflow
from cnnctl.train.signals import Interruption

if TYPE_CHECKING:
    from cnnctl.session.session import Session

    Start = Callable[[Experiment], Session]


def train(
    config: Path | None,
    overrides: Sequence[str],
    run_dir: Path | None,
    resume: Path | None,
    device: str,
    console: Console,
    verbose: bool,
) -> None:
    """Trains a config, or goes on with an interrupted run.

    Args:
        config: the YAML file; with `resume` None for the run's own.
        overrides: `--set` texts.
        run_dir: folder of the new run; None for `runs/NAME/DATE_TIME`.
        resume: folder of the run to go on with; None for a new run.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        verbose: let TensorFlow's messages through.

    Raises:
        CnnctlError: whatever went wrong; see `errors`.
    """
    with Interruption(console.interrupted).listening() as interruption:
        start = partial(_session, device, console, verbose, interruption)
        try:
            with interruption.passing_on():
                if resume is not None:
                    _resume(resume, config, overrides, run_dir, console, start)
                else:
                    _begin(config, overrides, run_dir, console, start)
        except KeyboardInterrupt as pressed:
            before = f"interrupted before the training went on; {resume} is as it was" if resume else BEFORE
            raise Interrupted(before, interruption.signal) from pressed


def _begin(config: Path | None, overrides: Sequence[str], run_dir: Path | None, console: Console, start: Start) -> None:
    if config is None:
        raise UsageError("give the config to train, or --resume with the folder of the run to go on with")
    found: list[str] = []
    experiment = one_training(load(config, overrides, notes=found), console)
    for note in found:
        console.say(note if note.startswith("warning") else f"note    {note}")
    name = _name(config)
    refuse_unusable(name, run_dir)
    session = start(experiment)
    if not session.is_chief:
        session.assist()
        return
    run = new_run_folder(name, run_dir)
    with run.held():
        session.run(run, written=_written(config, overrides))


def _written(config: Path, overrides: Sequence[str]) -> str:
    """Return a config as its user wrote it, and what `--set` changed; nothing of a pipe, which was read already."""
    if not config.is_file():
        return ""
    changed = [f"# --set {one_line(each)}" for each in overrides]
    return "\n".join([read_text(config).rstrip(), *changed])


def _resume(
    resume: Path, config: Path | None, overrides: Sequence[str], run_dir: Path | None, console: Console, start: Start
) -> None:
    if run_dir:
        raise UsageError("--resume goes on in the run's own folder; --run-dir does not go with it")
    run = open_run_folder(resume, config_may_be_gone=True)
    _refuse_trial(run)
    restore_config(run, console)
    with run.held() if _may_write(config or run.config, overrides) else contextlib.nullcontext():
        taken = restored(run, config, overrides, console)
        if taken is None:
            return
        experiment, more_epochs = taken
        session = start(experiment)
        if session.is_chief:
            session.run(run, more_epochs)
        else:
            session.assist()


def _refuse_trial(run: RunFolder) -> None:
    """Raises UsageError for a trial in the folder of its sweep, whose study would hold something else than the run."""
    sweep = Path(os.path.realpath(run.path)).parent
    if (run.path / TRIAL_FILE).exists() and (sweep / STUDY_FILE).exists():
        raise UsageError(
            f"{run.path} is a trial of the sweep in {sweep}, and its study would not know what it becomes; to resume the trial, run "
            f"that sweep again. To train it further by itself, copy it: cp -r {shell_word(run.path)} COPY, then "
            "cnnctl train --resume COPY"
        )


def _may_write(config: Path, overrides: Sequence[str]) -> bool:
    """Returns whether this process is to write a run's folder: of several workers, the chief alone."""
    cluster = known_cluster()
    alone = ("one_device", "mirrored")
    return cluster is None or cluster.index == 0 or load(config, overrides, look_at_data=False).train.strategy in alone


def _session(device: str, console: Console, verbose: bool, interruption: Interruption, experiment: Experiment) -> Session:
    cluster = known_cluster()
    if cluster and len(cluster) > 1 and experiment.train.strategy in ("one_device", "mirrored"):
        strategy = experiment.train.strategy
        console.say(f"train.strategy is {strategy}, so this process trains by itself, whoever {VARIABLE} names")
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.session.session import Session
    return Session(experiment, device, console, interruption, cluster=cluster)


def _name(config: Path) -> str:
    """Returns what runs of a config are called: its file's name, or for a run's own config.yaml the name of that run.

    A trial of a sweep has the sweep's name and its own: runs of it do not belong into the sweep's folder.
    """
    run = config.absolute().parent
    if not (run / "environment.json").is_file():
        return config.stem
    return f"{run.parent.name}-{run.name}" if (run.parent / STUDY_FILE).is_file() else run.parent.name
