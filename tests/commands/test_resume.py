"""`train --resume`: with which config, on what, and by how many processes at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnctl.commands import train as train_command
from cnnctl.errors import CnnctlError, Interrupted, RunError, UsageError
from cnnctl.files import hold
from cnnctl.report.console import Console
from cnnctl.spec.load import load
from tests.interruptions import interrupt, press_ctrl_c, run

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
        f"{finished} goes on with its own config only; train anew to change more than train.epochs:",
        "  seed: 0 in the run, 3 asked for",
        "  model.layers[1].dropout.rate: 0.2 in the run, 0.5 asked for",
        "  train.epochs: 2 in the run, 1 asked for",
        "  train.batch_size: 48 in the run, 64 asked for",
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


@pytest.mark.parametrize("which", ["training", "validation"])
def test_a_run_is_not_resumed_on_other_images(which: str, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    interrupt(load(config), folder, after_epoch=1)
    environment = json.loads((folder / "environment.json").read_text())
    name = {"training": "data_fingerprint", "validation": "validation_fingerprint"}[which]
    (folder / "environment.json").write_text(json.dumps({**environment, name: "0123456789abcdef"}))
    with pytest.raises(RunError, match=f"{folder} was begun on other {which} images; put them back, or train anew"):
        resume(folder)


@pytest.mark.parametrize("schedule", ["{one_cycle: {max_learning_rate: 0.01}}", "{cosine: {initial_learning_rate: 0.01}}"])
def test_more_epochs_are_refused_where_the_rate_is_spread_over_all(schedule: str, tmp_path: Path) -> None:
    file = tmp_path / "spread.yaml"
    file.write_text(CONFIG.replace("epochs: 2,", f"epochs: 1, optimizer: {{adam: {{learning_rate: {schedule}}}}},"))
    folder = trained(file, tmp_path / "run")
    message = "cannot be given more epochs: its learning rate is spread over all 1, so the epochs done already would have had"
    with pytest.raises(UsageError, match=message):
        resume(folder, None, "train.epochs=2")
    assert (folder / "result.json").exists()


def test_a_run_on_another_machine_says_so(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    interrupt(load(config), folder, after_epoch=1)
    environment = json.loads((folder / "environment.json").read_text())
    environment = {
        **environment,
        "device": "GPU, NVIDIA H100",
        "cores": 96,
        "versions": {**environment["versions"], "keras": "3.14.0"},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    train_command.train(None, (), None, folder, "cpu", Console(), verbose=True)
    assert "device and cores and versions changed since the run began: it may end with other last" in capsys.readouterr().err
    resumed = json.loads((folder / "environment.json").read_text())["resumed"]
    assert resumed[0]["cores"] == len(os.sched_getaffinity(0))


# One process a folder

HOLDER = """
import sys, time
from pathlib import Path
from cnnctl.runs import RunFolder
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
