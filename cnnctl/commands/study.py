"""The study of a sweep: what Optuna knows of its trials, in a SQLite file that processes and machines share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from cnnctl.errors import RunError, UsageError
from cnnctl.files import UNFINISHED, hold, put_in_place
from cnnctl.report.comparison import RunRow, differing
from cnnctl.report.sweep import DONE, FAILED, PRUNED, RUNNING, Repeat, SweepResults, TrialRow
from cnnctl.runs import STUDY_FILE, RunFolder
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.reading import open_regular
from cnnctl.spec.section import MOST, plain, show
from cnnctl.spec.sweep import Range, SuccessiveHalving, SweepSpec, labels
from cnnctl.spec.trial import takes_fractions, with_values, without_sweep

NAME = "cnnctl sweep"
OURS, FORMAT = "cnnctl", 1
"""Where in the study it says of what config it is, and how."""
BUSY_SECONDS = 60
"""How long a process waits for another one to finish writing."""
BEAT_SECONDS, SILENT_SECONDS = 30, 150
"""How often a process says that it still trains a trial, and after how long a silence another machine takes it up."""
ELSEWHERE_ALLOWED = ("data.path", "data.data_dir")
"""Where data lies may differ between the machines that share a study."""
_STATES = {TrialState.COMPLETE: DONE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}

optuna.logging.set_verbosity(optuna.logging.ERROR)


class SweepFolder:
    """The paths of one sweep.

    Attributes:
        path: the folder itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study = path / STUDY_FILE
        self.lock = path / ".sweep.lock"
        self.results = path / "results.json"
        self.plots = path / "plots"

    def trial(self, number: int) -> RunFolder:
        """Returns the run folder of a trial."""
        return RunFolder(self.path / f"trial_{number:04}")

    def repeat(self, number: int, seed: int) -> RunFolder:
        """Returns the run folder of a trial that is trained again with another seed."""
        return RunFolder(self.path / f"trial_{number:04}_seed_{seed}")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps the other processes of the sweep from taking trials for the while; waits for one that does."""
        while True:
            with hold(self.lock) as other:
                if other is None:
                    yield
                    return
            time.sleep(0.02)


@dataclass
class Work:
    """A trial, or a repeat of the best, that is this process's to train.

    Attributes:
        number: of the trial.
        run: its folder, held until `release`.
        values: what is tried, by config path.
        seed: of a repeat; None for a trial.
    """

    number: int
    run: RunFolder
    values: Mapping[str, Any]
    seed: int | None = None
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def release(self) -> None:
        """Lets other processes have it, if it is not done."""
        self._held.close()


@dataclass(frozen=True)
class Waiting:
    """Nothing can be begun before another process has ended what it trains."""


class Study:
    """The study of one config.

    Args:
        folder: where it lies.
        experiment: with its sweep.
        storage: open.
        study: Optuna's.
    """

    def __init__(self, folder: SweepFolder, experiment: Experiment, storage: RDBStorage, study: optuna.Study) -> None:
        assert experiment.sweep
        self.folder = folder
        self.experiment = experiment
        self.sweep = experiment.sweep
        self.optuna = study
        self._storage = storage
        self._id = storage.get_study_id_from_name(NAME)
        self._distributions = distributions_of(experiment)
        self._live: dict[int, Trial] = {}

    # what there is to do

    @property
    def limit(self) -> int | None:
        """Returns how many trials there are to be in all; None for no limit."""
        return self.sweep.grid_size if self.sweep.method == "grid" else self.sweep.trials

    def next_work(self, deadline: float) -> Work | Waiting | None:
        """Returns what this process should train next; None where nothing is left.

        What others left behind comes first, then new trials, then repeats of the best.

        Args:
            deadline: by `time.time()`, when no more trials are begun.

        Raises:
            RunError: the study cannot be read or written.
        """
        with self.folder.alone(), self._told():
            trials = self._trials()
            running = [trial for trial in trials if not trial.state.is_finished()]
            for trial in running:
                if work := self._taken_up(trial):
                    return work
            if (self.limit is None or len(trials) < self.limit) and time.time() < deadline:
                return self._begun()
            return Waiting() if running else self._next_repeat()

    def _taken_up(self, trial: FrozenTrial) -> Work | None:
        """Returns a trial that nobody trains any more, held; None where somebody does."""
        alive = trial.user_attrs.get("alive")
        if isinstance(alive, list) and len(alive) == 2 and alive[0] != socket.gethostname():
            beat = alive[1] if isinstance(alive[1], int | float) else 0.0
            if time.time() - beat < SILENT_SECONDS:
                return None  # its file system may have no locks
        return self._held(trial.number, None)

    def _begun(self) -> Work:
        number = self.optuna.ask().number
        work = self._held(number, None)
        assert work, "nobody else knows of it yet"
        return work

    def _held(self, number: int, seed: int | None) -> Work | None:
        run = self.folder.trial(number) if seed is None else self.folder.repeat(number, seed)
        run.path.mkdir(exist_ok=True)
        held = contextlib.ExitStack()
        try:
            held.enter_context(run.held())
        except UsageError:  # another process trains it
            return None
        try:
            if seed is None:
                values = self._drawn(number)
                held.enter_context(self._beating(number))
            else:
                values = self.values_of(self._trial(number))
        except BaseException:
            held.close()
            raise
        return Work(number, run, values, seed, held)

    def _drawn(self, number: int) -> dict[str, Any]:
        """Returns what a trial tries, drawing what is not drawn yet."""
        trial = Trial(self.optuna, self._trial_id(number))
        for path, distribution in self._distributions.items():
            _suggest(trial, path, distribution)
        self._live[number] = trial
        return self.values_of(self._trial(number))

    def _next_repeat(self) -> Work | Waiting | None:
        others = False
        for repeat in self.repeats():
            if not (repeat.results or repeat.reason):
                best = self.results().best
                assert best
                if work := self._held(best.number, repeat.seed):
                    return work
                others = True
        return Waiting() if others else None

    def config_of(self, work: Work) -> Experiment:
        """Returns the config of a trial or a repeat: that of its folder, where it was begun.

        Raises:
            ConfigError: the values do not go together.
        """
        if work.run.config.exists():
            return without_sweep(load(work.run.config))
        trial = self.folder.trial(work.number)
        if work.seed is None:
            return with_values(self.experiment, work.values)
        if trial.config.exists():
            return load(trial.config, [f"seed={work.seed}"])
        return with_values(self.experiment, {**work.values, "seed": work.seed})

    # what came of it

    def report(self, number: int, epoch: int, value: float, may_prune: bool) -> str | None:
        """Keeps what a trial reached after an epoch; returns why it is pruned now, if it is.

        An epoch may be told again, when what was trained after it was lost: the last one is then judged again, since its
        judgement may be lost too.
        """
        with self._told():
            told = self._trial(number).intermediate_values
            if epoch not in told:
                self._live[number].report(value, epoch)
            elif epoch < max(told):
                return None
            if not (may_prune and self.sweep.pruning and self._live[number].should_prune()):
                return None
            reason = f"{self.sweep.choose_by} {value:.4g} after epoch {epoch}"
            self._live[number].set_user_attr("pruned", reason)
            return reason

    def pruned(self, work: Work) -> bool:
        """Returns whether it was decided already that a trial is pruned."""
        with self._told():
            return work.seed is None and "pruned" in self._trial(work.number).user_attrs

    def end(self, work: Work, state: str, facts: Mapping[str, Any]) -> None:
        """Keeps how a trial has ended.

        Args:
            work: the trial, or a repeat.
            state: `done`, `pruned` or `failed`.
            facts: fields of `TrialRow`, `value` of them for a trial that is done.
        """
        with self._told():
            if work.seed is not None:
                if state == FAILED:
                    self.optuna.set_user_attr(f"failed/{work.run.path.name}", facts["reason"])
                return
            trial_id = self._trial_id(work.number)
            for key, value in facts.items():
                self._storage.set_trial_user_attr(trial_id, key, value)
            optuna_state = next(each for each, name in _STATES.items() if name == state)
            self.optuna.tell(work.number, facts["value"] if state == DONE else None, state=optuna_state)
            self._live.pop(work.number, None)

    def fail_abandoned(self, number: int, reason: str) -> None:
        """Marks a trial as failed that nobody trains any more."""
        with self.folder.alone(), self._told():
            trial = self._trial(number)
            work = None if trial.state.is_finished() else self._taken_up(trial)
        if work:
            self.end(work, FAILED, {"reason": reason})
            work.release()

    def refuse_other_images(self, fingerprints: Mapping[str, str | None]) -> None:
        """Raises RunError where the study was begun on other images; notes them where it has not begun."""
        with self._told():
            begun = self.optuna.user_attrs.get("images")
            if begun is None:
                self.optuna.set_user_attr("images", dict(fingerprints))
            elif begun != dict(fingerprints):
                raise OtherImages(f"{self.folder.path} was begun on other images; put them back, or begin another with --dir")

    def results(self) -> SweepResults:
        """Returns what is known of all trials, without the repeats."""
        with self._told():
            rows = [self._row(trial) for trial in self._trials()]
        return SweepResults(self.sweep.method, self.sweep.choose_by, str(self.folder.path), rows)

    def repeats(self) -> list[Repeat]:
        """Returns the repeats of the best trial: which are done, with what result, and which are not."""
        best = self.results().best
        if best is None:
            return []
        seeds = [(self.experiment.seed + each) % (MOST + 1) for each in range(1, self.sweep.repeat_best + 1)]
        return [self._repeat(best.number, seed) for seed in seeds]

    def _repeat(self, number: int, seed: int) -> Repeat:
        run = self.folder.repeat(number, seed)
        with self._told():
            reason = self.optuna.user_attrs.get(f"failed/{run.path.name}", "")
        return Repeat(seed, str(run.path), measures_of(run), str(reason))

    def is_over(self, deadline: float) -> bool:
        """Returns whether nothing is left to train for anybody."""
        rows = self.results().trials
        more = (self.limit is None or len(rows) < self.limit) and time.time() < deadline
        left = any(not (repeat.results or repeat.reason) for repeat in self.repeats())
        return not (more or left or any(row.state == RUNNING for row in rows))

    def _row(self, trial: FrozenTrial) -> TrialRow:
        facts = trial.user_attrs
        state = _STATES.get(trial.state, RUNNING)
        known = {key: self._fact(facts, key) for key in ("validation_accuracy", "validation_loss", "epochs", "seconds")}
        value = trial.value if state == DONE else None
        run = str(self.folder.trial(trial.number).path)
        reason = str(facts.get("reason") or facts.get("pruned") or "")
        return TrialRow(trial.number, state, self.values_of(trial), value, run=run, reason=reason, **known)

    def _fact(self, facts: Mapping[str, Any], key: str) -> Any:
        value = facts.get(key)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            return value
        raise damaged(self.folder.study, f"{key} of a trial is {show(value)}, expected a number")

    def values_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Returns what a trial tries, by config path, as the config says it."""
        return {
            path: _value(parameter, trial.params[path])
            for path, parameter in self.sweep.parameters.items()
            if path in trial.params
        }

    # Optuna

    def _trials(self) -> list[FrozenTrial]:
        try:
            return self.optuna.get_trials(deepcopy=False)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise damaged(self.folder.study, f"a trial in it cannot be read ({error})") from error

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    @contextlib.contextmanager
    def _beating(self, number: int) -> Iterator[None]:
        """Says now and then that this process is alive and trains a trial."""
        trial_id, stop = self._trial_id(number), threading.Event()

        def beat() -> None:
            while True:
                with contextlib.suppress(*_STORAGE_ERRORS, optuna.exceptions.UpdateFinishedTrialError):
                    self._storage.set_trial_user_attr(trial_id, "alive", [socket.gethostname(), time.time()])
                if stop.wait(BEAT_SECONDS):
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        with told(self.folder.study):
            yield


