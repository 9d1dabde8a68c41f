"""The run folder as the command leaves it: its files, their numbers, and what an interruption leaves."""

from __future__ import annotations

import csv
import datetime
import errno
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from cnnctl.cli import main
from cnnctl.data.image_set import ImageSet
from cnnctl.data.sources.folder_source import FolderSource
from cnnctl.data.splits import fingerprint, read_splits
from cnnctl.errors import RunError, UsageError
from cnnctl.files import write_whole
from cnnctl.run_folder import MetricsFile, new_run_folder
from cnnctl.spec.load import load
from cnnctl.train.observers import EpochRecord
from tests.fork_server import ForkServer

# Keras 3.15 writes and reads .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

EPOCHS = 20  # some seconds, so that Ctrl-C comes while it trains
TRAINED = 809
STEPS = 51
LOOPS = ("fit", "custom")
CONFIG = """\
seed: 4
data: {source: digits, validation: 0.05, test: 0.5, augment: {shift: 0.05}}
model:
  style: STYLE
  layers:
    - conv2d: {filters: 8, kernel_size: 3, padding: same, activation: relu}
    - batch_normalization: {momentum: 0.9}
    - max_pooling2d
    - flatten
    - dropout: {rate: 0.2}
    - dense: {units: classes}
train:
  loop: LOOP
  epochs: EPOCHS
  batch_size: 16
  optimizer: {adam: {learning_rate: {one_cycle: {max_learning_rate: 0.01}}}}
"""
STYLES = {"fit": "sequential", "custom": "functional"}


