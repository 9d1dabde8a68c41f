"""Matlab's files: EMNIST's structs, SVHN's order of dimensions, and every kind of number, as SciPy reads them."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
import scipy.io

from cnnctl.errors import DataError
from cnnctl.formats import mat, open_parts
from tests.formats.originals import everything, images_of, labels_of, some, write

X, Y = some(20, 6, 5), some(20, high=10)
XT, YT = some(9, 6, 5, seed=1), some(9, high=10, seed=1)
REAL = Path(scipy.__file__).parent / "io/matlab/tests/data"
"""Files that Matlab itself wrote, 4.2 to 8; not every copy of SciPy brings them."""


def save(file: Path, compressed: bool = True, /, **variables: Any) -> Path:
    scipy.io.savemat(file, variables, do_compression=compressed)
    return file


def columns_first(images: np.ndarray) -> np.ndarray:
    """Returns rows of pixels as EMNIST stores them."""
    return images.transpose(0, 2, 1).reshape(len(images), -1)


def emnist(**more: Any) -> dict[str, Any]:
    splits = {
        name: {"images": columns_first(x), "labels": y[:, None].astype(np.uint8), "writers": y[:, None] * 300.0}
        for name, x, y in (("train", X, Y), ("test", XT, YT))
    }
    return {"dataset": {**splits, **more}}


@pytest.mark.parametrize("compressed", [False, True])
def test_emnist_is_read_as_it_is_stored(compressed: bool, tmp_path: Path) -> None:
    """Columns first: a config turns the images."""
    mapping = np.array([[0, 48, 79], [2, 65, 97]], np.uint8)
    parts = open_parts("mat", save(tmp_path / "emnist-letters.mat", compressed, **emnist(mapping=mapping)), size=(5, 6))
    assert list(parts) == ["train", "test"]
    assert (images_of(parts["train"])[..., 0].transpose(0, 2, 1) == X).all()
    assert (images_of(parts["test"])[..., 0].transpose(0, 2, 1) == XT).all()
    assert labels_of(parts["train"]) == Y.tolist()
    assert labels_of(parts["test"]) == YT.tolist()
    assert parts["test"].class_names == ("0O", "", "Aa")


def test_without_a_mapping_there_are_no_class_names(tmp_path: Path) -> None:
    assert open_parts("mat", save(tmp_path / "a.mat", **emnist()), size=(5, 6))["train"].class_names == ()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("compressed", [False, True])
def test_svhn_has_its_images_last(channels: int, compressed: bool, tmp_path: Path) -> None:
    for split, count in (("train", 20), ("test", 4)):
        save(tmp_path / f"{split}_32x32.mat", compressed, X=some(6, 5, channels, count), y=Y[:count, None].astype(np.float64))
    parts = open_parts("mat", tmp_path)
    assert sorted(parts) == ["test_32x32", "train_32x32"]
    assert (images_of(parts["train_32x32"]) == some(6, 5, channels, 20).transpose(3, 0, 1, 2)).all()
    assert labels_of(parts["test_32x32"]) == Y[:4].tolist()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (X, Y[:, None]),
        (X, Y[None]),
        (X.transpose(1, 2, 0), Y[:, None]),
        (X.reshape(20, 30), Y[None]),
        (X.reshape(20, 30).T, Y[None]),
        (X[..., None], np.eye(10)[Y]),
    ],
    ids=["rows", "a row of labels", "images last", "pixels", "pixels last", "one-hot"],
)
def test_the_labels_say_which_dimension_counts_images(images: np.ndarray, labels: np.ndarray, tmp_path: Path) -> None:
    (part,) = open_parts("mat", save(tmp_path / "a.mat", data=images, label=labels), size=(6, 5)).values()
    assert part.name == "a"
    assert (images_of(part)[..., 0] == X).all()
    assert labels_of(part) == Y.tolist()


def test_images_may_have_no_labels(tmp_path: Path) -> None:
    (part,) = open_parts("mat", save(tmp_path / "a.mat", X=some(6, 5, 3, 20))).values()
    assert part.labels is None
    assert part.count == 20


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "bool"])
@pytest.mark.parametrize("compressed", [False, True])
def test_all_classes_of_numbers_are_read(dtype: str, compressed: bool, tmp_path: Path) -> None:
    images = some(20, 6, 5, high=2, dtype=dtype)
    (part,) = open_parts("mat", save(tmp_path / "a.mat", compressed, images=images, labels=Y[:, None])).values()
    assert images_of(part).dtype == (np.uint8 if dtype == "bool" else np.dtype(dtype))  # Matlab's logical is a uint8
    assert (images_of(part)[..., 0] == images).all()


def test_other_variables_do_not_matter(tmp_path: Path) -> None:
    others: dict[str, Any] = {
        "text": "a",
        "cell": np.array([[1, "a"]], object),
        "complex": np.full(3, 1j),
        "empty": np.zeros((0, 3)),
        "structs": np.zeros(3, [("a", object)]),
        "nothing": {},
        "deep": {"a": {"b": {"c": {"text": "x"}}}},
    }
    (part,) = open_parts("mat", save(tmp_path / "a.mat", **others, images=X, labels=Y, more=others)).values()
    assert labels_of(part) == Y.tolist()


def test_keys_name_variables_and_fields(tmp_path: Path) -> None:
    file = save(tmp_path / "a.mat", pics=X, kinds=Y, **emnist())
    (part,) = open_parts("mat", file, keys=("pics", "kinds")).values()
    assert labels_of(part) == Y.tolist()
    keys = {"train": ("pics", "kinds"), "test": ("dataset.test.images", "dataset.test.writers")}
    parts = open_parts("mat", file, keys=keys, size=(5, 6))
    assert list(parts) == ["train", "test"]
    assert labels_of(parts["test"]) == (YT * 300.0).tolist()
    with pytest.raises(
        DataError, match=r"data.keys: there is no array 'pic'; did you mean 'pics'\?; expected one of pics \(20, 6, 5\), kinds"
    ):
        open_parts("mat", file, keys=("pic", "kinds"))


def test_the_line_to_write_is_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"among a \(20, 6, 5\), b \(1, 20\); write data.keys: \[a, b\]"):
        open_parts("mat", save(tmp_path / "a.mat", a=X, b=Y))


@pytest.mark.skipif(not REAL.is_dir(), reason="this copy of SciPy has no files of Matlab's")
def test_files_that_matlab_wrote_are_read_as_scipy_reads_them() -> None:
    compared = 0
    for file in sorted(REAL.glob("test*_[5678].*.mat")):
        try:
            arrays = mat.arrays_of(file)
        except DataError as error:
            assert "expected a MAT-file of level 5" in str(error)  # noqa: PT017  # HDF5
            continue
        with warnings.catch_warnings(action="ignore"):
            expected = scipy.io.loadmat(file, struct_as_record=False)
        for name, array in arrays.items():
            value: Any = expected
            for key in name.split("."):
                value = value[key] if isinstance(value, dict) else getattr(value.item(), key)
            values = mat.read_array(file, None, array).astype(array.dtype)
            assert np.array_equal(values, value), (file, name)
            compared += 1
        plain = {
            name for name, value in expected.items() if isinstance(value, np.ndarray) and value.dtype.kind in "buif" and name
        }
        assert plain <= set(arrays), file
    assert compared > 20


def test_both_byte_orders_are_read(tmp_path: Path) -> None:
    """Written by hand, since SciPy writes that of the machine."""
    for order, sign in (("<", b"\0\1IM"), (">", b"\1\0MI")):
        content = b"MATLAB 5.0".ljust(124) + sign
        content += matrix(order, b"images", np.arange(24, dtype=f"{order}u2").reshape(2, 3, 4), 11, 4)
        content += matrix(order, b"labels", np.array([[7], [8]], f"{order}u1"), 9, 2)
        (part,) = open_parts("mat", write(tmp_path / "a.mat", content)).values()
        assert images_of(part).ravel().tolist() == list(range(24))
        assert labels_of(part) == [7, 8]


def element(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(order: str, name: bytes, values: np.ndarray, code: int, kind: int, shape: tuple[int, ...] | None = None) -> bytes:
    """Returns a numeric array of some class and type, and of the shape that it claims."""
    shape = values.shape if shape is None else shape
    content = element(order, 6, struct.pack(f"{order}II", code, 0)) + element(
        order, 5, struct.pack(f"{order}{len(shape)}i", *shape)
    )
    return element(order, 14, content + element(order, 1, name) + element(order, kind, values.tobytes("F")))


# what is wrong


@pytest.mark.parametrize("length", [300, 128, 130, 137])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_cut_file_is_named(length: int, compressed: bool, tmp_path: Path) -> None:
    file = save(tmp_path / "a.mat", compressed, images=X, labels=Y)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DataError, match=r"a.mat: (damaged|expected arrays of images and labels, received none)"):
        open_parts("mat", file)


@pytest.mark.parametrize("shape", [(2**31 - 1, 6, 5), (20, 6, 6), (20, -6, -5), (-20, -6, -5), ()])
def test_a_shape_of_other_values_than_there_are_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    content = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + matrix("<", b"images", X, 9, 2, shape)
    with pytest.raises(
        DataError, match=r"damaged: variable 'images' (of shape \(.*\) has 600 bytes of type 2|has the shape \(-?20, -6, -5\))"
    ):
        open_parts("mat", write(tmp_path / "a.mat", content))


def test_damage_is_noticed_by_the_checksum(tmp_path: Path) -> None:
    packed = bytearray(zlib.compress(matrix("<", b"images", X, 9, 2), 0))
    packed[-100] ^= 1
    content = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(DataError, match=r"a.mat: damaged: .*incorrect data check"):
        images_of(open_parts("mat", write(tmp_path / "a.mat", content))["a"])


def test_a_variable_ends_where_its_header_says(tmp_path: Path) -> None:
    packed = zlib.compress(matrix("<", b"images", X, 9, 2) + bytes(8))
    content = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed
    with pytest.raises(DataError, match=r"a.mat: damaged: a variable is longer than its header states"):
        images_of(open_parts("mat", write(tmp_path / "a.mat", content))["a"])


@pytest.mark.parametrize("nested", [False, True])
def test_what_unpacks_to_more_than_may_be_read_is_refused(
    nested: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = np.zeros((2000, 28, 28), np.uint8)
    variables: dict[str, Any] = (
        {"dataset": {"images": zeros, "labels": np.zeros((2000, 1))}} if nested else {"images": zeros, "labels": np.zeros(2000)}
    )
    file = save(tmp_path / "a.mat", **variables)
    assert images_of(open_parts("mat", file)["dataset" if nested else "a"], 2000).shape == (2000, 28, 28, 1)
    monkeypatch.setattr(mat, "MAX_MAT_BYTES", 10**6)
    with pytest.raises(DataError, match=r"has more than 0.0 GB unpacked, .*; save it as npz, which is read block by block"):
        images_of(open_parts("mat", file)["a"])


@pytest.mark.parametrize("version", ["4", "5"])
def test_other_levels_are_refused(version: str, tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"images": X.reshape(20, 30), "labels": Y}, format=version)
    if version == "4":
        with pytest.raises(DataError, match=r"a.mat: expected a Matlab file, but this starts with"):
            open_parts("mat", tmp_path / "a.mat")
    else:
        assert open_parts("mat", tmp_path / "a.mat", size=(6, 5))["a"].count == 20


def test_images_and_labels_are_as_many(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"variable 'labels' has 19 labels for 20 images"):
        open_parts("mat", save(tmp_path / "a.mat", images=X, labels=Y[:-1, None]))


def test_pixels_that_are_no_square_need_a_size(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"variable 'dataset.train.images': 30 pixels per image are not a square; write data.image_size"
    ):
        open_parts("mat", save(tmp_path / "a.mat", **emnist()))


def test_labels_are_integers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"variable 'labels' has the label 0.5; expected integers"):
        everything(open_parts("mat", save(tmp_path / "a.mat", images=X, labels=np.full((20, 1), 0.5)))["a"])
