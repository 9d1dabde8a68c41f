"""What the data is like: sums over pixels, classes, copies and where they lie, against independent arithmetic."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import cnnctl.data.store.lazy
from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.image_set import ImageSet, Labels, Source
from cnnctl.data.images import fit_image
from cnnctl.data.inspect.duplicates import conflicts, equal_images, repeated, shared
from cnnctl.data.inspect.facts import DataFacts, EpisodeFacts, balance, blank_images, data_facts, pixel_facts
from cnnctl.data.inspect.origins import Origin, Origins
from cnnctl.data.inspect.samples import MAX_CLASSES, OF_EACH, augmented, sampled, samples
from cnnctl.data.pipeline import preparation, training_batches
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import fingerprint, read_splits
from cnnctl.errors import DataError
from cnnctl.few_shot.episodes import Episodes, add_pose_classes
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment, FewShotSpec
from cnnctl.spec.few_shot import EpisodeSize

RANDOM = np.random.default_rng(3)
GREY = RANDOM.integers(0, 256, (50, 5, 4, 1), np.uint8)
COLOUR = RANDOM.integers(0, 256, (50, 5, 4, 3), np.uint8)


def digits(**changes: Any) -> DataSpec:
    facts = {"image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.2}
    return DataSpec.model_validate({"source": "digits", **facts, **changes})


def facts_of(data: DataSpec) -> DataFacts:
    return data_facts(data, read_splits(data))


def few_shot_facts_of(data: DataSpec, **fields: Any) -> DataFacts:
    return data_facts(data, read_disjoint_splits(data), FewShotSpec.model_validate(fields))


def images_of(pixels: list[int], labels: list[int] | None = None) -> ImageSet:
    """Returns images of 2×2 pixels, each of one value in its last pixel."""
    images = np.zeros((len(pixels), 2, 2, 1), np.uint8)
    images[:, 1, 1, 0] = pixels
    return ImageSet(images, np.array(labels or [0] * len(pixels), np.int64))


# Pixels


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("at_once", [1, 100, 2**22])
def test_mean_and_deviation_of_each_channel_are_those_of_all_pixels(
    images: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnnctl.data.store.lazy, "BLOCK_VALUES", at_once)
    facts = pixel_facts(images)
    plain = images.astype(np.float64) / 255
    np.testing.assert_allclose(facts.mean, plain.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(facts.standard_deviation, plain.std(axis=(0, 1, 2)), rtol=1e-12)


def test_the_brightest_images_do_not_overflow_the_sums() -> None:
    facts = pixel_facts(np.full((2000, 60, 60, 1), 255, np.uint8))  # 4.7e11 as a sum of squares
    assert (facts.mean, facts.standard_deviation) == ([1.0], [0.0])


@pytest.mark.parametrize("coloured", [0, 49])
def test_images_without_colour_are_found_by_their_equal_channels(coloured: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnnctl.data.store.lazy, "BLOCK_VALUES", 130)  # two images at a time
    grey_as_colour = np.repeat(GREY, 3, axis=-1)
    assert pixel_facts(GREY).colourless and pixel_facts(grey_as_colour).colourless
    grey_as_colour[coloured, 0, 0, 2] ^= 1
    assert not pixel_facts(grey_as_colour).colourless


def test_images_of_one_single_colour_are_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnnctl.data.store.lazy, "BLOCK_VALUES", 130)  # two images at a time
    images = COLOUR.copy()
    images[[0, 7, 49]] = [10, 20, 30]  # a colour, not a grey
    images[20] = [10, 20, 30]
    images[20, 4, 3, 1] += 1
    assert blank_images(images) == [0, 7, 49]


# Classes


def test_classes_are_counted_in_each_split() -> None:
    data = digits()
    splits = read_splits(data)
    facts = data_facts(data, splits)
    assert splits.validation is not None
    for role, images in (("train", splits.train), ("validation", splits.validation), ("test", splits.read_test())):
        counted = Counter(images.labels.tolist())
        assert [each.images[role] for each in facts.classes] == [counted[label] for label in range(10)]
        assert facts.splits[role].images == len(images)
    assert [each.name for each in facts.classes] == list("0123456789")


def test_the_balance_names_the_largest_and_the_smallest_class() -> None:
    found = balance([(4, "a"), (12, "b"), (3, "c"), (9, "d")])
    assert (found.fewest, found.median, found.most, found.ratio) == (3, 6.5, 12, 4.0)
    assert (found.smallest, found.largest) == ("c", "b")


def test_classes_that_nothing_has_images_of_are_missing_and_out_of_the_balance() -> None:
    facts = facts_of(digits(classes=12))
    assert [split.missing for split in facts.splits.values()] == [["class 10", "class 11"]] * 3
    assert facts.splits["test"].balance.fewest == 35


def test_the_baseline_is_the_accuracy_of_always_naming_the_commonest_class() -> None:
    data = digits()
    splits = read_splits(data)
    facts = data_facts(data, splits)
    commonest = int(facts.splits["train"].balance.largest)
    trained, tested = splits.train.labels.tolist(), splits.read_test().labels.tolist()
    assert trained.count(commonest) == max(map(trained.count, range(10)))
    assert facts.baseline == tested.count(commonest) / len(tested)


def test_without_validation_there_are_two_splits() -> None:
    facts = facts_of(digits(validation=None))
    assert list(facts.splits) == ["train", "test"]
    assert facts.splits["test"].shared == {"train": 0}


def test_the_fingerprint_is_the_one_that_a_run_notes() -> None:
    data = digits()
    assert facts_of(data).fingerprint == fingerprint(read_splits(data).train)


def test_the_shape_in_the_source_is_told_beside_the_one_that_the_network_takes() -> None:
    facts = facts_of(digits(image_size=[12, 6], channels=3))
    assert (facts.image_shape, facts.source_shape) == ([12, 6, 3], [8, 8, 1])


# Copies


def test_copies_are_the_pairs_that_comparing_all_with_all_finds() -> None:
    random = np.random.default_rng(11)
    sets = {
        role: ImageSet(random.integers(0, 2, (n, 2, 3, 1), np.uint8), np.zeros(n, np.int64))
        for role, n in (("a", 40), ("b", 30))
    }
    places = [(role, index) for role, each in sets.items() for index in range(len(each))]
    compared = {
        (one, other)
        for one, other in combinations(places, 2)
        if np.array_equal(sets[one[0]].images[one[1]], sets[other[0]].images[other[1]])
    }
    assert compared
    assert {pair for group in equal_images(sets) for pair in combinations(group, 2)} == compared


def test_images_that_differ_in_one_pixel_are_no_copies() -> None:
    assert equal_images({"train": images_of([1, 2, 3]), "test": images_of([4, 5, 0])}) == []


def origins_of(sets: dict[str, ImageSet]) -> list[list[Origin]]:
    return [
        [Origin(role, role, index, None, str(sets[role].labels[index])) for role, index in group]
        for group in equal_images(sets)
    ]


def test_copies_are_counted_within_a_split_across_splits_and_across_labels() -> None:
    sets = {
        "train": images_of([1, 1, 1, 2, 3, 4], [0, 0, 0, 1, 2, 2]),
        "validation": images_of([7, 2, 8, 8], [0, 1, 1, 2]),
        "test": images_of([1, 1, 4, 9, 7], [0, 0, 1, 2, 0]),
    }
    copies = origins_of(sets)
    assert {role: repeated(copies, role) for role in sets} == {"train": 2, "validation": 1, "test": 1}
    assert shared(copies, "validation", "train") == 1  # 2
    assert shared(copies, "test", "train") == 3  # 1, 1 and 4
    assert shared(copies, "train", "test") == 4  # 1, 1, 1 and 4
    assert shared(copies, "test", "validation") == 1  # 7
    assert conflicts(copies) == 2  # 4 and 8
    assert conflicts(copies, within_a_split=True) == 1  # 8


# Origins


def origins_for(data: DataSpec) -> tuple[Origins, dict[str, ImageSet], list[str]]:
    splits = read_splits(data)
    sets = {"train": splits.train, "test": splits.read_test()} | (
        {"validation": splits.validation} if splits.validation else {}
    )
    return Origins(data, {role: each.labels for role, each in sets.items()}, splits.class_names), sets, splits.class_names


@pytest.mark.parametrize("validation", [0.1, None])
def test_an_origin_is_the_place_in_the_source_where_the_image_lies(validation: float | None) -> None:
    data = digits(validation=validation, split_seed=4)
    origins, sets, _ = origins_for(data)
    whole = open_source(data).read("train")
    for role, images in sets.items():
        for index in range(0, len(images), 7):
            origin = origins.of(role, index)
            np.testing.assert_array_equal(whole.images[origin.index], images.images[index])
            assert (origin.split, origin.read_from, origin.file) == (role, "train", None)
            assert origin.class_name == str(whole.labels[origin.index])


@pytest.mark.parametrize("changes", [{"test": "test"}, {"test": 0.3}, {"test": "test", "validation": None}], ids=str)
def test_an_origin_names_the_file_of_a_folder(changes: dict[str, Any], tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    for split, name, number in [(s, n, k) for s in ("train", "test") for n in ("b", "a") for k in range(10)]:
        (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (3, 4), np.uint8)).save(tmp_path / split / name / f"{number}.png")
    facts = {"image_size": [3, 4], "channels": 1, "classes": 2, "validation": 0.2}
    data = DataSpec.model_validate({"source": "folder", "path": str(tmp_path), **facts, **changes})
    origins, sets, names = origins_for(data)
    for role, images in sets.items():
        for index, image in enumerate(images.images[:]):
            origin = origins.of(role, index)
            assert origin.file is not None
            with Image.open(tmp_path / origin.file) as opened:
                np.testing.assert_array_equal(fit_image(opened, data), image)
            assert origin.file.split("/")[:2] == [origin.read_from, names[images.labels[index]]]


def assert_origins_are_right(data: DataSpec, read: Callable[[str], ImageSet], names: Sequence[str]) -> None:
    """Looks at every image of class-disjoint splits in what it was read from; `names` are in the source's own order."""
    splits = read_disjoint_splits(data)
    sets = {"train": splits.train, "test": splits.read_test()}
    if splits.validation:
        sets["validation"] = splits.validation
    origins = Origins(data, {role: each.labels for role, each in sets.items()}, splits.class_names)
    for role, images in sets.items():
        for index, image in enumerate(images.images[:]):
            origin = origins.of(role, index)
            source = read(origin.read_from)
            np.testing.assert_array_equal(source.images[origin.index], image)
            assert (origin.split, origin.class_name) == (role, names[source.labels[origin.index]])


