"""Disks that are full or cannot be written, files that are damaged or vanish, a clock that is set back."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnctl.data.store import image_store
from cnnctl.data.store.cache import cached
from cnnctl.errors import DataError, RunError
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from tests.fork_server import ForkServer
from tests.interruptions import interrupt, interrupt_at, run
from tests.reliability.endings import assert_same_ending, ending, write_case

CONFIG = """
seed: 4
data: {source: digits, test: 0.8}
model: {layers: [flatten, batch_normalization, dropout: {rate: 0.2}, dense: {units: classes}]}
train: {epochs: 2, batch_size: 48, checkpoint: {every_steps: 3}}
log: {snapshots: 2}
"""
WITHOUT_TENSORBOARD = ["log.tensorboard=false"]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "digits.yaml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def spec(config: Path) -> Experiment:
    return load(config, WITHOUT_TENSORBOARD)


@pytest.fixture(scope="module")
def straight(spec: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight") / "run"
    run(spec, folder)
    return folder


# The disk


class FailingOnce:
    """Stands in for a function of the system that fails at one of its calls."""

    def __init__(self, function: Any, at: int) -> None:
        self.calls = 0
        self._function = function
        self._at = at

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == self._at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")
        return self._function(*arguments, **options)


def writes_of(spec: Experiment, folder: Path) -> int:
    """Returns how often a training hands something to the disk."""
    with pytest.MonkeyPatch.context() as patched:
        counted = FailingOnce(os.fsync, at=0)
        patched.setattr(os, "fsync", counted)
        run(spec, folder)
    return counted.calls


def test_a_disk_that_is_full_at_any_moment_costs_nothing_that_was_saved(
    spec: Experiment, straight: Path, tmp_path: Path
) -> None:
    """Every second write of a file fails once; what came before stays, and the run goes on from it when there is room."""
    moments = range(
        1, writes_of(spec, tmp_path / "counted") + 1, 4
    )  # a file and then its folder, so each fourth call is each second file
    assert len(moments) > 4
    for at in moments:
        folder = tmp_path / f"fails_at_{at}"
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "fsync", FailingOnce(os.fsync, at))
            with pytest.raises(RunError, match=r"^[^\n]* cannot be written: No space left on device[^\n]*$"):
                run(spec, folder)
        run(spec, folder)
        assert_same_ending(folder, straight)


IN_LITTLE_ROOM = """
set -e
mount -t tmpfs -o size=150k none {place}
{cnnctl} train {config} --run-dir {place}/run --device cpu && exit 1 || echo "code $?"
ls -A {place}/run/checkpoints
mount -o remount,size=50M {place}
mount -o remount,ro {place}
{cnnctl} train --resume {place}/run --device cpu && exit 1 || echo "code $?"
mount -o remount,rw {place}
{cnnctl} train --resume {place}/run --device cpu
cp -r {place}/run {kept}
"""


def test_a_training_on_a_small_disk_that_is_then_read_only_and_then_neither(fork_server: ForkServer, tmp_path: Path) -> None:
    place, config, kept = tmp_path / "place", write_case("fit-sequential", tmp_path), tmp_path / "kept"
    place.mkdir()
    cnnctl = f"{shlex.quote(sys.executable)} -m cnnctl"
    script = IN_LITTLE_ROOM.format(place=place, cnnctl=cnnctl, config=config, kept=kept)
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("this system lets nobody mount a disk of his own")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    full, read_only = [line for line in done.stderr.splitlines() if "cannot be written: " in line]
    assert full.endswith("No space left on device")
    assert read_only.endswith("Read-only file system")
    assert done.stdout.splitlines().count("code 1") == 2
    assert fork_server.run("train", config, "--run-dir", tmp_path / "run", cwd=tmp_path, output=tmp_path / "output.txt") == 0
    assert_same_ending(kept, tmp_path / "run")


# Checkpoints


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty", "another file"])
def test_a_damaged_checkpoint_is_passed_over(damage: str, spec: Experiment, straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    interrupt_at(spec, folder, step=6)
    newest = max((folder / "checkpoints").iterdir())
    content = newest.read_bytes()
    wrong = bytearray(content)
    wrong[len(content) // 2] ^= 16
    contents = {"cut off": content[:-100], "one bit": bytes(wrong), "empty": b"", "another file": b"PK" + bytes(1000)}
    newest.write_bytes(contents[damage])
    run(spec, folder)
    assert_same_ending(folder, straight)


# Data


def test_an_image_that_vanishes_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (6, 6), 20 * number).save(tmp_path / "images" / name / f"{number}.png")
    config = tmp_path / "folder.yaml"
    config.write_text(
        f"data: {{source: folder, path: {tmp_path / 'images'}}}\nmodel: {{layers: [flatten, dense: {{units: classes}}]}}"
    )
    experiment, gone = load(config), tmp_path / "images/dog/3.png"

    def remove_first(options: Any, files: Any, make: Any, *others: Any) -> Any:
        gone.unlink(missing_ok=True)
        return cached(options, files, make, *others)

    monkeypatch.setattr(image_store, "cached", remove_first)
    with pytest.raises(DataError, match=rf"{gone}.*(No such file|cannot be read)"):
        run(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# The clock


def test_a_clock_that_is_set_back_changes_nothing_but_the_times(config: Path, straight: Path, tmp_path: Path) -> None:
    folder, clock, spec = tmp_path / "run", time.time, load(config)
    interrupt(spec, folder, after_epoch=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: clock() - 86400)
        run(spec, folder)
    mine, its = ending(folder), ending(straight)
    assert mine["metrics"] == its["metrics"]
    for name, array in mine["arrays"].items():
        np.testing.assert_array_equal(array, its["arrays"][name], err_msg=name)
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()  # as TensorBoard reads a folder: file by file in the order of their names
    for part in ("train", "validation"):
        steps = [event.step for event in events.Tensors(f"loss/{part}")]
        assert steps == sorted(set(steps)) == [4, 8]
