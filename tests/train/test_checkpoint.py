"""A run that was interrupted and resumed ends as one that was not: to the bit."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cnnctl.commands import train as train_command
from cnnctl.errors import Interrupted, RunError, UsageError
from cnnctl.report.console import Console
from cnnctl.run_folder import MetricsFile, RunFolder
from cnnctl.session.session import train as train_session
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.train import checkpoint, loops
from cnnctl.train.observers import EpochRecord
from cnnctl.train.origin import checkpoint_files
from tests.interruptions import interrupt, interrupt_at, prepared, run, variables

# Keras 3.15 writes .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

EPOCHS = 4
CLOCKS = ("seconds", "images_per_second")
RUNS = [("fit", "sequential"), ("fit", "subclass"), ("custom", "functional"), ("custom", "subclass")]
LAYERS: list[Any] = [
    "normalization",
    {"conv2d": {"filters": 4, "kernel_size": 3}},
    {"batch_normalization": {"momentum": 0.9, "renorm": True, "renorm_momentum": 0.8}},
    {"activation": {"activation": "relu"}},
    "max_pooling2d",
    "flatten",
    {"dropout": {"rate": 0.3}},
    {"gaussian_noise": {"stddev": 0.1}},
    {"gaussian_dropout": {"rate": 0.1}},
    {"alpha_dropout": {"rate": 0.1}},
    {"dense": {"units": "classes"}},
]


def experiment(loop: str = "custom", style: str = "sequential", layers: list[Any] = LAYERS, **train: Any) -> Experiment:
    content = {
        "seed": 5,
        "data": {
            "source": "digits",
            "image_size": [8, 8],
            "channels": 1,
            "classes": 10,
            "test": 0.8,
            "validation": 0.1,
            "augment": {"rotation": 10, "shift": 0.1},
        },
        "model": {"style": style, "layers": layers},
        "train": {
            "loop": loop,
            "epochs": EPOCHS,
            "batch_size": 48,
            "optimizer": {"adam": {"learning_rate": {"one_cycle": {"max_learning_rate": 0.02}}}},
            "early_stopping": {"patience": 10},
            **train,
        },
        "log": {"tensorboard": False},
    }
    return Experiment.model_validate(content)


def rows(path: Path) -> list[str]:
    """Returns the lines of metrics.csv without the clocks, which are its last two columns."""
    return [line.rsplit(",", 2)[0] for line in (path / "metrics.csv").read_text().splitlines()]


def result(path: Path) -> dict[str, Any]:
    content = json.loads((path / "result.json").read_text())
    return {key: value for key, value in content.items() if key not in ("train_seconds", "images_per_second")}


def assert_same_end(mine: tuple[Session, Path], straight: tuple[Session, Path]) -> None:
    for array, expected in zip(variables(mine[0]), variables(straight[0]), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert rows(mine[1]) == rows(straight[1])
    assert result(mine[1]) == result(straight[1])


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def straight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Session, Path]:
    spec = experiment(*request.param)
    path = tmp_path_factory.mktemp("straight") / "run"
    return spec, run(spec, path), path


Straight = tuple[Experiment, Session, Path]


def test_a_run_interrupted_within_epochs_and_at_the_end_of_one_ends_as_one_that_was_not(
    straight: Straight, tmp_path: Path
) -> None:
    """4 steps an epoch: in the first, after the last of the second before its validation, around the checkpoint of the third."""
    spec, session, path = straight
    folder = tmp_path / "run"
    for step in (2, 8):
        interrupt_at(spec, folder, step)
    after_epoch, when = (2, "before") if spec.model.style == "subclass" else (3, "after")
    interrupt(spec, folder, after_epoch, when)
    assert not (folder / "result.json").exists()
    assert_same_end((run(spec, folder), folder), (session, path))


def test_a_run_can_be_interrupted_after_each_epoch(tmp_path: Path) -> None:
    spec = experiment(epochs=2)
    whole = run(spec, tmp_path / "straight")
    folder = tmp_path / "run"
    for epoch in (1, 2):
        interrupt(spec, folder, after_epoch=epoch)
    assert_same_end((run(spec, folder), folder), (whole, tmp_path / "straight"))


def test_a_run_interrupted_before_its_first_step_is_told_starts_anew_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, folder = experiment(epochs=1), tmp_path / "run"

    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loops, "steps_record", press)
        message = f"^interrupted; nothing was trained yet. Resume with: cnnctl train --resume {folder}$"
        with pytest.raises(Interrupted, match=message):
            run(spec, folder)
    assert not (folder / "checkpoints").exists()
    assert_same_end((run(spec, folder), folder), (run(spec, tmp_path / "straight"), tmp_path / "straight"))


def test_an_interruption_during_the_test_is_told_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: Any) -> None:
        raise KeyboardInterrupt

    spec = experiment(epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr("cnnctl.session.finish._save_model", press)
        with pytest.raises(Interrupted, match="1 of 1 epoch is saved"):
            run(spec, tmp_path / "run")
    assert RunFolder(tmp_path / "run").state()[0] == "interrupted"
    assert "1 of 1 epoch is saved" in RunFolder(tmp_path / "run").state()[1]
    run(spec, tmp_path / "run")
    assert RunFolder(tmp_path / "run").state() == ("finished", "")
    assert not (tmp_path / "run/stopped.json").exists()
    run(spec, tmp_path / "straight")
    assert rows(tmp_path / "run") == rows(tmp_path / "straight")
    assert result(tmp_path / "run") == result(tmp_path / "straight")


# Early stopping


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_a_run_that_had_stopped_early_is_not_trained_on(loop: str, tmp_path: Path) -> None:
    spec = experiment(loop, epochs=9, early_stopping={"patience": 2, "min_delta": 5.0})  # the first epoch stays the best
    whole = run(spec, tmp_path / "straight")
    assert result(tmp_path / "straight")["epochs"] == 3
    assert result(tmp_path / "straight")["best_epoch"] == 1
    interrupt(spec, tmp_path / "run", after_epoch=3)
    assert_same_end((run(spec, tmp_path / "run"), tmp_path / "run"), (whole, tmp_path / "straight"))


def test_the_patience_of_before_the_interruption_counts(tmp_path: Path) -> None:
    spec = experiment(epochs=9, early_stopping={"patience": 2, "min_delta": 5.0})
    whole = run(spec, tmp_path / "straight")
    interrupt(spec, tmp_path / "run", after_epoch=2)
    assert_same_end((run(spec, tmp_path / "run"), tmp_path / "run"), (whole, tmp_path / "straight"))


# The files


def test_the_newest_two_checkpoints_are_kept(straight: Straight) -> None:
    assert sorted(file.name for file in (straight[2] / "checkpoints").iterdir()) == ["step_000000012.npz", "step_000000016.npz"]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    interrupt(experiment(), folder, after_epoch=3)
    return folder


@pytest.fixture
def half_way(tmp_path: Path, interrupted: Path) -> Path:
    """A copy of a run that was interrupted after its third epoch."""
    return Path(shutil.copytree(interrupted, tmp_path / "half"))


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_it_serves(
    half_way: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = half_way / "checkpoints" / "step_000000012.npz"
    newest.write_bytes(newest.read_bytes()[:2000])
    resumed = prepared(experiment(), Console())
    train_session(resumed, RunFolder(half_way))
    said = capsys.readouterr().err
    assert f"{newest} is damaged (its checksum does not match); an earlier checkpoint is used" in said
    assert "resumes after 2 of 4 epochs\n" in said
    straight = run(experiment(), half_way.parent / "straight")
    assert_same_end((resumed, half_way), (straight, half_way.parent / "straight"))
    assert len(checkpoint_files(half_way / "checkpoints")) == 2


def test_a_run_all_of_whose_checkpoints_are_damaged_is_not_begun_anew(half_way: Path) -> None:
    for file in checkpoint_files(half_way / "checkpoints"):
        file.write_bytes(b"")
    with pytest.raises(
        RunError, match=r"step_000000012\.npz is damaged .*step_000000008\.npz is damaged .*no other .*start a new run"
    ):
        run(experiment(), half_way)


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_good_one(half_way: Path) -> None:
    """After a fall back, the newest two are the newest two good ones, whatever the damaged one's step."""
    newest = half_way / "checkpoints" / "step_000000012.npz"
    newest.write_bytes(b"")
    interrupt_at(experiment(), half_way, step=10)
    assert [file.name for file in checkpoint_files(half_way / "checkpoints")] == ["step_000000008.npz", "step_000000010.npz"]


