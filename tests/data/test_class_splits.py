"""Splits for few-shot tasks: no class is in two of them, whether it is held out by name, by chance or by split."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.image_set import ImageSet
from cnnctl.data.sources import tfds_source
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import Splits, fingerprint
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec

# A set of this test's own: every image has the number of its class as its grey value, in whatever split it is.

LETTERS = [f"letter_{number}" for number in range(12)]
ALPHABETS = ["Runes", "Early_Greek", "Signs", "Knots", "Empty"]
ALPHABET_OF = np.array([2, 2, 2, 0, 0, 0, 1, 1, 1, 1, 3, 3])
TRAIN = [8, 3, 0, 3, 7, 1, 9, 2, 4, 6, 8, 0, 5, 9, 1, 2, 7, 7]
"""Letters of the split train: ten of the twelve, between one and three images each, in no order."""
OTHER_SPLITS = {"new": [11, 10, 11], "mixed": [10, 9, 11, 0, 9], "old": [0, 5, 1], "half_new": [10, 4]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of prepared sets: `letters`, and `muddled`, whose letter_3 is in two alphabets."""
    directory = tmp_path_factory.mktemp("tensorflow_datasets")
    splits = {"train": TRAIN, **OTHER_SPLITS}
    store("letters", directory, {split: examples(np.array(labels)) for split, labels in splits.items()})
    muddled = examples(np.array(TRAIN))
    muddled["alphabet"][1] = 1
    store("muddled", directory, {"train": muddled})
    return directory


def examples(labels: Any) -> dict[str, Any]:
    images = np.broadcast_to(labels[:, np.newaxis, np.newaxis, np.newaxis], (len(labels), 3, 3, 1)).astype(np.uint8)
    return {"image": images, "label": labels, "alphabet": ALPHABET_OF[labels], "drawer": np.zeros(len(labels), np.int64)}


def store(name: str, directory: Path, splits: dict[str, dict[str, Any]]) -> None:
    features = {
        "image": tfds.features.Image(shape=(3, 3, 1)),
        "label": tfds.features.ClassLabel(names=LETTERS),
        "alphabet": tfds.features.ClassLabel(names=ALPHABETS),
        "drawer": tfds.features.Scalar(np.int64),
    }
    quiet = contextlib.redirect_stderr(io.StringIO())
    with quiet, contextlib.redirect_stdout(io.StringIO()):
        tfds.dataset_builders.store_as_tfds_dataset(
            name,
            version="1.0.0",
            data_dir=str(directory),
            features=tfds.features.FeaturesDict(features),
            split_datasets={split: tf.data.Dataset.from_tensor_slices(content) for split, content in splits.items()},
            disable_shuffling=True,
        )


def letters(prepared: Path, **fields: Any) -> DataSpec:
    facts = {"name": "letters", "data_dir": str(prepared), "image_size": [3, 3], "channels": 1, "classes": 12}
    plain = {"source": "tfds", "validation": None, "test": "new", "hold_out": "class", **facts}
    return DataSpec.model_validate({**plain, **fields})


def by_alphabet(prepared: Path, **fields: Any) -> DataSpec:
    return letters(prepared, **{"hold_out": "group", "group": "alphabet", **fields})


def letters_in(images: ImageSet | None) -> set[int]:
    """Returns the letters of a split, read from its pixels."""
    assert images is not None
    return set(images.images[:, 0, 0, 0].tolist())


def parts_of(splits: Splits) -> list[ImageSet]:
    assert splits.validation is not None
    return [splits.train, splits.validation, splits.read_test()]


def read_letters(data: DataSpec) -> list[set[int]]:
    return [letters_in(part) for part in parts_of(read_disjoint_splits(data))]


def assert_apart(parts: Iterable[set[int]]) -> None:
    together = [letter for part in parts for letter in part]
    assert len(together) == len(set(together))


# held out by name


