"""The trials of a sweep, trained one after the other in this process; imported after TensorFlow is.

TensorFlow is started once for many trials: a start takes as long as a short trial. A trial is the same to the bit as one in a
process of its own as long as TensorFlow's threads are set as that one would set them; they can be set once only, so
a trial that needs them otherwise is left for a new process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cnnctl.data.splits import Splits, fingerprint
from cnnctl.errors import CnnctlError, ConfigError, DataError, Interrupted, RunError, UsageError
from cnnctl.few_shot.task import make_task
from cnnctl.report.console import Console
from cnnctl.session.session import prepare, train
from cnnctl.session.state import Part
from cnnctl.spec.experiment import Experiment
from cnnctl.surroundings import from_system
from cnnctl.sweep.results import DONE, FAILED, PRUNED, show_measure
from cnnctl.sweep.scheduler import OtherImages, Study, Waiting, Work
from cnnctl.sweep.sweep_folder import NotOurs, measure_in, measures_of, number_in, without_penalty
from cnnctl.train.device import choose_device
from cnnctl.train.observers import EpochRecord, Observer, Plan
from cnnctl.train.settings import resolve_auto
from cnnctl.train.signals import Interruption
from cnnctl.train.stopping import Diverged

MAX_TRIALS = 50
"""After so many trials a process makes room for a new one: each leaves about 3 MB behind in TensorFlow."""
POLL_SECONDS = 0.3
ABOUT_IMAGES = ("data.", "few_shot.")
"""How the paths begin whose values decide whether a trial's data suits it."""

Tell = Callable[[dict[str, Any]], None]


class Pruned(RunError):
    """A trial does badly so far; its checkpoint is written."""

    state = "pruned"


@dataclass
class Worker:
    """Trains what a study has to train.

    Attributes:
        study: whose trials.
        device: `auto`, `cpu` or `gpu`.
        interruption: listens to signals.
        tell: hears what happens, for people.
        threads: how TensorFlow's threads are set in this process; None before the first trial.
    """

    study: Study
    device: str
    interruption: Interruption
    tell: Tell
    threads: int | None = None

    def work(self, deadline: float) -> bool:
        """Trains until nothing is left, and returns True; or returns False where a new process should go on.

        Args:
            deadline: by `time.time()`, when no more trials are begun.

        Raises:
            CnnctlError: something that is wrong with more than one trial; or the process is asked to end.
        """
        for work in self._works(deadline):
            try:
                if not self._suits(work):
                    return False
                self._train(work)
            finally:
                work.release()
                keras.utils.clear_session()  # collects garbage too
        return self._nothing_left

    def _works(self, deadline: float) -> Iterator[Work]:
        trained, self._nothing_left = 0, False
        while trained < MAX_TRIALS:
            work = self.study.next_work(deadline)
            if work is None:
                self._nothing_left = True
                return
            if isinstance(work, Waiting):
                time.sleep(POLL_SECONDS)
            else:
                trained += 1
                yield work

    def _suits(self, work: Work) -> bool:
        """Returns whether TensorFlow's threads are as a process of its own would set them for a trial."""
        try:
            parts = resolve_auto(self.study.config_of(work), choose_device(self.device)).parts
        except ConfigError:
            return True  # it will not be trained
        self.threads = self.threads or parts
        return self.threads == parts

    def _train(self, work: Work) -> None:
        """Trains one trial, or goes on with it, and tells the study how it ended."""
        self.tell({"begin": work.number, "seed": work.seed, "values": dict(work.values)})
        try:
            if not (work.run.result.exists() or self.study.pruned(work)):
                self._run(work, self.study.config_of(work))
            state, facts = self._pruned(work) if self.study.pruned(work) else _done(work, self.study.sweep.objective)
        except Pruned:
            state, facts = self._pruned(work)
        except Interrupted:
            raise
        except MemoryError as error:  # a smaller network may have enough
            state, facts = FAILED, {"reason": str(from_system(error))}
        except CnnctlError as error:
            if not self._is_of_the_trial(error):
                raise
            state, facts = FAILED, {"reason": str(error)}
        self.study.end(work, state, facts)
        self.tell({"end": work.number, "seed": work.seed, "state": state, **facts})

    def _run(self, work: Work, experiment: Experiment) -> None:
        listener = Listener(self.study, work, self.tell)
        part = Part(listener, {**work.labels, **_seed_of(work)}, tested=work.seed is not None)
        listener.catch_up(experiment.train.epochs)
        session = prepare(experiment, make_task, self.device, Console(quiet=True), self.interruption, part)
        if not any(path.startswith("data.") for path in self.study.sweep.parameters):  # else trials see other pixels
            self._refuse_other_images(session.task.splits)
        train(session, work.run)

    def _refuse_other_images(self, splits: Splits) -> None:
        judged = fingerprint(splits.validation) if splits.validation else None
        self.study.refuse_other_images({"train": fingerprint(splits.train), "validation": judged})

    def _pruned(self, work: Work) -> tuple[str, dict[str, Any]]:
        rows = work.run.read_epochs()
        last = {key: measure_in(work.run, rows[-1], key) for key in ("validation_accuracy", "validation_loss")}
        return PRUNED, {**last, **_effort(work)}

    def _is_of_the_trial(self, error: CnnctlError) -> bool:
        """Returns whether another trial may do better: not so on a full disk, or without the data."""
        if isinstance(error, OtherImages | NotOurs | UsageError):
            return False
        if isinstance(error, DataError):
            return any(path.startswith(ABOUT_IMAGES) for path in self.study.sweep.parameters)
        cause: BaseException | None = error
        while cause and not isinstance(cause, Diverged):
            too_large = isinstance(cause, tf.errors.ResourceExhaustedError)
            if isinstance(cause, OSError | tf.errors.OpError) and not too_large:
                return False
            cause = cause.__cause__
        return True


