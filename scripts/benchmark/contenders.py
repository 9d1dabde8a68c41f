"""The contenders: how each is started, and the figures that it reports."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnctl.report.progress import HEADER

from .measure import Measured
from .settings import PROCESSES, Setting

FAST = ("train.precision=auto", "train.batch_parts=auto")
FLOAT32 = ("train.precision=float32", "train.batch_parts=1")

Reported = dict[str, Any]
"""The figures that a contender reports.

start_seconds: from the start of the process to its first step; None if unknown.
train_seconds: of the training steps, with tracing and compiling but without validation.
epoch_seconds: the same, per epoch.
images_per_second: training images over train_seconds.
test_accuracy: from 0 to 1.
device, precision: of the computation.
"""


@dataclass(frozen=True)
class Contender:
    """One way to train a setting.

    Attributes:
        name: used in every report.
        python: its interpreter.
        command: builds the command for a setting; a run of cnnctl writes into the folder given.
        reported: reads the figures of a process that has ended; raises OSError, ValueError or LookupError if there are none.
    """

    name: str
    python: str
    command: Callable[[Setting, Path], list[str]]
    reported: Callable[[Measured, Path], Reported]


def trainers(torch_python: str) -> list[Contender]:
    """List the contenders that train, installed or not."""
    return [
        _cnnctl("cnnctl-custom", "custom", FAST),
        _cnnctl("cnnctl-float32", "custom", FLOAT32),
        _cnnctl("cnnctl-fit", "fit", FAST),
        _plain("keras", sys.executable, "plain_keras.py"),
        _plain("torch", torch_python, "plain_torch.py"),
        _plain("lightning", torch_python, "plain_lightning.py"),
    ]


def summarizers() -> list[Contender]:
    """List the contenders that only print a summary of the network."""

    def cnnctl(setting: Setting, folder: Path) -> list[str]:
        return [sys.executable, "-m", "cnnctl", "summary", str(setting.config)]

    def keras(setting: Setting, folder: Path) -> list[str]:
        return [sys.executable, str(PROCESSES / "plain_summary.py"), *setting.arguments()]

    return [
        Contender("cnnctl-summary", sys.executable, cnnctl, _nothing),
        Contender("keras-summary", sys.executable, keras, _nothing),
    ]


def _cnnctl(name: str, loop: str, settings: Sequence[str]) -> Contender:
    changes = [part for each in (f"train.loop={loop}", *settings) for part in ("--set", each)]

    def command(setting: Setting, folder: Path) -> list[str]:
        return [sys.executable, "-m", "cnnctl", "train", str(setting.config), "--run-dir", str(folder / "run"), *changes]

    return Contender(name, sys.executable, command, _of_a_run)


def _plain(name: str, python: str, script: str) -> Contender:
    def command(setting: Setting, folder: Path) -> list[str]:
        return [python, str(PROCESSES / script), *setting.arguments()]

    return Contender(name, python, command, _of_the_last_line)


def _of_a_run(done: Measured, folder: Path) -> Reported:
    """Read the run folder, and the time when the header of the progress appeared, just before the first step."""
    run = folder / "run"
    result = json.loads((run / "result.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    with (run / "metrics.csv").open(newline="") as file:
        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
    return {
        "start_seconds": next((seconds for seconds, line in done.stderr if line.split() == HEADER.split()), None),
        "train_seconds": result["train_seconds"],
        "epoch_seconds": epochs,
        "images_per_second": result["images_per_second"],
        "test_accuracy": result["test_accuracy"],
        "device": environment["device"],
        "precision": environment["precision"],
    }


def _of_the_last_line(done: Measured, folder: Path) -> Reported:
    figures: Reported = json.loads(done.stdout.splitlines()[-1])
    return figures


def _nothing(done: Measured, folder: Path) -> Reported:
    return {}
