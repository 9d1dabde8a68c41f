"""`cnnctl train`: config → checked experiment → run folder with a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.commands.resume import BEFORE, taken_up
from cnnctl.errors import Interrupted, UsageError
from cnnctl.report.console import Console
from cnnctl.runs import new_run_folder, open_run_folder, refuse_unusable
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.train.interruption import Interruption
from cnnctl.train.quiet import import_tensorflow

if TYPE_CHECKING:
    from cnnctl.commands.session import Session


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
        try:
            with interruption.passing_on():
                _begin_or_resume(config, overrides, run_dir, resume, device, console, verbose, interruption)
        except KeyboardInterrupt as pressed:
            before = f"interrupted before the training went on; {resume} is as it was" if resume else BEFORE
            raise Interrupted(before, interruption.signal) from pressed


def _begin_or_resume(
    config: Path | None,
    overrides: Sequence[str],
    run_dir: Path | None,
    resume: Path | None,
    device: str,
    console: Console,
    verbose: bool,
    interruption: Interruption,
) -> None:
    if resume is not None and run_dir:
        raise UsageError("--resume goes on in the run's own folder; --run-dir does not go with it")
    if resume is not None:
        _resume(resume, config, overrides, device, console, verbose, interruption)
    elif config is not None:
        _begin(config, overrides, run_dir, device, console, verbose, interruption)
    else:
        raise UsageError("give the config to train, or --resume with the folder of the run to go on with")


def _begin(
    config: Path,
    overrides: Sequence[str],
    run_dir: Path | None,
    device: str,
    console: Console,
    verbose: bool,
    interruption: Interruption,
) -> None:
    experiment = load(config, overrides)
    name = _name(config)
    refuse_unusable(name, run_dir)
    session = _session(experiment, device, console, verbose, interruption)
    run = new_run_folder(name, run_dir)
    with run.held():
        session.run(run)


def _resume(
    resume: Path,
    config: Path | None,
    overrides: Sequence[str],
    device: str,
    console: Console,
    verbose: bool,
    interruption: Interruption,
) -> None:
    run = open_run_folder(resume)
    with run.held():
        taken = taken_up(run, config, overrides, console)
        if taken is not None:
            experiment, more_epochs = taken
            _session(experiment, device, console, verbose, interruption).run(run, more_epochs)


def _session(experiment: Experiment, device: str, console: Console, verbose: bool, interruption: Interruption) -> Session:
    with console.working("starting TensorFlow"):
        import_tensorflow(verbose)
        from cnnctl.commands.session import Session
    return Session(experiment, device, console, interruption)


def _name(config: Path) -> str:
    """Returns what runs of a config are called: its file's name, or for a run's own config.yaml the name of that run."""
    of_a_run = (config.parent / "environment.json").is_file()
    return config.absolute().parent.parent.name if of_a_run else config.stem
