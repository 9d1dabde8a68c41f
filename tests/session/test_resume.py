"""`train --resume`: with which config, on what, and by how many processes at once."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnctl.commands import train as train_command
from cnnctl.data.splits import fingerprint, read_splits
from cnnctl.errors import CnnctlError, Interrupted, RunError, UsageError
from cnnctl.files import hold
from cnnctl.report.console import Console
from cnnctl.session import environment
from cnnctl.session.run_files import config_of_run
from cnnctl.spec.load import load
from cnnctl.train.device import Device
from tests.interruptions import interrupt, press_ctrl_c, run
from tests.reliability.endings import curves

CONFIG = """
data: {source: digits, test: 0.8}
model: {layers: [flatten, dropout: {rate: 0.2}, dense: {units: classes}]}
train: {epochs: 2, batch_size: 48, early_stopping: {patience: 9, restore_best: false}}
log: {tensorboard: false}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "digits.yaml"
    file.write_text(CONFIG)
    return file


def resume(folder: Path, config: Path | None = None, *overrides: str) -> None:
    train_command.train(config, overrides, None, folder, "cpu", Console(quiet=True), verbose=True)


def trained(config: Path, folder: Path, *overrides: str) -> Path:
    train_command.train(config, overrides, folder, None, "cpu", Console(quiet=True), verbose=True)
    return folder


def weights(folder: Path) -> list[bytes]:
    newest = max((folder / "checkpoints").iterdir())
    with np.load(newest) as content:
        return [content[name].tobytes() for name in sorted(content.files) if name.startswith(("model/", "optimizer/"))]


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(config, tmp_path_factory.mktemp("finished") / "run")


@pytest.mark.parametrize("overrides", [(), ("train.epochs=2",)])
def test_the_run_s_own_config_may_be_given_again(config: Path, finished: Path, overrides: tuple[str, ...]) -> None:
    before = (finished / "result.json").read_bytes()
    resume(finished, config, *overrides)
    assert (finished / "result.json").read_bytes() == before


def test_what_became_of_auto_in_the_run_is_taken(config: Path, finished: Path) -> None:
    resume(finished, config, "train.precision=auto", "train.batch_parts=auto")


def test_another_config_is_refused_with_what_differs(config: Path, finished: Path) -> None:
    with pytest.raises(UsageError) as raised:
        resume(finished, config, "train.batch_size=64", "seed=3", "model.layers.1.dropout.rate=0.5", "train.epochs=1")
    assert str(raised.value).splitlines() == [
        f"{finished} can be resumed with its own config only; start a new run to change more than train.epochs:",
        "  seed: 0 in the run, 3 requested",
        "  model.layers.dropout.rate: 0.2 in the run, 0.5 requested",
        "  train.epochs: 2 in the run, 1 requested",
        "  train.batch_size: 48 in the run, 64 requested",
    ]


def test_a_run_that_is_given_more_epochs_ends_as_one_that_had_them_from_the_start(config: Path, tmp_path: Path) -> None:
    straight = trained(config, tmp_path / "straight", "train.epochs=4")
    more = trained(config, tmp_path / "more")
    resume(more, None, "train.epochs=4")
    assert weights(more) == weights(straight)
    results = [json.loads((folder / "result.json").read_text()) for folder in (more, straight)]
    assert results[0]["epochs"] == 4
    assert results[0]["test_loss"] == results[1]["test_loss"]
    assert load(more / "config.yaml") == load(straight / "config.yaml")


def test_a_run_killed_after_it_was_given_more_epochs_goes_on_to_their_end(config: Path, tmp_path: Path) -> None:
    more = trained(config, tmp_path / "more")
    with pytest.MonkeyPatch.context() as patched:
        press_ctrl_c(patched, 3, "after")
        with pytest.raises(Interrupted, match=r"3 of 4 epochs are saved"):
            resume(more, None, "train.epochs=4")
    assert not (more / "result.json").exists()
    resume(more)
    assert json.loads((more / "result.json").read_text())["epochs"] == 4


def test_a_run_that_cannot_go_on_keeps_its_result_and_its_epochs(config: Path, tmp_path: Path) -> None:
    folder = trained(config, tmp_path / "run")
    before = (folder / "config.yaml").read_bytes(), (folder / "result.json").read_bytes()
    with pytest.raises(UsageError, match="--device gpu"):
        train_command.train(None, ["train.epochs=4"], None, folder, "gpu", Console(quiet=True), verbose=True)
    for file in (folder / "checkpoints").iterdir():
        file.write_bytes(b"")
    with pytest.raises(RunError, match="is damaged"):
        resume(folder, None, "train.epochs=4")
    assert ((folder / "config.yaml").read_bytes(), (folder / "result.json").read_bytes()) == before


