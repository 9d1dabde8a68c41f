"""The images of the one-shot test: each run has one training image per class, and test images to match with them.

The task of B. M. Lake, R. Salakhutdinov and J. B. Tenenbaum, "Human-level concept learning through
probabilistic program induction", Science 350, 2015: 20 characters of one alphabet, each drawn by one
person for training and by another person for the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import some_of
from cnnctl.data.images import Pixels
from cnnctl.data.user_images import fitted_batches
from cnnctl.errors import DataError, UsageError
from cnnctl.reading import read_bounded, refuse_leading_away
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.listing import image_files

TRAINING, TEST, LABELS = "training", "test", "class_labels.txt"
MAX_LABELS = 10_000_000
"""Largest file of labels in bytes."""


@dataclass(frozen=True)
class OneShotRun:
    """One run of the test, with its images prepared for a network.

    Attributes:
        name: of its folder.
        training: (M, H, W, C), one image per class.
        tests: (N, H, W, C).
        training_files: paths of the training images, below the folder of all runs.
        test_files: paths of the test images.
        answers: (N,), the index of the right training image for each test image.
    """

    name: str
    training: Pixels
    tests: Pixels
    training_files: list[str]
    test_files: list[str]
    answers: NDArray[np.int64]


def read_challenge(folder: Path, data: DataSpec) -> list[OneShotRun]:
    """Read the runs below a folder, in the order of their numbers.

    Args:
        folder: has the folders run01, run02 ..., each with `training/`, `test/` and `class_labels.txt`.
        data: a checked config, which sets how images are prepared.

    Raises:
        UsageError: there is no such folder.
        DataError: there are no runs, or a run has an image or a label too few or too many.
    """
    return [_run(run, data) for run in _run_folders(folder)]


def _run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder; pass the folder with run01, run02 ... of the one-shot challenge")
    runs = [each for each in folder.iterdir() if re.fullmatch("run[0-9]+", each.name) and each.is_dir()]
    if runs:
        return sorted(runs, key=lambda run: (int(run.name.removeprefix("run")), run.name))
    remedy = "pass the folder above it" if (folder / LABELS).exists() else "pass the folder that has them"
    raise DataError(f"{folder}: expected the folders run01, run02 ... of a one-shot challenge, found none; {remedy}")


def _run(run: Path, data: DataSpec) -> OneShotRun:
    training, tests = _images(run, TRAINING, fewest=2), _images(run, TEST, fewest=1)
    names = [file.name for file in training]
    answers = _answers(run, [file.name for file in tests], names)
    return OneShotRun(
        run.name,
        _fitted(training, data, run.parent),
        _fitted(tests, data, run.parent),
        [f"{run.name}/{TRAINING}/{name}" for name in names],
        [f"{run.name}/{TEST}/{file.name}" for file in tests],
        np.array([names.index(answers[file.name]) for file in tests], np.int64),
    )


def _images(run: Path, part: str, fewest: int) -> list[Path]:
    folder = run / part
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; a run has {TRAINING}/, {TEST}/ and {LABELS}")
    try:
        refuse_leading_away(folder, run.parent)
        files = image_files(folder, run.parent)
    except OSError as error:
        raise DataError(f"'{error.filename or 'the data'}' cannot be read: {error.strerror}") from error
    if len(files) < fewest:
        found = "1" if files else "none"
        raise DataError(f"{folder}: expected {fewest} or more images, found {found}; put the images of the run there")
    return files


def _fitted(files: Sequence[Path], data: DataSpec, inside: Path) -> Pixels:
    broken: list[str] = []
    batches = [images for _, images in fitted_batches(files, data, len(files), broken, inside)]
    if broken:
        raise DataError("\n".join(broken))
    return np.concatenate(batches)


# labels


def _answers(run: Path, tests: Sequence[str], training: Sequence[str]) -> dict[str, str]:
    """Read the name of the right training image for the name of each test image."""
    answers: dict[str, str] = {}
    for place, line in _lines(run / LABELS):
        test, right = _pair(line, run, place)
        for name, part, names in ((test, TEST, tests), (right, TRAINING, training)):
            if name not in names:
                raise DataError(f"{place}: there is no image {run / part / name}; put it there, or correct the line")
        if test in answers:
            raise DataError(f"{place}: {run.name}/{TEST}/{test} has a label above; remove one of the two lines")
        answers[test] = right
    unlabelled = [name for name in tests if name not in answers]
    if unlabelled:
        raise DataError(f"{run / LABELS}: no line for {some_of(unlabelled)} of {run / TEST}; {_expected(run)}")
    return answers


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines that are not empty, each after its `file:line`."""
    try:
        text = read_bounded(file, MAX_LABELS, file.parent.parent).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file in UTF-8"
        raise DataError(f"{file}: cannot be read ({reason}); {_expected(file.parent)}") from error
    if not text.strip():
        raise DataError(f"{file}: the file is empty; {_expected(file.parent)}")
    yield from ((f"{file}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _expected(run: Path) -> str:
    """Describe the lines of a file of labels, for messages."""
    return (
        "expected a line for each test image that names it and the right training image: "
        f"{run.name}/{TEST}/item01.png {run.name}/{TRAINING}/class01.png"
    )


def _pair(line: str, run: Path, place: str) -> tuple[str, str]:
    """Parse the names of the test image and the training image of a line."""
    words = line.split()
    if len(words) != 2:
        raise DataError(f"{place}: {_expected(run)}; received '{line.strip()}'")
    return _name(words[0], run, TEST, place), _name(words[1], run, TRAINING, place)


def _name(path: str, run: Path, part: str, place: str) -> str:
    """Check the path of an image of a run and return the file name; a path outside the run, such as `..`, is refused."""
    *above, name = PurePosixPath(path).parts or ("",)
    if above != [run.name, part] or name == "..":
        raise DataError(f"{place}: expected an image in {run.name}/{part}/, received '{path}'; name an image of this run")
    return name
