"""`cnnctl sweep`: search over values of a config, then retrain the best trial with other seeds."""

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

from cnnctl.errors import ConfigError, Interrupted, Problem, RunError, UsageError, counted
from cnnctl.files import write_whole
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.spec.choices import labels
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers.custom import flag_words
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
    """The options of a sweep.

    Attributes:
        folder: the sweep folder; None for `runs/NAME-sweep`.
        trials, minutes: override the config's values; None keeps them.
        processes: number of trials trained at the same time.
        device: `auto`, `cpu` or `gpu`.
        form: `table`, `json` or `markdown`.
        show: print the results without training.
        verbose: show TensorFlow's log.
    """

    folder: Path | None = None
    trials: int | None = None
    minutes: float | None = None
    processes: int = 1
    device: str = "auto"
    form: str = "table"
    show: bool = False
    verbose: bool = False


def sweep(config: Path, overrides: Sequence[str], options: SweepOptions, console: Console) -> None:
    """Train the remaining trials of a sweep and repeat the best; print the results and save them in the sweep folder.

    Args:
        config: the YAML file.
        overrides: values of `--set`, such as `train.epochs=3`.
        options: all other options.
        console: prints results and messages.

    Raises:
        CnnctlError: any failure; see `errors`.
    """
    changes = {"trials": options.trials, "minutes": None if options.minutes is None else float(options.minutes)}
    overrides = [*overrides, *(f"sweep.{name}={value}" for name, value in changes.items() if value is not None)]
    found: list[str] = []
    experiment = _loaded(config, overrides, found)
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("cnnctl sweep needs Optuna; install with: pip install 'optuna>=5,<6'")
    folder = SweepFolder(options.folder or Path("runs") / f"{config.stem}-sweep")
    interruption, command = Interruption(console.interrupted), _command(config, overrides, options)
    try:
        with interruption.listening(), interruption.passing_on():
            job = Job(config, overrides, folder.path, options.device, options.verbose, options.processes)
            _sweep(folder, experiment, job, options, console, found)
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
            "train.strategy is multi_worker, but a trial trains in a single process. Use --set train.strategy=auto; for parallel "
            "trials, use --processes or run the same command on each machine"
        )
    return experiment


def _no_sweep(config: Path) -> ConfigError:
    message = "expected a section sweep, such as sweep: {trials: 10, parameters: {train.batch_size: [32, 64]}}"
    return ConfigError([Problem(str(config), "", message)])


def _command(config: Path, overrides: Sequence[str], options: SweepOptions) -> str:
    words = ["cnnctl", "sweep", str(config)]
    for text in overrides:
        words += ["--set", text]
    words += ["--dir", str(options.folder)] if options.folder else []
    words += ["--processes", str(options.processes)] if options.processes > 1 else []
    return " ".join(map(shell_word, [*words, *flag_words()]))


def _sweep(
    folder: SweepFolder, experiment: Experiment, job: Job, options: SweepOptions, console: Console, found: Sequence[str]
) -> None:
    study = _study(folder, experiment, options.show)
    assert experiment.sweep
    minutes = experiment.sweep.minutes
    deadline = math.inf if minutes is None else time.time() + 60 * minutes
    if not options.show:
        _introduce(study, console)
        for note in (*found, *_folder_notes(experiment)):
            console.say(f"        {note}")
        if not study.is_finished(deadline):
            TrialPool(study, job, deadline, console).work()
    _conclude(study, job.config, job.overrides, options, console)


def _study(folder: SweepFolder, experiment: Experiment, must_exist: bool) -> Study:
    """Open the study of the folder; create it unless it `must_exist`."""
    from cnnctl.sweep.studies import create_study, open_study

    if must_exist:
        study = open_study(folder, experiment)
        if study is None:
            raise UsageError(f"{folder.path} contains no sweep; remove --show to start one")
        return study
    _make(folder)
    with folder.exclusive():
        if not os.path.lexists(folder.study):
            _refuse_other_files(folder)
            create_study(folder, experiment)
    study = open_study(folder, experiment)
    assert study
    return study


def _make(folder: SweepFolder) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{folder.path} is a file; choose a folder with --dir") from error
    except OSError as error:
        raise RunError(f"cannot create {folder.path}: {error.strerror}; choose another folder with --dir") from error


