"""`cnnctl sweep`: many trainings of one config with other values, the best of them, and the best again with other seeds."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnctl.errors import ConfigError, Interrupted, Problem, RunError, UsageError
from cnnctl.files import write_whole
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.spec.choices import labels
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.section import plain
from cnnctl.surroundings import shell_word
from cnnctl.sweep.results import FAILED, NOT_ENDED, SweepResults, TrialRow, as_plain, show_value, shown
from cnnctl.sweep.sweep_folder import SweepFolder
from cnnctl.sweep.trial_pool import Job, TrialPool
from cnnctl.train.signals import Interruption

if TYPE_CHECKING:
    from cnnctl.sweep.scheduler import Study


@dataclass(frozen=True)
class SweepOptions:
    """What is asked of a sweep besides its config.

    Attributes:
        folder: of the sweep; None for `runs/NAME-sweep`.
        trials, minutes: instead of those of the config; None for those.
        processes: that train at once.
        device: `auto`, `cpu` or `gpu`.
        form: `table`, `json` or `markdown`.
        show: print what is there and train nothing.
        verbose: let TensorFlow's messages through.
    """

    folder: Path | None = None
    trials: int | None = None
    minutes: float | None = None
    processes: int = 1
    device: str = "auto"
    form: str = "table"
    show: bool = False
    verbose: bool = False


def sweep(config: Path, overrides: Sequence[str], wish: SweepOptions, console: Console) -> None:
    """Trains the trials of a sweep that are left, then repeats the best; prints the results and keeps them beside the trials.

    Args:
        config: the YAML file.
        overrides: `--set` texts.
        wish: everything else.
        console: where to print.

    Raises:
        CnnctlError: whatever went wrong; see `errors`.
    """
    asked = {"trials": wish.trials, "minutes": None if wish.minutes is None else float(wish.minutes)}
    overrides = [*overrides, *(f"sweep.{name}={value}" for name, value in asked.items() if value is not None)]
    found: list[str] = []
    experiment = _loaded(config, overrides, found)
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("cnnctl sweep needs Optuna, which is not installed: pip install 'optuna>=5,<6'")
    folder = SweepFolder(wish.folder or Path("runs") / f"{config.stem}-sweep")
    with Interruption(console.interrupted).listening() as interruption:
        command = _command(config, overrides, wish)
        try:
            with interruption.passing_on():
                job = Job(config, overrides, folder.path, wish.device, wish.verbose, wish.processes)
                _sweep(folder, experiment, job, wish, console, found)
        except KeyboardInterrupt as pressed:
            raise Interrupted(_interrupted(folder, experiment, command), interruption.signal) from pressed


def _loaded(config: Path, overrides: Sequence[str], found: list[str]) -> Experiment:
    if not any(text.startswith("sweep=") for text in overrides) and overrides:
        plain_config = load(config, [text for text in overrides if not text.startswith("sweep.")])
        if plain_config.sweep is None:
            raise _no_sweep(config)
    experiment = load(config, overrides, notes=found)
    if experiment.sweep is None:
        raise _no_sweep(config)
    if experiment.train.strategy == "multi_worker":
        raise UsageError(
            "train.strategy is multi_worker, and a trial of a sweep trains in one process; take --set train.strategy=auto, and several "
            "processes by --processes or by the same command on each machine"
        )
    return experiment


def _no_sweep(config: Path) -> ConfigError:
    message = (
        "there is no section sweep, which says what is tried: sweep: {trials: 10, parameters: {train.batch_size: [32, 64]}}"
    )
    return ConfigError([Problem(str(config), "", message)])


def _command(config: Path, overrides: Sequence[str], wish: SweepOptions) -> str:
    words = ["cnnctl", "sweep", str(config)]
    for text in overrides:
        words += ["--set", text]
    words += ["--dir", str(wish.folder)] if wish.folder else []
    words += ["--processes", str(wish.processes)] if wish.processes > 1 else []
    return " ".join(map(shell_word, words))


def _sweep(
    folder: SweepFolder, experiment: Experiment, job: Job, wish: SweepOptions, console: Console, found: Sequence[str]
) -> None:
    study = _study(folder, experiment, wish.show)
    assert experiment.sweep
    minutes = experiment.sweep.minutes
    deadline = math.inf if minutes is None else time.time() + 60 * minutes
    if not wish.show:
        _introduce(study, console)
        for note in (*found, *_folder_notes(experiment)):
            console.say(f"        {note}")
        if not study.is_finished(deadline):
            TrialPool(study, job, deadline, console).work()
    _conclude(study, job.config, job.overrides, wish, console)


def _study(folder: SweepFolder, experiment: Experiment, must_be_there: bool) -> Study:
    """Returns the study of the folder, which is made where there is none."""
    from cnnctl.sweep.studies import create_study, open_study

    if must_be_there:
        study = open_study(folder, experiment)
        if study is None:
            raise UsageError(f"there is no sweep in {folder.path}; leave --show out to begin one")
        return study
    _make(folder)
    with folder.exclusive():
        if not os.path.lexists(folder.study):
            _refuse_other_things(folder)
            create_study(folder, experiment)
    study = open_study(folder, experiment)
    assert study
    return study


def _make(folder: SweepFolder) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{folder.path} is a file; give a folder with --dir") from error
    except OSError as error:
        raise RunError(f"{folder.path} cannot be made: {error.strerror}; choose another with --dir") from error


def _refuse_other_things(folder: SweepFolder) -> None:
    """Raises UsageError where a folder holds things but no study; what is hidden is no obstacle."""
    there = [each.name for each in folder.path.iterdir() if not each.name.startswith(".")]
    if there:
        raise UsageError(
            f"{folder.path} holds {min(there)} and no study, and nothing is written over; choose another folder with --dir, or move this one away"
        )


def _introduce(study: Study, console: Console) -> None:
    sweep, rows = study.sweep, study.results().trials
    budget = "as many trials" if study.limit is None else f"{study.limit} trials"
    within = "" if sweep.minutes is None else f" as begin within {sweep.minutes:g} minutes"
    pruning = f"; pruning: {sweep.pruning.kind}" if sweep.pruning else ""
    console.say(f"sweep   {sweep.method}, {budget}{within}, compared by {sweep.objective.replace('_', ' ')}{pruning}")
    for path, parameter in plain(sweep)["parameters"].items():
        console.say(f"        {path}: {_tried(parameter)}")
    if study.limit and study.limit > study.combinations:
        repeated = f"the parameters have {study.combinations:,} combinations, and {study.limit} trials train some of them again"
        console.say(f"        warning: {repeated}, to the same results; method: grid tries each once")
    there = f": goes on, {sum(row.state not in NOT_ENDED for row in rows)} trials have ended" if rows else ""
    console.say(f"study   {study.folder.study}{there}")


def _folder_notes(experiment: Experiment) -> list[str]:
    """Returns what trials read of a folder, and what they do not."""
    if experiment.data.source != "folder":
        return []
    from cnnctl.spec.folders import FolderSet
    from cnnctl.spec.found_folder import folder_notes

    return folder_notes(experiment.data, FolderSet(experiment.data))


def _tried(parameter: Any) -> str:
    if isinstance(parameter, list):
        return " | ".join(map(show_value, labels(parameter)))
    how = ", log" if parameter["log"] else "" if parameter["step"] is None else f" by {parameter['step']}"
    return f"{parameter['low']} to {parameter['high']}{how}"


def _conclude(study: Study, config: Path, overrides: Sequence[str], wish: SweepOptions, console: Console) -> None:
    """Prints the results, and keeps them where all is done."""
    results = _with_repeats(study)
    if results.best is None and not wish.show:
        raise RunError(_no_trial(results))
    console.result(shown(results, wish.form))
    if results.best and not wish.show:
        _keep(study, results)
        console.say(f"train it again: {_again(results.best, config, overrides)}")
        by = "tensorboard --logdir" if any(Path(results.folder).glob("*/tensorboard")) else "cnnctl runs"
        console.say(f"see them all:   {by} {shell_word(results.folder)}")


def _again(best: TrialRow, config: Path, overrides: Sequence[str]) -> str:
    """Returns the command that trains the best trial again: by its own config, or with its values where its folder is gone."""
    own = Path(best.run) / "config.yaml"
    if own.is_file():
        return " ".join(("cnnctl train", shell_word(own)))
    texts = [text for text in overrides if not text.startswith("sweep.")]
    texts += [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in best.values.items()]
    return " ".join(("cnnctl train", shell_word(config), *(f"--set {shell_word(text)}" for text in texts)))


def _with_repeats(study: Study) -> SweepResults:
    return replace(study.results(), repeats=study.repeats())


def _no_trial(results: SweepResults) -> str:
    failed = [row for row in results.trials if row.state == FAILED]
    reason = f"; trial {failed[0].number}: {failed[0].reason}" if failed else ""
    return f"none of {len(results.trials)} trials came to its end, so there is no best one{reason}"


def _keep(study: Study, results: SweepResults) -> None:
    """Writes results.json and the plots, unless they are there and the same."""
    content, file = (as_json(as_plain(results)) + "\n").encode(), study.folder.results
    if file.is_file() and file.read_bytes() == content:
        return
    from cnnctl.sweep.plots import plots

    study.folder.ensure_folder(study.folder.plots)
    for name, png in plots(study.optuna, study.sweep.objective):
        write_whole(study.folder.plots / f"{name}.png", png)
    write_whole(file, content)  # last: it says that the plots are there


def _interrupted(folder: SweepFolder, experiment: Experiment, command: str) -> str:
    from cnnctl.sweep.studies import open_study

    study = open_study(folder, experiment)
    if study is None:
        return "interrupted before the sweep began; nothing was written"
    states = Counter(row.state for row in study.results().trials)
    unended = sum(states[state] for state in NOT_ENDED)
    ended = sum(states.values()) - unended
    begun = f", {unended} more begun" if unended else ""
    return f"interrupted; {ended} trials have ended{begun}. Go on with: {command}"