def test_named_classes_are_held_out_and_the_others_trained_on(prepared: Path) -> None:
    data = letters(prepared, validation=["letter_2", "letter_7"], test=["letter_9"])
    assert read_letters(data) == [{0, 1, 3, 4, 5, 6, 8}, {2, 7}, {9}]


def test_every_image_of_a_class_goes_with_it_and_none_is_lost(prepared: Path) -> None:
    splits = read_disjoint_splits(letters(prepared, validation=["letter_7"], test=["letter_9", "letter_8"]))
    train, validation, test = parts_of(splits)
    assert (len(train), len(validation), len(test), splits.test_size) == (11, 3, 4, 4)
    shown = np.concatenate([part.images[:, 0, 0, 0] for part in (train, validation, test)])
    assert sorted(shown.tolist()) == sorted(TRAIN)


def test_named_groups_are_held_out_with_all_their_classes(prepared: Path) -> None:
    data = by_alphabet(prepared, validation=["Runes"], test=["Early_Greek"])
    assert read_letters(data) == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9}]


def test_a_name_said_twice_counts_once(prepared: Path) -> None:
    once, twice = (read_disjoint_splits(letters(prepared, validation=["letter_2"] * times)) for times in (1, 2))
    assert once.class_names == twice.class_names
    assert [fingerprint(part) for part in parts_of(once)] == [fingerprint(part) for part in parts_of(twice)]


def test_classes_of_a_folder_are_held_out_by_the_names_of_its_folders(tmp_path: Path) -> None:
    for number, name in enumerate(("ant", "bee", "cat", "dog")):
        (tmp_path / name).mkdir()
        Image.new("L", (3, 3), number).save(tmp_path / name / "1.png")
    facts = {"image_size": [3, 3], "channels": 1, "classes": 4, "hold_out": "class"}
    data = DataSpec.model_validate({"source": "folder", "path": str(tmp_path), "validation": ["cat"], "test": ["bee"], **facts})
    splits = read_disjoint_splits(data)
    assert [letters_in(part) for part in parts_of(splits)] == [{0, 3}, {2}, {1}]
    assert splits.class_names == ["ant", "dog", "cat", "bee"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test": ["letter7"]}, r"data\.test: there is no class 'letter7' in 'train'; did you mean 'letter_7'\?$"),
        (
            {"validation": ["zzz"]},
            r"data\.validation: there is no class 'zzz' in 'train'; "
            r"it has 'letter_0', 'letter_1', 'letter_2', 'letter_3', 'letter_4' and 5 more$",
        ),
        (  # it is a class of the set, but not of this split
            {"validation": ["letter_10"]},
            r"data\.validation: there is no class 'letter_10' in 'train'; did you mean 'letter_\d'\?$",
        ),
        (
            {"hold_out": "group", "group": "alphabet", "test": ["early-greek"]},
            r"data\.test: there is no group 'early-greek' in 'train'; did you mean 'Early_Greek'\?$",
        ),
        (  # an alphabet of the set, but no letter of this split is in it
            {"hold_out": "group", "group": "alphabet", "test": ["Empty"]},
            r"data\.test: there is no group 'Empty' in 'train'; it has 'Early_Greek', 'Runes', 'Signs'$",
        ),
        (  # a class where groups are held out
            {"hold_out": "group", "group": "alphabet", "test": ["letter_1"]},
            r"data\.test: there is no group 'letter_1' in 'train'; it has 'Early_Greek', 'Runes', 'Signs'$",
        ),
        (
            {"validation": ["letter_1", "letter_2"], "test": ["letter_2"]},
            r"data\.validation: class 'letter_2' is already held out for test; remove it from one of the two$",
        ),
        (
            {"test": [f"letter_{number}" for number in range(10)]},
            r"data: test and validation hold out every class of 'train'; hold out fewer of them$",
        ),
        (
            {"hold_out": "group", "group": "alphabet", "test": ["Runes", "Signs"], "validation": ["Early_Greek"]},
            r"data: test and validation hold out every class of 'train'; hold out fewer of them$",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_names_that_cannot_be_held_out_are_refused(fields: dict[str, Any], message: str, prepared: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_disjoint_splits(letters(prepared, **fields))


def test_a_feature_that_says_no_groups_is_refused(prepared: Path) -> None:
    message = r"data\.group: letters has no label feature '{}' for groups of classes; expected one of 'alphabet'$"
    for feature in ("alphabets", "drawer", "label"):
        with pytest.raises(DataError, match=message.format(feature)):
            read_disjoint_splits(by_alphabet(prepared, group=feature, test=["Runes"]))


def test_a_class_in_two_groups_cannot_be_held_out_with_either(prepared: Path) -> None:
    message = r"data\.group: class 'letter_3' is in several groups of 'alphabet', so they cannot be held out whole"
    with pytest.raises(DataError, match=message):
        read_disjoint_splits(by_alphabet(prepared, name="muddled", test=["Signs"]))


# held out by chance


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.1, 1), (0.24, 2), (0.35, 4), (0.8, 8)])
def test_a_fraction_takes_its_share_of_the_classes_whole_and_at_least_one(share: float, count: int, prepared: Path) -> None:
    train, validation, _ = read_letters(letters(prepared, validation=share))
    assert len(validation) == count
    assert train == set(range(10)) - validation


