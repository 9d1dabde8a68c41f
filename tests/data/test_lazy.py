"""Images that are not in memory answer as an array of the same images does."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cnnctl.data.images import Pixels
from cnnctl.data.store import lazy
from cnnctl.data.store.lazy import ALIGNMENT, FileImages, JoinedImages, LazyImages, in_blocks, taken, turned
from cnnctl.errors import DataError

COUNT = 23
BEFORE = 7
"""Bytes in the file before the first image."""


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 5, 4, 3), np.uint8)


@pytest.fixture
def file(pixels: Pixels, tmp_path: Path) -> Path:
    (tmp_path / "images").write_bytes(bytes(BEFORE) + pixels.tobytes() + b"what comes after")
    return tmp_path / "images"


@pytest.fixture
def images(pixels: Pixels, file: Path) -> LazyImages:
    return opened(file, pixels)


def opened(file: Path, pixels: Pixels) -> FileImages:
    shape = (len(pixels), *pixels.shape[1:4])
    return FileImages(os.open(file, os.O_RDONLY), BEFORE, (shape[0], 5, 4, 3), str(file))


INDICES = {
    "a number": 3,
    "a number from the end": -1,
    "NumPy's number": np.int64(22),
    "all": slice(None),
    "a part": slice(4, 19),
    "beyond the end": slice(20, 99),
    "every third": slice(1, 20, 3),
    "backwards": slice(None, None, -1),
    "none": slice(5, 5),
    "in no order": np.array([9, 2, 22, 2, 0, 1]),
    "neighbours": np.array([5, 6, 7, 3, 4, 20]),
    "of 32 bits": np.array([3, 1], np.int32),
    "from the end": np.array([-1, 0, -COUNT]),
    "a table": np.array([[4, 3, 2], [1, 0, 22]]),
    "a list": [4, 4, 8],
    "an empty list": [],
}


@pytest.mark.parametrize("name", INDICES)
def test_it_is_indexed_as_an_array_is(name: str, images: LazyImages, pixels: Pixels) -> None:
    index: Any = INDICES[name]
    found = images[index]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels[np.array(index, np.int64) if name == "an empty list" else index])


def test_it_has_the_shape_of_an_array(images: LazyImages, pixels: Pixels) -> None:
    assert (images.shape, len(images), images.size) == (pixels.shape, len(pixels), pixels.size)


@pytest.mark.parametrize("index", [COUNT, -COUNT - 1, [0, COUNT]])
def test_an_index_beyond_the_images_is_refused(index: Any, images: LazyImages) -> None:
    with pytest.raises(IndexError, match="expected indices below 23"):
        images[index]
    with pytest.raises(IndexError, match="expected indices below 23"):
        images.take(np.atleast_1d(index))


@pytest.mark.parametrize("index", [1.5, [True] * COUNT])
def test_what_is_no_whole_number_is_refused(index: Any, images: LazyImages) -> None:
    with pytest.raises(IndexError, match="expected integers, received"):
        images[index]


@pytest.mark.parametrize("load", [np.asarray, np.array, tf.constant], ids=["asarray", "array", "constant"])
def test_all_of_it_is_never_loaded_by_accident(load: Any, images: LazyImages) -> None:
    with pytest.raises(TypeError, match="these images may not fit into memory"):
        load(images)


def test_a_part_of_a_part_is_what_it_is_of_an_array(images: LazyImages, pixels: Pixels) -> None:
    first, second = np.array([7, 3, 3, 22, 0, 11]), np.array([5, 0, 2, -1])
    np.testing.assert_array_equal(images.take(first).take(second)[:], pixels[first][second])
    assert images.take(first).shape == (6, 5, 4, 3)


def test_parts_hold_no_pixels(pixels: Pixels, file: Path) -> None:
    part = opened(file, pixels).take(np.array([3, 1]))
    file.write_bytes(bytes(BEFORE) + (255 - pixels).tobytes())
    np.testing.assert_array_equal(part[:], 255 - pixels[[3, 1]])


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_images_are_turned_as_those_of_an_array(mirrored: bool, quarters: int, images: LazyImages, pixels: Pixels) -> None:
    expected = turned(pixels, mirrored, quarters)
    found = images.turned(mirrored, quarters)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found[[4, 0, 22]], expected[[4, 0, 22]])


def test_joined_sets_are_one_after_the_other(images: LazyImages, pixels: Pixels) -> None:
    few = np.array([4, 9, 1])
    joined = JoinedImages([images, images.take(few), images.turned(True, 2)])
    expected = np.concatenate([pixels, pixels[few], turned(pixels, True, 2)])
    assert joined.shape == expected.shape
    rows = np.random.default_rng(1).permutation(len(expected))
    np.testing.assert_array_equal(joined[rows], expected[rows])


def test_blocks_are_all_images_once_and_none_is_larger_than_said(
    images: LazyImages, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "BLOCK_VALUES", 5 * 60 + 1)
    for each in (images, pixels):
        blocks = list(in_blocks(each))
        assert [len(block) for block in blocks] == [5, 5, 5, 5, 3]
        np.testing.assert_array_equal(np.concatenate(blocks), pixels)


def test_taking_images_needs_the_memory_of_those_and_of_a_block() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5_000, 64, 64, 1), np.uint8)
    order = np.random.default_rng(1).permutation(len(pixels))
    tracemalloc.start()
    try:
        chosen = taken(pixels, order)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * pixels.nbytes
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(chosen, pixels[order])
    assert chosen.ctypes.data % ALIGNMENT == 0


def test_a_file_that_was_cut_off_is_told(images: LazyImages, file: Path) -> None:
    os.truncate(file, BEFORE + 10 * 60 + 5)
    np.testing.assert_array_equal(images[9].shape, (5, 4, 3))
    with pytest.raises(DataError, match=r"images was truncated while images were read from it; run the command again"):
        images[10]


def test_a_disk_that_fails_is_told(images: LazyImages, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(lazy, "read_at", fails)
    with pytest.raises(DataError, match=r"cannot read images \(Input/output error\)"):
        images[0]


def test_a_read_that_comes_in_pieces_is_put_together(
    images: LazyImages, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = lazy.read_at
    monkeypatch.setattr(lazy, "read_at", lambda descriptor, out, place: whole(descriptor, out[:7], place))
    np.testing.assert_array_equal(images[[3, 4, 1]], pixels[[3, 4, 1]])


def test_a_system_without_preadv_reads_the_same_from_several_threads(
    images: LazyImages, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "preadv")
    wrong: list[int] = []

    def read(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(200):
            rows = generator.permutation(COUNT)[:9]
            if not np.array_equal(images[rows], pixels[rows]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_file_is_closed_when_nobody_has_images_of_it_any_more(pixels: Pixels, file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    images: LazyImages | None = FileImages(descriptor, BEFORE, (COUNT, 5, 4, 3), str(file))
    assert images is not None
    part = images.take(np.array([2]))
    images = None
    gc.collect()
    np.testing.assert_array_equal(part[0], pixels[2])
    del part
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
