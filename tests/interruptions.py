"""Trainings in this process, and Ctrl-C in the middle of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from cnnctl.errors import Interrupted
from cnnctl.few_shot.task import make_task
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.session import plan_of, prepare, train
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.loops import LOOPS
from cnnctl.train.observers import EpochRecord, Observer, StepsRecord
from cnnctl.train.signals import Interruption


def run(spec: Experiment, path: Path) -> Session:
    """Train into a run folder, or resume it, with the objects of a fresh process."""
    session = prepared(spec)
    path.mkdir(exist_ok=True)
    train(session, RunFolder(path))
    return session


def prepared(spec: Experiment, console: Console | None = None) -> Session:
    return prepare(spec, make_task, "cpu", console or Console(quiet=True))


def run_loop(session: Session, observer: Observer) -> None:
    """Train without a run folder."""
    task = session.task
    LOOPS[session.experiment.train.loop](task.learner, task.training, task.validation(), plan_of(session), observer)


def variables(session: Session) -> list[NDArray[Any]]:
    learner = session.task.learner
    return [variable.numpy() for variable in (*learner.model.variables, *learner.optimizer.variables)]


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, after_epoch: int, when: str) -> None:
    """Let Ctrl-C come as an epoch ends: before the next checkpoint is written, or right after."""
    original = Checkpoints.on_epoch

    def on_epoch(self: Checkpoints, record: EpochRecord) -> None:
        if when == "before" and record.epoch == after_epoch + 1:
            raise KeyboardInterrupt
        original(self, record)
        if when == "after" and record.epoch == after_epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "on_epoch", on_epoch)


def interrupt(spec: Experiment, folder: Path, after_epoch: int, when: str = "after") -> None:
    """Train into a folder until Ctrl-C comes."""
    partial = r" and all \d+ steps of the next \(not validated yet\)" if when == "before" else ""
    with pytest.MonkeyPatch.context() as patched:
        press_ctrl_c(patched, after_epoch, when)
        with pytest.raises(Interrupted, match=saved(f"{after_epoch} of {spec.train.epochs} epochs{partial}", folder)):
            run(spec, folder)


def interrupt_at(spec: Experiment, folder: Path, step: int) -> None:
    """Train into a folder, or resume it, until Ctrl-C comes during a step; it is handled after that step."""
    original = Interruption.on_steps

    def on_steps(self: Interruption, record: StepsRecord) -> None:
        if record.step == step:
            self.asked = True
        original(self, record)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cnnctl.train.steps.SECONDS_PER_CALL", 0)  # the observers are notified of every step
        patched.setattr(Interruption, "on_steps", on_steps)
        with pytest.raises(
            Interrupted,
            match=saved(r"\d+ of \d+ epochs and (\d+ of|all) \d+ steps of the next( \(not validated yet\))?", folder),
        ):
            run(spec, folder)


def saved(what: str, folder: Path) -> str:
    """Return the pattern of the message of an interrupted run."""
    return rf"^interrupted; {what} are saved\. Resume with: cnnctl train --resume {folder}$"
