"""A run decides `auto` once, says why, and writes down what it took."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cnnctl.commands.evaluate import evaluate
from cnnctl.commands.train import train
from cnnctl.few_shot.options import EpisodeOptions
from cnnctl.model.fast_network import FastNetwork
from cnnctl.report.console import Console
from cnnctl.session.trained_run import open_trained
from cnnctl.spec import auto
from cnnctl.spec.auto import with_settings
from cnnctl.spec.load import load
from cnnctl.train import settings
from cnnctl.train.device import Device
from cnnctl.train.settings import resolve_auto
from tests import interruptions
from tests.interruptions import interrupt, variables

QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"
CPU = Device("cpu", "2 cores", cores=2)
AUTO = ("train.precision=auto", "train.batch_parts=auto")


def test_what_the_config_says_stays_and_needs_no_reason() -> None:
    said = load(QUICKSTART, ["train.strategy=one_device"])
    settled = resolve_auto(said, CPU)
    assert (settled.experiment, settled.reasons, str(settled)) == (said, [], "float32")


def test_auto_is_decided_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "cpu_flags", lambda: frozenset({"avx512_bf16"}))
    settled = resolve_auto(load(QUICKSTART, [*AUTO, "train.batch_size=64"]), CPU)
    assert str(settled) == "mixed_bfloat16, each batch in 2 parallel parts"
    assert settled.reasons == [
        "precision: auto → mixed_bfloat16 (this CPU has bfloat16 instructions (avx512_bf16))",
        "batch_parts: auto → 2 (2 cores, ≥ 32 images per part)",
    ]
    card = resolve_auto(load(QUICKSTART, list(AUTO)), Device("gpu", "a card", cores=8, capability=(7, 5)))
    assert (card.experiment.train.precision, card.experiment.train.batch_parts) == ("mixed_float16", 1)
    unknown = resolve_auto(load(QUICKSTART, list(AUTO)), Device("gpu", "a card"))
    assert unknown.experiment.train.precision == "float32"


def trained(folder: Path, *overrides: str) -> dict[str, Any]:
    train(QUICKSTART, ["train.epochs=2", *overrides], folder, None, "cpu", Console(quiet=True), verbose=True)
    environment: dict[str, Any] = json.loads((folder / "environment.json").read_text())
    return environment


def arrays(run: Path) -> list[Any]:
    file = sorted(run.glob("checkpoints/*.npz"))[-1]
    content = np.load(file)
    return [content[name] for name in sorted(content.files) if name.startswith(("model/", "optimizer/"))]


def test_a_run_s_own_config_trains_to_the_same_weights_wherever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "precision_on_cpu", lambda: auto.Choice("mixed_bfloat16", "a test"))
    monkeypatch.setattr(settings, "parts_on_cpu", lambda *_: auto.Choice(2, "another"))
    environment = trained(tmp_path / "first", *AUTO)
    reported = [environment[name] for name in ("precision", "precision_why", "batch_parts", "batch_parts_why")]
    assert reported == ["mixed_bfloat16", "a test", 2, "another"]
    monkeypatch.setattr(settings, "precision_on_cpu", lambda: auto.Choice("float32", "another machine"))
    written = tmp_path / "first/config.yaml"
    assert (load(written).train.precision, load(written).train.batch_parts) == ("mixed_bfloat16", 2)
    train(written, [], tmp_path / "second", None, "cpu", Console(quiet=True), verbose=True)
    for mine, theirs in zip(arrays(tmp_path / "first"), arrays(tmp_path / "second"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_both_loops_agree_to_the_bit_in_parts(tmp_path: Path, style: str) -> None:
    stack = (
        "model.layers=[{conv2d: {filters: 4, kernel_size: 3, activation: relu}}, batch_normalization, flatten, {dropout: {rate: 0.4}}, "
        "{dense: {units: classes}}]"
    )
    common = (f"model.style={style}", "train.batch_parts=2", stack)
    trained(tmp_path / "custom", "train.loop=custom", *common)
    trained(tmp_path / "fit", "train.loop=fit", *common)
    for mine, theirs in zip(arrays(tmp_path / "custom"), arrays(tmp_path / "fit"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("loop", ["custom", "fit"])
def test_a_run_in_parts_is_interrupted_and_goes_on_to_the_bit(tmp_path: Path, loop: str) -> None:
    stack = "model.layers=[{conv2d: {filters: 4, kernel_size: 3, activation: relu}}, batch_normalization, max_pooling2d, flatten, {dropout: {rate: 0.4}}, {dense: {units: classes}}]"
    spec = load(QUICKSTART, ["train.epochs=3", "train.batch_parts=2", f"train.loop={loop}", stack])
    straight = variables(interruptions.run(spec, tmp_path / "straight"))
    interrupt(spec, tmp_path / "run", after_epoch=1)
    resumed = variables(interruptions.run(spec, tmp_path / "run"))
    for mine, theirs in zip(resumed, straight, strict=True):
        np.testing.assert_array_equal(mine, theirs)


NORMALIZED = "model.layers=[{conv2d: {filters: 4, kernel_size: 3}}, batch_normalization, relu, max_pooling2d, flatten, {dense: {units: classes}}]"


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.batch_parts=2"],
        ["train.precision=mixed_bfloat16", NORMALIZED],
        ["train.batch_parts=2", NORMALIZED],
        ["train.precision=mixed_bfloat16", "train.batch_parts=2"],
    ],
)
def test_a_run_is_evaluated_as_it_was_in_training_up_to_rounding(tmp_path: Path, overrides: list[str]) -> None:
    trained(tmp_path / "run", *overrides)
    result = json.loads((tmp_path / "run/result.json").read_text())
    evaluate([tmp_path / "run"], "test", None, "json", "cpu", Console(quiet=True), True, EpisodeOptions())
    judged = json.loads((tmp_path / "run/evaluation/test.json").read_text())
    assert judged["accuracy"] == pytest.approx(result["test_accuracy"], abs=1e-6)
    assert judged["loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    opened = open_trained(tmp_path / "run")
    assert isinstance(opened.fast, FastNetwork)
    of_replicas = replace(opened, experiment=with_settings(opened.experiment, strategy="mirrored"))
    assert of_replicas.fast is opened.model  # they train and test as Keras does


def test_each_part_has_its_own_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, int]] = []
    threading = tf.config.threading
    monkeypatch.setattr(threading, "set_inter_op_parallelism_threads", lambda count: said.append(("parts", count)))
    monkeypatch.setattr(threading, "set_intra_op_parallelism_threads", lambda count: said.append(("each", count)))
    settings.set_threads(1, CPU)
    settings.set_threads(2, Device("gpu", "a card", cores=8))
    assert said == []
    settings.set_threads(2, Device("cpu", "8 cores", cores=8))
    settings.set_threads(3, Device("cpu", "2 cores", cores=2))
    assert said == [("parts", 2), ("each", 4), ("parts", 3), ("each", 1)]
