"""IDX files by their usual names, compressed or not: pixels and labels are those they were made from."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from cnnctl.errors import DataError
from cnnctl.formats import open_parts
from cnnctl.formats.streams import BLOCK_BYTES
from tests.formats.originals import everything, idx, images_of, labels_of, some, write

X, Y = some(20, 6, 5), some(20, high=10)
XT, YT = some(9, 6, 5, seed=1), some(9, high=10, seed=1)


def write_set(folder: Path, images: str, labels: str, x: np.ndarray = X, y: np.ndarray = Y) -> None:
    write(folder / images, idx(x))
    write(folder / labels, idx(y))


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("below", ["", "raw", "gzip"])
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_mnist_is_read(packed: str, dot: str, below: str, test: str, tmp_path: Path) -> None:
    folder = tmp_path / below
    write_set(folder, f"train-images{dot}idx3-ubyte{packed}", f"train-labels{dot}idx1-ubyte{packed}")
    write_set(folder, f"{test}-images{dot}idx3-ubyte{packed}", f"{test}-labels{dot}idx1-ubyte{packed}", XT, YT)
    parts = open_parts("idx", tmp_path)
    assert list(parts) == ["test", "train"]
    assert (images_of(parts["train"])[..., 0] == X).all()
    assert (images_of(parts["test"])[..., 0] == XT).all()
    assert labels_of(parts["train"]) == Y.tolist()
    assert labels_of(parts["test"]) == YT.tolist()
    assert parts["train"].name == "train"
    assert [file.name for file in parts["train"].files] == [
        f"train-images{dot}idx3-ubyte{packed}",
        f"train-labels{dot}idx1-ubyte{packed}",
    ]


def test_of_two_copies_the_uncompressed_one_is_read(tmp_path: Path) -> None:
    write_set(tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    write_set(tmp_path, "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", XT, YT)
    (part,) = open_parts("idx", tmp_path).values()
    assert (images_of(part)[..., 0] == X).all()
    assert [file.suffix for file in part.files] == ["", ""]


def test_several_sets_of_emnist_are_parts_of_their_own(tmp_path: Path) -> None:
    for name in ("emnist-letters-train", "emnist-letters-test", "emnist-byclass-train"):
        write_set(tmp_path, f"{name}-images-idx3-ubyte.gz", f"{name}-labels-idx1-ubyte.gz")
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n3 67 99\n")
    parts = open_parts("idx", tmp_path)
    assert list(parts) == ["emnist-byclass-train", "emnist-letters-test", "emnist-letters-train"]
    assert parts["emnist-letters-train"].class_names == ("", "Aa", "", "Cc")
    assert parts["emnist-byclass-train"].class_names == ()


def test_the_labels_of_qmnist_are_the_first_of_their_columns(tmp_path: Path) -> None:
    columns = np.c_[Y.astype(np.int32), some(20, 7, high=100_000, dtype=np.int32)]
    write_set(tmp_path, "qmnist-train-images-idx3-ubyte.gz", "qmnist-train-labels-idx2-int.gz", y=columns)
    (part,) = open_parts("idx", tmp_path).values()
    assert part.name == "qmnist-train"
    assert labels_of(part) == Y.tolist()


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_file_is_opened_with_its_labels(packed: str, tmp_path: Path) -> None:
    write_set(tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz")
    write(tmp_path / "train-images-idx3-ubyte.gz", idx(X))
    write_set(tmp_path, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", XT, YT)
    parts = open_parts("idx", tmp_path / f"train-images-idx3-ubyte{packed}")
    assert list(parts) == ["train"]
    assert [file.name for file in parts["train"].files] == [f"train-images-idx3-ubyte{packed}", "train-labels-idx1-ubyte.gz"]
    assert labels_of(parts["train"]) == Y.tolist()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "mine.bin", "mine.idx.gz"])
def test_images_may_have_no_labels(name: str, tmp_path: Path) -> None:
    (part,) = open_parts("idx", write(tmp_path / name, idx(X))).values()
    assert part.labels is None
    assert part.name == ("train" if "train" in name else "mine")
    assert (images_of(part)[..., 0] == X).all()


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_all_types_of_values_are_read(dtype: str, packed: str, tmp_path: Path) -> None:
    images = (some(11, 4, 3, high=200, dtype=np.int32) - 100).astype(dtype)
    write_set(tmp_path, f"train-images-idx3-float{packed}", "train-labels-idx1-ubyte", images, Y[:11])
    (part,) = open_parts("idx", tmp_path).values()
    read = images_of(part)
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    assert (read[..., 0] == images).all()


def test_colour_is_read_with_channels_first_or_last(tmp_path: Path) -> None:
    last, first = some(5, 4, 6, 3), some(5, 3, 4, 6, seed=1)
    write(tmp_path / "train-images-idx4-ubyte", idx(last))
    write(tmp_path / "test-images-idx4-ubyte", idx(first))
    parts = open_parts("idx", tmp_path)
    assert (images_of(parts["train"]) == last).all()
    assert (images_of(parts["test"]) == first.transpose(0, 2, 3, 1)).all()


def test_blocks_are_read_anew_each_time_and_have_a_limit_in_bytes(tmp_path: Path) -> None:
    side = 4096
    count = BLOCK_BYTES // side**2 + 1
    write(tmp_path / "train-images-idx3-ubyte.gz", idx(np.zeros((count, side, side), np.uint8)))
    (part,) = open_parts("idx", tmp_path).values()
    assert [len(block) for block in part.blocks(10**9)] == [count - 1, 1]
    assert [len(block) for block in part.blocks(2)] == [2, 2, 1]


def test_a_link_may_be_given_and_may_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    write_set(tmp_path / "elsewhere", "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    (tmp_path / "here").mkdir()
    link = tmp_path / "here" / "train-images-idx3-ubyte"
    link.symlink_to(tmp_path / "elsewhere" / "train-images-idx3-ubyte")
    assert (images_of(open_parts("idx", link)["train"])[..., 0] == X).all()
    with pytest.raises(DataError, match=r"here/train-images-idx3-ubyte: cannot be read: it leads to .*put a copy in its place"):
        open_parts("idx", tmp_path / "here")


# what is wrong


def test_labels_without_images_name_the_missing_file(tmp_path: Path) -> None:
    write(tmp_path / "train-labels-idx1-ubyte.gz", idx(Y))
    with pytest.raises(
        DataError, match=r"the images of these labels are missing; add train-images-idx3-ubyte.gz to the same folder"
    ):
        open_parts("idx", tmp_path)


def test_xz_is_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "xnist-images-idx3-ubyte.xz").write_bytes(lzma.compress(idx(X)))
    with pytest.raises(DataError, match=r"compressed with xz; unpack it: xz -dk .*/xnist-images-idx3-ubyte.xz"):
        open_parts("idx", tmp_path)
    with pytest.raises(DataError, match=r"unpack it: xz -dk .*/xnist-images-idx3-ubyte.xz"):
        open_parts("idx", tmp_path / "xnist-images-idx3-ubyte.xz")


def test_images_and_labels_are_as_many(tmp_path: Path) -> None:
    write_set(tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", y=Y[:-1])
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte has 19 labels for 20 images; expected one label per image"):
        open_parts("idx", tmp_path)


def test_labels_are_no_images(tmp_path: Path) -> None:
    write(tmp_path / "train-images-idx3-ubyte", idx(some(20, 4)))
    with pytest.raises(DataError, match=r"has the shape \(20, 4\); expected images, \(N, H, W\) or \(N, H, W, C\)"):
        open_parts("idx", tmp_path)


def test_labels_are_integers(tmp_path: Path) -> None:
    write_set(tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-float", y=np.full(20, 0.5, np.float32))
    with pytest.raises(DataError, match=r"train-labels-idx1-float has the label 0.5; expected integers"):
        labels_of(open_parts("idx", tmp_path)["train"])


@pytest.mark.parametrize("what", ["images", "labels"])
@pytest.mark.parametrize(("change", "reason"), [(b"x", "longer than"), (-1, "ends early")])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_header_says_how_long_a_file_is(what: str, change: bytes | int, reason: str, packed: str, tmp_path: Path) -> None:
    write_set(tmp_path, f"train-images-idx3-ubyte{packed}", f"train-labels-idx1-ubyte{packed}")
    content = idx(X) if what == "images" else idx(Y)
    file = write(
        tmp_path / f"train-{what}-idx{3 if what == 'images' else 1}-ubyte{packed}",
        content + change if isinstance(change, bytes) else content[:change],
    )
    with pytest.raises(DataError, match=rf"{file.name}: damaged: it (is )?{reason}.*; download it again"):
        everything(open_parts("idx", tmp_path)["train"])


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    file = write(tmp_path / "train-images-idx3-ubyte", idx(X))
    part = open_parts("idx", tmp_path)["train"]
    write(file, idx(XT))
    with pytest.raises(DataError, match="ubyte changed while it was read; run the command again"):
        images_of(part)


def test_a_cut_archive_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(idx(X))[:-12])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: damaged: .*; download it again"):
        images_of(open_parts("idx", tmp_path)["train"])


def test_no_images_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-images-idx3-ubyte", struct.pack(">HBB3I", 0, 8, 3, 0, 28, 28))
    with pytest.raises(DataError, match="expected images, received none"):
        open_parts("idx", tmp_path)


def test_unusual_names_in_a_folder_are_named(tmp_path: Path) -> None:
    write(tmp_path / "mine.idx", idx(X))
    with pytest.raises(DataError, match="no file has a usual name, such as train-images-idx3-ubyte; rename them, or write one"):
        open_parts("idx", tmp_path)