def test_fractions_of_train_for_validation_and_test_are_both_of_the_whole(prepared: Path) -> None:
    train, validation, test = read_letters(letters(prepared, validation=0.3, test=0.5))
    assert (len(train), len(validation), len(test)) == (2, 3, 5)
    assert_apart([train, validation, test])


def test_a_fraction_of_the_groups_takes_groups_whole(prepared: Path) -> None:
    groups = [{0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9}]
    seen = set()
    for seed in range(8):
        train, validation, test = read_letters(by_alphabet(prepared, validation=0.3, test=0.3, split_seed=seed))
        assert sorted([train, validation, test], key=min) == groups
        seen.add(min(test))
    assert seen == {0, 3, 6}, "any group may be drawn"


def test_no_class_is_in_two_splits_whatever_is_drawn(prepared: Path) -> None:
    tested: set[int] = set()
    for seed in range(20):
        parts = read_letters(letters(prepared, validation=0.2, test=0.2, split_seed=seed))
        assert_apart(parts)
        assert set.union(*parts) == set(range(10))
        tested |= parts[2]
    assert tested == set(range(10)), "any class may be drawn"


def test_what_is_named_is_not_drawn(prepared: Path) -> None:
    for seed in range(20):
        train, validation, test = read_letters(letters(prepared, validation=["letter_4"], test=0.8, split_seed=seed))
        assert validation == {4}
        assert len(test) == 8
        assert_apart([train, validation, test])


def test_the_classes_of_the_test_do_not_depend_on_those_of_validation(prepared: Path) -> None:
    tests = [read_disjoint_splits(letters(prepared, test=0.3, validation=part)).read_test() for part in (None, 0.2, 0.5)]
    assert [letters_in(images) for images in tests] == [letters_in(tests[0])] * 3
    assert len(letters_in(tests[0])) == 3


