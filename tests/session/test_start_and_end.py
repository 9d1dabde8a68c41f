"""What a training does not wait for before its first step and after its last."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from cnnctl.commands.train import train
from cnnctl.data.image_set import ImageSet
from cnnctl.data.inspect.statistics import ImageStatistics, statistics_of
from cnnctl.data.splits import Splits, read_splits
from cnnctl.data.store.lazy import LazyImages
from cnnctl.errors import DataError
from cnnctl.report.console import Console
from cnnctl.session import environment
from cnnctl.session.environment import NotedData
from cnnctl.spec.load import load
from cnnctl.train import inference, learner, steps
from cnnctl.train.rehearsal import Rehearsal

ROOT = Path(__file__).parent.parent.parent
SLOW = ("matplotlib", "sklearn", "scipy.stats", "pandas", "tensorflow_datasets", "requests")
"""Packages whose import takes a tenth of a second or more, and that a training on data in memory does not need."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config with noise of 10 classes in a file, 65 batches an epoch, and everything for TensorBoard."""
    random = np.random.default_rng(0)
    arrays: dict[str, NDArray[Any]] = {}
    for split, count in (("train", 260), ("test", 30)):
        images, labels = random.integers(0, 256, (count, 8, 8), np.uint8), np.arange(count) % 10
        arrays |= {f"{'x' if part is images else 'y'}_{split}": part for part in (images, labels)}
    np.savez(tmp_path / "noise.npz", **arrays)  # type: ignore[arg-type]  # none of them is named allow_pickle
    layers: list[Any] = [{"conv2d": {"filters": 2, "kernel_size": 3}}, "flatten", {"dense": {"units": "classes"}}]
    content = {
        "data": {"source": "npz", "path": str(tmp_path / "noise.npz"), "validation": 0.1},
        "model": {"layers": layers},
        "train": {"epochs": 2, "batch_size": 4},
    }
    (tmp_path / "noise.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "noise.yaml"


TRAINING = """
import sys
from cnnctl.cli import main
sys.argv = ["cnnctl", "train", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
import gc
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
print(" ".join(sys.modules))
"""


def test_a_training_with_tensorboard_imports_nothing_slow_besides_tensorflow(config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRAINING, str(config), "--run-dir", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr
    imported = set(ended.stdout.splitlines()[-1].split())
    assert "tensorflow" in imported
    assert imported & set(SLOW) == set()
    assert ended.stdout.splitlines()[-2] == "True True"  # Python searches for garbage, not among TensorFlow's objects


def test_step_and_evaluation_are_traced_once_whoever_asks_for_them(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorBoard shows the graph of the step; validation runs after each of 2 epochs, and the test at the end."""
    traced: list[str] = []

    def noted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def step(*given: Any) -> Any:
            traced.append(name)
            return original(*given)

        monkeypatch.setattr(module, name, step)

    noted(steps, "train_step")
    noted(learner, "evaluate_step")
    train(config, [], tmp_path / "run", None, "cpu", Console(quiet=True), verbose=True)
    assert sorted(traced) == ["evaluate_step", "train_step"]


def test_what_follows_the_steps_is_traced_beside_them(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[tuple[str, bool]] = []

    def noted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def step(*given: Any) -> Any:
            traced.append((name, threading.current_thread() is threading.main_thread()))
            return original(*given)

        monkeypatch.setattr(module, name, step)

    noted(learner, "evaluate_step")
    noted(inference, "network_outputs")
    train(config, [], tmp_path / "run", None, "cpu", Console(quiet=True), verbose=True)
    assert sorted(traced) == [("evaluate_step", False), ("network_outputs", False)]


def weights(run: Path) -> list[Any]:
    return list(keras.saving.load_model(run / "model.keras", compile=False).get_weights())


@pytest.mark.parametrize("parts", [1, 2])
def test_the_rehearsal_changes_no_number(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    layers = (
        "model.layers=[{conv2d: {filters: 2, kernel_size: 3, activation: relu}}, max_pooling2d, batch_normalization, "
        "flatten, {dropout: {rate: 0.5}}, {dense: {units: classes}}]"
    )
    settings = [layers, f"train.batch_parts={parts}", "train.precision=float32"]
    train(config, settings, tmp_path / "with", None, "cpu", Console(quiet=True), verbose=True)
    monkeypatch.setattr(Rehearsal, "on_steps", lambda *_: None)
    train(config, settings, tmp_path / "without", None, "cpu", Console(quiet=True), verbose=True)
    for mine, other in zip(weights(tmp_path / "with"), weights(tmp_path / "without"), strict=True):
        np.testing.assert_array_equal(mine, other)
    for name in ("test_loss", "test_accuracy"):
        assert result(tmp_path / "with")[name] == result(tmp_path / "without")[name]


def result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


class Unreadable(LazyImages):
    """Images on a disk that fails."""

    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise DataError("the disk failed")


def test_images_that_a_thread_cannot_read_fail_where_their_notes_are_needed() -> None:
    images = ImageSet(Unreadable((40, 8, 8, 1)), np.arange(40) % 10)
    for described in (True, False):
        noted = NotedData(Splits(images, None, lambda: images, 40, list("0123456789"), []), described)
        for note in (noted.fingerprints, noted.training_images):
            with pytest.raises(DataError, match="the disk failed"):
                note()


def test_a_resumed_run_measures_its_training_images_only_where_they_were_never_noted(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, run = list[ImageSet](), tmp_path / "run"

    def measure(images: ImageSet) -> ImageStatistics:
        measured.append(images)
        return statistics_of(images)

    def noted(config: Path | None, epochs: int, run_dir: Path | None, resume: Path | None) -> tuple[object, int]:
        train(config, [f"train.epochs={epochs}"], run_dir, resume, "cpu", Console(quiet=True), verbose=False)
        return json.loads((run / "environment.json").read_text())["training_images"], len(measured)

    monkeypatch.setattr(environment, "statistics_of", measure)
    statistics, _ = noted(config, 1, run, None)
    assert noted(None, 2, None, run) == (statistics, 1)
    shutil.rmtree(run / "checkpoints")  # as of a run that was killed before it began
    for file in ("environment.json", "result.json"):
        (run / file).unlink()
    assert noted(None, 2, None, run) == (statistics, 2)


def test_the_end_of_the_process_does_not_wait_for_the_description_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    before = set(threading.enumerate())
    monkeypatch.setattr(environment, "_fingerprints", lambda _: released.wait(60))
    NotedData(read_splits(load(ROOT / "configs/quickstart.yaml").data))
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    released.set()
    thread.join()