@pytest.mark.parametrize("schedule", ["{one_cycle: {max_learning_rate: 0.01}}", "{cosine: {initial_learning_rate: 0.01}}"])
def test_more_epochs_are_refused_where_the_rate_is_spread_over_all(schedule: str, tmp_path: Path) -> None:
    file = tmp_path / "spread.yaml"
    file.write_text(CONFIG.replace("epochs: 2,", f"epochs: 1, optimizer: {{adam: {{learning_rate: {schedule}}}}},"))
    folder = trained(file, tmp_path / "run")
    message = "cannot be given more epochs: its learning rate schedule spans 1 epoch; start a new run"
    with pytest.raises(UsageError, match=message):
        resume(folder, None, "train.epochs=2")
    assert (folder / "result.json").exists()


def test_more_epochs_are_refused_where_the_last_ones_are_not_augmented(tmp_path: Path) -> None:
    file = tmp_path / "plain.yaml"
    augmented = CONFIG.replace("source: digits", "source: digits, augment: {shift: 0.1, plain_epochs: 1}")
    file.write_text(augmented.replace(", early_stopping: {patience: 9, restore_best: false}", ""))
    folder = trained(file, tmp_path / "run")
    with pytest.raises(UsageError, match=r"more epochs: data.augment.plain_epochs leaves the last 1 of its 2 epochs"):
        resume(folder, None, "train.epochs=3")
    assert (folder / "result.json").exists()


@pytest.mark.parametrize("loop", ["custom", "fit"])
@pytest.mark.parametrize("after_epoch", [1, 2])
def test_a_run_resumes_before_and_within_its_plain_epochs_to_the_same_weights(
    loop: str, after_epoch: int, tmp_path: Path
) -> None:
    file = tmp_path / "plain.yaml"
    augmented = CONFIG.replace(
        "source: digits", "source: digits, labels: one_hot, augment: {shift: 0.1, mixup: 0.4, plain_epochs: 2}"
    )
    file.write_text(augmented.replace("epochs: 2,", f"epochs: 4, loop: {loop},"))
    straight = trained(file, tmp_path / "straight")
    with pytest.MonkeyPatch.context() as patched:
        press_ctrl_c(patched, after_epoch + 1, "before")
        with pytest.raises(Interrupted):
            trained(file, tmp_path / "run")
    resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(straight)
    assert weights(trained(file, tmp_path / "other", "data.augment.plain_epochs=0")) != weights(straight)