def test_a_checkpoint_of_another_network_is_refused(half_way: Path) -> None:
    with pytest.raises(RunError, match=r"step_000000012\.npz is of another model: its arrays do not match the run's config"):
        run(experiment(layers=LAYERS[4:]), half_way)


def test_a_checkpoint_of_another_optimizer_is_refused(half_way: Path) -> None:
    with pytest.raises(RunError, match=r"step_000000012\.npz is of another optimizer"):
        run(experiment(optimizer="sgd"), half_way)


def archive(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def with_checksum(content: bytes) -> bytes:
    """Returns what somebody made who knows how checkpoints end."""
    body = content[:-2] + (64).to_bytes(2, "little")
    return body + hashlib.sha256(body).hexdigest().encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"no archive at all",
        archive(rows=np.arange(50))[:-30],
        archive(rows=np.arange(50)),
        pickle.dumps({}),
    ],
    ids=["empty", "only a start", "text", "cut off", "without checksum", "pickle"],
)
def test_no_content_of_a_checkpoint_gives_anything_but_one_message(content: bytes, tmp_path: Path) -> None:
    refused(tmp_path, content, "its checksum does not match")


def refused(folder: Path, content: bytes, reason: str) -> None:
    """Asserts that a checkpoint with this content is reported as damaged, and why."""
    (folder / "step_000000001.npz").write_bytes(content)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(
        RunError, match=rf"step_000000001\.npz is damaged \({reason}.*; there is no other checkpoint, start a new run$"
    ):
        checkpoint.Checkpoints(folder, network, keras.optimizers.SGD(), {}).restore()


