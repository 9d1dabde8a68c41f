"""`cnnctl train`: config → checked experiment → run folder with a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cnnctl.errors import Interrupted, UsageError
from cnnctl.report.console import Console
from cnnctl.runs import RunFolder, new_run_folder, open_run_folder, refuse_unusable
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.train.quiet import import_tensorflow


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
        config: the YAML file; None with `resume`.
        overrides: `--set` texts.
        run_dir: folder of the new run; None for `runs/NAME/DATE_TIME`.
        resume: folder of the run to go on with; None for a new run.
        device: `auto`, `cpu` or `gpu`.
        console: where to print.
        verbose: let TensorFlow's messages through.

    Raises:
        CnnctlError: whatever went wrong; see `errors`.
    """
    if (config is None) == (resume is None):
        raise UsageError("give the config to train, or --resume with the folder of the run to go on with, one of the two")
    if resume is not None:
        _resume(resume, overrides, run_dir, device, console, verbose)
        return
    assert config is not None
    experiment = load(config, overrides)
    name = _name(config)
    refuse_unusable(name, run_dir)
    _session(experiment, name, run_dir, None, device, console, verbose)


def _resume(resume: Path, overrides: Sequence[str], run_dir: Path | None, device: str, console: Console, verbose: bool) -> None:
    if overrides or run_dir:
        raise UsageError("--resume goes on with the run's own config in its own folder; --set and --run-dir do not go with it")
    run = open_run_folder(resume)
    if run.read_result() is not None:
        console.say(f"{resume} has finished; its results are in {run.result}")
        return
    _session(load(run.config), "", None, run, device, console, verbose)


def _session(
    experiment: Experiment,
    name: str,
    run_dir: Path | None,
    resumed: RunFolder | None,
    device: str,
    console: Console,
    verbose: bool,
) -> None:
    try:
        with console.working("starting TensorFlow"):
            import_tensorflow(verbose)
            from cnnctl.commands.session import Session
        session = Session(experiment, device, console)
    except KeyboardInterrupt as pressed:
        raise Interrupted("interrupted before the training began; nothing was written") from pressed
    session.run(resumed or new_run_folder(name, run_dir))


def _name(config: Path) -> str:
    """Returns what runs of a config are called: its file's name, or for a run's own config.yaml the name of that run."""
    of_a_run = (config.parent / "environment.json").is_file()
    return config.absolute().parent.parent.name if of_a_run else config.stem
