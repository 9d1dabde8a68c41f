"""`auto` in a config resolved for a device, and TensorFlow's threads set for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from cnnctl.errors import counted
from cnnctl.spec.auto import (
    Choice,
    cpu_flags,
    fitting_parts,
    parts_on_cpu,
    precision_on_cpu,
    precision_on_gpu,
    with_settings,
)
from cnnctl.spec.experiment import Experiment, Maml
from cnnctl.train.device import Device

ONE_DEVICE = Choice("one_device")
CLEARLY = 1.05
"""How many times as fast as the expected candidate another must be: figures of trial steps vary by some percent."""


class Candidate(NamedTuple):
    """Settings of which one is chosen."""

    precision: str
    parts: int


@dataclass(frozen=True)
class Speeds:
    """How fast a network trains.

    Attributes:
        images_per_second: of each candidate; the first is the one that is expected to be the fastest.
        cached: an earlier command measured it.
    """

    images_per_second: Mapping[Candidate, float]
    cached: bool = False

    @property
    def fastest(self) -> Candidate:
        """The fastest candidate, if it is clearly faster than the expected one."""
        expected = next(iter(self.images_per_second))
        best = max(self.images_per_second, key=lambda each: self.images_per_second[each])
        return best if self.images_per_second[best] > CLEARLY * self.images_per_second[expected] else expected

    @property
    def lines(self) -> list[str]:
        """Write the figures; where both precisions and numbers of parts differ, those of each precision on a line."""
        figures = self.images_per_second.items()
        of_precision: dict[str, list[str]] = {}
        for each, speed in figures:
            of_precision.setdefault(each.precision, []).append(f"{speed:,.0f} in {counted(each.parts, 'part')}")
        if len(of_precision) == len(figures):
            return ["images/s: " + ", ".join(f"{speed:,.0f} in {each.precision}" for each, speed in figures)]
        several = len(of_precision) > 1
        return [f"images/s{f' in {name}' * several}: {', '.join(texts)}" for name, texts in of_precision.items()]

    @property
    def source(self) -> str:
        """Where the figures come from, as the reason for a choice."""
        return f"measured{' by an earlier command' if self.cached else ''}"

    def as_plain(self) -> list[dict[str, object]]:
        """Return the entry of environment.json."""
        return [
            {**candidate._asdict(), "images_per_second": round(speed, 1), "cached": self.cached}
            for candidate, speed in self.images_per_second.items()
        ]


Measure = Callable[[Experiment, Device, Sequence[Candidate]], Speeds | None]
"""Measures candidates, the expected one first; None where that is not possible or not worth it."""


@dataclass(frozen=True)
class Settings:
    """A config with every `auto` resolved.

    Attributes:
        experiment: the resolved config.
        precision, batch_parts, strategy: the values and why they were chosen; no reason where the config sets them.
        speeds: what was measured to choose; None if nothing was.
    """

    experiment: Experiment
    precision: Choice
    batch_parts: Choice
    strategy: Choice = ONE_DEVICE
    speeds: Speeds | None = None

    def __str__(self) -> str:
        parts = f", each batch in {self.parts} parallel parts" if self.parts > 1 else ""
        return f"{self.precision.value}{parts}"

    @property
    def parts(self) -> int:
        """The number of parts in which a batch is computed in parallel."""
        return int(self.batch_parts.value)

    @property
    def reasons(self) -> list[str]:
        """Describe what each `auto` became, and why."""
        chosen = (("precision", self.precision), ("batch_parts", self.batch_parts), ("strategy", self.strategy))
        choices = [f"{name}: auto → {choice.value} ({choice.why})" for name, choice in chosen if choice.why]
        return [*choices, *(self.speeds.lines if self.speeds else [])]


def resolve_auto(
    experiment: Experiment, device: Device, strategy: Choice = ONE_DEVICE, measure: Measure | None = None
) -> Settings:
    """Resolve each `auto` of a config for a device; the strategy was chosen before.

    Args:
        experiment: a checked config.
        device: where it computes.
        strategy: resolved.
        measure: how to choose where neither config nor hardware decides; None chooses by rules.
    """
    train = experiment.train
    precision = _precision(experiment, device) if train.precision == "auto" else Choice(train.precision)
    parts = _parts(experiment, device, strategy, precision) if train.batch_parts == "auto" else Choice(train.batch_parts)
    candidates = _candidates(experiment, device, strategy, Candidate(str(precision.value), int(parts.value)))
    speeds = measure(experiment, device, candidates) if measure and len(candidates) > 1 else None
    if speeds:
        precision, parts = _by_speed(precision, speeds, 0), _by_speed(parts, speeds, 1)
    chosen = {"precision": precision.value, "batch_parts": parts.value, "strategy": strategy.value}
    return Settings(with_settings(experiment, **chosen), precision, parts, strategy, speeds)


def _candidates(experiment: Experiment, device: Device, strategy: Choice, expected: Candidate) -> list[Candidate]:
    """List what may be the fastest on a CPU, the expected settings first."""
    if experiment.few_shot or device.kind != "cpu" or strategy.value != ONE_DEVICE.value:
        return [expected]
    # Emulated bfloat16 is slower for every network. With its instructions a small network may still be faster in float32.
    emulated = expected.precision == "float32" and cpu_flags()
    open_precision = experiment.train.precision == "auto" and not emulated
    precisions = ("float32", "mixed_bfloat16") if open_precision else (expected.precision,)
    parts = fitting_parts(experiment, device.cores) if experiment.train.batch_parts == "auto" else (expected.parts,)
    others = [Candidate(precision, count) for precision in precisions for count in parts]
    return [expected, *(each for each in others if each != expected)]


def _by_speed(choice: Choice, speeds: Speeds, field: int) -> Choice:
    """Choose the field of the fastest candidate, if candidates differ in it."""
    differs = len({each[field] for each in speeds.images_per_second}) > 1
    return Choice(speeds.fastest[field], speeds.source) if differs else choice


def _precision(experiment: Experiment, device: Device) -> Choice:
    if experiment.few_shot and isinstance(experiment.few_shot.method, Maml):
        return Choice("float32", "16 bits are too few for second derivatives")
    if device.kind == "cpu":
        return precision_on_cpu()
    return (
        precision_on_gpu(device.capability)
        if device.capability
        else Choice("float32", "this GPU does not report its compute capability")
    )


def _parts(experiment: Experiment, device: Device, strategy: Choice, precision: Choice) -> Choice:
    if strategy.value != ONE_DEVICE.value:
        return Choice(1, "replicas already split each batch")
    if device.kind == "gpu":
        return Choice(1, "a GPU runs each operation on all its cores")
    return parts_on_cpu(experiment, device.cores, str(precision.value))


def threads_can_be_set() -> bool:
    """Find out whether TensorFlow has computed nothing yet in this process."""
    now = tf.config.threading.get_inter_op_parallelism_threads()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(now + 1)
        tf.config.threading.set_inter_op_parallelism_threads(now)
    except RuntimeError:
        return False
    return True


def set_threads(parts: int, device: Device) -> None:
    """Give each part of a batch its own cores; called before TensorFlow computes anything.

    In a process that has computed already TensorFlow keeps its threads, which is only slower.
    """
    if parts == 1 or device.kind != "cpu":
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(parts)
        tf.config.threading.set_intra_op_parallelism_threads(max(device.cores // parts, 1))