class OtherImages(RunError):
    """A study is gone on with on other images than it was begun on."""


def measures_of(run: RunFolder) -> dict[str, float]:
    """Returns what a run that has ended reached, by the names of `report.sweep.MEASURES`; nothing of one that has not.

    Validation is that of the weights that the run leaves: of its best epoch where early stopping goes back to it, else of its last.

    Raises:
        RunError: the folder is damaged.
    """
    result = run.read_result()
    if result is None:
        return {}
    restored = load(run.config, look_at_data=False).train.early_stopping
    epoch = result.get("best_epoch") if restored and restored.restore_best else result.get("epochs")
    row = next((each for each in run.read_epochs() if each.get("epoch") == str(epoch)), None)
    if row is None:
        raise RunError(f"{run.metrics} is damaged: it has no epoch {epoch}, which {run.result} speaks of")
    tested = {key: result[key] for key in ("test_accuracy", "test_loss") if isinstance(result.get(key), int | float)}
    return {**{key: number_in(run, row, key) for key in ("validation_accuracy", "validation_loss")}, **tested}


def number_in(run: RunFolder, row: Mapping[str, str], key: str) -> float:
    """Returns a number of a row of metrics.csv; raises RunError where it is none."""
    try:
        return float(row.get(key, ""))
    except ValueError as error:
        raise RunError(f"{run.metrics} is damaged: {key} is {show(row.get(key))}, expected a number") from error


