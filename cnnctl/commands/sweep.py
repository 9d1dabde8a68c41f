"""`cnnctl sweep`: many trainings of one config with other values, the best of them, and the best again with other seeds."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cnnctl
from cnnctl.commands.worker import REPLACE
from cnnctl.errors import CnnctlError, ConfigError, Interrupted, Problem, RunError, UsageError
from cnnctl.files import write_whole
from cnnctl.report.console import Console
from cnnctl.report.sweep import FAILED, RUNNING, SweepResults, as_plain, show_values, shown, trial_line
from cnnctl.report.tables import as_json
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.section import plain
from cnnctl.train.interruption import Interruption

if TYPE_CHECKING:
    from cnnctl.commands.study import Study, SweepFolder

MOST_DEATHS = 2
"""So many processes may die of one trial before it counts as failed."""


@dataclass(frozen=True)
class Wish:
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


def sweep(config: Path, overrides: Sequence[str], wish: Wish, console: Console) -> None:
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
    experiment = _loaded(config, overrides)
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("cnnctl sweep needs Optuna, which is not installed: pip install 'cnnctl[sweep]'")
    from cnnctl.commands.study import SweepFolder

    folder = SweepFolder(wish.folder or Path("runs") / f"{config.stem}-sweep")
    with Interruption(console.interrupted).listening() as interruption:
        command = _command(config, overrides, wish)
        try:
            with interruption.passing_on():
                _sweep(folder, experiment, Job(config, overrides, wish, folder.path), console)
        except KeyboardInterrupt as pressed:
            raise Interrupted(_interrupted(folder, experiment, command), interruption.signal) from pressed


def _loaded(config: Path, overrides: Sequence[str]) -> Experiment:
    if not any(text.startswith("sweep=") for text in overrides) and overrides:
        plain_config = load(config, [text for text in overrides if not text.startswith("sweep.")])
        if plain_config.sweep is None:
            raise _no_sweep(config)
    experiment = load(config, overrides)
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


def _command(config: Path, overrides: Sequence[str], wish: Wish) -> str:
    words = ["cnnctl", "sweep", str(config)]
    for text in overrides:
        words += ["--set", text]
    words += ["--dir", str(wish.folder)] if wish.folder else []
    words += ["--processes", str(wish.processes)] if wish.processes > 1 else []
    return shlex.join(words)


def _sweep(folder: SweepFolder, experiment: Experiment, job: Job, console: Console) -> None:
    study = _study(folder, experiment, job.wish.show)
    assert experiment.sweep
    minutes = experiment.sweep.minutes
    deadline = math.inf if minutes is None else time.time() + 60 * minutes
    if not job.wish.show:
        _introduce(study, console)
        if not study.is_over(deadline):
            Crew(study, job, deadline, console).work()
    _conclude(study, job.wish, console)


def _study(folder: SweepFolder, experiment: Experiment, must_be_there: bool) -> Study:
    """Returns the study of the folder, which is made where there is none."""
    from cnnctl.commands.study import create_study, open_study

    if must_be_there:
        study = open_study(folder, experiment)
        if study is None:
            raise UsageError(f"there is no sweep in {folder.path}; leave --show out to begin one")
        return study
    _make(folder)
    with folder.alone():
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
    console.say(f"sweep   {sweep.method}, {budget}{within}, compared by {sweep.choose_by.replace('_', ' ')}{pruning}")
    for path, parameter in plain(sweep)["parameters"].items():
        console.say(f"        {path}: {_tried(parameter)}")
    there = f": goes on, {sum(row.state != RUNNING for row in rows)} trials have ended" if rows else ""
    console.say(f"study   {study.folder.study}{there}")


def _tried(parameter: Any) -> str:
    if isinstance(parameter, list):
        return ", ".join(show_values({"": each}).strip() for each in parameter)
    how = ", log" if parameter["log"] else "" if parameter["step"] is None else f" by {parameter['step']}"
    return f"{parameter['low']} to {parameter['high']}{how}"


def _conclude(study: Study, wish: Wish, console: Console) -> None:
    """Prints the results, and keeps them where all is done."""
    results = _with_repeats(study)
    if results.best is None and not wish.show:
        raise RunError(_no_trial(results))
    console.result(shown(results, wish.form))
    if results.best and not wish.show:
        _keep(study, results)
        best = shlex.quote(results.best.run)
        console.say(f"train it again: cnnctl train {best}/config.yaml")
        console.say(f"see them all:   tensorboard --logdir {shlex.quote(results.folder)}")


def _with_repeats(study: Study) -> SweepResults:
    found = study.results()
    return SweepResults(found.method, found.choose_by, found.folder, found.trials, study.repeats())


def _no_trial(results: SweepResults) -> str:
    failed = [row for row in results.trials if row.state == FAILED]
    reason = f"; trial {failed[0].number}: {failed[0].reason}" if failed else ""
    return f"none of {len(results.trials)} trials came to its end, so there is no best one{reason}"


def _keep(study: Study, results: SweepResults) -> None:
    """Writes results.json and the plots, unless they are there and the same."""
    content, file = (as_json(as_plain(results)) + "\n").encode(), study.folder.results
    if file.is_file() and file.read_bytes() == content:
        return
    from cnnctl.report.sweep_plots import plots

    study.folder.plots.mkdir(exist_ok=True)
    for name, png in plots(study.optuna, study.sweep.choose_by):
        write_whole(study.folder.plots / f"{name}.png", png)
    write_whole(file, content)  # last: it says that the plots are there


def _interrupted(folder: SweepFolder, experiment: Experiment, command: str) -> str:
    from cnnctl.commands.study import open_study

    study = open_study(folder, experiment)
    if study is None:
        return "interrupted before the sweep began; nothing was written"
    states = Counter(row.state for row in study.results().trials)
    ended = sum(states.values()) - states[RUNNING]
    begun = f", {states[RUNNING]} more begun" if states[RUNNING] else ""
    return f"interrupted; {ended} trials have ended{begun}. Go on with: {command}"


# The processes that train


@dataclass(frozen=True)
class Job:
    """What a worker is told."""

    config: Path
    overrides: Sequence[str]
    wish: Wish
    folder: Path

    def line(self, deadline: float) -> str:
        """Returns it as the line that a worker reads."""
        content = {
            "config": str(self.config),
            "overrides": list(self.overrides),
            "folder": str(self.folder),
            "device": self.wish.device,
            "verbose": self.wish.verbose,
            "deadline": deadline,
            "command": sys.argv,
        }
        return json.dumps(content) + "\n"


@dataclass
class Member:
    """A process that trains.

    Attributes:
        process: as Python knows it; its stdin stays open as long as it is wanted.
        trial: what it trains now; None for nothing.
        error: what it said was wrong.
        told: how far its trial is.
        listener: reads what it tells.
    """

    process: subprocess.Popen[str]
    trial: int | None = None
    error: CnnctlError | None = None
    told: dict[str, Any] = field(default_factory=dict)
    listener: threading.Thread = field(default_factory=threading.Thread)

    def end(self) -> int:
        """Waits for the process, which is no longer wanted and saves what it trains; returns its exit code."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        code = self.process.wait()
        self.listener.join()
        self.process.stdout.close()
        return code


