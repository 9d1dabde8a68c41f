"""What `auto` in a config becomes on the machine at hand, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import BatchNormalization
from cnnctl.spec.stack import Node

LEAST_PART = 32
"""Images of a part, at least: smaller ones cost more in overhead than they save in waiting."""
FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""Flags of x86 CPUs that multiply bfloat16 in hardware; without them it is emulated, more slowly than float32."""


class Choice(NamedTuple):
    """A setting, and why; no reason where the config says it itself."""

    value: str | int
    why: str = ""


def precision_on_cpu() -> Choice:
    """Returns what `precision: auto` means on this CPU."""
    flags = cpu_flags()
    if not flags:
        return Choice("float32", "this system does not say what its CPU multiplies in hardware")
    flag = next((flag for flag in FAST_BFLOAT16 if flag in flags), None)
    if flag:
        return Choice("mixed_bfloat16", f"this CPU multiplies bfloat16 in hardware ({flag})")
    return Choice("float32", f"this CPU does not multiply bfloat16 in hardware ({' or '.join(FAST_BFLOAT16)})")


def precision_on_gpu(capability: tuple[int, int]) -> Choice:
    """Returns what `precision: auto` means on an NVIDIA card by its compute capability.

    Tensor cores multiply float16 from 7.0 on and bfloat16 from 8.0 on (CUDA C++ Programming Guide, Compute Capabilities).
    """
    shown = f"compute capability {capability[0]}.{capability[1]}"
    if capability >= (8, 0):
        return Choice("mixed_bfloat16", f"this GPU has tensor cores for bfloat16 ({shown})")
    if capability >= (7, 0):
        return Choice("mixed_float16", f"this GPU has tensor cores for float16 ({shown})")
    return Choice("float32", f"this GPU has no tensor cores ({shown})")


def parts_on_cpu(experiment: Experiment, nodes: Sequence[Node], cores: int) -> Choice:
    """Returns what `batch_parts: auto` means for a network on a CPU."""
    reason = whole_batch_reason(experiment, nodes)
    if reason:
        return Choice(1, reason)
    if cores == 1:
        return Choice(1, "there is one core")
    parts = min(cores, experiment.train.batch_size // LEAST_PART)
    if parts < 2:
        return Choice(1, f"parts of {experiment.train.batch_size} images would have fewer than {LEAST_PART}")
    return Choice(parts, f"{cores} cores, and {LEAST_PART} images or more a part")


def whole_batch_reason(experiment: Experiment, nodes: Sequence[Node]) -> str:
    """Returns what in a training needs its batches whole; empty where nothing does."""
    if experiment.few_shot:
        return "few-shot methods compute by episodes"
    for node in nodes:
        if isinstance(node.layer, BatchNormalization):
            return f"'{node.name}' normalizes over the whole batch"
        if getattr(node.layer, "activity_regularizer", None) is not None:
            return f"the activity_regularizer of '{node.name}' is a mean over the whole batch"
    return ""


def shared_batches_reason(experiment: Experiment) -> str:
    """Returns what in a training keeps its batches on one device; empty where nothing does."""
    if experiment.few_shot:
        return "few-shot methods compute whole episodes, on one device"
    if experiment.train.batch_parts not in (1, "auto"):
        return "train.batch_parts shares each batch among the cores of one device already"
    return ""


def strategy_on(experiment: Experiment, devices: int, what: str = "GPUs") -> Choice:
    """Returns what `strategy: auto` means in a process that has so many devices, and trains by itself."""
    if devices < 2:
        return Choice("one_device")
    reason = shared_batches_reason(experiment)
    if reason:
        return Choice("one_device", reason)
    each = experiment.train.batch_size // devices
    if each < LEAST_PART:
        return Choice("one_device", f"each of {devices} {what} would get {each} images of a batch, fewer than {LEAST_PART}")
    return Choice("mirrored", f"{devices} {what}, and {LEAST_PART} images or more each")


def on_any_machine(experiment: Experiment) -> Experiment:
    """Returns the experiment on one device, with whole batches and float32 for `auto`: nothing of it depends on the machine."""
    precision = experiment.train.precision
    return with_settings(
        experiment, precision="float32" if precision == "auto" else precision, batch_parts=1, strategy="one_device"
    )


def with_settings(experiment: Experiment, **settings: object) -> Experiment:
    """Returns the experiment with these fields of `train` instead of its own."""
    return experiment.model_copy(update={"train": experiment.train.model_copy(update=settings)})


AUTO_FIELDS = ("train.precision", "train.batch_parts", "train.strategy")
"""The fields that may be `auto` and decide numbers: a run's own config.yaml says what they became."""
SAME_NUMBERS = ("data.memory",)
"""The fields that no number depends on: a run's own config.yaml says them as they were said, and it goes on with any value."""


def cpu_flags() -> frozenset[str]:
    """Returns what the processor says it can, such as `avx2`; nothing where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