def json_array(content: Any) -> Any:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


RECORD = asdict(EpochRecord(1, 4, 2.0, 0.1, None, None, 0.01, 1.5, 120.0))
WHOLE = {
    "format": np.array(checkpoint.FORMAT),
    "rows": json_array([RECORD]),
    "partial_epoch": json_array(None),
    "origin": json_array({"config": {}, "environment": {}}),
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": np.array(99)}, "another version of cnnctl wrote it"),
        ({"rows": json_array([{"epoch": 1}])}, r".*missing \d+ required positional arguments"),
        ({"rows": json_array([{**RECORD, "loss": 1}])}, ".*unexpected keyword argument 'loss'"),
        ({"rows": json_array(7)}, ".*not iterable"),
        ({"rows": np.zeros(0)}, "Expecting value"),
        ({"rows": np.frombuffer(b"[" * 100_000, np.uint8)}, "maximum recursion|.*"),
        ({"partial_epoch": json_array({"epoch": 1})}, "it has no 'totals'"),
        ({"partial_epoch": json_array([1])}, "list indices|.*"),
        ({"origin": json_array(None)}, "it has no valid origin"),
        ({"origin": json_array({"config": [], "environment": {}})}, "it has no valid origin"),
    ],
)
def test_a_checkpoint_with_a_right_checksum_and_wrong_content_is_damaged(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """As another version would write it, or somebody who knows how one ends."""
    refused(tmp_path, with_checksum(archive(**{**WHOLE, **change})), reason)


@pytest.mark.parametrize("missing", WHOLE)
def test_a_checkpoint_that_lacks_something_is_damaged(missing: str, tmp_path: Path) -> None:
    content = {name: array for name, array in WHOLE.items() if name != missing}
    refused(tmp_path, with_checksum(archive(**content)), rf"it has no .*{missing}")


def test_a_checkpoint_that_is_too_large_or_says_so_takes_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as out:
        out.writestr("format.npy", header.getvalue())
    refused(tmp_path, with_checksum(content.getvalue()), "its header asks for more than the memory of this machine|.*")
    with (tmp_path / "step_000000001.npz").open("wb") as sparse:
        sparse.truncate(10**12)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(RunError, match=r"is damaged \(it has more than [\d,]+ bytes\)"):
        checkpoint.Checkpoints(tmp_path, network, keras.optimizers.SGD(), {}).restore()


def test_every_single_wrong_bit_is_found(tmp_path: Path) -> None:
    good = checkpoint._archive({"model/0": np.random.default_rng(0).random(8), "rows": np.arange(3, dtype=np.uint8)})
    file = tmp_path / "step_000000001.npz"
    file.write_bytes(good)
    assert set(checkpoint._arrays_in(file.read_bytes())) == {"model/0", "rows"}
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        with pytest.raises(ValueError, match="its checksum does not match"):
            checkpoint._arrays_in(file.read_bytes())


class Trap:
    """Pickled, it would make a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_in_a_checkpoint_is_never_read(tmp_path: Path) -> None:
    made = tmp_path / "made by the pickle"
    file = tmp_path / "step_000000001.npz"
    file.write_bytes(with_checksum(archive(rows=np.array([Trap(made)], dtype=object))))
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint._arrays_in(file.read_bytes())
    assert not made.exists()


def test_a_checkpoint_that_would_grow_when_read_is_damaged(tmp_path: Path) -> None:
    content, file = io.BytesIO(), tmp_path / "step_000000001.npz"
    np.savez_compressed(content, rows=np.zeros(10**7, np.uint8))
    file.write_bytes(with_checksum(content.getvalue()))
    with pytest.raises(ValueError, match="it is compressed"):
        checkpoint._arrays_in(file.read_bytes())


def test_a_full_disk_leaves_the_checkpoints_that_are_there(half_way: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.suffix == ".npz":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    before = {file.name: file.read_bytes() for file in checkpoint_files(half_way / "checkpoints")}
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match=r"step_000000016\.npz cannot be written: No space left on device$"):
        run(experiment(), half_way)
    files = list((half_way / "checkpoints").iterdir())
    assert {file.name: file.read_bytes() for file in files} == before


# The command


def test_resuming_a_finished_run_says_so_and_changes_nothing(straight: Straight, capsys: pytest.CaptureFixture[str]) -> None:
    path = straight[2]

    def content() -> dict[str, tuple[bytes, int]]:
        files = [file for file in path.rglob("*") if file.is_file()]
        return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}

    before = content()
    train_command.train(None, (), None, path, "cpu", Console(), verbose=False)
    assert capsys.readouterr().err == f"{path} has finished; its results are in {path / 'result.json'}\n"
    assert content() == before


def test_resuming_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path} is not a run folder: it has no config.yaml"):
        train_command.train(None, (), None, tmp_path, "cpu", Console(quiet=True), verbose=False)


def test_resuming_takes_no_other_folder(straight: Straight) -> None:
    with pytest.raises(UsageError, match="--resume continues in the run's own folder; leave out --run-dir"):
        train_command.train(None, (), Path("elsewhere"), straight[2], "cpu", Console(quiet=True), verbose=False)


def test_the_rows_of_metrics_after_a_resume_start_with_those_before_it(tmp_path: Path) -> None:
    first = EpochRecord(1, 4, 2.0, 0.1, None, None, 0.01, 1.5, 120.0)
    second = EpochRecord(2, 8, 1.0, 0.2, 1.5, 0.3, 0.01, 1.25, 144.0)
    metrics = MetricsFile(tmp_path / "metrics.csv", [first])
    metrics.on_epoch(second)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        ",".join(name for name in asdict(first) if name not in ("validation_interval", "validation_penalty")),
        "1,4,2.0,0.1,,,0.01,1.5,120.0",
        "2,8,1.0,0.2,1.5,0.3,0.01,1.25,144.0",
    ]