@dataclass(frozen=True)
class Run:
    """A training that the command made in a process of its own."""

    folder: Path
    config: Path
    out: str
    err: str

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader((self.folder / "metrics.csv").read_text().splitlines()))

    def result(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return content


def write_config(folder: Path, loop: str) -> Path:
    config = folder / f"{loop}.yaml"
    config.write_text(CONFIG.replace("STYLE", STYLES[loop]).replace("LOOP", loop).replace("EPOCHS", str(EPOCHS)))
    return config


def started(config: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts the command as a person would, with nothing that silences TensorFlow."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-m", "cnnctl", "train", config.name, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=config.parent, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture(scope="module", autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell lets what it starts in the background ignore Ctrl-C, and children inherit that; not here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A whole run by each loop, both at once."""
    configs = {loop: write_config(tmp_path_factory.mktemp(loop), loop) for loop in LOOPS}
    processes = {loop: started(config) for loop, config in configs.items()}
    ended = {}
    for loop, process in processes.items():
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        (folder,) = (configs[loop].parent / "runs" / loop).iterdir()
        ended[loop] = Run(folder, configs[loop], out, err)
    return ended


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> dict[str, tuple[int, Run]]:
    """A run by each loop that got Ctrl-C in its third epoch, and its exit code."""
    configs = {loop: write_config(tmp_path_factory.mktemp(loop), loop) for loop in LOOPS}
    return {loop: interrupt(config, fork_server) for loop, config in configs.items()}


def interrupt(config: Path, fork_server: ForkServer) -> tuple[int, Run]:
    """Trains until the second epoch is reported, then presses Ctrl-C; returns the exit code and what is left."""
    folder, stdout = config.parent, "import os; os.dup2(os.open('out.txt', os.O_WRONLY | os.O_CREAT), 1)"
    words = ["train", config.name, "--run-dir", "run"]
    child = fork_server.start(*words, cwd=folder, output=folder / "err.txt", before=stdout)
    assert child.has_said(f" 2/{EPOCHS} "), child.said()
    child.send(signal.SIGINT)
    return child.wait(), Run(folder / "run", config, (folder / "out.txt").read_text(), child.said())


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Runs the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["cnnctl", *map(str, arguments)])
    with pytest.raises(SystemExit, match=r"\d+") as ended:
        main()
    return int(str(ended.value.code))


def weights(folder: Path) -> list[NDArray[Any]]:
    model = keras.models.load_model(folder / "model.keras")
    return [variable.numpy() for variable in model.variables]


def assert_same_weights(folder: Path, other: Path) -> None:
    for mine, theirs in zip(weights(folder), weights(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


# What a finished run leaves


@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_lies_in_a_dated_folder_with_these_files(loop: str, finished: dict[str, Run]) -> None:
    folder = finished[loop].folder
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints", "config.yaml", "curves.svg", "environment.json", "metrics.csv", "model.keras", "result.json", "tensorboard",
    ]  # fmt: skip
    saved = [f"step_{STEPS * epoch:09}.npz" for epoch in (EPOCHS - 1, EPOCHS)]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == saved
    assert [path.suffix for path in (folder / "tensorboard").iterdir()] == [".v2"]


@pytest.mark.parametrize("loop", LOOPS)
def test_metrics_have_a_row_an_epoch_under_the_names_programs_rely_on(loop: str, finished: dict[str, Run]) -> None:
    lines = (finished[loop].folder / "metrics.csv").read_text().splitlines()
    assert lines[0] == (
        "epoch,step,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second"
    )
    rows = finished[loop].rows()
    assert [int(row["epoch"]) for row in rows] == list(range(1, EPOCHS + 1))
    assert [int(row["step"]) for row in rows] == [STEPS * epoch for epoch in range(1, EPOCHS + 1)]
    assert float(rows[-1]["train_loss"]) < 0.5 * float(rows[0]["train_loss"])
    assert all(0 <= float(row["validation_accuracy"]) <= 1 for row in rows)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_result_agrees_with_the_metrics(loop: str, finished: dict[str, Run]) -> None:
    run = finished[loop]
    result, rows = run.result(), run.rows()
    losses = [float(row["validation_loss"]) for row in rows]
    seconds = sum(float(row["seconds"]) for row in rows)
    assert list(result) == [
        "test_loss", "test_accuracy", "loss_includes_regularization", "weights_epoch", "weights", "best_epoch", "epochs", "steps", "train_seconds",
        "images_per_second", "parameters", "test_fingerprint",
    ]  # fmt: skip
    assert result["best_epoch"] == 1 + losses.index(min(losses))
    assert (result["weights_epoch"], result["weights"]) == (EPOCHS, f"epoch {EPOCHS} of {EPOCHS}: the last epoch")
    assert result["epochs"] == EPOCHS
    assert result["steps"] == STEPS * EPOCHS
    assert result["train_seconds"] == pytest.approx(seconds, abs=0.001)
    assert result["images_per_second"] == pytest.approx(EPOCHS * TRAINED / seconds, abs=0.1)
    assert result["parameters"] == (9 * 8 + 8) + 4 * 8 + (4 * 4 * 8 * 10 + 10)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_saved_model_has_the_results_accuracy_and_loss(loop: str, finished: dict[str, Run]) -> None:
    run = finished[loop]
    test = read_splits(load(run.config).data).read_test()
    model = keras.models.load_model(run.folder / "model.keras")
    logits = model.predict(test.images[:] / np.float32(255), verbose=0).astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert run.result()["test_loss"] == pytest.approx(-logs[np.arange(len(test)), test.labels].mean(), rel=1e-4)
    assert run.result()["test_accuracy"] == pytest.approx((logits.argmax(axis=1) == test.labels).mean(), abs=1e-6)
    assert run.result()["test_accuracy"] > 0.8


@pytest.mark.parametrize("loop", LOOPS)
def test_the_saved_model_asks_for_nothing_but_keras(loop: str, finished: dict[str, Run]) -> None:
    with zipfile.ZipFile(finished[loop].folder / "model.keras") as archive:
        assert "cnnctl" not in archive.read("config.json").decode()


@pytest.mark.parametrize("loop", LOOPS)
def test_the_environment_says_what_the_numbers_depend_on(loop: str, finished: dict[str, Run]) -> None:
    run = finished[loop]
    environment = json.loads((run.folder / "environment.json").read_text())
    assert list(environment) == [
        "time", "command", "equal_weights_need", "precision", "precision_why", "batch_parts", "batch_parts_why", "auto_images_per_second",
        "strategy", "strategy_why", "python", "platform", "device", "processor", "instruction_sets", "cores",
        "variables", "versions", "replicas", "overridden", "git_commit", "data_fingerprint", "validation_fingerprint", "class_names",
        "training_images",
    ]  # fmt: skip
    assert environment["class_names"] == [str(digit) for digit in range(10)]
    assert environment["command"][1:] == ["train", f"{loop}.yaml"]
    assert (environment["precision"], environment["batch_parts"]) == ("float32", 1)
    assert (environment["strategy"], environment["replicas"]) == ("one_device", 1)
    assert (environment["precision_why"], environment["batch_parts_why"]) == ("", "")  # the config says them
    assert environment["versions"]["tensorflow"] == importlib.metadata.version("tensorflow")
    assert environment["data_fingerprint"] == fingerprint(read_splits(load(run.config).data).train)
    assert environment["processor"]
    assert environment["cores"] == len(os.sched_getaffinity(0))
    needed = set(environment["equal_weights_need"]) - {"config.yaml", "a CPU"}
    assert needed == {
        "data_fingerprint",
        "validation_fingerprint",
        "device",
        "replicas",
        "processor",
        "instruction_sets",
        "cores",
        "variables",
        "versions",
    }


@pytest.mark.parametrize("loop", LOOPS)
def test_results_go_to_stdout_and_the_way_there_to_stderr(loop: str, finished: dict[str, Run]) -> None:
    run, result = finished[loop], finished[loop].result()
    path = Path("runs") / loop / run.folder.name
    lines = run.out.splitlines()
    assert len(lines) == 6
    assert lines[0] == f"test    accuracy {result['test_accuracy']:.2%}, loss {result['test_loss']:.4f}, on 898 images"
    assert lines[1] == f"weights {result['weights']}"
    assert lines[2].startswith("time    ") and f"{EPOCHS} epochs" in lines[2]
    assert lines[3] == f"run     {path}"
    assert lines[4] == f"curves  {path}/curves.svg"
    assert lines[5] == f"see     tensorboard --logdir {path}"
    starts = [line.split()[0] for line in run.err.splitlines()]
    epochs = [f"{epoch}/{EPOCHS}" for epoch in range(1, EPOCHS + 1)]
    assert starts == ["data", "model", "loss", "loop", "run", "epoch", *epochs]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_pipe_gets_plain_lines(loop: str, finished: dict[str, Run]) -> None:
    assert not set("\x1b\r\x08") & set(finished[loop].out + finished[loop].err)
    assert all(len(line) <= 100 for line in finished[loop].err.splitlines() if "/" in line.split()[0])


def test_training_the_config_of_a_run_gives_the_same_weights(
    finished: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished["custom"]
    assert command(monkeypatch, "train", run.folder / "config.yaml", "--run-dir", tmp_path / "again", "--quiet") == 0
    assert_same_weights(tmp_path / "again", run.folder)
    assert (tmp_path / "again" / "config.yaml").read_bytes() == (run.folder / "config.yaml").read_bytes()


def test_both_loops_leave_the_same_numbers(finished: dict[str, Run]) -> None:
    assert_same_weights(finished["fit"].folder, finished["custom"].folder)
    assert finished["fit"].result()["test_loss"] == finished["custom"].result()["test_loss"]


# TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns (step, value) of every tag, as TensorBoard itself reads them."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    numbers = [tag for tag in tags if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"]
    return {tag: [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)] for tag in numbers}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_every_number_of_every_epoch_at_its_true_step(loop: str, finished: dict[str, Run]) -> None:
    run = finished[loop]
    shown = scalars(run.folder / "tensorboard")
    columns = {
        "loss/train": "train_loss",
        "accuracy/train": "train_accuracy",
        "training/learning_rate": "learning_rate",
        "training/images_per_second": "images_per_second",
        "loss/validation": "validation_loss",
        "accuracy/validation": "validation_accuracy",
    }
    assert columns.keys() <= shown.keys()
    for tag, column in columns.items():
        expected = [(int(row["step"]), float(row[column])) for row in run.rows()]
        assert [step for step, _ in shown[tag]] == [step for step, _ in expected]
        assert [value for _, value in shown[tag]] == pytest.approx([value for _, value in expected], rel=1e-5)


# The test split


def test_the_test_split_is_read_once_and_after_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for name in ("a", "b"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / split / name / f"{number}.png")
    config = tmp_path / "folder.yaml"
    config.write_text(
        f"data: {{source: folder, path: {tmp_path / 'set'}, validation: validation}}\n"
        "model: {layers: [flatten, dense: {units: classes}]}\ntrain: {epochs: 2, batch_size: 8}\n"
    )
    printed: list[str] = []
    read, on_epoch = FolderSource.read, MetricsFile.on_epoch

    def told_read(self: FolderSource, split: str) -> ImageSet:
        printed.append(split)
        return read(self, split)

    def told_epoch(self: MetricsFile, record: EpochRecord) -> None:
        printed.append(f"epoch {record.epoch}")
        on_epoch(self, record)

    monkeypatch.setattr(FolderSource, "read", told_read)
    monkeypatch.setattr(MetricsFile, "on_epoch", told_epoch)
    assert command(monkeypatch, "train", config, "--run-dir", tmp_path / "run", "--quiet") == 0
    assert printed == ["train", "validation", "epoch 1", "epoch 2", "test"]


# Ctrl-C


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_ends_the_command_with_130_and_how_to_go_on(loop: str, interrupted: dict[str, tuple[int, Run]]) -> None:
    code, run = interrupted[loop]
    said = re.fullmatch(
        rf"interrupted; (\d) of {EPOCHS} epochs( and (?:\d+ of|all) \d+ steps of the next( \(not validated yet\))?)? are saved. "
        r"Resume with: cnnctl train --resume run",
        run.err.splitlines()[-1],
    )
    assert code == 130
    assert said
    assert 1 <= int(said[1]) < EPOCHS
    assert len(run.rows()) in (int(said[1]), int(said[1]) + 1)  # a row is written just before its checkpoint
    assert run.out == ""
    assert "Traceback" not in run.err
    left = sorted(path.name for path in run.folder.iterdir())
    assert left == [
        "checkpoints",
        "config.yaml",
        "curves.svg",
        "environment.json",
        "metrics.csv",
        "stopped.json",
        "tensorboard",
    ]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_run_killed_and_resumed_ends_as_one_that_was_not(
    loop: str, interrupted: dict[str, tuple[int, Run]], finished: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = interrupted[loop]
    assert command(monkeypatch, "train", "--resume", run.folder, "--quiet") == 0
    assert_same_weights(run.folder, finished[loop].folder)
    clocks = ("seconds", "images_per_second", "train_seconds")

    def without_clocks(row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key not in clocks}

    assert list(map(without_clocks, run.rows())) == list(map(without_clocks, finished[loop].rows()))
    assert without_clocks(run.result()) == without_clocks(finished[loop].result())
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["command"][1:] == ["train", f"{loop}.yaml", "--run-dir", "run"]
    assert [again["command"] for again in environment["resumed"]] == [sys.argv]


# The folder's place


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return cls(2026, 11, 24, 21, 19, 3)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cnnctl.run_folder.datetime.datetime", Clock)
    folders = [new_run_folder("mnist", None).path for _ in range(3)]
    stamp = "2026-11-24_21-19-03"
    assert folders == [Path("runs/mnist") / name for name in (stamp, f"{stamp}_2", f"{stamp}_3")]
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_that_holds_something_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"--run-dir .*/run already exists and is not empty; not overwriting"):
        new_run_folder("", tmp_path / "run")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert new_run_folder("", tmp_path / "run").path == tmp_path / "run"


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str | Path
) -> tuple[int, str]:
    """Runs a training that should end before it starts; returns the exit code and the message."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code = command(monkeypatch, "train", write_config(tmp_path, "custom"), "--quiet", *arguments)
    out, err = capsys.readouterr()
    assert out == ""
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "custom.yaml") == before
    return code, err


def test_a_file_where_runs_should_be_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("a file")
    assert refused(monkeypatch, capsys, tmp_path) == (
        1, f"the run folder runs/custom cannot be made: {tmp_path / 'runs'} is a file; choose another with --run-dir\n",
    )  # fmt: skip


def test_a_file_above_the_run_folder_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert refused(monkeypatch, capsys, tmp_path, "--run-dir", "taken/run") == (
        1, f"the run folder taken/run cannot be made: {tmp_path / 'taken'} is a file; choose another with --run-dir\n",
    )  # fmt: skip


def test_a_file_as_the_run_folder_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    assert refused(monkeypatch, capsys, tmp_path, "--run-dir", "taken") == (
        2, "--run-dir taken is a file; choose a new folder\n",
    )  # fmt: skip


def test_a_folder_without_permission_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As root every folder can be written, so the refusal is played."""
    mkdir: Callable[..., None] = Path.mkdir

    def refuse(self: Path, *arguments: Any, **named: Any) -> None:
        if self.name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        mkdir(self, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert refused(monkeypatch, capsys, tmp_path, "--run-dir", "closed") == (
        1, "the run folder closed cannot be made: Permission denied; choose another with --run-dir\n",
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write every folder; the test above plays the refusal")
def test_a_read_only_folder_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert refused(monkeypatch, capsys, tmp_path, "--run-dir", "closed/run") == (
        1, f"the run folder closed/run cannot be made: {tmp_path / 'closed'} cannot be written; choose another with --run-dir\n",
    )  # fmt: skip


# Files that are written whole or not at all


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_whole(file, b"old")
    write_whole(file, b"new and longer")
    assert file.read_bytes() == b"new and longer"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("failing", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"]
)
def test_a_write_that_fails_leaves_the_old_file_alone(
    failing: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    file = tmp_path / "metrics.csv"
    file.write_bytes(b"old")
    monkeypatch.setattr(failing, fail)
    expected = (RunError, KeyboardInterrupt)
    with pytest.raises(expected, match=r"metrics\.csv cannot be written: No space left on device$|^$"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_in_a_place_that_is_no_folder_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError, match=r"taken/metrics\.csv cannot be written: Not a directory"):
        write_whole(tmp_path / "taken" / "metrics.csv", b"new")


def test_the_config_of_a_run_says_every_field(finished: dict[str, Run]) -> None:
    content = yaml.safe_load((finished["fit"].folder / "config.yaml").read_text())
    assert content["data"]["image_size"] == [8, 8]
    assert content["data"]["classes"] == 10
    assert content["train"]["optimizer"]["adam"]["beta_2"] == 0.999
    assert load(finished["fit"].folder / "config.yaml") == load(finished["fit"].config, ["train.strategy=one_device"])