@pytest.mark.parametrize(
    "parts",
    [{"validation": 0.2, "test": ["7", "3"]}, {"validation": None, "test": 0.3}, {"validation": 0.1, "test": 0.2}],
    ids=str,
)
def test_an_origin_is_the_place_in_the_source_where_classes_are_held_out_too(parts: dict[str, Any]) -> None:
    data = digits(hold_out="class", split_seed=4, **parts)
    source = open_source(data)
    assert_origins_are_right(data, source.read, source.class_names)


def test_an_origin_names_the_file_of_a_class_that_is_held_out(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    for name, number in [(n, k) for n in ("d", "b", "a", "c") for k in range(3)]:
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (3, 4), np.uint8)).save(tmp_path / name / f"{number}.png")
    facts = {"image_size": [3, 4], "channels": 1, "classes": 4, "hold_out": "class"}
    parts = {"validation": ["b"], "test": ["a"]}
    data = DataSpec.model_validate({"source": "folder", "path": str(tmp_path), **facts, **parts})
    splits = read_disjoint_splits(data)
    assert splits.validation is not None
    sets = {"train": splits.train, "validation": splits.validation, "test": splits.read_test()}
    origins = Origins(data, {role: each.labels for role, each in sets.items()}, splits.class_names)
    found = {role: [origins.of(role, index).file for index in range(len(each))] for role, each in sets.items()}
    files = {name: [f"{name}/{number}.png" for number in range(3)] for name in "abcd"}
    assert found == {"train": files["c"] + files["d"], "validation": files["b"], "test": files["a"]}