# What is drawn


def distributions_of(experiment: Experiment) -> dict[str, BaseDistribution]:
    """Returns what Optuna draws from, by config path."""
    assert experiment.sweep
    return {path: _distribution(experiment, path, each) for path, each in experiment.sweep.parameters.items()}


def _distribution(experiment: Experiment, path: str, parameter: Any) -> BaseDistribution:
    if not isinstance(parameter, Range):
        return CategoricalDistribution(labels(parameter))
    if parameter.is_whole and (parameter.step is not None or not takes_fractions(experiment, path, parameter)):
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _suggest(trial: Trial, path: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(path, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(path, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    elif isinstance(distribution, FloatDistribution):
        trial.suggest_float(path, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _value(parameter: Any, drawn: Any) -> Any:
    """Returns the value that was drawn, as the config says it."""
    return drawn if isinstance(parameter, Range) else parameter[labels(parameter).index(drawn)]


class Drawing(BaseSampler):
    """Draws what a trial tries from the sweep's seed and the trial's number, so that a study that was cut short draws as one that was not.

    A grid draws nothing: trial n tries its n-th point, the last parameter moving fastest.
    """

    def __init__(self, sweep: SweepSpec) -> None:
        self._sweep = sweep
        self._together: BaseSampler | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns what is drawn together: for tpe, once it has seen enough trials, everything."""
        self._together = self._sampler(trial.number, "")
        return self._together.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draws what is drawn together."""
        assert self._together
        return self._together.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draws one value."""
        if self._sweep.method == "grid":
            return self._grid_value(trial.number, param_name)
        return self._sampler(trial.number, param_name).sample_independent(study, trial, param_name, param_distribution)

    def _sampler(self, number: int, path: str) -> BaseSampler:
        digest = hashlib.sha256(f"{self._sweep.seed}/{number}/{path}".encode()).digest()
        seed = int.from_bytes(digest[:4])
        return TPESampler(seed=seed) if self._sweep.method == "tpe" else RandomSampler(seed=seed)

    def _grid_value(self, number: int, path: str) -> Any:
        index = number
        for name, axis in reversed(list(zip(self._sweep.parameters, self._sweep.grid_axes, strict=True))):
            index, at = divmod(index, len(axis))
            if name == path:
                return axis[at] if isinstance(self._sweep.parameters[path], Range) else labels(axis)[at]
        raise KeyError(path)


def _pruner(sweep: SweepSpec) -> optuna.pruners.BasePruner:
    pruning = sweep.pruning
    if pruning is None:
        return optuna.pruners.NopPruner()
    if isinstance(pruning, SuccessiveHalving):
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=pruning.min_epochs, reduction_factor=pruning.reduction_factor
        )
    # Optuna counts the steps before it may prune; epochs are counted from 1
    return optuna.pruners.MedianPruner(n_startup_trials=pruning.startup_trials, n_warmup_steps=pruning.warmup_epochs + 1)


# The file

_STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error)


@contextlib.contextmanager
def told(file: Path) -> Iterator[None]:
    """Tells what SQLite refuses as RunError."""
    try:
        yield
    except _STORAGE_ERRORS as error:
        reason = _reason(error)
        if "malformed" in reason or "not a database" in reason:
            raise damaged(file, reason) from error
        raise RunError(
            f"{file} cannot be read or written: {reason}. What is trained is kept; once that is mended, call sweep again"
        ) from error


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    return str(getattr(cause, "orig", None) or cause or error).partition("\n")[0]


def damaged(file: Path, reason: str) -> RunError:
    """Returns what to say of a study that is none."""
    return RunError(
        f"{file} is damaged, or is no study of cnnctl: {reason}. Move {file.parent} away, or begin another study with --dir; "
        "the run folders in it are whole without the study"
    )


def open_study(folder: SweepFolder, experiment: Experiment) -> Study | None:
    """Returns the study in a folder; None where there is none.

    Raises:
        RunError: it is damaged, or cannot be read.
        UsageError: it is the study of another config.
    """
    if not os.path.lexists(folder.study):
        return None
    _refuse_damaged(folder)
    with told(folder.study):
        try:
            storage = _storage(folder.study, new=False)
            study = optuna.load_study(
                study_name=NAME, storage=storage, sampler=Drawing(_sweep(experiment)), pruner=_pruner(_sweep(experiment))
            )
            ours = study.user_attrs.get(OURS)
        except RuntimeError as error:
            version = optuna.__version__
            raise RunError(f"{folder.study} was written by an Optuna that Optuna {version} does not read: {error}") from error
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            raise damaged(folder.study, f"it has no study that can be read ({error})") from error
    if not isinstance(ours, dict) or ours.get("format") != FORMAT:
        raise damaged(folder.study, "it does not say of what config it is")
    _refuse_other(folder, ours, _identity(experiment))
    return Study(folder, experiment, storage, study)


def create_study(folder: SweepFolder, experiment: Experiment) -> None:
    """Makes the study of a config, whole or not at all; the caller sees to it that there is none, and is alone.

    Raises:
        RunError: the folder cannot be written.
    """
    sweep = _sweep(experiment)
    beside = folder.study.with_name(f".{folder.study.name}{UNFINISHED}")
    beside.unlink(missing_ok=True)
    try:
        with told(folder.study):
            storage = _storage(beside, new=True)
            better = (
                optuna.study.StudyDirection.MINIMIZE
                if sweep.choose_by.endswith("loss")
                else optuna.study.StudyDirection.MAXIMIZE
            )
            study = optuna.create_study(study_name=NAME, storage=storage, direction=better)
            study.set_user_attr(OURS, {"format": FORMAT, **_identity(experiment)})
            storage.remove_session()
            storage.engine.dispose()
        put_in_place(beside, folder.study)
    except OSError as error:
        raise RunError(f"{folder.study} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _sweep(experiment: Experiment) -> SweepSpec:
    assert experiment.sweep
    return experiment.sweep


def _storage(file: Path, new: bool) -> RDBStorage:
    """Opens Optuna's tables; the connection is ours, since not every path can be a URL."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, timeout=BUSY_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    return RDBStorage("sqlite:///study.sqlite3", engine_kwargs={"creator": connect}, skip_table_creation=not new)


def _refuse_damaged(folder: SweepFolder) -> None:
    """Raises RunError for a file that is no whole SQLite database of tables and indexes alone, Optuna's among them."""
    file = folder.study
    try:
        with open_regular(file, inside=folder.path) as opened:
            begins_right = opened.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from error
    if not begins_right:
        raise damaged(file, "it is no SQLite file")
    with told(file), contextlib.closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA trusted_schema = OFF")
        found = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
        if strange := [name for kind, name, sql in found if kind not in ("table", "index") or "VIRTUAL" in sql.upper()]:
            raise damaged(file, f"it holds {show(strange[0])}, which Optuna does not make")
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise damaged(file, str(sound).partition("\n")[0])
        if missing := {"studies", "trials", "version_info", "alembic_version"} - {name for _, name, _ in found}:
            raise damaged(file, f"it has no table '{min(missing)}'")


def _identity(experiment: Experiment) -> dict[str, Any]:
    """Returns what must stay as it is as long as a study goes on."""
    sweep = dict(plain(_sweep(experiment)))
    kept = {key: sweep[key] for key in ("method", "choose_by", "pruning", "seed", "parameters")}
    return {"config": dict(plain(without_sweep(experiment))), "sweep": kept}


def _refuse_other(folder: SweepFolder, ours: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises UsageError where a study is that of another config."""
    lines: list[str] = []
    for part, prefix in (("config", ""), ("sweep", "sweep.")):
        rows = [RunRow("", dict(each[part]), {}) for each in (ours, asked)]
        lines += [f"  {prefix}{path}: {show(before)} in the study, {show(now)} asked for" for path, (before, now) in differing(rows).items()
                  if path not in ELSEWHERE_ALLOWED]  # fmt: skip
    if lines:
        remedy = "begin another study with --dir, or put the config back; trials, minutes and repeat_best may change"
        raise UsageError("\n".join((f"{folder.path} holds the study of another config; {remedy}:", *lines)))
