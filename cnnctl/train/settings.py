"""`auto` in a config resolved for a device, and TensorFlow's threads set for it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import tensorflow as tf

from cnnctl.spec.auto import Choice, parts_on_cpu, precision_on_cpu, precision_on_gpu, with_settings
from cnnctl.spec.experiment import Experiment, Maml
from cnnctl.train.device import Device

ONE_DEVICE = Choice("one_device")


@dataclass(frozen=True)
class Settings:
    """A config with every `auto` resolved.

    Attributes:
        experiment: the resolved config.
        precision, batch_parts, strategy: the values and why they were chosen; no reason where the config sets them.
    """

    experiment: Experiment
    precision: Choice
    batch_parts: Choice
    strategy: Choice = ONE_DEVICE

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
        return [f"{name}: auto → {choice.value} ({choice.why})" for name, choice in chosen if choice.why]


def resolve_auto(experiment: Experiment, device: Device, strategy: Choice = ONE_DEVICE) -> Settings:
    """Resolve each `auto` of a config for a device; the strategy was chosen before."""
    train = experiment.train
    precision = _precision(experiment, device) if train.precision == "auto" else Choice(train.precision)
    parts = _parts(experiment, device, strategy) if train.batch_parts == "auto" else Choice(train.batch_parts)
    chosen = {"precision": precision.value, "batch_parts": parts.value, "strategy": strategy.value}
    return Settings(with_settings(experiment, **chosen), precision, parts, strategy)


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


def _parts(experiment: Experiment, device: Device, strategy: Choice) -> Choice:
    if strategy.value != ONE_DEVICE.value:
        return Choice(1, "replicas already split each batch")
    if device.kind == "gpu":
        return Choice(1, "a GPU runs each operation on all its cores")
    return parts_on_cpu(experiment, device.cores)


def set_threads(parts: int, device: Device) -> None:
    """Give each part of a batch its own cores; called before TensorFlow computes anything.

    In a process that has computed already TensorFlow keeps its threads, which is only slower.
    """
    if parts == 1 or device.kind != "cpu":
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(parts)
        tf.config.threading.set_intra_op_parallelism_threads(max(device.cores // parts, 1))
