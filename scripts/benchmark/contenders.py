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
TRIED = "torch-best"
"""The contender whose way of computing is chosen by a trial."""

Reported = dict[str, Any]
"""The figures that a contender reports.

start_seconds: from the start of the process to its first step; None if unknown.
end_seconds: from its last step to its end; None if unknown, as of cnnctl with several epochs.
train_seconds: of the training steps, with tracing and compiling but without validation. torch-best compiles in start_seconds.
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
        package: that this interpreter needs and may lack.
        command: builds the command for a setting; a run of cnnctl writes into the folder given.
        reported: reads the figures of a process that has ended; raises OSError, ValueError or LookupError if there are none.
    """

    name: str
    python: str
    package: str | None
    command: Callable[[Setting, Path], list[str]]
    reported: Callable[[Measured, Path], Reported]


@dataclass(frozen=True)
class Way:
    """How PyTorch at its best computes.

    Attributes:
        precision: `bfloat16` or `float32`.
        compiled: by torch.compile.
    """

    precision: str = "bfloat16"
    compiled: bool = False

    def arguments(self) -> list[str]:
        """Build the arguments of plain_torch_best.py."""
        return ["--precision", self.precision, *(["--compiled"] if self.compiled else [])]


def trainers(torch_python: str) -> list[Contender]:
    """List the contenders that train, installed or not."""
    return [
        _cnnctl("cnnctl-custom", "custom", FAST),
        _cnnctl("cnnctl-float32", "custom", FLOAT32),
        _cnnctl("cnnctl-fit", "fit", FAST),
        _plain("keras", sys.executable, None, "plain_keras.py"),
        _plain("keras-bfloat16", sys.executable, None, "plain_keras.py", "--precision", "mixed_bfloat16"),
        _plain("torch", torch_python, "torch", "plain_torch.py"),
        best_torch(torch_python, Way()),
        _plain("lightning", torch_python, "lightning", "plain_lightning.py"),
    ]


def best_torch(python: str, way: Way) -> Contender:
    """Make the contender that is PyTorch at its best."""
    return _plain(TRIED, python, "torch", "plain_torch_best.py", *way.arguments())


def summarizers() -> list[Contender]:
    """List the contenders that only print a summary of the network."""

    def cnnctl(setting: Setting, folder: Path) -> list[str]:
        return [sys.executable, "-m", "cnnctl", "summary", str(setting.config)]

    def keras(setting: Setting, folder: Path) -> list[str]:
        return [sys.executable, str(PROCESSES / "plain_summary.py"), *setting.arguments()]

    return [
        Contender("cnnctl-summary", sys.executable, None, cnnctl, _nothing),
        Contender("keras-summary", sys.executable, None, keras, _nothing),
    ]


def _cnnctl(name: str, loop: str, settings: Sequence[str]) -> Contender:
    def command(setting: Setting, folder: Path) -> list[str]:
        train = ["train", str(setting.config), "--run-dir", str(folder / "run")]
        return [sys.executable, "-m", "cnnctl", *train, *changes([f"train.loop={loop}", *settings])]

    return Contender(name, sys.executable, None, command, _of_a_run)


def changes(settings: Sequence[str]) -> list[str]:
    """Build the options of `cnnctl train` that change a config."""
    return [word for each in settings for word in ("--set", each)]


def _plain(name: str, python: str, package: str | None, script: str, *more: str) -> Contender:
    def command(setting: Setting, folder: Path) -> list[str]:
        return [python, str(PROCESSES / script), *setting.arguments(), *more]

    return Contender(name, python, package, command, _of_the_last_line)


def _of_a_run(done: Measured, folder: Path) -> Reported:
    """Read the run folder, and from the lines of the progress when the first step began.

    With several epochs the end is unknown: between the line of an epoch and the next step, observers still write.
    """
    run = folder / "run"
    result = json.loads((run / "result.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    with (run / "metrics.csv").open(newline="") as file:
        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
    start = first_step_seconds(done.stderr)
    return {
        "start_seconds": start,
        "end_seconds": done.wall_seconds - start - epochs[0] if start is not None and len(epochs) == 1 else None,
        "train_seconds": result["train_seconds"],
        "epoch_seconds": epochs,
        "images_per_second": result["images_per_second"],
        "test_accuracy": result["test_accuracy"],
        "device": environment["device"],
        "precision": environment["precision"].removeprefix("mixed_"),
    }


def first_step_seconds(stderr: Sequence[tuple[float, str]]) -> float | None:
    """Find the seconds at which the header appeared, which is just before the first step; None if it is not printed."""
    return next((seconds for seconds, line in stderr if line.split() == HEADER.split()), None)


def _of_the_last_line(done: Measured, folder: Path) -> Reported:
    figures: Reported = json.loads(done.stdout.splitlines()[-1])
    last_step = figures.pop("last_step_seconds")
    return {**figures, "end_seconds": done.wall_seconds - last_step, "precision": figures["precision"].removeprefix("mixed_")}


def _nothing(done: Measured, folder: Path) -> Reported:
    return {}