def _refuse_other_files(folder: SweepFolder) -> None:
    """Raise UsageError where a folder without a study contains files that are not hidden."""
    there = [each.name for each in folder.path.iterdir() if not each.name.startswith(".")]
    if there:
        raise UsageError(
            f"{folder.path} contains {min(there)} but no study; not overwriting. Choose another folder with --dir, or move this one away"
        )


def _introduce(study: Study, console: Console) -> None:
    sweep, rows = study.sweep, study.results().trials
    budget = "as many trials" if study.limit is None else f"{study.limit} trials"
    within = "" if sweep.minutes is None else f" that start within {sweep.minutes:g} minutes"
    pruning = f"; pruning: {sweep.pruning.kind}" if sweep.pruning else ""
    console.say(f"sweep   {sweep.method}, {budget}{within}, compared by {sweep.objective.replace('_', ' ')}{pruning}")
    for path, parameter in plain(sweep)["parameters"].items():
        console.say(f"        {path}: {_tried(parameter)}")
    if study.limit and study.limit > study.combinations:
        repeated = f"the parameters have {study.combinations:,} combinations, so {study.limit} trials repeat some"
        console.say(f"        warning: {repeated}, with equal results; method: grid tries each once")
    there = f": resumed, {counted(sum(row.state not in NOT_ENDED for row in rows), 'trial')} done" if rows else ""
    console.say(f"study   {study.folder.study}{there}")


def _folder_notes(experiment: Experiment) -> list[str]:
    """List what the trials read from a data folder, and what they skip."""
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


def _conclude(study: Study, config: Path, overrides: Sequence[str], options: SweepOptions, console: Console) -> None:
    """Print the results, and save them unless `show` is set."""
    results = _with_repeats(study)
    if results.best is None and not options.show:
        raise RunError(_no_trial(results))
    console.result(shown(results, options.form))
    if results.best and not options.show:
        _keep(study, results)
        console.say(f"retrain it:     {_again(results.best, config, overrides)}")
        by = "tensorboard --logdir" if any(Path(results.folder).glob("*/tensorboard")) else "cnnctl runs"
        console.say(f"see them all:   {by} {shell_word(results.folder)}")


def _again(best: TrialRow, config: Path, overrides: Sequence[str]) -> str:
    """Write the command that retrains the best trial: from its config, or from its values where its folder is gone."""
    own = Path(best.run) / "config.yaml"
    if own.is_file():
        return " ".join(("cnnctl train", shell_word(own), *map(shell_word, flag_words())))
    texts = [text for text in overrides if not text.startswith("sweep.")]
    texts += [f"{path}={json.dumps(value, ensure_ascii=False)}" for path, value in best.values.items()]
    return " ".join(
        ("cnnctl train", shell_word(config), *(f"--set {shell_word(text)}" for text in texts), *map(shell_word, flag_words()))
    )


def _with_repeats(study: Study) -> SweepResults:
    return replace(study.results(), repeats=study.repeats())


def _no_trial(results: SweepResults) -> str:
    failed = [row for row in results.trials if row.state == FAILED]
    reason = f"; trial {failed[0].number}: {failed[0].reason}" if failed else ""
    return f"none of {counted(len(results.trials), 'trial')} completed, so there is no best trial{reason}"


def _keep(study: Study, results: SweepResults) -> None:
    """Write results.json and the plots, unless they are up to date."""
    content, file = (as_json(as_plain(results)) + "\n").encode(), study.folder.results
    if file.is_file() and file.read_bytes() == content:
        return
    from cnnctl.sweep.plots import plots

    study.folder.ensure_folder(study.folder.plots)
    for name, png in plots(study.optuna, study.sweep.objective):
        write_whole(study.folder.plots / f"{name}.png", png)
    write_whole(file, content)  # last: once it exists, so do the plots


def _interrupted(folder: SweepFolder, experiment: Experiment, command: str) -> str:
    from cnnctl.sweep.studies import open_study

    study = open_study(folder, experiment)
    if study is None:
        return "interrupted before the sweep started; nothing was written"
    states = Counter(row.state for row in study.results().trials)
    running = sum(states[state] for state in NOT_ENDED)
    done = sum(states.values()) - running
    partial = f", {running} more started" if running else ""
    return f"interrupted; {counted(done, 'trial')} done{partial}. Resume with: {command}"
