"""Folders of one-shot tasks: read as training reads images, and refused with one message where anything is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnctl.data.images import fit_image
from cnnctl.errors import DataError, UsageError
from cnnctl.few_shot.challenge_images import read_challenge
from cnnctl.spec.dataset import DataSpec

CLASSES, TESTS = 4, 3
DATA = DataSpec.model_validate({"source": "digits", "image_size": [9, 9], "channels": 1, "classes": 10, "invert": True})


def save_glyph(file: Path, seed: int) -> None:
    """Write black strokes on white, 21×21, one bit per pixel as in the challenge."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).random((21, 21)) > 0.3
    Image.fromarray(pixels).save(file)


def right(run: int, test: int) -> int:
    """Choose the class of a test image; not the test's own number, which would hide a mix-up."""
    return (test + run) % CLASSES + 1


def label_lines(run: int) -> list[str]:
    name = f"run{run:02}"
    return [f"{name}/test/item{i:02}.png {name}/training/class{right(run, i):02}.png" for i in range(1, TESTS + 1)]


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Two runs of four classes and three test images."""
    folder = tmp_path / "challenge"
    for run in (1, 2):
        for number in range(1, CLASSES + 1):
            save_glyph(folder / f"run{run:02}" / "training" / f"class{number:02}.png", 100 * run + number)
        for number in range(1, TESTS + 1):
            save_glyph(folder / f"run{run:02}" / "test" / f"item{number:02}.png", 100 * run + 50 + number)
        (folder / f"run{run:02}" / "class_labels.txt").write_text("\n".join(label_lines(run)) + "\n")
    return folder


def test_each_test_image_has_the_training_image_that_its_line_names(challenge: Path) -> None:
    runs = read_challenge(challenge, DATA)
    assert [run.name for run in runs] == ["run01", "run02"]
    for number, run in enumerate(runs, 1):
        pairs = [(test, run.training_files[answer]) for test, answer in zip(run.test_files, run.answers, strict=True)]
        assert [" ".join(pair) for pair in pairs] == label_lines(number)


def test_images_are_made_ready_as_in_training(challenge: Path) -> None:
    for run in read_challenge(challenge, DATA):
        assert run.training.shape == (CLASSES, 9, 9, 1)
        for files, images in ((run.training_files, run.training), (run.test_files, run.tests)):
            for file, pixels in zip(files, images, strict=True):
                with Image.open(challenge / file) as image:
                    np.testing.assert_array_equal(pixels, fit_image(image, DATA))
    assert run.training.mean() < 128, "inverted, as the config says"


def test_the_order_of_the_lines_is_of_no_account(challenge: Path) -> None:
    before = read_challenge(challenge, DATA)[0].answers
    (challenge / "run01" / "class_labels.txt").write_text("\ufeff" + "\r\n\r\n".join(reversed(label_lines(1))))
    np.testing.assert_array_equal(read_challenge(challenge, DATA)[0].answers, before)


def test_runs_come_in_the_order_of_their_numbers_and_other_folders_are_left_alone(challenge: Path) -> None:
    (challenge / "run02").rename(challenge / "run10")
    (challenge / "run10" / "class_labels.txt").write_text("\n".join(label_lines(2)).replace("run02", "run10"))
    (challenge / "run01").rename(challenge / "run9")
    (challenge / "run9" / "class_labels.txt").write_text("\n".join(label_lines(1)).replace("run01", "run9"))
    (challenge / "runs").mkdir()
    assert [run.name for run in read_challenge(challenge, DATA)] == ["run9", "run10"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"nowhere: there is no such folder; pass the folder with run01, run02 ... of the one-shot challenge"
    ):
        read_challenge(tmp_path / "nowhere", DATA)


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the folders run01, run02 \.\.\. .*, found none; pass the folder that has"):
        read_challenge(tmp_path, DATA)


def test_one_run_in_place_of_all_is_refused_with_the_remedy(challenge: Path) -> None:
    with pytest.raises(DataError, match=r"run01: expected the folders .*; pass the folder above it"):
        read_challenge(challenge / "run01", DATA)


def without(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).unlink()


def with_lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], object]:
    return lambda run: (run / "class_labels.txt").write_text("\n".join(change(label_lines(2))))


def second_line(text: str) -> Callable[[Path], object]:
    return with_lines(lambda lines: [lines[0], text, *lines[2:]])


def no_folder(name: str) -> Callable[[Path], object]:
    return lambda run: (run / name).rename(run / "elsewhere")


def one_class(run: Path) -> None:
    for number in range(2, CLASSES + 1):
        (run / "training" / f"class{number:02}.png").unlink()


EXAMPLE = "expected a line for each test image that names it and the right training image: run02/test/item01.png "
ITEM, CLASS = "run02/test/item02.png", "run02/training/class04.png"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("test/item02.png"), "class_labels.txt:2: there is no image {run}/test/item02.png; put it there, or correct"),
        (without("training/class04.png"), "class_labels.txt:1: there is no image {run}/training/class04.png; put it there"),
        (without("class_labels.txt"), "{run}/class_labels.txt: cannot be read (No such file or directory); " + EXAMPLE),
        (with_lines(lambda _: ["", "  "]), "{run}/class_labels.txt: the file is empty; " + EXAMPLE),
        (lambda run: (run / "class_labels.txt").write_bytes(b"\xff\xfe\x80"), "cannot be read (not a text file in UTF-8)"),
        (
            with_lines(lambda lines: lines[:1]),
            "class_labels.txt: no line for 'item02.png', 'item03.png' of {run}/test; " + EXAMPLE,
        ),
        (with_lines(lambda lines: [*lines, lines[0]]), "class_labels.txt:4: run02/test/item01.png has a label above; remove"),
        (second_line(ITEM), "class_labels.txt:2: " + EXAMPLE),
        (second_line(f"{ITEM} {CLASS} 3"), "; received 'run02/test/item02.png run02/training/class04.png 3'"),
        (
            second_line(f"{ITEM} ../secret.png"),
            ":2: expected an image in run02/training/, received '../secret.png'; name an image of",
        ),
        (
            second_line(f"{ITEM} run02/training/../../../secret.png"),
            "received 'run02/training/../../../secret.png'; name an image of",
        ),
        (second_line(f"{ITEM} run02/training/.."), ":2: expected an image in run02/training/, received 'run02/training/..'"),
        (
            second_line(f"/run02/test/item02.png {CLASS}"),
            ":2: expected an image in run02/test/, received '/run02/test/item02.png'",
        ),
        (
            second_line(f"{ITEM} run01/training/class01.png"),
            "expected an image in run02/training/, received 'run01/training/class",
        ),
        (
            second_line(f"{CLASS} {ITEM}"),
            "class_labels.txt:2: expected an image in run02/test/, received 'run02/training/class04",
        ),
        (second_line(f"{ITEM} /"), "class_labels.txt:2: expected an image in run02/training/, received '/'"),
        (no_folder("training"), "{run}/training: there is no such folder; a run has training/, test/ and class_labels.txt"),
        (no_folder("test"), "{run}/test: there is no such folder; a run has"),
        (one_class, "{run}/training: expected 2 or more images, found 1"),
        (lambda run: [file.unlink() for file in (run / "test").iterdir()], "{run}/test: expected 1 or more images, found none"),
        (
            lambda run: (run / ITEM[6:]).write_text("no"),
            "{run}/test/item02.png: cannot be read as an image (not a PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM); ",
        ),
    ],
)
def test_what_is_wrong_with_a_run_is_told_in_one_line(spoil: Callable[[Path], object], message: str, challenge: Path) -> None:
    run = challenge / "run02"
    spoil(run)
    with pytest.raises(DataError, match=re.escape(message.format(run=run))) as raised:
        read_challenge(challenge, DATA)
    assert "\n" not in str(raised.value)


def test_every_file_that_is_no_image_is_named(challenge: Path) -> None:
    for number in (1, 3):
        (challenge / "run01" / "training" / f"class{number:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"class01\.png: cannot be read as an image[^\n]*\n[^\n]*class03\.png: cannot be read"):
        read_challenge(challenge, DATA)


@pytest.mark.skipif("OMNIGLOT_ONE_SHOT" not in os.environ, reason="OMNIGLOT_ONE_SHOT names no folder with Lake's runs")
def test_the_runs_of_the_challenge_have_twenty_images_and_answers_each() -> None:
    for run in read_challenge(Path(os.environ["OMNIGLOT_ONE_SHOT"]), DATA):
        assert (len(run.training), len(run.tests)) == (20, 20)
        assert sorted(run.answers) == list(range(20))
