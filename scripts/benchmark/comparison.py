"""The whole comparison, from the images to the results."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contenders import Contender, summarizers, trainers
from .growth import grow
from .machine import TORCH_PACKAGES, machine, versions_in
from .measure import measure, variables_for
from .results import Results, contender_rows, failure_rows, ratio_rows
from .rounds import Failure, Say, compete
from .settings import PROCESSES, Setting, Settings

NOT_INSTALLED = "not installed; pip install '.[bench]', or name an interpreter that has it: --torch-python PATH"
NO_PEAK: dict[str, Any] = {"gpu": None, "gflops": {}}


@dataclass(frozen=True)
class SweepOptions:
    """What is asked for.

    Attributes:
        data: `mnist` or `digits`.
        rounds: turns of each contender.
        epochs: of each training.
        only: names of those who train.
        torch_python: the interpreter for torch and lightning.
        growth: whether sizes are varied too.
    """

    data: str
    rounds: int
    epochs: int
    only: Sequence[str]
    torch_python: str
    growth: bool


@dataclass
class _Asked:
    """Asks processes that compete with nobody for the JSON that they print."""

    folder: Path
    failures: list[Failure] = field(default_factory=list)

    def ask(self, what: str, command: Sequence[str]) -> dict[str, Any] | None:
        done = measure(command, self.folder, variables_for(sys.executable, self.folder / "cache"))
        if done.exit_code:
            self.failures.append(Failure(what, "its only try", done.last_lines()))
            return None
        told: dict[str, Any] = json.loads(done.stdout)
        return told


def compare(wish: SweepOptions, folder: Path, say: Say) -> Results:
    """Returns the results; what is written meanwhile goes into a folder.

    Raises:
        NotPrepared: the images cannot be read.
        OSError: `torch_python` is no interpreter.
    """
    versions = versions_in(wish.torch_python)
    taking_part, left_out = _taking_part(wish, versions)
    for name, reason in left_out.items():
        say(f"{name} left out: {reason}")
    say("reading the images, and measuring what the machine can do")
    settings = Settings(wish.data, wish.epochs, folder)
    setting, asked = settings.make(), _Asked(folder)
    peak = asked.ask("peak", [sys.executable, str(PROCESSES / "peak.py")]) or NO_PEAK
    training = compete(taking_part, setting, wish.rounds, folder, say)
    summary = compete(summarizers(), setting, wish.rounds, folder, say)
    growth, stunted = grow(taking_part, settings, folder, say) if wish.growth else ([], [])
    macs = _macs(setting, asked)
    return {
        "machine": {**machine(versions), "gpu": peak["gpu"]},
        "setting": _as_plain(wish, setting, macs),
        "peak_gflops": peak["gflops"],
        "contenders": contender_rows(training.rounds, macs, peak["gflops"]),
        "summary": contender_rows(summary.rounds, None, {}),
        "ratios": ratio_rows({**training.rounds, **summary.rounds}),
        "growth": growth,
        "left_out": left_out,
        "failures": failure_rows([*asked.failures, *training.failures, *summary.failures, *stunted]),
    }


def _taking_part(wish: SweepOptions, versions: dict[str, str | None]) -> tuple[list[Contender], dict[str, str]]:
    """Returns those who train, and why others do not."""
    wanted = [each for each in trainers(wish.torch_python) if each.name in wish.only]
    missing = [name for name in TORCH_PACKAGES if versions[name] is None]
    left_out = {each.name: NOT_INSTALLED for each in wanted if each.name in missing}
    return [each for each in wanted if each.name not in left_out], left_out


def _macs(setting: Setting, asked: _Asked) -> int | None:
    """Returns the multiply-accumulates for one image."""
    command = [sys.executable, "-m", "cnnctl", "summary", str(setting.config), "--format", "json"]
    told = asked.ask("multiply-accumulates", command)
    return told["total"]["macs"] if told else None


def _as_plain(wish: SweepOptions, setting: Setting, macs: int | None) -> dict[str, Any]:
    return {
        "data": wish.data,
        "train_images": setting.images,
        "epochs": setting.epochs,
        "batch_size": setting.batch_size,
        "filters": list(setting.filters),
        "macs": macs,
        "rounds": wish.rounds,
    }