class Listener(Observer):
    """Tells the study of each epoch, which may prune the trial.

    Args:
        study: whose trial.
        work: the trial, or a repeat, which nothing prunes.
        tell: hears how far it is.
    """

    def __init__(self, study: Study, work: Work, tell: Tell) -> None:
        self._study = study
        self._work = work
        self._tell = tell
        self._epochs = 0

    def on_start(self, plan: Plan) -> None:
        """Learns how long the trial is."""
        self._epochs = plan.epochs

    def on_epoch(self, record: EpochRecord) -> None:
        """Raises Pruned where the trial does too badly to go on, but not after its last epoch."""
        objective = self._study.sweep.objective
        value = without_penalty(objective, getattr(record, objective), record.validation_penalty)
        reached = show_measure(objective, value)
        self._tell({"epoch": record.epoch, "of": self._epochs, "reached": reached})
        self._report(record.epoch, value)

    def catch_up(self, epochs: int) -> None:
        """Tells of the epochs of an earlier process, which may have died before it told of its last one.

        Args:
            epochs: of the whole trial.

        Raises:
            Pruned: one of them did too badly.
        """
        self._epochs = epochs
        for row in self._work.run.read_epochs():
            value = measure_in(self._work.run, row, self._study.sweep.objective)
            self._report(int(number_in(self._work.run, row, "epoch")), value)

    def _report(self, epoch: int, value: float) -> None:
        if self._work.seed is not None:
            return
        reason = self._study.report(self._work.number, epoch, value, may_prune=epoch < self._epochs)
        if reason:
            raise Pruned(reason)


def _seed_of(work: Work) -> Mapping[str, int]:
    return {} if work.seed is None else {"seed": work.seed}


def _done(work: Work, objective: str) -> tuple[str, dict[str, Any]]:
    measures = measures_of(work.run)
    return DONE, {"value": measures[objective], **measures, **_effort(work)}


def _effort(work: Work) -> dict[str, Any]:
    rows = work.run.read_epochs()
    return {"epochs": len(rows), "seconds": round(sum(number_in(work.run, row, "seconds") for row in rows), 3)}