class Glyphs(Source):
    """Two splits of letters that overlap, in alphabets; no two images are equal."""

    splits: ClassVar = {"one": [4, 0, 2, 2, 1, 3, 0, 4, 1], "two": [1, 5, 6, 3, 5, 0, 6, 6]}
    alphabets: ClassVar = ["A", "A", "B", "B", "C", "D", "D"]

    def __init__(self, data: DataSpec) -> None:
        self.class_names = [f"letter {number}" for number in range(7)]
        self.notes = []

    def labels(self, split: str) -> Labels:
        return np.array(self.splits[split], np.int64)

    def read(self, split: str) -> ImageSet:
        labels = self.splits[split]
        first = 100 if split == "two" else 0
        return images_of([first + position for position in range(1, len(labels) + 1)], labels)

    def groups(self, split: str) -> list[str]:
        return [self.alphabets[label] for label in self.splits[split]]


def glyphs(**fields: Any) -> DataSpec:
    facts = {"name": "glyphs", "image_size": [2, 2], "channels": 1, "classes": 7, "train": "one", "test": "two"}
    groups = {"hold_out": "group", "group": "alphabet", "shared_classes": "drop"}
    return DataSpec.model_validate({"source": "tfds", **facts, **groups, **fields})


@pytest.mark.parametrize("validation", [None, 0.3, ["B"]])
def test_an_origin_in_a_split_that_lost_classes_counts_the_images_that_were_dropped(
    validation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnctl.data.class_splits.open_source", Glyphs)
    data = glyphs(validation=validation)
    source = Glyphs(data)
    assert_origins_are_right(data, source.read, source.class_names)


REAL_MNIST = Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist"


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason="TFDS_DATA_DIR has no mnist; digits and planted copies cover the same code")
def test_the_test_images_of_real_mnist_have_their_known_mean_and_spread_and_no_copies() -> None:
    fit = {"image_size": [28, 28], "channels": 1, "classes": 10}
    parts = {"train": "test", "validation": None, "test": "train[:10%]"}  # the smaller ones, so that the test is quick
    data = DataSpec.model_validate({"source": "tfds", "name": "mnist", **fit, **parts})
    splits = read_splits(data)
    facts = data_facts(data, splits)
    pixels = facts.splits["train"].pixels
    assert (round(pixels.mean[0], 4), round(pixels.standard_deviation[0], 4)) == (0.1325, 0.3105)
    different = {image.tobytes() for part in (splits.train, splits.read_test()) for image in part.images[:]}
    assert (len(different), facts.duplicates) == (16_000, [])
    assert facts.folder == str(REAL_MNIST / "3.0.1")