def test_the_split_seed_alone_decides_what_is_drawn(prepared: Path) -> None:
    fractions = {"validation": 0.3, "test": 0.3}
    first, again, other = (
        [fingerprint(part) for part in parts_of(read_disjoint_splits(letters(prepared, **fractions, split_seed=seed)))]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"validation": 0.96},
            r"data\.validation: 0\.96 of the 10 classes of 'train' leaves none to train on; write a smaller fraction",
        ),
        ({"test": 0.6, "validation": 0.4}, r"data\.validation: 0\.4 of the 10 classes of 'train' leaves none to train on"),
        (
            {"hold_out": "group", "group": "alphabet", "test": 0.9},
            r"data\.test: 0\.9 of the 3 groups of 'train' leaves none to train on; write a smaller fraction",
        ),
        (
            {"test": 0.9, "validation": ["letter_0"]},
            r"data\.test: 0\.9 of the 10 classes of 'train' leaves none to train on; write a smaller fraction",
        ),
        (  # the only class there is
            {"train": "train[:1]", "validation": 0.1},
            r"data\.validation: 0\.1 of the 1 class of 'train\[:1\]' leaves none to train on; train on a split of more classes",
        ),
    ],
)
def test_fractions_that_leave_nothing_to_train_on_are_refused(fields: dict[str, Any], message: str, prepared: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_disjoint_splits(letters(prepared, **fields))


def test_one_class_that_is_left_is_enough(prepared: Path) -> None:
    assert [len(part) for part in read_letters(letters(prepared, test=0.5, validation=0.4))] == [1, 4, 5]


# splits with classes of their own


def test_a_split_of_other_classes_is_taken_as_it_is(prepared: Path) -> None:
    splits = read_disjoint_splits(letters(prepared))
    assert (splits.validation, splits.test_size, splits.notes) == (None, 3, [])
    assert letters_in(splits.train) == set(range(10))
    assert splits.read_test().images[:, 0, 0, 0].tolist() == OTHER_SPLITS["new"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"test": "mixed"},
            r"data\.test: 2 of its 4 classes are also in 'train' \('letter_0', 'letter_9'\), but few-shot tasks are evaluated "
            r"on classes never trained on; name another split, hold out classes of 'train' \(such as test: 0\.2\), or write shared_classes: drop$",
        ),
        (
            {"validation": "mixed", "test": ["letter_5"]},
            r"data\.validation: 2 of its 4 classes are also in 'train' \('letter_0', 'letter_9'\)",
        ),
        (  # letter_9 is held out of train, but choices are made on it
            {"validation": ["letter_9"], "test": "mixed"},
            r"data\.test: 2 of its 4 classes are also in 'train' \('letter_0', 'letter_9'\)",
        ),
        (
            {"validation": ["letter_0", "letter_9"], "test": "mixed"},
            r"data\.test: 2 of its 4 classes are also in 'train' \('letter_0', 'letter_9'\)",
        ),
        (
            {"validation": "half_new", "test": "new", "train": "old"},
            r"data\.test: 1 of its 2 classes are also in 'old' or in validation \('letter_10'\)",
        ),
        (
            {"test": "old"},
            r"data\.test: 3 of its 3 classes are also in 'train' \(.*\), .*; name another split, hold out classes of 'train' \(such as test: 0\.2\)$",
        ),
        (
            {"test": "old", "shared_classes": "drop"},
            r"data\.test: 3 of its 3 classes are also in 'train' \(.*\), .*; name another split, hold out classes of 'train' \(such as test: 0\.2\)$",
        ),
    ],
)
def test_classes_that_are_shared_are_refused(fields: dict[str, Any], message: str, prepared: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_disjoint_splits(letters(prepared, **fields))


def test_classes_that_are_shared_are_dropped_where_the_config_says_so(prepared: Path) -> None:
    splits = read_disjoint_splits(letters(prepared, test="mixed", shared_classes="drop"))
    assert letters_in(splits.train) == set(range(10))
    assert splits.read_test().images[:, 0, 0, 0].tolist() == [10, 11]
    assert splits.test_size == 2
    assert splits.notes == ["test: 2 classes; 2 more were dropped because they are also in 'train'"]


def test_the_test_loses_classes_of_validation_too(prepared: Path) -> None:
    data = letters(prepared, validation=["letter_9"], test="mixed", shared_classes="drop")
    splits = read_disjoint_splits(data)
    assert read_letters(data) == [set(range(9)), {9}, {10, 11}]
    assert splits.notes == ["test: 2 classes; 2 more were dropped because they are also in 'train'"]


def test_validation_and_test_that_are_both_splits_share_no_class(prepared: Path) -> None:
    data = letters(prepared, train="old", validation="half_new", test="mixed", shared_classes="drop")
    assert read_letters(data) == [{0, 1, 5}, {4, 10}, {9, 11}]


def test_dropping_changes_nothing_where_nothing_is_shared(prepared: Path) -> None:
    drop, refuse = (read_disjoint_splits(letters(prepared, shared_classes=word)) for word in ("drop", "refuse"))
    assert fingerprint(drop.read_test()) == fingerprint(refuse.read_test())
    assert drop.notes == []


# numbering


def test_classes_are_numbered_train_first_then_validation_then_test(prepared: Path) -> None:
    splits = read_disjoint_splits(letters(prepared, validation=["letter_2", "letter_7"], test="new"))
    assert [np.unique(part.labels).tolist() for part in parts_of(splits)] == [list(range(8)), [8, 9], [10, 11]]
    assert splits.class_names == [f"letter_{letter}" for letter in (0, 1, 3, 4, 5, 6, 8, 9, 2, 7, 10, 11)]


def test_the_order_in_which_classes_are_named_or_drawn_does_not_number_them(prepared: Path) -> None:
    names = ["letter_2", "letter_7", "letter_9"]
    one, other = (read_disjoint_splits(letters(prepared, validation=each)) for each in (names, names[::-1]))
    assert one.class_names == other.class_names == [LETTERS[n] for n in (0, 1, 3, 4, 5, 6, 8, 2, 7, 9, 10, 11)]
    assert [fingerprint(part) for part in parts_of(one)] == [fingerprint(part) for part in parts_of(other)]
    drawn = read_disjoint_splits(letters(prepared, validation=0.4, test=0.3)).class_names
    assert [drawn[3:7], drawn[7:]] == [sorted(drawn[3:7]), sorted(drawn[7:])]


def test_a_label_is_the_place_of_its_class_among_the_names(prepared: Path) -> None:
    for fields in ({"validation": 0.3, "test": 0.3}, {"validation": ["letter_9"], "test": "mixed", "shared_classes": "drop"}):
        splits = read_disjoint_splits(letters(prepared, **fields))
        for part in parts_of(splits):
            assert part.labels.dtype == np.int64
            assert [splits.class_names[label] for label in part.labels] == [LETTERS[grey] for grey in part.images[:, 0, 0, 0]]
        used = np.concatenate([part.labels for part in parts_of(splits)])
        assert np.unique(used).tolist() == list(range(len(splits.class_names)))


def test_images_keep_their_order_in_the_source(prepared: Path) -> None:
    splits = read_disjoint_splits(letters(prepared, validation=["letter_7"], test=["letter_9", "letter_8"]))
    for part, gone in zip(parts_of(splits), ({7, 8, 9}, set(range(10)) - {7}, set(range(8))), strict=True):
        assert part.images[:, 0, 0, 0].tolist() == [letter for letter in TRAIN if letter not in gone]


def test_the_test_split_is_not_read_before_it_is_asked_for(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnctl.data.sources import tfds_source

    read, asked = tfds_source.TfdsSource.read, []

    def noted(source: tfds_source.TfdsSource, split: str) -> ImageSet:
        asked.append(split)
        return read(source, split)

    monkeypatch.setattr(tfds_source.TfdsSource, "read", noted)
    splits = read_disjoint_splits(letters(prepared, validation="half_new", test="mixed", shared_classes="drop"))
    assert asked == ["train", "half_new"]
    splits.read_test()
    assert asked == ["train", "half_new", "mixed"]


# real Omniglot

REAL_OMNIGLOT = Path(os.environ.get("TFDS_DATA_DIR", "")) / "omniglot"
real = pytest.mark.skipif(not REAL_OMNIGLOT.is_dir(), reason="TFDS_DATA_DIR has no omniglot; the letters above cover the path")


def omniglot(**fields: Any) -> DataSpec:
    facts = {"name": "omniglot", "image_size": [8, 8], "channels": 1, "classes": 1623, "validation": None}
    groups = {"hold_out": "group", "group": "alphabet", "train": "small1", "test": "small2"}
    return DataSpec.model_validate({"source": "tfds", **facts, **groups, **fields})


@real
def test_two_alphabets_of_small2_are_in_small1_and_106_characters_are_not() -> None:
    splits = read_disjoint_splits(omniglot(validation=["Korean"], shared_classes="drop"))
    assert [len(np.unique(part.labels)) for part in parts_of(splits)] == [96, 40, 106]
    assert [len(part) for part in parts_of(splits)] == [1920, 800, 2120]
    assert splits.test_size == 2120
    assert splits.notes == ["test: 106 classes; 50 more were dropped because they are also in 'small1'"]
    for part in parts_of(splits):
        assert np.unique(np.unique(part.labels, return_counts=True)[1]).tolist() == [20]


@real
def test_small2_is_refused_where_nothing_says_that_shared_characters_are_dropped() -> None:
    with pytest.raises(DataError, match=r"data\.test: 50 of its 156 classes are also in 'small1' \('\d+', .* and 45 more\)"):
        read_disjoint_splits(omniglot())


@real
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Koraen", r"; did you mean 'Korean'\?"),
        ("korean", r"; did you mean 'Korean', which differs only in capitals\?"),
        ("Early Aramaic", r"; did you mean 'Early_Aramaic'\?"),
        ("Sanskrit", r"; it has 'Balinese', 'Early_Aramaic', 'Greek', 'Korean', 'Latin'"),  # of small2
    ],
)
def test_an_alphabet_that_does_not_exist_is_told_with_those_that_do(name: str, remedy: str) -> None:
    with pytest.raises(DataError, match=rf"data\.validation: there is no group '{name}' in 'small1'{remedy}$"):
        read_disjoint_splits(omniglot(validation=[name], shared_classes="drop"))


