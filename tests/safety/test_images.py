"""Image files that are none, claim to be huge, or would keep a reader waiting: in training, evaluation and prediction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnctl.data.user_images import fitted_batches
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.image_files import MAX_PIXELS
from tests.safety.conftest import Command, config_of
from tests.safety.hostile import ODD, REFUSED, TAKEN, chunk, digits_in_folders, png

ROOT = Path(__file__).parents[2]
FITTED = DataSpec.model_validate({"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return digits_in_folders(tmp_path / "images", ["a", "b"], 4)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_named(name: str, folder: Path, tmp_path: Path, command: Command) -> None:
    """Where the config needs its size (exit code 2), in training (1), and among files to predict (1)."""
    file = folder / "a" / "0.png"
    file.write_bytes(REFUSED[name]())
    reason = f"{file}: cannot be read as an image ("
    config = tmp_path / "x.yaml"
    config.write_text(config_of({"source": "folder", "path": str(folder)}))
    if "data.path: " in (printed := command("summary", config)).err:  # a header may be in order
        assert printed.code == 2
        assert printed.refusal().count("\n") == 1
        assert reason in printed.err
    config.write_text(config_of({"source": "folder", "path": str(folder), "image_size": [8, 8], "channels": 1}))
    printed = command("data", config)
    assert printed.code == 1
    assert printed.refusal().startswith(reason)
    assert printed.err.count("\n") == 1
    broken: list[str] = []
    assert list(fitted_batches([file], FITTED, 1, broken)) == []
    assert broken == [printed.err.strip()]


@pytest.mark.parametrize("name", [name for name in REFUSED if "bomb" in name])
def test_what_claims_too_many_pixels_is_refused_by_its_header(name: str, folder: Path) -> None:
    file = folder / "a" / "0.png"
    file.write_bytes(REFUSED[name]())
    broken: list[str] = []
    list(fitted_batches([file], FITTED, 1, broken))
    assert f"it has more than {MAX_PIXELS:,} pixels" in broken[0]


@pytest.mark.parametrize("name", ["eps", "postscript", "pdf", "ico", "tga", "psd", "fits", "sgi", "jpeg 2000", "fpx"])
def test_other_formats_are_refused_before_their_readers_see_them(name: str, folder: Path) -> None:
    file = folder / "a" / "0.png"
    file.write_bytes(REFUSED[name]())
    broken: list[str] = []
    list(fitted_batches([file], FITTED, 1, broken))
    assert broken == [
        f"{file}: cannot be read as an image (not a PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM); replace or remove it"
    ]


@pytest.mark.parametrize("name", TAKEN)
def test_strange_images_are_taken(name: str, folder: Path, tmp_path: Path, command: Command) -> None:
    file = folder / "a" / "0.png"
    file.write_bytes(TAKEN[name]())
    broken: list[str] = []
    ((_, images),) = fitted_batches([file], FITTED, 1, broken)
    assert broken == []
    assert images.shape == (1, 8, 8, 1)
    assert len(np.unique(images)) == 1
    config = tmp_path / "x.yaml"
    config.write_text(config_of({"source": "folder", "path": str(folder)}))
    printed = command("data", config, "--format", "json")
    assert printed.code == 0, printed.err
    assert json.loads(printed.out)["image_shape"][:2] == [8, 8]


@pytest.mark.parametrize("name", ODD)
def test_only_files_are_images(name: str, folder: Path, tmp_path: Path, run: Path, command: Command) -> None:
    """A pipe would keep a reader waiting for ever."""
    ODD[name](folder / "a" / "odd.png")
    config = tmp_path / "x.yaml"
    config.write_text(config_of({"source": "folder", "path": str(folder)}))
    printed = command("data", config, "--format", "json")
    assert printed.code == 0, printed.err
    assert sum(each["images"] for each in json.loads(printed.out)["splits"].values()) == 8
    printed = command("predict", run, folder, "--format", "json")
    assert printed.code == 0, printed.err
    assert len(json.loads(printed.out)) == 8


@pytest.mark.parametrize("name", ["fifo", "socket"])
def test_what_is_no_file_is_refused_where_it_is_named(
    name: str, tmp_path: Path, run: Path, digit: Path, command: Command
) -> None:
    odd = tmp_path / "odd.png"
    ODD[name](odd)
    printed = command("predict", run, odd, digit, "--format", "json")
    assert printed.code == 1
    assert f"{odd}: cannot be read as an image (it is not a regular file); replace or remove it" in printed.err
    assert [each["image"] for each in json.loads(printed.out)] == [str(digit)]


def test_a_device_is_no_image(run: Path, command: Command) -> None:
    assert "/dev/zero: cannot be read as an image (it is not a regular file)" in command("predict", run, "/dev/zero").refusal()


def test_what_is_refused_in_training_is_refused_in_evaluation(folder: Path, run: Path, command: Command) -> None:
    for name in ("0", "1"):
        digits_in_folders(folder / "others", [name], 2)
    file = folder / "others" / "1" / "1.png"
    file.write_bytes(REFUSED["bomb"]())
    assert (
        f"{file}: cannot be read as an image (it has more than" in command("evaluate", run, "--data", file.parents[1]).refusal()
    )


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """The most that a process ever held, with a bomb among the images and with an image in order in its place."""
    content = {"in order": png(), "refused": REFUSED["bomb"](), "text": REFUSED["text of 200 MB"]()}
    peaks = {name: peak_of_data(tmp_path / name, each) for name, each in content.items()}
    assert max(peaks.values()) < peaks["in order"] + 100_000_000, peaks


def test_the_largest_image_that_is_taken_takes_bounded_memory(tmp_path: Path) -> None:
    large = png(chunk(b"tRNS", b"\0\0"), width=10_000, height=MAX_PIXELS // 10_000, depth=1)
    assert len(large) < 20_000
    assert peak_of_data(tmp_path, large) < 2_000_000_000


def peak_of_data(folder: Path, first: bytes) -> int:
    """Returns the bytes that `cnnctl data` held at most with an image of this content."""
    digits_in_folders(folder / "images", ["a", "b"], 4)
    (folder / "images" / "a" / "0.png").write_bytes(first)
    config = folder / "x.yaml"
    config.write_text(config_of({"source": "folder", "path": "images", "image_size": [8, 8], "channels": 1}))
    # from a small process: Linux counts for a child what the process that starts it had at most, and this one may be large
    starting = (
        "import os, resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'cnnctl', 'data', 'x.yaml', '--no-cache'], capture_output=True)\n"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        [sys.executable, "-c", starting], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    code, peak = map(int, printed.stdout.split())
    assert code in (0, 1)
    return peak * (1 if sys.platform == "darwin" else 1024)