def test_a_run_on_another_machine_says_so(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patched:
        original = environment.rounding_of
        other = {"device": "GPU, NVIDIA H100", "cores": 96, "variables": {"TF_ENABLE_ONEDNN_OPTS": "0", "OMP_NUM_THREADS": "1"}}
        versions = {**original(Device("cpu", "1 core"))["versions"], "tensorflow": "2.20.0"}
        patched.setattr(environment, "rounding_of", lambda device: {**original(device), **other, "versions": versions})
        interrupt(load(config), folder, after_epoch=1)
        patched.undo()
        patched.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
        patched.delenv("OMP_NUM_THREADS", raising=False)
        train_command.train(None, (), None, folder, "cpu", Console(), verbose=True)
    printed = capsys.readouterr().err
    assert (
        "device, cores, OMP_NUM_THREADS (1, now not set), TF_ENABLE_ONEDNN_OPTS (0, now 1), tensorflow (2.20.0, now " in printed
    )
    assert ") changed since the run began: the last digits may differ" in printed
    resumed = json.loads((folder / "environment.json").read_text())["resumed"]
    assert resumed[0]["cores"] == len(os.sched_getaffinity(0))


# Files of a run that were edited or lost


@pytest.fixture(scope="module")
def half_way(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("half_way") / "run"
    interrupt(load(config), folder, after_epoch=1)
    return folder


@pytest.fixture
def half(half_way: Path, tmp_path: Path) -> Path:
    return shutil.copytree(half_way, tmp_path / "run")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


EDITS = [
    ("\nseed: 0\n", "\nseed: 1\n", "seed: 0 in the checkpoint, 1 in config.yaml"),
    ("batch_size: 48", "batch_size: 64", "train.batch_size: 48 in the checkpoint, 64 in config.yaml"),
    ("epochs: 2", "epochs: 1", "train.epochs: 2 in the checkpoint, 1 in config.yaml"),
    ("invert: false", "invert: true", "data.invert: false in the checkpoint, true in config.yaml"),
    ("rate: 0.2", "rate: 0.3", "model.layers.dropout.rate: 0.2 in the checkpoint, 0.3 in config.yaml"),
    (
        "learning_rate: 0.001",
        "learning_rate: 0.02",
        "train.optimizer.adam.learning_rate: 0.001 in the checkpoint, 0.02 in config.yaml",
    ),
]


@pytest.mark.parametrize(("old", "new", "reported"), EDITS, ids=[reported.partition(":")[0] for _, _, reported in EDITS])
def test_an_edited_config_is_refused_with_every_field_that_differs(old: str, new: str, reported: str, half: Path) -> None:
    before = {file: file.read_bytes() for file in half.rglob("*") if file.is_file()}
    edit(half / "config.yaml", old, new)
    for overrides in ((), ("train.epochs=9",)):
        with pytest.raises(UsageError) as raised:
            resume(half, None, *overrides)
        assert str(raised.value).splitlines()[1] == f"  {reported}"
    edit(half / "config.yaml", new, old)
    assert {file: file.read_bytes() for file in half.rglob("*") if file.is_file()} == before


def test_what_is_advised_for_an_edited_config_restores_the_run(
    half: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(half / "config.yaml", "\nseed: 0\n", "\nseed: 1\n")
    with pytest.raises(UsageError) as raised:
        resume(half)
    restore, new = (line.partition(": ")[2] for line in str(raised.value).splitlines()[-2:])
    move, _, again = restore.partition(" && ")
    subprocess.run(shlex.split(move), check=True)
    assert again == f"cnnctl train --resume {half}"
    resume(half)
    assert weights(half) == weights(finished)
    assert (half / "config.yaml").read_bytes() == (finished / "config.yaml").read_bytes()
    assert "seed: 1" in (half / "edited.yaml").read_text()
    assert new == f"cnnctl train {half / 'config.yaml'}"


@pytest.mark.parametrize("wrong", ["extra: 3\n", "seed: [\n", "seed: 0: 1\n"])
def test_an_edited_config_that_is_wrong_now_comes_back_as_the_message_says(wrong: str, finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + wrong)
    with pytest.raises(UsageError, match=r"config\.yaml was edited after training started, and is wrong now") as read:
        config_of_run(folder, Console())
    with pytest.raises(UsageError) as raised:
        resume(folder)
    assert str(raised.value) == str(read.value)
    move, _, again = str(raised.value).splitlines()[-1].partition(": ")[2].partition(" && ")
    subprocess.run(shlex.split(move), check=True)
    assert again == f"cnnctl train --resume {folder}"
    resume(folder)
    assert (folder / "config.yaml").read_bytes() == (finished / "config.yaml").read_bytes()


def test_more_epochs_in_the_config_are_as_those_that_are_asked_for(half: Path) -> None:
    edit(half / "config.yaml", "epochs: 2", "epochs: 3")
    resume(half)
    assert json.loads((half / "result.json").read_text())["epochs"] == 3


def test_an_edited_config_of_a_finished_run_is_refused_too(finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    edit(folder / "config.yaml", "\nseed: 0\n", "\nseed: 1\n")
    with pytest.raises(UsageError, match=r"seed: 0 in the checkpoint, 1 in config\.yaml"):
        resume(folder)


def without_clocks(folder: Path) -> dict[str, Any]:
    result = json.loads((folder / "result.json").read_text())
    rows = [line.rsplit(",", 2)[0] for line in (folder / "metrics.csv").read_text().splitlines()]
    clocks = ("train_seconds", "images_per_second")
    noted = json.loads((folder / "environment.json").read_text())
    return {
        "result": {name: value for name, value in result.items() if name not in clocks},
        "metrics": rows,
        "config": (folder / "config.yaml").read_text(),
        "environment": {name: value for name, value in noted.items() if name not in ("time", "command", "resumed")},
        "weights": weights(folder),
        "curves": curves(folder),
    }


LOSSES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "of another kind": lambda file: file.write_text("[1, 2]"),
}


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "metrics.csv"])
def test_a_file_that_was_lost_before_a_resume_is_written_again(
    name: str, half: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (half / name).unlink()
    train_command.train(None, (), None, half, "cpu", Console(), verbose=True)
    assert without_clocks(half) == without_clocks(finished)
    if name != "metrics.csv":  # which is written anew after each epoch anyway
        assert f"{half / name} was missing; restored from the checkpoint" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("damage", ["class_names", "data_fingerprint", "damaged"])
def test_an_edited_environment_is_told_and_the_checkpoint_s_is_taken(
    damage: str, half: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = half / "environment.json"
    noted = json.loads(file.read_text())
    edited = json.dumps({**noted, damage: noted["class_names"][::-1]})
    file.write_text("[" if damage == "damaged" else edited)
    train_command.train(None, (), None, half, "cpu", Console(), verbose=True)
    reported = "was damaged" if damage == "damaged" else f"was edited ({damage})"
    assert f"{file} {reported}; restored from the checkpoint" in " ".join(capsys.readouterr().err.split())
    assert without_clocks(half) == without_clocks(finished)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("model.keras", "gone"),
        ("result.json", "gone"),
        ("result.json", "empty"),
        ("metrics.csv", "gone"),
        ("metrics.csv", "empty"),
        ("curves.svg", "gone"),
    ],
)
def test_what_a_finished_run_lost_is_made_again_from_its_checkpoint(
    name: str, loss: str, finished: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    LOSSES[loss](folder / name)
    resume(folder)
    assert without_clocks(folder) == without_clocks(finished)
    assert (folder / "model.keras").is_file()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_finished_run_gets_its_environment_back(loss: str, finished: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    LOSSES[loss](folder / "environment.json")
    resume(folder)
    assert without_clocks(folder) == without_clocks(finished)


def test_a_finished_run_without_checkpoints_is_left_as_it_is(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    (folder / "metrics.csv").unlink()
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    train_command.train(None, (), None, folder, "cpu", Console(), verbose=True)
    assert "has finished" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


# The images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draws = np.random.default_rng(3)
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        for name in ("a", "b"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(0, 256, (6, 6), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def of_images(images: Path, tmp_path: Path) -> Path:
    file = tmp_path / "images.yaml"
    text = CONFIG.replace("48", "4").replace("{source: digits, test: 0.8}", f"{{source: folder, path: {images}}}")
    file.write_text(text)
    interrupt(load(file), tmp_path / "run", after_epoch=1)
    return tmp_path / "run"


@pytest.mark.parametrize("environment_is", ["there", "gone", "edited to match"])
@pytest.mark.parametrize("which", ["training", "validation"])
def test_a_run_is_not_resumed_on_other_images(which: str, environment_is: str, images: Path, of_images: Path) -> None:
    changed = images / which.replace("training", "train") / "a" / "0.png"
    Image.new("L", (6, 6), 7).save(changed)
    file = of_images / "environment.json"
    if environment_is == "gone":
        file.unlink()
    elif environment_is == "edited to match":
        splits = read_splits(load(of_images / "config.yaml").data)
        assert splits.validation
        prints = {"data_fingerprint": fingerprint(splits.train), "validation_fingerprint": fingerprint(splits.validation)}
        file.write_text(json.dumps({**json.loads(file.read_text()), **prints}))
    with pytest.raises(RunError, match=f"{of_images} was started on other {which} images; restore them, or start a new run"):
        resume(of_images)


def test_a_run_is_not_resumed_on_classes_of_other_names(images: Path, of_images: Path) -> None:
    for split in ("train", "validation", "test"):
        (images / split / "b").rename(images / split / "c")
    with pytest.raises(RunError, match="on the same images with other class names; restore them, or start a new run"):
        resume(of_images)


def test_images_that_were_moved_are_found_where_they_are_said_to_be(images: Path, of_images: Path) -> None:
    elsewhere = images.rename(images.with_name("elsewhere"))
    resume(of_images, None, f"data.path={elsewhere}")
    assert (of_images / "result.json").exists()
    assert load(of_images / "config.yaml").data.path == str(elsewhere)


# One process a folder

HOLDER = """
import sys, time
from pathlib import Path
from cnnctl.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_second_process_on_a_run_is_refused_and_a_killed_one_holds_nothing(config: Path, finished: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(finished)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}
        with pytest.raises(
            UsageError, match=f"^{finished} is being trained by another process, {holder.pid} on .*; wait for it"
        ):
            resume(finished)
        assert {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()} == before
    finally:
        holder.kill()
        holder.communicate()
    assert (finished / ".lock").exists()  # the system has let it go all the same
    resume(finished)
    assert not (finished / ".lock").exists()


def test_a_lock_that_its_holder_removed_in_between_is_taken_anew(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    with hold(file) as first:
        assert first is None
        with hold(file) as second:
            assert second == f", {os.getpid()} on {os.uname().nodename}"
    assert not file.exists()
    with hold(file) as third:
        assert third is None


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(CnnctlError, match="cannot be written: No such file or directory"), hold(tmp_path / "no" / ".lock"):
        pass


def test_what_a_killed_process_left_half_written_goes(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    interrupt(load(config), folder, after_epoch=1)
    halves = [
        folder / ".metrics.csv.77.part",
        folder / "checkpoints" / ".step_000000008.npz.77.part",
        folder / ".model.part.keras",
    ]
    for half in halves:
        half.write_bytes(b"half")
    run(load(config), folder)
    assert [half for half in halves if half.exists()] == []
