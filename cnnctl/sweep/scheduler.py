"""The study of a sweep: which trials there are and what to train next, in Optuna's SQLite file, shared by processes and machines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
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
from cnnctl.sweep.heartbeat import heartbeat, is_alive_elsewhere
from cnnctl.sweep.results import DONE, FAILED, INTERRUPTED, NOT_ENDED, PRUNED, RUNNING, Repeat, SweepResults, TrialRow
from cnnctl.sweep.sampler import count_combinations, distributions_of, suggest, value_of
from cnnctl.sweep.storage import NUMBERS, UNREADABLE, as_storage_error, damaged, unexpected_content
from cnnctl.sweep.sweep_folder import ForeignFolder, SweepFolder, claim, is_claimed, measures_of

STUDY_NAME = "cnnctl sweep"
"""Name of the study in Optuna's file."""
MAY_DIFFER = ("data.path", "data.data_dir")
"""Paths that may differ between the machines that share a study."""
_STATES = {TrialState.COMPLETE: DONE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass
class Work:
    """A trial, or a repeat of the best trial, for this process to train.

    Attributes:
        number: of the trial.
        run: its folder, locked until `release`.
        values: of the parameters, by config path.
        seed: of a repeat; None for a trial.
        labels: the values, by config path, choices by their labels.
    """

    number: int
    run: RunFolder
    values: Mapping[str, Any]
    seed: int | None = None
    _locks: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    labels: Mapping[str, Any] = field(default_factory=dict)

    def release(self) -> None:
        """Unlock the folder, so that other processes can resume what is not done."""
        self._locks.close()


@dataclass(frozen=True)
class Waiting:
    """Nothing can be started until another process has ended a trial."""


class Study:
    """The study of one config.

    Args:
        folder: of the sweep.
        experiment: config with its section `sweep`.
        storage: opened.
        study: Optuna's.
        identity: id of the study, which is in the run folders of its trials too.
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

    # what to train

    @property
    def limit(self) -> int | None:
        """Number of trials in all; None for no limit."""
        return self.sweep.grid_size if self.sweep.method == "grid" else self.sweep.trials

    @property
    def combinations(self) -> float:
        """Number of combinations of values; infinite where a parameter is continuous."""
        return count_combinations(self._distributions)

    def next_work(self, deadline: float) -> Work | Waiting | None:
        """Choose what this process trains next; None where nothing is left.

        Abandoned trials come first, then new trials, then repeats of the best.

        Args:
            deadline: by `time.time()`, after which no trial starts.

        Raises:
            RunError: the study cannot be read or written.
        """
        with self.folder.exclusive(), self._storage_errors():
            trials = self._trials()
            running = [trial for trial in trials if not trial.state.is_finished()]
            for trial in running:
                if work := self._claim_abandoned(trial):
                    return work
            if (self.limit is None or len(trials) < self.limit) and time.time() < deadline:
                return self._new_trial()
            return Waiting() if running else self._next_repeat()

    def _claim_abandoned(self, trial: FrozenTrial) -> Work | None:
        """Claim a trial that no process trains; None where one does."""
        return None if is_alive_elsewhere(trial) else self._claim(trial.number, None)

    def _new_trial(self) -> Work:
        number = self.optuna.ask().number
        while not (work := self._claim(number, None)):
            time.sleep(0.01)  # no other process trains it, but `--show` may be testing the lock
        return work

    def _owner(self, number: int, seed: int | None) -> dict[str, Any]:
        return {"study": self.identity, "trial": number, "seed": seed}

    def _claim(self, number: int, seed: int | None) -> Work | None:
        """Lock the run folder of a trial or a repeat and draw its values; None where another process has it or it has ended."""
        run = self.folder.trial(number) if seed is None else self.folder.repeat(number, seed)
        self.folder.ensure_folder(run.path)
        claim(run, self._owner(number, seed))
        with contextlib.ExitStack() as locks:
            try:
                locks.enter_context(run.held())
            except UsageError:  # another process trains it
                return None
            if self._has_ended(number, seed, run):  # between the reading of the study and the lock
                return None
            if seed is None:
                values = self._sample_values(number)
                locks.enter_context(heartbeat(self._storage, self._trial_id(number)))
            else:
                values = self.values_of(self._trial(number))
            labels = self.labels_of(self._trial(number))
            return Work(number, run, values, seed, locks.pop_all(), labels)

    def _has_ended(self, number: int, seed: int | None, run: RunFolder) -> bool:
        if seed is None:
            return self._trial(number).state.is_finished()
        return run.result.exists() or _failure_key(run) in self.optuna.user_attrs

    def _sample_values(self, number: int) -> dict[str, Any]:
        """Draw the values of a trial that are not drawn yet, and return all."""
        trial = Trial(self.optuna, self._trial_id(number))
        for path, distribution in self._distributions.items():
            suggest(trial, path, distribution)
        self._live[number] = trial
        return self.values_of(self._trial(number))

    def _next_repeat(self) -> Work | Waiting | None:
        others = False
        for repeat in self.repeats():
            if not repeat.has_ended:
                best = self.results().best
                assert best
                if work := self._claim(best.number, repeat.seed):
                    return work
                others = True
        return Waiting() if others else None

    def config_of(self, work: Work) -> Experiment:
        """Load the config of a trial or a repeat: that of its folder, if it was started before.

        Raises:
            ConfigError: the values are not compatible.
            ForeignFolder: the folder has a config with other values.
        """
        seed = {} if work.seed is None else {"seed": work.seed}
        expected = with_values(self.experiment, {**work.values, **seed})
        trial = self.folder.trial(work.number)
        if work.run.config.exists():
            own = without_sweep(load(work.run.config))
        elif seed and trial.config.exists():
            own = load(trial.config, [f"seed={work.seed}"])  # with the values that `auto` had in the trial
        else:
            return expected
        _refuse_other_values(work, own, expected)
        return own

    # results

    def report(self, number: int, epoch: int, value: float, may_prune: bool) -> str | None:
        """Store the value of a trial after an epoch. Return the reason if the trial is to be pruned now.

        An epoch may be reported again, when what was trained after it was lost. The decision for the last epoch is then
        made again, since it may be lost too.
        """
        with self._storage_errors():
            reported = self._trial(number).intermediate_values
            if epoch not in reported:
                self._live[number].report(value, epoch)
            elif epoch < max(reported):
                return None
            if not (may_prune and self.sweep.pruning and self._live[number].should_prune()):
                return None
            reason = f"{self.sweep.objective} {value:.4g} after epoch {epoch}"
            self._live[number].set_user_attr("pruned", reason)
            return reason

    def is_pruned(self, work: Work) -> bool:
        """Return True if a trial is marked as pruned."""
        with self._storage_errors():
            return work.seed is None and "pruned" in self._trial(work.number).user_attrs

    def end(self, work: Work, state: str, facts: Mapping[str, Any]) -> None:
        """Store the end of a trial or a repeat.

        Args:
            work: the trial or repeat.
            state: `done`, `pruned` or `failed`.
            facts: fields of `TrialRow`, with `value` for a trial that is done.
        """
        with self._storage_errors():
            if work.seed is not None:
                if state == FAILED:
                    self.optuna.set_user_attr(_failure_key(work.run), facts["reason"])
                return
            trial_id = self._trial_id(work.number)
            for key, value in facts.items():
                self._storage.set_trial_user_attr(trial_id, key, value)
            optuna_state = next(each for each, name in _STATES.items() if name == state)
            self.optuna.tell(work.number, facts["value"] if state == DONE else None, state=optuna_state)
            self._live.pop(work.number, None)

    def fail_abandoned(self, number: int, reason: str) -> None:
        """Mark a trial as failed, unless another process trains it."""
        with self.folder.exclusive(), self._storage_errors():
            trial = self._trial(number)
            work = None if trial.state.is_finished() else self._claim_abandoned(trial)
        if work:
            self.end(work, FAILED, {"reason": reason})
            work.release()

    def refuse_other_images(self, fingerprints: Mapping[str, str | None]) -> None:
        """Raise OtherImages where the study was started on other images; store the fingerprints in a new study."""
        with self._storage_errors():
            stored = self.optuna.user_attrs.get("images")
            if not isinstance(stored, dict | None):
                raise damaged(self.folder.study, f"images is {show(stored)}, expected a mapping")
            if stored is None:
                self.optuna.set_user_attr("images", dict(fingerprints))
            elif stored != dict(fingerprints):
                raise OtherImages(
                    f"{self.folder.path} was started on other images; restore them, or start another sweep with --dir"
                )

    def results(self) -> SweepResults:
        """Collect the results of all trials, without the repeats."""
        with self._storage_errors():
            rows = [self._row(trial) for trial in self._trials()]
        folder, compare = str(self.folder.path), losses_compare(self.experiment)
        return SweepResults(self.sweep.method, self.sweep.objective, folder, rows, losses_compare=compare)

    def repeats(self) -> list[Repeat]:
        """Collect the repeats of the best trial, those that have not ended included."""
        best = self.results().best
        if best is None:
            return []
        seeds = [(self.experiment.seed + each) % (MAX + 1) for each in range(1, self.sweep.repeat_best + 1)]
        return [self._repeat(best.number, seed) for seed in seeds]

    def _repeat(self, number: int, seed: int) -> Repeat:
        run = self.folder.repeat(number, seed)
        with self._storage_errors():
            reason = self.optuna.user_attrs.get(_failure_key(run), "")
        results = measures_of(run) if is_claimed(run, self._owner(number, seed)) else {}
        return Repeat(seed, str(run.path), results, str(reason))

    def is_finished(self, deadline: float) -> bool:
        """Return True if nothing is left to train for any process."""
        rows = self.results().trials
        more = (self.limit is None or len(rows) < self.limit) and time.time() < deadline
        left = any(not repeat.has_ended for repeat in self.repeats())
        return not (more or left or any(row.state in NOT_ENDED for row in rows))

    def _row(self, trial: FrozenTrial) -> TrialRow:
        facts = trial.user_attrs
        state = _STATES.get(trial.state) or (RUNNING if self._is_running(trial) else INTERRUPTED)
        known = {key: facts.get(key) for key in NUMBERS}
        value = trial.value if state == DONE else None
        run = str(self.folder.trial(trial.number).path)
        reason = str(facts.get("reason") or facts.get("pruned") or "")
        values, labels = self.values_of(trial), self.labels_of(trial)
        return TrialRow(trial.number, state, values, labels, value, run=run, reason=reason, **known)

    def _is_running(self, trial: FrozenTrial) -> bool:
        return is_alive_elsewhere(trial) or is_held(self.folder.trial(trial.number).lock)

    def labels_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial's values by config path, numbers as they are and choices by their labels."""
        return {path: trial.params[path] for path in self.sweep.parameters if path in trial.params}

    def values_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial's values by config path, as in the config."""
        return {
            path: value_of(parameter, trial.params[path])
            for path, parameter in self.sweep.parameters.items()
            if path in trial.params
        }

    # Optuna's storage

    def _trials(self) -> list[FrozenTrial]:
        try:
            trials = self.optuna.get_trials(deepcopy=False)
        except UNREADABLE as error:
            raise damaged(self.folder.study, f"a trial in it cannot be read ({error})") from error
        for number, trial in enumerate(trials):
            if reason := unexpected_content(trial, number, self._distributions):
                raise damaged(self.folder.study, f"trial {number}: {reason}")
        return trials

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _storage_errors(self) -> AbstractContextManager[None]:
        return as_storage_error(self.folder.study)


def _refuse_other_values(work: Work, own: Experiment, expected: Experiment) -> None:
    """Raise ForeignFolder where a trial's own config differs from the study. Unlike for a resume, epochs count too."""
    lines = [f"  {path}: {show(mine)} in the run, {show(other)} in the study" for path, mine, other in differences(own, expected, strict=True)
             if path not in MAY_DIFFER]  # fmt: skip
    if lines:
        what = f"{work.run.path} has another config than trial {work.number} in the study; move it away and run sweep again, or restore the config:"
        raise ForeignFolder("\n".join((what, *lines)))


def _failure_key(run: RunFolder) -> str:
    """Name the study's attribute that has the reason why a repeat failed."""
    return f"failed/{run.path.name}"


class OtherImages(RunError):
    """A study is continued on other images than it was started on."""
