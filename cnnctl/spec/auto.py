"""Resolve `auto` in a config for this machine, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import BatchNormalization, CustomLayer
from cnnctl.spec.stack import Node, nodes_of

LEAST_PART = 32
"""Fewest images per part: smaller parts cost more in overhead than they gain by running in parallel."""
FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""Flags of x86 CPUs with bfloat16 instructions. Without them bfloat16 is emulated and slower than float32."""


class Choice(NamedTuple):
    """A resolved setting with its reason; the reason is empty where the config sets the value."""

    value: str | int
    why: str = ""


def precision_on_cpu() -> Choice:
    """Resolve `precision: auto` on this CPU."""
    flags = cpu_flags()
    if not flags:
        return Choice("float32", "this system does not report the instructions of its CPU")
    flag = next((flag for flag in FAST_BFLOAT16 if flag in flags), None)
    if flag:
        return Choice("mixed_bfloat16", f"this CPU has bfloat16 instructions ({flag})")
    return Choice("float32", f"this CPU has no bfloat16 instructions ({' or '.join(FAST_BFLOAT16)})")


def precision_on_gpu(capability: tuple[int, int]) -> Choice:
    """Resolve `precision: auto` on an NVIDIA GPU by its compute capability.

    Tensor cores multiply float16 from 7.0 on and bfloat16 from 8.0 on (CUDA C++ Programming Guide, Compute Capabilities).
    """
    shown = f"compute capability {capability[0]}.{capability[1]}"
    if capability >= (8, 0):
        return Choice("mixed_bfloat16", f"this GPU has tensor cores for bfloat16 ({shown})")
    if capability >= (7, 0):
        return Choice("mixed_float16", f"this GPU has tensor cores for float16 ({shown})")
    return Choice("float32", f"this GPU has no tensor cores ({shown})")


def parts_on_cpu(experiment: Experiment, cores: int, precision: str) -> Choice:
    """Resolve `batch_parts: auto` for a network on a CPU, in a precision that is resolved."""
    nodes = experiment.network.nodes
    reason = whole_batch_reason(experiment, nodes)
    if reason:
        return Choice(1, reason)
    if precision != "float32" and (joining := next((n for n in nodes if isinstance(n.layer, BatchNormalization)), None)):
        return Choice(1, f"'{joining.name}' normalizes over the whole batch, by one operation in 16 bits")
    if cores == 1:
        return Choice(1, "1 core")
    parts = min(cores, experiment.train.batch_size // LEAST_PART)
    if parts < 2:
        return Choice(1, f"parts of {experiment.train.batch_size} images would have fewer than {LEAST_PART}")
    return Choice(parts, f"{cores} cores, ≥ {LEAST_PART} images per part")


def fitting_parts(experiment: Experiment, cores: int) -> list[int]:
    """List the numbers of parts that may be the fastest: 1, as many as cores or batch allow, and half as many."""
    if whole_batch_reason(experiment, experiment.network.nodes):
        return [1]
    most = min(cores, experiment.train.batch_size // LEAST_PART)
    return sorted({1, max(most // 2, 1), max(most, 1)})


def whole_batch_reason(experiment: Experiment, nodes: Sequence[Node]) -> str:
    """Describe what requires whole batches in this training; return an empty text if nothing does."""
    if experiment.few_shot:
        return "few-shot methods compute by episodes"
    for node in nodes:
        if isinstance(node.layer, BatchNormalization) and (node.layer.renorm or node.layer.axis != -1):
            field = "renorm: true" if node.layer.renorm else f"axis: {node.layer.axis} instead of -1"
            return f"'{node.name}' has {field}, which is computed for whole batches only"
        if isinstance(node.layer, CustomLayer):
            return f"'{node.name}' is a layer of one's own, which may compare the images of a batch"
        if getattr(node.layer, "activity_regularizer", None) is not None:
            return f"the activity_regularizer of '{node.name}' is a mean over the whole batch"
    return ""


def shared_batches_reason(experiment: Experiment) -> str:
    """Describe what keeps the batches of this training on one device; return an empty text if nothing does."""
    if experiment.few_shot:
        return "few-shot methods compute whole episodes on one device"
    if own := next((node for node in nodes_of(experiment.model)[0] if isinstance(node.layer, CustomLayer)), None):
        return f"'{own.name}' is a layer of one's own, which may compare the images of a batch"
    if experiment.train.batch_parts not in (1, "auto"):
        return "train.batch_parts already splits each batch among the cores of one device"
    return ""


def strategy_on(experiment: Experiment, devices: int, what: str = "GPUs") -> Choice:
    """Resolve `strategy: auto` for a single process with `devices` devices, called `what` in the reason."""
    if devices < 2:
        return Choice("one_device")
    reason = shared_batches_reason(experiment)
    if reason:
        return Choice("one_device", reason)
    each = experiment.train.batch_size // devices
    if each < LEAST_PART:
        return Choice("one_device", f"each of {devices} {what} would get {each} images per batch, fewer than {LEAST_PART}")
    return Choice("mirrored", f"{devices} {what}, ≥ {LEAST_PART} images each")


def on_any_machine(experiment: Experiment) -> Experiment:
    """Return the experiment with settings that no machine changes: one device, whole batches, float32 for `auto`."""
    precision = experiment.train.precision
    return with_settings(
        experiment, precision="float32" if precision == "auto" else precision, batch_parts=1, strategy="one_device"
    )


def with_settings(experiment: Experiment, **settings: object) -> Experiment:
    """Return the experiment with these fields of `train` replaced."""
    return experiment.model_copy(update={"train": experiment.train.model_copy(update=settings)})


AUTO_FIELDS = ("train.precision", "train.batch_parts", "train.strategy")
"""Fields that may be `auto` and change results: the config.yaml of a run has the resolved values."""
SAME_NUMBERS = ("data.memory",)
"""Fields that change no result: the config.yaml of a run has them as they were set, and it resumes with any value."""


def cpu_flags() -> frozenset[str]:
    """Return the instruction sets of the CPU, such as `avx2`; empty where the system does not report them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
