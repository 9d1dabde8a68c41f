"""The whole comparison, from the images to the results."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contenders import TRIED, Contender, Way, best_torch, summarizers, trainers
from .growth import base, grow, points
from .machine import machine, versions_in
from .measure import measure, variables_for
from .results import Results, contender_rows, failure_rows, ratio_rows
from .rounds import Failure, Say, compete
from .settings import PROCESSES, Setting, Settings, Size

NOT_INSTALLED = "not installed; pip install '.[bench]', or name an interpreter that has it: --torch-python PATH"
NO_PEAK: dict[str, Any] = {"gpu": None, "gflops": {}}


@dataclass(frozen=True)
class BenchOptions:
    """The options of a comparison.

    Attributes:
        data: `mnist` or `digits`.
        networks: names of `settings.NETWORKS`; empty for none, with `growth`.
        rounds: measurements of each contender.
        epochs: of each training.
        images: of the split train; None for all.
        only: names of the contenders.
        torch_python: the interpreter for torch and lightning.
        growth: whether to vary sizes.
    """

    data: str
    networks: Sequence[str]
    rounds: int
    epochs: int
    images: int | None
    only: Sequence[str]
    torch_python: str
    growth: bool


@dataclass
class _Bench:
    """One comparison with its options; collects the failures, and the trials of each network."""

    options: BenchOptions
    versions: dict[str, str | None]
    folder: Path
    say: Say
    failures: list[Failure] = field(default_factory=list)
    trials: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings(self.options.data, self.options.epochs, self.folder)

    def missing(self, contender: Contender) -> bool:
        return contender.package is not None and self.versions[contender.package] is None

    def left_out(self) -> dict[str, str]:
        """Give the reasons why contenders do not train."""
        wanted = [each for each in trainers(self.options.torch_python) if each.name in self.options.only]
        return {each.name: NOT_INSTALLED for each in wanted if self.missing(each)}

    def ask(self, what: str, command: Sequence[str]) -> Any:
        """Run a process outside of the rounds, and read the JSON that it prints; None if it failed."""
        done = measure(command, self.folder, variables_for(command[0], self.folder / "cache"))
        if done.exit_code:
            self.failures.append(Failure(what, "its only run", done.last_lines()))
            return None
        return json.loads(done.stdout)

    def contenders(self, names: Sequence[str], setting: Setting) -> list[Contender]:
        """List those that train, PyTorch at its best in the way that is the fastest for this setting."""
        chosen = [each for each in trainers(self.options.torch_python) if each.name in names and not self.missing(each)]
        if TRIED not in [each.name for each in chosen]:
            return chosen
        self.trials[setting.network] = trial = self.trial(setting)
        way = Way(trial[0]["precision"], trial[0]["compiled"]) if trial else Way()
        return [best_torch(self.options.torch_python, way) if each.name == TRIED else each for each in chosen]

    def trial(self, setting: Setting) -> list[dict[str, Any]]:
        """Measure the ways in which PyTorch can compute a setting; return them fastest first, or none after a failure."""
        self.say(f"{TRIED}: a trial of each way to compute the network of configs/{setting.network}.yaml")
        script = [str(PROCESSES / "plain_torch_best.py"), *setting.arguments(), "--trial"]
        found = self.ask(f"the trial of {TRIED}", [self.options.torch_python, *script]) or []
        return sorted(found, key=lambda way: -(way["images_per_second"] or 0))

    def network(self, name: str, gflops: dict[str, float]) -> dict[str, Any]:
        """Compare all contenders with one network."""
        options = self.options
        setting = self.settings.make(name, Size(options.images))
        contenders = self.contenders(options.only, setting)
        self.say(f"the network of configs/{name}.yaml, {setting.images:,} training images")
        training = compete(contenders, setting, options.rounds, self.folder, self.say)
        summary = compete(summarizers(), setting, options.rounds, self.folder, self.say)
        self.failures += [*training.failures, *summary.failures]
        macs = self.macs(setting)
        return {
            "setting": _as_plain(setting, macs),
            "contenders": contender_rows(training.rounds, macs, gflops),
            "summary": contender_rows(summary.rounds, None, {}),
            "ratios": ratio_rows({**training.rounds, **summary.rounds}),
        }

    def macs(self, setting: Setting) -> int | None:
        """Count the multiply-accumulates (MACs) per image."""
        command = [sys.executable, "-m", "cnnctl", "summary", str(setting.config), "--format", "json"]
        summary = self.ask("MACs", command)
        return summary["total"]["macs"] if summary else None

    def growth(self) -> list[dict[str, Any]]:
        """Vary the sizes of the network of configs/mnist.yaml."""
        options = self.options
        middle = base(options.data, options.images)
        contenders = self.contenders(options.only, self.settings.make(size=middle))
        rows, failures = grow(contenders, self.settings, points(middle), options.rounds, self.folder, self.say)
        self.failures += failures
        return rows


def compare(options: BenchOptions, folder: Path, say: Say) -> Results:
    """Measure every contender in a temporary folder, and return the results.

    Raises:
        NotPrepared: the images cannot be read.
        OSError: `torch_python` is not an interpreter.
    """
    bench = _Bench(options, versions_in(options.torch_python), folder, say)
    for name, reason in bench.left_out().items():
        say(f"{name} left out: {reason}")
    say("measuring the peak of the machine")
    peak = bench.ask("peak", [sys.executable, str(PROCESSES / "peak.py")]) or NO_PEAK
    return {
        "machine": {**machine(bench.versions), "gpu": peak["gpu"]},
        "data": options.data,
        "epochs": options.epochs,
        "rounds": options.rounds,
        "peak_gflops": peak["gflops"],
        "comparisons": [bench.network(name, peak["gflops"]) for name in options.networks],
        "growth": bench.growth() if options.growth else [],
        "trials": bench.trials,
        "left_out": bench.left_out(),
        "failures": failure_rows(bench.failures),
    }


def _as_plain(setting: Setting, macs: int | None) -> dict[str, Any]:
    return {
        "network": setting.network,
        "train_images": setting.images,
        "batch_size": setting.size.batch_size,
        "macs": macs,
    }
