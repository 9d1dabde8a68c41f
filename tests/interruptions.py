"""Trainings in this process, and Ctrl-C in the middle of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from cnnctl.errors import Interrupted
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.session import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.train import chunks
from cnnctl.train.checkpoint import Checkpoints
from cnnctl.train.observers import EpochRecord, StepsRecord
from cnnctl.train.signals import Interruption


def run(spec: Experiment, path: Path) -> Session:
    """Trains into a run folder, or goes on in it, with a process's worth of fresh objects."""
    session = Session(spec, "cpu", Console(quiet=True))
    path.mkdir(exist_ok=True)
    session.run(RunFolder(path))
    return session


def variables(session: Session) -> list[NDArray[Any]]:
    learner = session.task.learner
    return [variable.numpy() for variable in (*learner.model.variables, *learner.optimizer.variables)]


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, after_epoch: int, when: str) -> None:
    """Lets Ctrl-C come as an epoch ends: before the next checkpoint is written, or right after."""
    original = Checkpoints.on_epoch

    def on_epoch(self: Checkpoints, record: EpochRecord) -> None:
        if when == "before" and record.epoch == after_epoch + 1:
            raise KeyboardInterrupt
        original(self, record)
        if when == "after" and record.epoch == after_epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "on_epoch", on_epoch)


def interrupt(spec: Experiment, folder: Path, after_epoch: int, when: str = "after") -> None:
    """Trains into a folder until Ctrl-C comes."""
    begun = r" and (\d+) of \1 steps of the next" if when == "before" else ""
    with pytest.MonkeyPatch.context() as patched:
        press_ctrl_c(patched, after_epoch, when)
        with pytest.raises(Interrupted, match=saved(f"{after_epoch} of {spec.train.epochs} epochs{begun}", folder)):
            run(spec, folder)


def interrupt_at(spec: Experiment, folder: Path, step: int) -> None:
    """Trains into a folder, or goes on in it, until Ctrl-C comes during a step; it is heard after that step."""
    original = Interruption.on_steps

    def on_steps(self: Interruption, record: StepsRecord) -> None:
        if record.step == step:
            self.asked = True
        original(self, record)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(chunks, "SECONDS_PER_CALL", 0)  # every step is told
        patched.setattr(Interruption, "on_steps", on_steps)
        with pytest.raises(Interrupted, match=saved(r"\d+ of \d+ epochs and \d+ of \d+ steps of the next", folder)):
            run(spec, folder)


def saved(what: str, folder: Path) -> str:
    """Returns the pattern of what an interrupted run says."""
    return rf"^interrupted; {what} are saved\. Go on with: cnnctl train --resume {folder}$"