# Few-shot tasks


def test_where_splits_share_no_class_none_is_missing_and_there_is_no_baseline() -> None:
    facts = few_shot_facts_of(digits(hold_out="class", classes=12, validation=["4"], test=["0", "9"]))
    assert {role: split.classes for role, split in facts.splits.items()} == {"train": 7, "validation": 1, "test": 2}
    assert [split.missing for split in facts.splits.values()] == [[], [], []]
    assert [each.name for each in facts.classes] == ["1", "2", "3", "5", "6", "7", "8", "4", "0", "9"]
    assert [split.part for split in facts.splits.values()] == ["train", ["4"], ["0", "9"]]
    assert (facts.baseline, facts.hold_out, facts.method) == (None, "class", "prototypical")


def test_of_a_classification_no_episodes_are_told() -> None:
    facts = facts_of(digits())
    assert (facts.episodes, facts.method, facts.groups, facts.turns, facts.hold_out) == (None, None, None, 1, "image")


def test_the_groups_of_each_split_are_those_of_the_classes_that_it_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnctl.data.class_splits.open_source", Glyphs)
    facts = few_shot_facts_of(glyphs(validation=["B"]))
    assert facts.groups == {"train": ["A", "C"], "validation": ["B"], "test": ["D"]}
    assert facts.notes == ["test: 2 classes; 3 more were dropped because they are also in 'one'"]