@real
def test_a_fifth_of_the_alphabets_is_one_whole_alphabet() -> None:
    sizes = {24, 22, 40, 26}  # Balinese and Greek have 24 characters
    splits = read_disjoint_splits(omniglot(validation=0.2, shared_classes="drop"))
    train, validation, _ = (len(np.unique(part.labels)) for part in parts_of(splits))
    assert validation in sizes
    assert train + validation == 136


def read_all(data: DataSpec) -> list[Any]:
    source = open_source(data)
    halves = [source.read(split) for split in ("train[:50%]", "train[50%:]", "train")]
    arrays = [array for half in halves for array in (half.images, half.labels)]
    return [*arrays, source.labels("new"), np.array(source.groups("train[:50%]")), np.array(source.class_names)]


def test_a_set_from_the_cache_is_the_set(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = letters(prepared, hold_out="group", group="alphabet", validation=0.3)
    monkeypatch.setenv("CNNCTL_CACHE_DIR", "off")
    decoded = read_all(data)
    monkeypatch.setenv("CNNCTL_CACHE_DIR", str(tmp_path))
    kept = read_all(data)
    monkeypatch.setattr(tfds_source, "prepared_builder", None)  # TFDS is not asked
    found = read_all(data)
    for mine, other, third in zip(decoded, kept, found, strict=True):
        np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(mine, third)


def test_a_set_prepared_anew_is_decoded_anew(tmp_path: Path) -> None:
    store("letters", tmp_path, {"train": examples(np.array(TRAIN)), "new": examples(np.array(TRAIN))})
    before = open_source(letters(tmp_path)).read("train")
    shutil.rmtree(tmp_path / "letters")
    store("letters", tmp_path, {"train": examples(np.array(TRAIN[::-1])), "new": examples(np.array(TRAIN))})
    after = open_source(letters(tmp_path)).read("train")
    assert before.labels.tolist() == TRAIN
    assert after.labels.tolist() == TRAIN[::-1]
