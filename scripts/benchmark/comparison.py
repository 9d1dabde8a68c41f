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
class BenchOptions:
    """The options of a comparison.

    Attributes:
        data: `mnist` or `digits`.
        rounds: measurements of each contender.
        epochs: of each training.
        only: the names of the contenders that train.
        torch_python: the interpreter for torch and lightning.
        growth: whether to vary sizes too.
    """

    data: str
    rounds: int
    epochs: int
    only: Sequence[str]
    torch_python: str
    growth: bool


@dataclass
class _Helpers:
    """Run processes outside of the competition, and read the JSON that they print."""

    folder: Path
    failures: list[Failure] = field(default_factory=list)

    def ask(self, what: str, command: Sequence[str]) -> dict[str, Any] | None:
        done = measure(command, self.folder, variables_for(sys.executable, self.folder / "cache"))
        if done.exit_code:
            self.failures.append(Failure(what, "its only run", done.last_lines()))
            return None
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed


def compare(options: BenchOptions, folder: Path, say: Say) -> Results:
    """Measure every contender in a temporary folder, and return the results.

    Raises:
        NotPrepared: the images cannot be read.
        OSError: `torch_python` is not an interpreter.
    """
    versions = versions_in(options.torch_python)
    taking_part, left_out = _taking_part(options, versions)
    for name, reason in left_out.items():
        say(f"{name} left out: {reason}")
    say("reading the images, and measuring the peak of the machine")
    settings = Settings(options.data, options.epochs, folder)
    setting, helpers = settings.make(), _Helpers(folder)
    peak = helpers.ask("peak", [sys.executable, str(PROCESSES / "peak.py")]) or NO_PEAK
    training = compete(taking_part, setting, options.rounds, folder, say)
    summary = compete(summarizers(), setting, options.rounds, folder, say)
    growth, stunted = grow(taking_part, settings, folder, say) if options.growth else ([], [])
    macs = _macs(setting, helpers)
    return {
        "machine": {**machine(versions), "gpu": peak["gpu"]},
        "setting": _as_plain(options, setting, macs),
        "peak_gflops": peak["gflops"],
        "contenders": contender_rows(training.rounds, macs, peak["gflops"]),
        "summary": contender_rows(summary.rounds, None, {}),
        "ratios": ratio_rows({**training.rounds, **summary.rounds}),
        "growth": growth,
        "left_out": left_out,
        "failures": failure_rows([*helpers.failures, *training.failures, *summary.failures, *stunted]),
    }


def _taking_part(options: BenchOptions, versions: dict[str, str | None]) -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders that train, and the reasons why others do not."""
    wanted = [each for each in trainers(options.torch_python) if each.name in options.only]
    missing = [name for name in TORCH_PACKAGES if versions[name] is None]
    left_out = {each.name: NOT_INSTALLED for each in wanted if each.name in missing}
    return [each for each in wanted if each.name not in left_out], left_out


def _macs(setting: Setting, helpers: _Helpers) -> int | None:
    """Count the multiply-accumulates (MACs) per image."""
    command = [sys.executable, "-m", "cnnctl", "summary", str(setting.config), "--format", "json"]
    summary = helpers.ask("MACs", command)
    return summary["total"]["macs"] if summary else None


def _as_plain(options: BenchOptions, setting: Setting, macs: int | None) -> dict[str, Any]:
    return {
        "data": options.data,
        "train_images": setting.images,
        "epochs": setting.epochs,
        "batch_size": setting.batch_size,
        "filters": list(setting.filters),
        "macs": macs,
        "rounds": options.rounds,
    }
