"""What `auto` in a config becomes on the device that trains, and how TensorFlow's threads are set for it."""

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
    """An experiment without `auto`.

    Attributes:
        experiment: with what was chosen.
        precision, batch_parts, strategy: what was chosen and why; no reason where the config said it.
    """

    experiment: Experiment
    precision: Choice
    batch_parts: Choice
    strategy: Choice = ONE_DEVICE

    def __str__(self) -> str:
        parts = f", each batch in {self.parts} parts at once" if self.parts > 1 else ""
        return f"{self.precision.value}{parts}"

    @property
    def parts(self) -> int:
        """Returns in how many parts at once a batch is computed."""
        return int(self.batch_parts.value)

    @property
    def reasons(self) -> list[str]:
        """Returns why each `auto` became what it did."""
        chosen = (("precision", self.precision), ("batch_parts", self.batch_parts), ("strategy", self.strategy))
        return [f"{name}: auto is {choice.value}: {choice.why}" for name, choice in chosen if choice.why]


def resolve_auto(experiment: Experiment, device: Device, strategy: Choice = ONE_DEVICE) -> Settings:
    """Returns the experiment with each `auto` decided for a device, and with the strategy that was chosen."""
    train = experiment.train
    precision = _precision(experiment, device) if train.precision == "auto" else Choice(train.precision)
    parts = _parts(experiment, device, strategy) if train.batch_parts == "auto" else Choice(train.batch_parts)
    chosen = {"precision": precision.value, "batch_parts": parts.value, "strategy": strategy.value}
    return Settings(with_settings(experiment, **chosen), precision, parts, strategy)


def _precision(experiment: Experiment, device: Device) -> Choice:
    if experiment.few_shot and isinstance(experiment.few_shot.method, Maml):
        return Choice("float32", "second derivatives lose too much in 16 bits")
    if device.kind == "cpu":
        return precision_on_cpu()
    return precision_on_gpu(device.capability) if device.capability else Choice("float32", "this GPU does not say what it can")


def _parts(experiment: Experiment, device: Device, strategy: Choice) -> Choice:
    if strategy.value != ONE_DEVICE.value:
        return Choice(1, "replicas compute parts of each batch already")
    if device.kind == "gpu":
        return Choice(1, "a GPU shares an operation among its cores without waiting")
    return parts_on_cpu(experiment, device.cores)


def set_threads(parts: int, device: Device) -> None:
    """Gives each part of a batch its own cores; called before TensorFlow computes anything.

    In a process that has computed already the threads stay as they are; it is only slower.
    """
    if parts == 1 or device.kind != "cpu":
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(parts)
        tf.config.threading.set_intra_op_parallelism_threads(max(device.cores // parts, 1))
