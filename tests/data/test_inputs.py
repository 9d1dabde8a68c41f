"""What predict is given: image files and files of many images, batch by batch."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.images import Pixels, fit_array, fit_image
from cnnctl.data.inputs import InputBatch, Inputs, OriginalFile, source_of
from cnnctl.errors import DataError
from cnnctl.formats import Part
from cnnctl.spec.dataset import DataSpec

DATA = DataSpec.model_validate({"source": "digits", "image_size": [6, 6], "channels": 1, "classes": 10, "invert": True})
RANDOM = np.random.default_rng(2)
IMAGES: Pixels = RANDOM.integers(0, 256, (9, 6, 6, 1), np.uint8)


def png(pixels: Pixels) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(content, "PNG")
    return content.getvalue()


def part(blocks: list[Any], name: str = "test") -> Part:
    def read(most: int) -> Iterator[Any]:
        for block in blocks:
            yield from (block[at : at + most] for at in range(0, len(block), most))

    height, width, channels = blocks[0].shape[1:] if isinstance(blocks[0], np.ndarray) else (None, None, None)
    return Part(name, (Path("x"),), sum(map(len, blocks)), height, width, channels, None, read)


def files(folder: Path, images: Pixels) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, pixels in zip(paths, images, strict=True):
        path.write_bytes(png(pixels))
    return paths


@pytest.mark.parametrize("size", [1, 4, 9, 20])
def test_images_come_in_their_order_in_whole_batches_whatever_they_lie_in(size: int, tmp_path: Path) -> None:
    one, two, *_ = files(tmp_path, IMAGES[:2])
    arrays = OriginalFile(Path("test.csv"), part([IMAGES[2:5], IMAGES[5:6].astype(np.int32)]))
    encoded = OriginalFile(Path("a.parquet"), part([[png(pixels) for pixels in IMAGES[6:8]]]))
    (tmp_path / "last.png").write_bytes(png(IMAGES[8]))
    inputs = Inputs([one, arrays, two, encoded, tmp_path / "last.png"], DATA, max_thumbnails=5)
    batches = list(inputs.batches(size))
    whole = InputBatch.joined(batches)
    order = [0, 2, 3, 4, 5, 1, 6, 7, 8]
    assert inputs.count == 9
    assert [len(batch) for batch in batches] == [size] * (9 // size) + ([9 % size] if 9 % size else [])
    assert whole.names == [
        str(one),
        *(f"test.csv:{row}" for row in (1, 2, 3, 4)),
        str(two),
        "a.parquet:1",
        "a.parquet:2",
        str(tmp_path / "last.png"),
    ]
    np.testing.assert_array_equal(whole.images, 255 - IMAGES[order])
    np.testing.assert_array_equal(whole.originals.highest, IMAGES[order].max(axis=(1, 2, 3)))
    assert [each.pixels[..., 0].tolist() for each in inputs.thumbnails] == IMAGES[order][:5, ..., 0].tolist()


def test_arrays_are_fitted_as_images_are() -> None:
    large = RANDOM.integers(0, 256, (4, 11, 7, 3), np.uint8)
    (batch,) = Inputs([OriginalFile(Path("x.npz"), part([large]))], DATA, 0).batches(10)
    np.testing.assert_array_equal(batch.images, fit_array(large, DATA))
    np.testing.assert_array_equal(batch.images, [fit_image(Image.fromarray(image), DATA) for image in large])
    assert (batch.originals.heights.tolist(), batch.originals.widths.tolist()) == ([11] * 4, [7] * 4)


def test_of_a_large_file_one_block_at_a_time_is_in_memory() -> None:
    alive: list[weakref.ref[NDArray[np.uint8]]] = []

    def blocks(most: int) -> Iterator[NDArray[np.uint8]]:
        assert most == 8
        for _ in range(20):
            block = np.zeros((most, 6, 6, 1), np.uint8)
            alive.append(weakref.ref(block))
            yield block
            del block
            assert sum(each() is not None for each in alive) <= 1

    large = Part("test", (Path("x"),), 160, 6, 6, 1, None, blocks)
    assert sum(len(batch) for batch in Inputs([OriginalFile(Path("x"), large)], DATA, 0).batches(8)) == 160


def test_broken_images_are_named_by_file_and_row_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    encoded = part([[png(IMAGES[0]), b"", png(IMAGES[1])[:40]], [png(IMAGES[2])]])
    inputs = Inputs([tmp_path / "a.png", OriginalFile(Path("a.parquet"), encoded)], DATA, 9)
    (batch,) = inputs.batches(10)
    assert batch.names == ["a.parquet:1", "a.parquet:4"]
    np.testing.assert_array_equal(batch.images, 255 - IMAGES[[0, 2]])
    assert len(inputs.thumbnails) == 2
    first, empty, cut = inputs.broken
    assert first.startswith(f"{tmp_path}/a.png: cannot be read as an image (")
    assert empty == "a.parquet:2: cannot be read as an image (it is empty); replace or remove it"
    assert cut.startswith("a.parquet:3: cannot be read as an image (")


def test_values_that_are_no_pixels_are_refused_with_the_option() -> None:
    inputs = Inputs([OriginalFile(Path("x.npz"), part([IMAGES / np.float32(255)]))], DATA, 0)
    with pytest.raises(DataError, match=r"^x\.npz: the pixels are float32 from .*; add --pixel-max 1, the value of"):
        list(inputs.batches(4))
    inputs = Inputs(inputs.sources, DATA.model_copy(update={"pixel_max": 1.0}), 0)
    assert InputBatch.joined(list(inputs.batches(4))).images.shape == (9, 6, 6, 1)


# which images of a file


def test_an_image_file_stays_what_it_is(tmp_path: Path) -> None:
    (file,) = files(tmp_path, IMAGES[:1])
    assert source_of(file, DATA) == file
    file.rename(tmp_path / "scan")
    assert source_of(tmp_path / "scan", DATA) == tmp_path / "scan"
    (tmp_path / "notes.txt").write_text("nothing of the kind")
    assert source_of(tmp_path / "notes.txt", DATA) == tmp_path / "notes.txt"


def test_of_several_splits_the_test_split_is_taken_else_the_only_one(tmp_path: Path) -> None:
    def chosen(**arrays: Any) -> OriginalFile:
        np.savez(tmp_path / "a.npz", **arrays)
        source = source_of(tmp_path / "a.npz", DATA)
        assert isinstance(source, OriginalFile)
        return source

    labels = np.zeros(9, np.int64)
    assert chosen(x_train=IMAGES, y_train=labels, x_test=IMAGES[:4], y_test=labels[:4]).split.count == 4
    assert chosen(x_train=IMAGES, y_train=labels).split.count == 9
    with pytest.raises(
        DataError, match=r"a\.npz: expected a test split or a single split, received train, val; split it into one"
    ):
        chosen(x_train=IMAGES, y_train=labels, x_val=IMAGES[:4], y_val=labels[:4])


def test_rows_of_pixels_have_the_size_of_the_run_where_they_are_no_squares(tmp_path: Path) -> None:
    wide = RANDOM.integers(0, 256, (5, 4, 10, 1), np.uint8)
    np.savetxt(tmp_path / "a.csv", wide.reshape(5, -1), "%d", ",")
    source = source_of(tmp_path / "a.csv", DATA.model_copy(update={"image_size": (4, 10), "invert": False}))
    assert isinstance(source, OriginalFile)
    np.testing.assert_array_equal(np.concatenate(list(source.split.blocks(9))), wide)
