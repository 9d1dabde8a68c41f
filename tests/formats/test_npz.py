"""NumPy's files: names of arrays, shapes, labels of all kinds, and what is never read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnctl.errors import DataError
from cnnctl.formats import npz, open_parts, role_of
from cnnctl.formats.pairs import find_pairs
from tests.formats.originals import everything, images_of, labels_of, some

X, Y = some(20, 6, 5), some(20, high=10)
XT, YT = some(9, 6, 5, seed=1), some(9, high=10, seed=1)


def save(file: Path, **arrays: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)
    return file


@pytest.mark.parametrize("compressed", [False, True])
def test_keras_names_are_read(compressed: bool, tmp_path: Path) -> None:
    file = tmp_path / "mnist.npz"
    (np.savez_compressed if compressed else np.savez)(file, x_train=X, y_train=Y, x_test=XT, y_test=YT)
    parts = open_parts("npz", file)
    assert list(parts) == ["train", "test"]
    assert (images_of(parts["train"])[..., 0] == X).all()
    assert (images_of(parts["test"])[..., 0] == XT).all()
    assert labels_of(parts["train"]) == Y.tolist()
    assert labels_of(parts["test"]) == YT.tolist()
    assert parts["train"].files == (file,)


def test_medmnist_names_are_read(tmp_path: Path) -> None:
    colour = some(7, 6, 5, 3)
    splits = {"train": (X, Y), "val": (colour, Y[:7]), "test": (XT, YT)}
    arrays = {
        f"{name}_{what}": array for name, (x, y) in splits.items() for what, array in (("images", x), ("labels", y[:, None]))
    }
    parts = open_parts("npz", save(tmp_path / "pathmnist.npz", **arrays))
    assert list(parts) == list(splits)
    assert (images_of(parts["val"]) == colour).all()
    assert labels_of(parts["val"]) == Y[:7].tolist()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("x", "y"),
        ("X", "y"),
        ("data", "target"),
        ("data", "labels"),
        ("image", "label"),
        ("imgs", "targets"),
    ],
)
def test_a_file_without_splits_is_a_part_of_its_name(images: str, labels: str, tmp_path: Path) -> None:
    (part,) = open_parts(
        "npz", save(tmp_path / "letters.npz", **{labels: Y, images: X, "names": np.array(["a"] * 10)})
    ).values()
    assert part.name == "letters"
    assert (images_of(part)[..., 0] == X).all()
    assert labels_of(part) == Y.tolist()


def test_arrays_without_names_are_images_and_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X, Y)
    (part,) = open_parts("npz", tmp_path / "a.npz").values()
    assert (images_of(part)[..., 0] == X).all()
    assert labels_of(part) == Y.tolist()


def test_images_alone_have_no_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X)
    (part,) = open_parts("npz", tmp_path / "a.npz").values()
    assert part.labels is None


def test_a_test_split_may_have_no_labels(tmp_path: Path) -> None:
    parts = open_parts("npz", save(tmp_path / "a.npz", x_train=X, y_train=Y, x_test=XT))
    assert parts["train"].labels is not None
    assert parts["test"].labels is None


def test_of_two_arrays_of_images_the_one_called_images_is_read(tmp_path: Path) -> None:
    """The digits of scikit-learn have their images twice."""
    file = save(tmp_path / "digits.npz", data=X.reshape(20, 30), images=X, target=Y, target_names=np.arange(10))
    (part,) = open_parts("npz", file).values()
    assert (images_of(part)[..., 0] == X).all()
    assert labels_of(part) == Y.tolist()


@pytest.mark.parametrize("name", ["kmnist", "k49"])
def test_kmnist_has_a_file_for_each_array(name: str, tmp_path: Path) -> None:
    for split, x, y in (("train", X, Y), ("test", XT, YT)):
        np.savez_compressed(tmp_path / f"{name}-{split}-imgs.npz", x)
        np.savez_compressed(tmp_path / f"{name}-{split}-labels.npz", y)
    parts = open_parts("npz", tmp_path)
    assert sorted(parts) == [f"{name}-test", f"{name}-train"]
    assert (images_of(parts[f"{name}-test"])[..., 0] == XT).all()
    assert labels_of(parts[f"{name}-train"]) == Y.tolist()
    assert [file.name for file in parts[f"{name}-test"].files] == [f"{name}-test-imgs.npz", f"{name}-test-labels.npz"]


def test_npy_files_are_pairs(tmp_path: Path) -> None:
    for name, array in (("x_train", X), ("y_train", Y), ("x_val", XT), ("y_val", YT)):
        np.save(tmp_path / f"{name}.npy", array)
    parts = open_parts("npz", tmp_path)
    assert sorted(parts) == ["train", "val"]
    assert (images_of(parts["val"])[..., 0] == XT).all()
    assert labels_of(parts["val"]) == YT.tolist()


def test_a_folder_may_have_a_file_for_each_split(tmp_path: Path) -> None:
    save(tmp_path / "train.npz", images=X, labels=Y)
    save(tmp_path / "test.npz", images=XT, labels=YT)
    parts = open_parts("npz", tmp_path)
    assert sorted(parts) == ["test", "train"]
    assert (images_of(parts["test"])[..., 0] == XT).all()


@pytest.mark.parametrize(
    ("stored", "channels"),
    [
        (some(8, 4, 6), 1),
        (some(8, 4, 6, 1), 1),
        (some(8, 4, 6, 3), 3),
        (some(8, 1, 4, 6), 1),
        (some(8, 3, 4, 6), 3),
        (some(8, 24), 1),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
@pytest.mark.parametrize("fortran", [False, True])
def test_shapes_are_told_apart(stored: np.ndarray, channels: int, fortran: bool, tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", x=np.asfortranarray(stored) if fortran else stored, y=Y[:8])
    (part,) = open_parts("npz", file, size=(4, 6)).values()
    first = stored.ndim == 4 and stored.shape[1] == channels
    expected = stored.transpose(0, 2, 3, 1) if first else stored.reshape(8, 4, 6, channels)
    assert (images_of(part, 3) == expected).all()
    assert part.channels == channels


def test_rows_of_a_square_need_no_size(tmp_path: Path) -> None:
    (part,) = open_parts("npz", save(tmp_path / "a.npz", x=some(5, 49), y=Y[:5]), size=(32, 32)).values()
    assert (images_of(part)[..., 0] == some(5, 49).reshape(5, 7, 7)).all()


@pytest.mark.parametrize("dtype", ["bool", "u1", "<u2", ">u2", "<i8", "<f2", "<f4", ">f8"])
def test_pixels_keep_their_dtype_in_native_order(dtype: str, tmp_path: Path) -> None:
    images = some(5, 4, 3, high=2, dtype=dtype)
    (part,) = open_parts("npz", save(tmp_path / "a.npz", x=images, y=Y[:5])).values()
    assert images_of(part).dtype == np.dtype(dtype).newbyteorder("=")
    assert (images_of(part)[..., 0] == images).all()


@pytest.mark.parametrize(
    "labels",
    [
        Y.astype(np.uint16),
        Y.astype(">i4"),
        Y.astype(np.float64),
        Y[:, None],
        np.eye(10, dtype=np.uint8)[Y],
        np.eye(10, dtype=np.float32)[Y],
        np.eye(10, dtype=bool)[Y],
    ],
    ids=lambda labels: f"{labels.dtype}{labels.shape}",
)
def test_labels_become_integers(labels: np.ndarray, tmp_path: Path) -> None:
    (part,) = open_parts("npz", save(tmp_path / "a.npz", x=X, y=labels)).values()
    assert labels_of(part) == Y.tolist()


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_texts_are_class_names(dtype: str, tmp_path: Path) -> None:
    names = ["ä" if dtype == "U" else "a", "bc"] * 10
    (part,) = open_parts("npz", save(tmp_path / "a.npz", x=X, y=np.array(names, dtype))).values()
    assert labels_of(part) == names


# keys


def test_keys_name_arrays(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", pics=X, numbers=Y, others=XT, more=YT)
    (part,) = open_parts("npz", file, keys=("pics", "numbers")).values()
    assert (images_of(part)[..., 0] == X).all()
    parts = open_parts("npz", file, keys={"train": ("pics", "numbers"), "test": ("others", "more")})
    assert list(parts) == ["train", "test"]
    assert labels_of(parts["test"]) == YT.tolist()


def test_keys_may_be_the_words_that_all_splits_share(tmp_path: Path) -> None:
    parts = open_parts(
        "npz", save(tmp_path / "a.npz", pics_train=X, kinds_train=Y, pics_test=XT, kinds_test=YT), keys=("pics", "kinds")
    )
    assert list(parts) == ["train", "test"]
    assert labels_of(parts["test"]) == YT.tolist()


def test_keys_hold_for_every_file_of_a_folder(tmp_path: Path) -> None:
    save(tmp_path / "train.npz", pics=X, kinds=Y)
    save(tmp_path / "test.npz", pics=XT, kinds=YT)
    for keys in (("pics", "kinds"), {"train": ("pics", "kinds"), "test": ("pics", "kinds")}):
        parts = open_parts("npz", tmp_path, keys=keys)
        assert sorted(parts) == ["test", "train"]


def test_unknown_keys_are_refused(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", images=X, labels=Y)
    message = (
        r"data.keys: there is no array 'image'; did you mean 'images'\?; expected one of images \(20, 6, 5\), labels \(20,\)"
    )
    with pytest.raises(DataError, match=message):
        open_parts("npz", file, keys={"train": ("image", "labels")})
    with pytest.raises(DataError, match="there is no array 'pics'"):
        open_parts("npz", file, keys=("pics", "labels"))


def test_the_line_to_write_is_given_and_works(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", mean=np.zeros(3), xt=X, t=Y)
    message = (
        r"a.npz: cannot tell which arrays are images and labels among mean \(3,\), xt \(20, 6, 5\), t \(20,\); "
        r"write data.keys: \[xt, t\]$"
    )
    with pytest.raises(DataError, match=message):
        open_parts("npz", file)
    assert labels_of(open_parts("npz", file, keys=("xt", "t"))["a"]) == Y.tolist()


def test_labels_of_another_name_are_asked_for(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", images=X, fine_labels=Y, coarse_labels=Y)
    with pytest.raises(DataError, match=r"write data.keys: \[images, fine_labels\]"):
        open_parts("npz", file)


def test_names_that_yaml_would_read_as_something_else_are_quoted() -> None:
    with pytest.raises(DataError, match=r"write data.keys: \['1', 'no'\]"):
        find_pairs({"1": (20, 6, 5), "no": (20,)}, None, Path("a.npz"), "a")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("x_train", "train"),
        ("mnist-train-2", "train"),
        ("train_32x32", "train"),
        ("val", "validation"),
        ("Valid.1", "validation"),
        ("dev", "validation"),
        ("validation", "validation"),
        ("t10k", "test"),
        ("t10k-images", "test"),
        ("test2", "test"),
        ("testing", "test"),
        ("latest", None),
        ("trainer", None),
        ("xtrain", None),
        ("xt10k", None),
        ("xt", None),
        ("train_test", None),
        ("", None),
    ],
)
def test_a_word_for_a_split_stands_alone(name: str, role: str | None) -> None:
    assert role_of(name) == role


# what is wrong


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": some(5, 50), "y": Y[:5]}, r"50 pixels per image are not a square; write data.image_size: \[height, width\]"),
        ({"x": some(5, 8, 8, 8, 3), "y": Y[:5]}, r"array 'x' has the shape \(5, 8, 8, 8, 3\); expected \(N, H, W\)"),
        ({"x": some(5, 8, 8, 2), "y": Y[:5]}, r"has the shape \(5, 8, 8, 2\); expected .* with C 1 or 3"),
        ({"x": some(5, 0, 8), "y": Y[:5]}, r"its images have no pixels"),
        ({"x": some(0, 8, 8), "y": Y[:0]}, r"expected images, received none"),
        ({"x": X, "y": YT}, r"array 'y' has 9 labels for 20 images; expected one label per image"),
        ({"x": X, "y": some(20, 14, high=2)}, r"array 'y' has more than one label per image"),
        ({"x": X, "y": np.eye(20, 9)}, r"array 'y' has images without a label: rows of 9 zeros"),
        ({"x": X, "y": some(20, 4)}, r"array 'y' has 4 values per image; expected one label per image"),
        ({"x": X, "y": np.full(20, 1.5)}, r"array 'y' has the label 1.5; expected integers"),
        ({"x": X, "y": np.full(20, np.nan)}, r"array 'y' has the label nan; expected integers"),
        ({"x": X, "y": np.full(20, 2**63, np.uint64)}, r"array 'y' has the label 9223372036854775808; expected integers"),
        ({"x": X, "y": np.full(20, 1j)}, r"array 'y' has the dtype complex128; expected integers or texts"),
        ({"x": X.astype(complex), "y": Y}, r"array 'x' has the dtype complex128; expected numbers"),
        ({"x": X, "y": np.array(["a" * 1001] * 20)}, r"expected class names of at most 1,000 characters"),
        ({"x": X, "y": np.array([["a", "b"]] * 20)}, r"array 'y' has 2 texts per image"),
        ({"z": Y}, r"expected arrays of images and labels, received z \(20,\); save both in the file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=rf"a.npz.*{message}"):
        everything(open_parts("npz", file)["a"])


@pytest.mark.parametrize("which", ["x", "y"])
def test_arrays_of_objects_are_refused_and_others_beside_them_are_read(which: str, tmp_path: Path) -> None:
    objects = np.array([1, "a"] * 10, object)
    with pytest.raises(
        DataError, match=rf"array '{which}' has Python objects .*can run any code.*numpy.array\(values.tolist\(\)\)"
    ):
        open_parts("npz", save(tmp_path / "a.npz", **{"x": X, "y": Y, which: objects if which == "y" else objects[:, None]}))
    (part,) = open_parts("npz", save(tmp_path / "b.npz", x=X, y=Y, notes=objects)).values()
    assert labels_of(part) == Y.tolist()


def test_a_large_array_in_fortran_order_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path / "a.npz", x=np.asfortranarray(X), y=Y)
    monkeypatch.setattr(npz, "MAX_FORTRAN_BYTES", X.nbytes)
    assert (images_of(open_parts("npz", file)["a"])[..., 0] == X).all()
    monkeypatch.setattr(npz, "MAX_FORTRAN_BYTES", X.nbytes - 1)
    with pytest.raises(
        DataError, match=r"array 'x' is in Fortran order and has 0.0 GB; save numpy.ascontiguousarray\(values\)"
    ):
        open_parts("npz", file)


def test_the_compression_is_that_of_numpy(tmp_path: Path) -> None:
    file = save(tmp_path / "a.npz", x=X, y=Y)
    with zipfile.ZipFile(file) as original, zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_LZMA) as other:
        for name in original.namelist():
            other.writestr(name, original.read(name))
    with pytest.raises(DataError, match=r"is not compressed as by NumPy; save it again with numpy.savez_compressed"):
        open_parts("npz", tmp_path / "b.npz")


def test_a_header_of_python_2_is_read(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 2L, 2L), }"
    header = header.ljust(117) + b"\n"
    np.save(tmp_path / "y_train.npy", Y[:2])
    (tmp_path / "x_train.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(range(8)))
    assert images_of(open_parts("npz", tmp_path)["train"]).ravel().tolist() == list(range(8))
