"""What `auto` becomes: by the machine's own flags, never by chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnnctl.spec import auto
from cnnctl.spec.auto import fitting_parts, on_any_machine, parts_on_cpu, precision_on_cpu, precision_on_gpu
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load

QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ({"avx512_bf16", "avx2"}, "mixed_bfloat16"),
        ({"amx_bf16", "avx512_bf16"}, "mixed_bfloat16"),
        ({"avx512f", "avx2"}, "float32"),
    ],
)
def test_a_cpu_takes_bfloat16_where_it_multiplies_it(monkeypatch: pytest.MonkeyPatch, flags: set[str], precision: str) -> None:
    monkeypatch.setattr(auto, "cpu_flags", lambda: frozenset(flags))
    choice = precision_on_cpu()
    assert choice.value == precision
    assert "bf16" in choice.why


def test_a_system_that_does_not_say_what_its_cpu_can_takes_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "cpu_flags", frozenset)
    assert precision_on_cpu() == ("float32", "this system does not report the instructions of its CPU")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        ((6, 1), "float32"),
        ((7, 0), "mixed_float16"),
        ((7, 5), "mixed_float16"),
        ((8, 0), "mixed_bfloat16"),
        ((9, 0), "mixed_bfloat16"),
    ],
)
def test_a_gpu_takes_what_its_tensor_cores_multiply(capability: tuple[int, int], precision: str) -> None:
    choice = precision_on_gpu(capability)
    assert choice.value == precision
    assert f"{capability[0]}.{capability[1]}" in choice.why


def experiment(*overrides: str) -> Experiment:
    return load(QUICKSTART, ["train.batch_parts=auto", "train.batch_size=128", *overrides])


def parts(cores: int, *overrides: str) -> Any:
    asked = experiment(*overrides)
    return parts_on_cpu(asked, cores, "float32")


def test_a_batch_has_a_part_a_core_but_no_small_ones() -> None:
    assert [parts(cores).value for cores in (1, 2, 4, 16)] == [1, 2, 4, 4]
    assert [parts(8, f"train.batch_size={size}").value for size in (1, 31, 64, 100)] == [1, 1, 2, 3]
    assert parts(1).why == "1 core"
    assert parts(8, "train.batch_size=63").why == "parts of 63 images would have fewer than 32"


NORMALIZED = "model.layers=[flatten, {batch_normalization: {name: norm}}, {dense: {units: classes}}]"
RENORMALIZED = "model.layers=[flatten, {batch_normalization: {name: norm, renorm: true}}, {dense: {units: classes}}]"
OTHER_AXIS = "model.layers=[{batch_normalization: {name: norm, axis: 1}}, flatten, {dense: {units: classes}}]"
REGULARIZED = "model.layers=[flatten, {dense: {units: classes, name: last, activity_regularizer: l2}}]"


@pytest.mark.parametrize(("stack", "name"), [(RENORMALIZED, "'norm'"), (OTHER_AXIS, "'norm'"), (REGULARIZED, "'last'")])
def test_what_needs_the_batch_whole_has_one_part_and_says_why(stack: str, name: str) -> None:
    choice = parts(2, stack)
    assert choice.value == 1
    assert name in choice.why


def test_batch_norm_is_in_parts_in_float32_and_whole_in_16_bits() -> None:
    asked = experiment(NORMALIZED)
    assert parts_on_cpu(asked, 2, "float32").value == 2
    in_16_bits = parts_on_cpu(asked, 2, "mixed_bfloat16")
    assert in_16_bits == (1, "'norm' normalizes over the whole batch, by one operation in 16 bits")
    assert fitting_parts(asked, 2) == [1, 2]  # trial steps measure both
    assert fitting_parts(experiment(RENORMALIZED), 2) == [1]


def test_few_shot_tasks_have_one_part() -> None:
    asked = load(QUICKSTART.with_name("few-shot.yaml"), ["train.batch_parts=auto", "train.precision=auto"])
    assert parts_on_cpu(asked, 2, "float32").value == 1


def test_on_any_machine_is_what_keras_does_by_itself() -> None:
    train = on_any_machine(experiment("train.precision=auto")).train
    assert (train.precision, train.batch_parts) == ("float32", 1)
    said = on_any_machine(experiment("train.precision=mixed_bfloat16", "train.batch_parts=2")).train
    assert (said.precision, said.batch_parts) == ("mixed_bfloat16", 1)