def test_an_image_in_two_splits_of_a_few_shot_task_is_no_conflict_since_its_class_cannot_be_in_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cnnctl.data.class_splits.open_source", Glyphs)
    monkeypatch.setattr(Glyphs, "read", lambda self, split: images_of([7] * len(self.splits[split]), self.splits[split]))
    facts = few_shot_facts_of(glyphs(validation=["C"]))
    assert facts.conflicts == 1  # all images are one, with many labels in train
    assert facts.splits["test"].shared == {"train": 5, "validation": 5}
    monkeypatch.setattr(Glyphs, "splits", {"one": [0, 0], "two": [5, 5]})
    facts = few_shot_facts_of(glyphs(validation=None))
    assert (facts.conflicts, facts.splits["test"].shared) == (0, {"train": 2})


EPISODES_OF_DIGITS = {"way": 2, "shot": 3, "query": 175}


def test_episodes_are_bounded_by_the_classes_of_a_split_and_by_its_smallest_class() -> None:
    facts = few_shot_facts_of(digits(hold_out="class", validation=["2", "8"], test=["0", "9", "1"]), **EPISODES_OF_DIGITS)
    assert facts.episodes == {  # the digits 0 to 9 have 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 images
        "train": EpisodeFacts(classes=5, images=179, way=2, shot=3, query=175, short=0),
        "validation": EpisodeFacts(classes=2, images=174, way=2, shot=3, query=175, short=2),
        "test": EpisodeFacts(classes=3, images=178, way=2, shot=3, query=175, short=0),
    }


def test_training_episodes_have_a_size_of_their_own_and_turned_classes() -> None:
    data = digits(hold_out="class", validation=None, test=["0", "9"])
    own = {"train_way": 30, "train_shot": 1, "train_query": 2, "rotations": True, "mirrors": True}
    facts = few_shot_facts_of(data, **EPISODES_OF_DIGITS, **own)
    assert facts.episodes is not None
    assert facts.episodes["train"] == EpisodeFacts(classes=64, images=174, way=30, shot=1, query=2, short=0)
    assert facts.episodes["test"] == EpisodeFacts(classes=2, images=178, way=2, shot=3, query=175, short=0)


def test_a_classifier_draws_no_episodes_from_train() -> None:
    data = digits(hold_out="class", validation=0.2, test=["0", "9"])
    facts = few_shot_facts_of(data, method="cosine_classifier", rotations=True)
    assert facts.episodes is not None
    assert (list(facts.episodes), facts.turns, facts.method) == (["validation", "test"], 4, "cosine_classifier")


@pytest.mark.parametrize("turned", [{}, {"rotations": True}, {"mirrors": True}, {"rotations": True, "mirrors": True}], ids=str)
def test_the_largest_episode_that_is_told_can_be_drawn_and_no_larger_one(turned: dict[str, bool]) -> None:
    data = digits(hold_out="class", validation=None, test=["0", "9"])
    facts = few_shot_facts_of(data, **turned)
    turns = {"rotations": False, "mirrors": False} | turned
    images = add_pose_classes(read_disjoint_splits(data).train, **turns)
    assert facts.episodes is not None
    way, most = facts.episodes["train"].classes, facts.episodes["train"].images
    Episodes(images, EpisodeSize(way, 1, most - 1), "train")
    for size in (EpisodeSize(way + 1, 1, most - 1), EpisodeSize(way, 1, most)):
        with pytest.raises(DataError, match="an episode"):
            Episodes(images, size, "train")


REAL_OMNIGLOT = Path(os.environ.get("TFDS_DATA_DIR", "")) / "omniglot"


