"""The study of a sweep: what Optuna knows of its trials, in a SQLite file that processes and machines share."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from cnnctl.errors import RunError, UsageError
from cnnctl.files import is_held
from cnnctl.run_folder import RunFolder
from cnnctl.session.run_files import differences
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.section import MAX, show
from cnnctl.spec.trial import losses_compare, with_values, without_sweep
from cnnctl.sweep.results import BEGUN, DONE, FAILED, INTERRUPTED, PRUNED, RUNNING, Repeat, SweepResults, TrialRow
from cnnctl.sweep.sampler import distributions_of, points_of, suggest, value_of
from cnnctl.sweep.storage import NUMBERS, STORAGE_ERRORS, UNREADABLE, damaged, strange, told
from cnnctl.sweep.sweep_folder import NotOurs, SweepFolder, belongs, measures_of, take

STUDY_NAME = "cnnctl sweep"
"""What Optuna calls the study in its file."""
BEAT_SECONDS, SILENT_SECONDS = 30, 150
"""How often a process says that it still trains a trial, and after how long a silence another machine takes it up."""
ELSEWHERE_ALLOWED = ("data.path", "data.data_dir")
"""Where data lies may differ between the machines that share a study."""
_STATES = {TrialState.COMPLETE: DONE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass
class Work:
    """A trial, or a repeat of the best, that is this process's to train.

    Attributes:
        number: of the trial.
        run: its folder, held until `release`.
        values: what is tried, by config path.
        seed: of a repeat; None for a trial.
        labels: what is tried, by config path, choices by their names.
    """

    number: int
    run: RunFolder
    values: Mapping[str, Any]
    seed: int | None = None
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    labels: Mapping[str, Any] = field(default_factory=dict)

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
        identity: of the study, which the run folders of its trials hold too.
    """

    def __init__(
        self, folder: SweepFolder, experiment: Experiment, storage: RDBStorage, study: optuna.Study, identity: str
    ) -> None:
        assert experiment.sweep
        self.identity = identity
        self.folder = folder
        self.experiment = experiment
        self.sweep = experiment.sweep
        self.optuna = study
        self._storage = storage
        self._id = storage.get_study_id_from_name(STUDY_NAME)
        self._distributions = distributions_of(experiment)
        self._live: dict[int, Trial] = {}

    # what there is to do

    @property
    def limit(self) -> int | None:
        """Returns how many trials there are to be in all; None for no limit."""
        return self.sweep.grid_size if self.sweep.method == "grid" else self.sweep.trials

    @property
    def points(self) -> float:
        """Returns how many combinations of values there are to try; infinitely many where a number is drawn."""
        return points_of(self._distributions)

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
        return None if self._is_trained_elsewhere(trial) else self._held(trial.number, None)

    @staticmethod
    def _is_trained_elsewhere(trial: FrozenTrial) -> bool:
        """Returns whether a process of another machine trains a trial, as far as it has told lately: its file system may have no locks."""
        alive = trial.user_attrs.get("alive")
        if not (isinstance(alive, list) and len(alive) == 2 and alive[0] != socket.gethostname()):
            return False
        return isinstance(alive[1], int | float) and time.time() - alive[1] < SILENT_SECONDS

    def _begun(self) -> Work:
        number = self.optuna.ask().number
        while not (work := self._held(number, None)):
            time.sleep(0.01)  # nobody else trains it, but `--show` may just look whether somebody does
        return work

    def _owner(self, number: int, seed: int | None) -> dict[str, Any]:
        return {"study": self.identity, "trial": number, "seed": seed}

    def _held(self, number: int, seed: int | None) -> Work | None:
        run = self.folder.trial(number) if seed is None else self.folder.repeat(number, seed)
        self.folder.own(run.path)
        take(run, self._owner(number, seed))
        held = contextlib.ExitStack()
        try:
            held.enter_context(run.held())
        except UsageError:  # another process trains it
            return None
        try:
            if self._has_ended(number, seed, run):  # between the look at the study and the hold
                held.close()
                return None
            if seed is None:
                values = self._drawn(number)
                held.enter_context(self._beating(number))
            else:
                values = self.values_of(self._trial(number))
        except BaseException:
            held.close()
            raise
        return Work(number, run, values, seed, held, self.labels_of(self._trial(number)))

    def _has_ended(self, number: int, seed: int | None, run: RunFolder) -> bool:
        if seed is None:
            return self._trial(number).state.is_finished()
        return run.result.exists() or _failed(run) in self.optuna.user_attrs

    def _drawn(self, number: int) -> dict[str, Any]:
        """Returns what a trial tries, drawing what is not drawn yet."""
        trial = Trial(self.optuna, self._trial_id(number))
        for path, distribution in self._distributions.items():
            suggest(trial, path, distribution)
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
            NotOurs: the folder has a config with other values.
        """
        seed = {} if work.seed is None else {"seed": work.seed}
        asked = with_values(self.experiment, {**work.values, **seed})
        trial = self.folder.trial(work.number)
        if work.run.config.exists():
            own = without_sweep(load(work.run.config))
        elif seed and trial.config.exists():
            own = load(trial.config, [f"seed={work.seed}"])  # with what `auto` became there
        else:
            return asked
        _refuse_other_values(work, own, asked)
        return own

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
            reason = f"{self.sweep.objective} {value:.4g} after epoch {epoch}"
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
                    self.optuna.set_user_attr(_failed(work.run), facts["reason"])
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
            if not isinstance(begun, dict | None):
                raise damaged(self.folder.study, f"images is {show(begun)}, expected a mapping")
            if begun is None:
                self.optuna.set_user_attr("images", dict(fingerprints))
            elif begun != dict(fingerprints):
                raise OtherImages(f"{self.folder.path} was begun on other images; put them back, or begin another with --dir")

    def results(self) -> SweepResults:
        """Returns what is known of all trials, without the repeats."""
        with self._told():
            rows = [self._row(trial) for trial in self._trials()]
        folder, compare = str(self.folder.path), losses_compare(self.experiment)
        return SweepResults(self.sweep.method, self.sweep.objective, folder, rows, losses_compare=compare)

    def repeats(self) -> list[Repeat]:
        """Returns the repeats of the best trial: which are done, with what result, and which are not."""
        best = self.results().best
        if best is None:
            return []
        seeds = [(self.experiment.seed + each) % (MAX + 1) for each in range(1, self.sweep.repeat_best + 1)]
        return [self._repeat(best.number, seed) for seed in seeds]

    def _repeat(self, number: int, seed: int) -> Repeat:
        run = self.folder.repeat(number, seed)
        with self._told():
            reason = self.optuna.user_attrs.get(_failed(run), "")
        results = measures_of(run) if belongs(run, self._owner(number, seed)) else {}
        return Repeat(seed, str(run.path), results, str(reason))

    def is_over(self, deadline: float) -> bool:
        """Returns whether nothing is left to train for anybody."""
        rows = self.results().trials
        more = (self.limit is None or len(rows) < self.limit) and time.time() < deadline
        left = any(not (repeat.results or repeat.reason) for repeat in self.repeats())
        return not (more or left or any(row.state in BEGUN for row in rows))

    def _row(self, trial: FrozenTrial) -> TrialRow:
        facts = trial.user_attrs
        state = _STATES.get(trial.state) or (RUNNING if self._is_trained(trial) else INTERRUPTED)
        known = {key: facts.get(key) for key in NUMBERS}
        value = trial.value if state == DONE else None
        run = str(self.folder.trial(trial.number).path)
        reason = str(facts.get("reason") or facts.get("pruned") or "")
        values, labels = self.values_of(trial), self.labels_of(trial)
        return TrialRow(trial.number, state, values, labels, value, run=run, reason=reason, **known)

    def _is_trained(self, trial: FrozenTrial) -> bool:
        """Returns whether some process trains a trial now."""
        return self._is_trained_elsewhere(trial) or is_held(self.folder.trial(trial.number).lock)

    def labels_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Returns what a trial tries, by config path, numbers as they are and choices by their names."""
        return {path: trial.params[path] for path in self.sweep.parameters if path in trial.params}

    def values_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Returns what a trial tries, by config path, as the config says it."""
        return {
            path: value_of(parameter, trial.params[path])
            for path, parameter in self.sweep.parameters.items()
            if path in trial.params
        }

    # Optuna

    def _trials(self) -> list[FrozenTrial]:
        try:
            trials = self.optuna.get_trials(deepcopy=False)
        except UNREADABLE as error:
            raise damaged(self.folder.study, f"a trial in it cannot be read ({error})") from error
        for number, trial in enumerate(trials):
            if reason := strange(trial, number, self._distributions):
                raise damaged(self.folder.study, f"trial {number}: {reason}")
        return trials

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
                with contextlib.suppress(*STORAGE_ERRORS, optuna.exceptions.UpdateFinishedTrialError):
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


def _refuse_other_values(work: Work, own: Experiment, asked: Experiment) -> None:
    """Raises NotOurs where a trial's own config says something else than the study; epochs count here, unlike for a resume."""
    lines = [f"  {path}: {show(mine)} in the run, {show(now)} in the study" for path, mine, now in differences(own, asked, strict=True)
             if path not in ELSEWHERE_ALLOWED]  # fmt: skip
    if lines:
        told = f"{work.run.path} has another config than trial {work.number} in the study; move it away and run sweep again, or restore the config:"
        raise NotOurs("\n".join((told, *lines)))


def _failed(run: RunFolder) -> str:
    """Returns where in the study it says why a repeat has failed."""
    return f"failed/{run.path.name}"


class OtherImages(RunError):
    """A study is gone on with on other images than it was begun on."""
