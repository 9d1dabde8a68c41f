"""`cnnctl train` where something goes wrong around the training itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from PIL import Image

from cnnctl.commands.train import train
from cnnctl.errors import DataError, Interrupted, RunError
from cnnctl.report.console import Console
from cnnctl.session import classification, environment
from cnnctl.spec.load import load
from cnnctl.train import learner, loops, steps
from cnnctl.train.device import Device
from tests.interruptions import prepared

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = ROOT / "configs/quickstart.yaml"


def run(config: Path, run_dir: Path | None, *overrides: str) -> None:
    train(config, ["train.epochs=1", *overrides], run_dir, None, "cpu", Console(quiet=True), verbose=True)


def test_a_variable_of_another_program_does_not_count_as_deciding_the_last_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "terraform.rc")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    variables = environment.rounding_of(Device("cpu", "2 cores"))["variables"]
    assert variables["TF_ENABLE_ONEDNN_OPTS"] == "0"
    assert "TF_CLI_CONFIG_FILE" not in variables


def test_ctrl_c_before_the_training_says_that_nothing_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(classification, "read_splits", press)
    with pytest.raises(Interrupted, match="interrupted before the training began; nothing was written"):
        run(QUICKSTART, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("failure", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM")])
def test_too_little_memory_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def run_out(_: object, **others: object) -> None:
        raise failure

    monkeypatch.setattr(classification, "build_model", run_out)
    with pytest.raises(RunError, match=r"not enough memory .* lower train.batch_size, filters or image_size"):
        run(QUICKSTART, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_validation_runs_in_several_calls_so_that_ctrl_c_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def count(run_steps: Any, batches: Any, stops: Sequence[int], done: int, agree: Any) -> Iterator[int]:
        calls = list(steps.run_in_chunks(run_steps, batches, stops, done, agree))
        lengths.append(len(calls))
        yield from calls

    for module in (loops, learner):
        monkeypatch.setattr(module, "run_in_chunks", count)
    run(QUICKSTART, tmp_path / "run", "data.validation=0.4", "train.batch_size=16")
    assert len(lengths) == 3  # training, validation, test
    assert min(lengths) > 1


def test_a_broken_test_image_costs_no_training(tmp_path: Path) -> None:
    """The network is saved before the test split is read, and --resume needs only what was fixed."""
    make_folder(tmp_path / "images")
    broken = tmp_path / "images/test/cat/0.png"
    broken.write_bytes(b"no picture")
    config = tmp_path / "images.yaml"
    config.write_text(yaml.safe_dump(folder_config(tmp_path / "images")))
    with pytest.raises(DataError, match=r"0\.png.*The training is saved; once the data is fixed: cnnctl train --resume"):
        run(config, tmp_path / "run")
    assert (tmp_path / "run/model.keras").exists()
    shutil.copy(tmp_path / "images/test/cat/1.png", broken)
    train(None, [], None, tmp_path / "run", "cpu", Console(quiet=True), verbose=True)
    assert (tmp_path / "run/result.json").exists()


def test_a_run_of_a_runs_own_config_gets_the_name_of_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(QUICKSTART, None)
    (first,) = tmp_path.glob("runs/quickstart/*")
    run(first / "config.yaml", None)
    assert len(list(tmp_path.glob("runs/quickstart/*"))) == 2


def test_paths_in_printed_commands_are_quoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(QUICKSTART, tmp_path / "a run")
    assert f"tensorboard --logdir '{tmp_path}/a run'" in capsys.readouterr().out


def test_tensorboard_is_given_the_config_as_it_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tmp_path / "mine.yaml"
    config.write_text(f"# what I wrote\n{QUICKSTART.read_text()}")
    train(config, ["train.epochs=1", "log.every_epochs=0"], tmp_path / "run", None, "cpu", Console(quiet=True), verbose=True)
    events = EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    (shown,) = events.Tensors("config")[0].tensor_proto.string_val
    changed = "# --set train.epochs=1\n# --set log.every_epochs=0"
    assert shown.decode() == f"~~~~yaml\n{config.read_text().rstrip()}\n{changed}\n~~~~"


def test_where_the_run_folder_cannot_be_made_nothing_slow_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("cnnctl.session.session.prepare", lambda *_: pytest.fail("the data was read"))
    with pytest.raises(
        RunError, match=r"the run folder .*file/run cannot be made: .*file is a file; choose another with --run-dir"
    ):
        run(QUICKSTART, tmp_path / "file/run")


def make_folder(folder: Path) -> None:
    """Makes 2 classes of 6 grey images of 8×8 in train/ and 2 in test/."""
    for split, count in (("train", 6), ("test", 2)):
        for shade, name in ((40, "cat"), (200, "dog")):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("L", (8, 8), shade + index).save(folder / split / name / f"{index}.png")


def folder_config(folder: Path) -> dict[str, object]:
    return {
        "data": {"source": "folder", "path": str(folder), "validation": None},
        "model": {"layers": ["flatten", {"dense": {"units": "classes"}}]},
        "train": {"batch_size": 4},
        "log": {"tensorboard": False},
    }


def test_a_last_batch_of_one_image_that_batch_norm_cannot_use_is_warned_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "digits.yaml"
    layers: list[Any] = ["flatten", {"dense": {"units": 4}}, "batch_normalization", {"dense": {"units": "classes"}}]
    config.write_text(yaml.safe_dump({"data": {"source": "digits", "validation": 0.1}, "model": {"layers": layers}}))
    reported = []
    for batch_size in (419, 420):  # 1,258 images: 3 batches of 419 and one image
        prepared(load(config, [f"train.batch_size={batch_size}"]), Console())
        reported.append("".join(capsys.readouterr().err.split("\n")))
    assert "one image (1,258 images in batches of 419)" in reported[0]
    assert "set train.batch_size to 420" in reported[0]
    assert "last batch" not in reported[1]
