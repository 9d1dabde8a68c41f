"""Hold-outs that keep every class's share, and the refusal of classes that nothing learns."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.image_set import ImageSet
from cnnctl.data.splits import fingerprint, hold_out, read_splits
from cnnctl.data.store.image_store import ImageStore
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec

FRACTIONS = {"test": 0.2, "validation": 0.13}
UNEVEN = np.random.default_rng(5).permutation(np.repeat(np.arange(7), [3, 10, 17, 41, 58, 101, 6]))


def digits(**changes: Any) -> DataSpec:
    return DataSpec.model_validate(
        {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.2, **changes}
    )


def counts(labels: NDArray[np.int64], classes: int = 7) -> NDArray[np.int64]:
    return np.bincount(labels, minlength=classes)


# hold_out


@pytest.mark.parametrize("seed", range(3))
def test_every_class_gives_its_share_within_one_image(seed: int) -> None:
    parts = hold_out(UNEVEN, FRACTIONS, seed)
    for name, fraction in FRACTIONS.items():
        assert np.abs(counts(UNEVEN[parts[name]]) - counts(UNEVEN) * fraction).max() < 1


@pytest.mark.parametrize("fractions", [FRACTIONS, {"test": 0.5, "validation": 0.31}, {"validation": 0.1}])
def test_the_parts_are_as_large_as_their_fraction_of_the_whole(fractions: dict[str, float]) -> None:
    parts = hold_out(UNEVEN, fractions, 0)
    assert {name: len(part) for name, part in parts.items()} == {
        name: round(len(UNEVEN) * fraction) for name, fraction in fractions.items()
    }


def test_no_image_is_in_two_parts_or_twice_in_one() -> None:
    taken = np.concatenate(list(hold_out(UNEVEN, FRACTIONS, 0).values()))
    assert len(np.unique(taken)) == len(taken)
    assert taken.min() >= 0 and taken.max() < len(UNEVEN)


def test_the_parts_follow_from_the_seed() -> None:
    first, again, other = (hold_out(UNEVEN, FRACTIONS, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in FRACTIONS)
    assert not any(np.array_equal(first[name], other[name]) for name in FRACTIONS)


def test_the_test_part_does_not_depend_on_the_validation_part() -> None:
    np.testing.assert_array_equal(hold_out(UNEVEN, FRACTIONS, 0)["test"], hold_out(UNEVEN, {"test": 0.2}, 0)["test"])


@pytest.mark.parametrize("images_per_class", [2, 3, 4])
def test_small_classes_keep_an_image_to_train_on(images_per_class: int) -> None:
    labels = np.repeat(np.arange(10), images_per_class)
    taken = np.concatenate(list(hold_out(labels, {"test": 0.2, "validation": 0.2}, 0).values()))
    assert len(taken) == 2 * round(0.2 * len(labels))
    assert counts(np.delete(labels, taken), 10).min() >= 1


def test_a_fraction_of_less_than_one_image_is_refused_with_one_that_works() -> None:
    labels, fractions = np.repeat(np.arange(3), 4), {"test": 0.2, "validation": 0.01}
    with pytest.raises(DataError, match=r"data\.validation: 0\.01 of 12 images is less than one image; write data\.") as raised:
        hold_out(labels, fractions, 0)
    found = re.search(r"write data\.validation: ([\d.]+) or data\.validation: null", str(raised.value))
    assert found
    assert len(hold_out(labels, {**fractions, "validation": float(found[1])}, 0)["validation"]) == 1
    hold_out(labels, {"test": 0.2}, 0)


def test_a_set_too_small_for_its_parts_says_so() -> None:
    with pytest.raises(DataError, match=r"expected one image per class to train on and 2 more; add images"):
        hold_out(np.array([0, 1]), {"test": 0.2, "validation": 0.1}, 0)


# read_splits


def test_the_splits_of_a_set_share_no_image_and_lose_none() -> None:
    splits = read_splits(digits(validation=0.1))
    assert splits.validation is not None
    parts = [splits.train, splits.validation, splits.read_test()]
    assert [len(part) for part in parts] == [1258, 180, 359]
    assert splits.test_size == 359
    whole = read_splits(digits(validation=None, test=0.001))
    together = sorted(image.tobytes() for part in parts for image in part.images[:])
    assert together == sorted(image.tobytes() for part in (whole.train, whole.read_test()) for image in part.images[:])


def test_no_validation_is_no_validation() -> None:
    splits = read_splits(digits(validation=None))
    assert splits.validation is None
    assert len(splits.train) == 1797 - 359


def test_the_split_seed_alone_decides_the_splits() -> None:
    first, again, other = (fingerprint(read_splits(digits(split_seed=seed)).train) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_fingerprint_changes_with_a_pixel_and_with_a_label() -> None:
    images = read_splits(digits()).train
    before = fingerprint(images)
    images.images[:][3, 2, 2, 0] ^= 1
    changed = fingerprint(images)
    images.images[:][3, 2, 2, 0] ^= 1
    assert fingerprint(images) == before != changed
    images.labels[5] ^= 1
    assert fingerprint(images) != before


# Classes that nothing learns


def folder_set(root: Path, splits: dict[str, dict[str, int]]) -> Path:
    """Writes a set of 4×4 images: for each split, how many of each class."""
    for split, classes in splits.items():
        for name, count in classes.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (4, 4), number).save(root / split / name / f"{number}.png")
    return root


def folder(path: Path, **changes: Any) -> DataSpec:
    facts = {"image_size": [4, 4], "channels": 1, "classes": 3, "validation": None, "test": "test"}
    return DataSpec.model_validate({"source": "folder", "path": str(path), **facts, **changes})


def test_a_test_split_with_a_class_that_train_has_no_image_of_is_refused(tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 3, "b": 3, "c": 0}, "test": {"a": 1, "c": 2}})
    message = (
        r"data\.test: of the 2 classes of 'test' 1 occur in 'train', and a classifier trained on 'train' can never "
        r"predict the others\. Hold out part of every class instead, such as test: 0\.2"
    )
    with pytest.raises(DataError, match=message):
        read_splits(folder(root))


def test_a_validation_split_of_other_classes_is_refused(tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 3, "b": 3, "c": 0}, "valid": {"c": 2}, "test": {"a": 1}})
    with pytest.raises(DataError, match=r"data\.validation: of the 1 classes of 'valid' none occur in 'train'"):
        read_splits(folder(root, validation="valid"))


def test_a_test_split_with_fewer_classes_is_taken(tmp_path: Path) -> None:
    splits = read_splits(folder(folder_set(tmp_path, {"train": {"a": 3, "b": 3, "c": 2}, "test": {"b": 2}})))
    assert splits.read_test().labels.tolist() == [1, 1]
    assert splits.test_size == 2


def test_a_class_without_images_is_noted(tmp_path: Path) -> None:
    splits = read_splits(folder(folder_set(tmp_path, {"train": {"a": 3, "b": 0, "c": 3}}), test=0.4))
    assert splits.notes[2:] == ["no images in 'train' of the class 'b'"]


def test_a_class_whose_every_image_is_held_out_is_refused(tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 2, "b": 2, "c": 2}})
    message = r"test \(0\.5\) and validation \(0\.4\) take every image of 2 of 3 classes, such as 'a'"
    with pytest.raises(DataError, match=message):
        read_splits(folder(root, test=0.5, validation=0.4))


def test_more_labels_than_classes_are_refused() -> None:
    message = r"data\.classes is 4, but 'train' has labels up to 9; write data\.classes: 10"
    with pytest.raises(DataError, match=message):
        read_splits(digits(classes=4))


REMAP = "; data.remap_labels: true with data.classes: 3 removes their outputs"


@pytest.mark.parametrize(
    ("classes", "empty", "notes"),
    [
        (3, 0, []),
        (4, 1, ["no images in 'train' of the class 'd0'"]),
        (5, 2, ["no images in 'train' of the classes 'd0', 'd1'"]),
        (9, 6, ["3 of the 9 classes occur in 'train'; the others have no training image" + REMAP]),
        (1200, 1, ["3 of the 1,200 classes occur in 'train'; the others have no training image" + REMAP]),
    ],
)
def test_classes_that_nothing_learns_are_noted_once(classes: int, empty: int, notes: list[str], tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 4, "b": 4, "c": 4, **{f"d{n}": 0 for n in range(empty)}}})
    assert read_splits(folder(root, classes=classes, test=0.25)).notes[2:] == notes


def test_classes_that_no_split_has_are_noted_for_every_source() -> None:
    (note,) = read_splits(digits(classes=12)).notes
    assert note.startswith("10 of the 12 classes occur in 'train'; the others have no training image")
    assert read_splits(digits(classes=10, remap_labels=True)).notes == ["the 10 classes of 'train' are numbered from 0"]


REAL_OMNIGLOT = Path(os.environ.get("TFDS_DATA_DIR", "")) / "omniglot"


@pytest.mark.skipif(not REAL_OMNIGLOT.is_dir(), reason="TFDS_DATA_DIR has no omniglot; the folder set above covers the guard")
def test_the_background_sets_of_real_omniglot_do_not_test_each_other() -> None:
    facts = {"image_size": [28, 28], "channels": 1, "classes": 1623, "validation": None}
    data = DataSpec.model_validate({"source": "tfds", "name": "omniglot", "train": "small1", "test": "small2", **facts})
    message = (
        r"data\.test: of the 156 classes of 'small2' 50 occur in 'small1', and a classifier trained on 'small1' can never "
        r"predict the others\. Hold out part of every class instead, such as test: 0\.2"
    )
    with pytest.raises(DataError, match=message):
        read_splits(data)


def renumbered(root: Path, **data: Any) -> DataSpec:
    return folder(root, remap_labels=True, **data)


def test_renumbered_classes_are_those_that_occur_in_their_order(tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 0, "b": 8, "c": 0, "d": 4}})
    plain, found = read_splits(folder(root, classes=4, test=0.25)), read_splits(renumbered(root, classes=2, test=0.25))
    assert found.class_names == ["b", "d"]
    assert set(plain.train.labels.tolist()) == {1, 3}
    np.testing.assert_array_equal(found.train.labels, plain.train.labels // 2)
    np.testing.assert_array_equal(found.train.images, plain.train.images)
    assert "the 2 classes of 'train' are numbered from 0" in found.notes


def test_named_splits_are_renumbered_as_train_is(tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 0, "b": 8, "d": 4}, "test": {"d": 3, "b": 2}})
    test = read_splits(renumbered(root, classes=2, test="test")).read_test()
    assert test.labels.tolist() == [0, 0, 1, 1, 1]


def test_renumbering_wants_the_true_number_of_classes(tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 0, "b": 8, "d": 4}})
    with pytest.raises(DataError, match=r"data.classes is 3, but 2 classes occur in 'train'; write data.classes: 2"):
        read_splits(renumbered(root, classes=3, test=0.25))


def test_a_class_of_another_split_alone_is_still_refused_after_renumbering(tmp_path: Path) -> None:
    root = folder_set(tmp_path, {"train": {"a": 0, "b": 8, "d": 4}, "test": {"a": 3, "b": 2}})
    with pytest.raises(DataError, match=r"data\.test: of the 2 classes of 'test' 1 occur in 'train'"):
        read_splits(renumbered(root, classes=2, test="test"))


@pytest.mark.skipif(not REAL_OMNIGLOT.is_dir(), reason="TFDS_DATA_DIR has no omniglot; the folder sets above are renumbered")
def test_real_omniglot_gives_14_2_and_4_drawings_of_each_of_136_characters() -> None:
    facts = {"image_size": [28, 28], "channels": 1, "classes": 136, "remap_labels": True, "validation": 0.1, "test": 0.2}
    splits = read_splits(DataSpec.model_validate({"source": "tfds", "name": "omniglot", "train": "small1", **facts}))
    assert splits.validation is not None
    for images, drawings in ((splits.train, 14), (splits.validation, 2), (splits.read_test(), 4)):
        assert np.bincount(images.labels).tolist() == [drawings] * 136


# memory


@pytest.mark.parametrize("kept", [[0, 1, 2], [7], [0, 3, 4, 9], list(range(0, 2999, 2)), list(range(1500, 3000))])
def test_a_set_is_reduced_within_its_own_memory(kept: list[int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 2, 3, 1), np.uint8)
    whole, rows = ImageSet(pixels.copy(), np.arange(3000)), np.array(kept)
    reduced = whole.reduced(rows)
    assert np.shares_memory(reduced.images, whole.images)
    np.testing.assert_array_equal(reduced.images, pixels[rows])
    np.testing.assert_array_equal(reduced.labels, rows)


def test_the_training_images_are_those_that_no_part_holds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[ImageSet] = []
    images = ImageStore.images

    def noted(*given: Any, **others: Any) -> Any:
        found = images(*given, **others)
        read.append(ImageSet(found[0], np.zeros(len(found[0]), np.int64)))
        before.append(np.array(found[0]))
        return found

    before: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(ImageStore, "images", noted)
    splits = read_splits(digits(validation=0.1))
    (whole,), (pixels,) = read, before
    assert splits.validation
    assert np.shares_memory(splits.train.images, whole.images)  # each image is in memory once
    parts = [np.asarray(part.images).reshape(len(part), -1) for part in (splits.train, splits.validation, splits.read_test())]
    found, expected = np.concatenate(parts), pixels.reshape(len(pixels), -1)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])