class Crew:
    """The processes that train for one `cnnctl sweep`, and what they tell.

    Args:
        study: whose trials they train.
        job: what they are told.
        deadline: by `time.time()`, when no more trials are begun.
        console: where to say what happens.
    """

    def __init__(self, study: Study, job: Job, deadline: float, console: Console) -> None:
        self._study = study
        self._job = job
        self._deadline = deadline
        self._console = console
        self._told: queue.Queue[tuple[Member, dict[str, Any] | None]] = queue.Queue()
        self._members: list[Member] = []
        self._deaths: Counter[int | None] = Counter()

    def work(self) -> None:
        """Trains until nothing is left.

        Raises:
            CnnctlError: what a process found wrong with more than one trial.
        """
        try:
            with self._shown() as show:
                for _ in range(self._job.wish.processes):
                    self._start()
                while self._members:
                    member, event = self._told.get()
                    if event is None:
                        self._left(member)
                    else:
                        self._hear(member, event)
                    show()
        finally:
            self._stop()

    def _start(self) -> None:
        home = str(Path(cnnctl.__file__).parents[1])
        path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cnnctl.commands.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for this process, which ends the others
        )
        member = Member(process)
        self._members.append(member)
        assert process.stdin
        process.stdin.write(self._job.line(self._deadline))
        process.stdin.flush()
        member.listener = threading.Thread(target=self._listen, args=(member,), daemon=True)
        member.listener.start()

    def _listen(self, member: Member) -> None:
        assert member.process.stdout
        for line in member.process.stdout:
            self._told.put((member, json.loads(line)))
        self._told.put((member, None))

    def _hear(self, member: Member, event: dict[str, Any]) -> None:
        if "begin" in event:
            member.trial = event["begin"]
            member.told = {**event, "epoch": 0}
        elif "epoch" in event:
            member.told.update(event)
        elif "end" in event:
            member.trial, member.told = None, {}
            self._say_ended(event)
        elif "error" in event:
            kind = UsageError if event["exit_code"] == UsageError.exit_code else RunError
            member.error = kind(event["error"])

    def _say_ended(self, event: dict[str, Any]) -> None:
        if event["seed"] is None:
            row = self._study.results().trials[event["end"]]
            self._say(trial_line(row, self._study.sweep.choose_by))
        else:
            ending = f"failed: {event['reason']}" if event["state"] == FAILED else "done"
            self._say(f"trial {event['end']:<4}again with seed {event['seed']}: {ending}")

    def _left(self, member: Member) -> None:
        """Takes note that a process has ended, and starts another where something is left to do."""
        self._members.remove(member)
        code = member.end()
        if member.error:
            raise member.error
        if code == REPLACE:
            self._start()
        elif code != 0:
            self._died(member, code)

    def _died(self, member: Member, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = "; most often there is too little memory" if code == -9 else ""
        self._deaths[member.trial] += 1
        enough = self._deaths[member.trial] >= MOST_DEATHS
        if member.trial is None:
            if enough:
                raise RunError(f"a process that trains {how} before it began a trial, {MOST_DEATHS} times{hint}")
        else:
            self._say(f"trial {member.trial:<4}its process {how}{hint}")
            if enough:
                self._study.fail_abandoned(member.trial, f"its process {how}, {MOST_DEATHS} times{hint}")
        self._start()

    def _stop(self) -> None:
        """Has all processes end, each with what it trains saved."""
        for member in self._members:  # all at once, not one after the other
            with contextlib.suppress(OSError):
                assert member.process.stdin
                member.process.stdin.close()
        for member in self._members:
            member.end()

    # what is shown

    def _say(self, text: str) -> None:
        self._console.say(text)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Any]:
        """Shows on a terminal what is trained now; gives what shows it anew."""
        if self._console.quiet or not self._console.live:
            yield lambda: None
            return
        with self._console.rich().status("starting TensorFlow") as status:
            yield lambda: status.update(self._now())

    def _now(self) -> str:
        return "; ".join(_where(member.told) for member in self._members if member.told) or "starting TensorFlow"


def _where(told: dict[str, Any]) -> str:
    seed = "" if told["seed"] is None else f" with seed {told['seed']}"
    if not told["epoch"]:
        return f"trial {told['begin']}{seed} begins"
    return f"trial {told['begin']}{seed}: {told['epoch']} of {told['of']} epochs, {told['reached']}"
