"""`cnnctl verify` compares the way in which a config trains with Keras in float32, and finds what is broken in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from cnnctl.commands.verify import verify
from cnnctl.errors import RunError
from cnnctl.model import batch_statistics, fused
from cnnctl.report.console import Console
from cnnctl.verify import fast_path

CONFIG = """
data: {source: digits}
model:
  layers:
    - conv2d: {filters: 4, kernel_size: 3}
    - batch_normalization
    - relu
    - max_pooling2d
    - flatten
    - dropout: {rate: 0.3}
    - gaussian_noise: {stddev: 0.1}
    - dense: {units: classes}
train: {batch_size: 64, precision: PRECISION, batch_parts: PARTS}
"""
WITHOUT_NORM = "\n".join(line for line in CONFIG.splitlines() if "batch_norm" not in line)


def shown(folder: Path, text: str, precision: str, parts: int, capsys: pytest.CaptureFixture[str]) -> Any:
    config = folder / "config.yaml"
    config.write_text(text.replace("PRECISION", precision).replace("PARTS", str(parts)))
    try:
        verify(config, (), 1, False, "json", Console(), verbose=True)
    finally:
        found = json.loads(capsys.readouterr().out)
    return found["fast_path"]


@pytest.mark.parametrize("text", [CONFIG, WITHOUT_NORM])
def test_in_16_bits_the_fast_path_is_as_near_to_float32_as_keras(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(tmp_path, text, "mixed_bfloat16", 1, capsys)
    assert found["settings"] == "mixed_bfloat16"
    assert found["differences"].keys() == {"Keras in mixed_bfloat16", "fast path"}
    averages = {"moving averages"} if text == CONFIG else set()
    assert found["differences"]["fast path"].keys() == {"loss", "gradients", "outputs"} | averages
    assert all(0 < each < 0.1 for each in found["differences"]["fast path"].values())


def test_in_parts_the_fast_path_differs_by_rounding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(tmp_path, WITHOUT_NORM, "float32", 2, capsys)
    assert (found["settings"], found["tolerance"]) == ("float32, each batch in 2 parallel parts", 1e-4)
    assert found["gradient_tolerance"] == 1e-4
    assert list(found["differences"]) == ["fast path"]
    assert all(each < 1e-5 for each in found["differences"]["fast path"].values())


def test_in_parts_with_batch_norm_gradients_may_differ_more_by_kinks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shown(tmp_path, CONFIG, "float32", 2, capsys)
    assert (whole["tolerance"], whole["gradient_tolerance"]) == (1e-4, fast_path.KINKS)
    found = whole["differences"]["fast path"]
    assert found.pop("gradients") < fast_path.KINKS
    assert all(each < 1e-4 for each in found.values())
    smooth = CONFIG.replace("    - relu\n", "    - activation: {activation: tanh}\n").replace("    - max_pooling2d\n", "")
    assert shown(tmp_path, smooth, "float32", 2, capsys)["differences"]["fast path"]["gradients"] < 1e-4
    monkeypatch.setattr(batch_statistics, "_count", lambda part: tf.cast(tf.size(part), tf.float32))
    with pytest.raises(RunError, match=r"gradients of the fast path: differ from Keras in float32 by \d"):
        shown(tmp_path, CONFIG, "float32", 2, capsys)


def test_without_a_fast_path_there_is_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(tmp_path, CONFIG, "float32", 1, capsys) is None


@pytest.mark.parametrize("wrong", ["variance", "nothing"])
def test_other_moving_averages_are_found(
    wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    move = fused._move if wrong == "variance" else lambda *_: None
    monkeypatch.setattr(
        fused, "_move", lambda layer, mean, variance, count: move(layer, mean, variance * 1.5, tf.constant(10**9))
    )
    with pytest.raises(RunError, match=r"moving averages of the fast path: differ from Keras in float32 by \d"):
        shown(tmp_path, CONFIG, "mixed_bfloat16", 1, capsys)


def test_nan_is_no_agreement(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    normalized = fused._normalized
    monkeypatch.setattr(fused, "_normalized", lambda *taken: normalized(*taken) * float("nan"))
    with pytest.raises(RunError, match="gradients of the fast path: differ from Keras in float32 by nan"):
        shown(tmp_path, CONFIG, "mixed_bfloat16", 1, capsys)