@pytest.mark.skipif(not REAL_OMNIGLOT.is_dir(), reason="TFDS_DATA_DIR has no omniglot; the glyphs above cover the same code")
def test_the_alphabets_of_real_omniglot_are_told_and_its_images_found() -> None:
    facts = {"name": "omniglot", "image_size": [28, 28], "channels": 1, "classes": 1623, "train": "small1", "test": "small2"}
    parts = {"validation": ["Korean"], "hold_out": "group", "group": "alphabet", "shared_classes": "drop"}
    data = DataSpec.model_validate({"source": "tfds", **facts, **parts})
    splits = read_disjoint_splits(data)
    found = data_facts(data, splits, FewShotSpec())
    assert found.groups == {
        "train": ["Balinese", "Early_Aramaic", "Greek", "Latin"],
        "validation": ["Korean"],
        "test": ["Japanese_(katakana)", "Sanskrit", "Tagalog"],
    }
    assert [split.balance.fewest for split in found.splits.values()] == [20, 20, 20]
    test = splits.read_test()
    origins = Origins(data, {"test": test.labels}, splits.class_names)
    whole = open_source(data).read("small2")
    for index in range(0, len(test), 211):
        np.testing.assert_array_equal(whole.images[origins.of("test", index).index], test.images[index])


# Samples


def test_samples_are_a_few_images_of_each_class() -> None:
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 4], [30, 3, OF_EACH]))
    chosen = sampled(labels, 0)
    assert {label: len(indices) for label, indices in chosen.items()} == {0: OF_EACH, 1: 3, 4: OF_EACH}
    assert all((labels[indices] == label).all() and len(set(indices)) == len(indices) for label, indices in chosen.items())


def test_of_many_classes_the_seed_chooses_some() -> None:
    labels = np.repeat(np.arange(100), 3)
    first, again, other = (list(sampled(labels, seed)) for seed in (0, 0, 1))
    assert len(set(first)) == MAX_CLASSES
    assert first == again == sorted(first) != other


def experiment_with(augment: dict[str, Any] | None) -> Experiment:
    data = digits(augment=augment)
    model = {"layers": ["flatten", {"dense": {"units": "classes"}}], "data_format": "channels_first"}
    return Experiment.model_validate({"seed": 5, "data": data.model_dump(), "model": model})


def test_augmented_samples_are_those_that_the_first_epoch_trains_on() -> None:
    experiment = experiment_with({"rotation": 30, "shift": 0.1})
    train = read_splits(experiment.data).train
    indices = np.array([3, 400, 1200])
    ((batch, _),) = training_batches(
        train,
        preparation(experiment.data, experiment.model.data_format),
        batch_size=len(train),
        seed=experiment.seed,
        first_epoch=0,
        epochs=1,
    )
    trained_on = {image.tobytes() for image in np.asarray(batch)[:, 0]}
    changed = augmented(train, indices, experiment)
    assert changed.shape == (3, 8, 8, 1)
    assert all(image.tobytes() in trained_on for image in changed[..., 0])
    assert not np.allclose(changed, train.images[indices] / 255)


def test_samples_stand_beside_their_augmented_selves_where_there_is_augmentation() -> None:
    splits = read_splits(digits())
    plain = samples(splits, experiment_with(None))
    both = samples(splits, experiment_with({"flip": True}))
    assert list(plain.blocks) == ["as the network receives them"]
    assert list(both.blocks) == ["as the network receives them", "after augmentation in the first epoch"]
    for images, changed in zip(*both.blocks.values(), strict=True):
        for image, other in zip(images / 255, changed, strict=True):
            assert np.allclose(image, other, atol=1e-5) or np.allclose(image[:, ::-1], other, atol=1e-5)


def test_samples_of_a_few_shot_task_do_not_claim_to_be_those_of_the_first_epoch() -> None:
    data = digits(hold_out="class", test=["8", "9"], augment={"flip": True})
    model = {"layers": ["flatten"]}
    experiment = Experiment.model_validate({"task": "few_shot", "data": data.model_dump(), "model": model})
    drawn = samples(read_disjoint_splits(data), experiment)
    assert list(drawn.blocks) == ["as the network receives them", "after augmentation"]
    assert len(drawn.class_names) == 7  # one of the eight that are left is drawn for validation
    assert not {"8", "9"} & set(drawn.class_names)
