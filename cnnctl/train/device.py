"""The device that trains, and why there is no GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from cnnctl.errors import UsageError
from cnnctl.surroundings import number_from

CPU_REPLICAS = "CNNCTL_CPU_REPLICAS"
_MAX_REPLICAS = 64


@dataclass(frozen=True)
class Device:
    """The device on which a run computes.

    Attributes:
        kind: `gpu` or `cpu`.
        name: the GPU's name, or the number of the CPU's cores.
        note: why there is no GPU; empty if there is one or none was asked for.
        cores: of the CPU, for this process.
        capability: compute capability of an NVIDIA GPU, such as (8, 6); None for other devices.
        replicas: GPUs, or the logical CPUs that `CNNCTL_CPU_REPLICAS` asks for.
    """

    kind: str
    name: str
    note: str = ""
    cores: int = 1
    capability: tuple[int, int] | None = None
    replicas: int = 1

    def __str__(self) -> str:
        text = f"{self.kind.upper()}, {self.name}"
        return f"{text} ({self.note})" if self.note else text


def choose_device(kind: str) -> Device:
    """Choose the device for `auto`, `cpu` or `gpu`, and set TensorFlow up for it.

    GPU memory is allocated as it is needed, so that other programs can share the card.

    Raises:
        UsageError: `gpu` is asked for and there is none, or `CNNCTL_CPU_REPLICAS` is not a number.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return _cpu()
    if not gpus:
        if kind == "gpu":
            raise UsageError(f"--device gpu: {_why_no_gpu()}; leave --device out to compute on the CPU")
        return _cpu(f"no GPU: {_why_no_gpu()}")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    details = tf.config.experimental.get_device_details(gpus[0])
    name = str(details.get("device_name", gpus[0].name))
    return Device("gpu", name, cores=_cores(), capability=details.get("compute_capability"), replicas=len(gpus))


def _cpu(note: str = "") -> Device:
    cores = _cores()
    return Device("cpu", f"{cores} core{'s' if cores > 1 else ''}", note, cores, replicas=_cpu_replicas())


def _cpu_replicas() -> int:
    """Divide the CPU into logical devices, to try out what several GPUs would compute; return how many."""
    count = number_from(CPU_REPLICAS, 1, 1, _MAX_REPLICAS, f"a number from 1 to {_MAX_REPLICAS}")
    if count > 1:
        logical = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    return count


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _why_no_gpu() -> str:
    if not tf.test.is_built_with_cuda():
        return "this TensorFlow is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it"
    if not Path("/dev/nvidiactl").exists():
        return "this machine has no NVIDIA device"
    return "TensorFlow cannot load the CUDA libraries; pip install 'tensorflow[and-cuda]'"
