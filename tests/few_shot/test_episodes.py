"""Episodes: what is in one, that each is drawn by (seed, number) alone, and what a training gets of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet
from cnnctl.data.pipeline import Preparation
from cnnctl.data.store.lazy import ALIGNMENT
from cnnctl.errors import DataError
from cnnctl.few_shot.episodes import OPTION_NAMES, TRAIN_FIELDS, Episodes, add_pose_classes, index_batches, training_episodes
from cnnctl.spec.dataset import Augment
from cnnctl.spec.few_shot import EpisodeSize

Array = NDArray[Any]
WAY, SHOT, QUERY = 3, 2, 4
SIZE = EpisodeSize(WAY, SHOT, QUERY)
COUNTS = [6, 11, 7, 20, 6]
"""Images of each class of `some_images`; an episode takes 6 of a class."""
LABELS = np.random.default_rng(1).permutation(np.repeat([0, 1, 4, 5, 9], COUNTS))
"""In no order, and with gaps, as the labels of a split may be."""
PLAIN = Preparation(classes=0, channels_first=False, augment=None)
MOVING = replace(PLAIN, augment=Augment(rotation=30.0, shift=0.2))
SEED = 7


def some_images(labels: Array = LABELS) -> ImageSet:
    """Images of 5×5 whose upper left value is their number, so that a batch shows which images it has."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 5, 5, 1), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(len(labels))
    return ImageSet(pixels, labels.astype(np.int64))


def episodes(size: EpisodeSize = SIZE, labels: Array = LABELS) -> Episodes:
    return Episodes(some_images(labels), size, "train")


def drawn(count: int, seed: int = SEED, of: Episodes | None = None) -> Array:
    """Draw the indices of the first episodes of a seed, (count, way, shot + query)."""
    of = of or episodes()
    return np.stack([of.indices(seed, number).numpy() for number in range(count)])


# sizes


def test_an_episode_has_way_times_shot_and_query_images() -> None:
    size = EpisodeSize(way=20, shot=1, query=5)
    assert (size.images_per_class, size.images) == (6, 120)


# turned classes


def turnable() -> ImageSet:
    return ImageSet(np.random.default_rng(2).integers(0, 256, (3, 4, 4, 2), np.uint8), np.array([1, 0, 1]))


def rotated(image: Array, quarters: int) -> Array:
    """Rotate an image (H, W, C) counter-clockwise: what was on the right is then at the top."""
    for _ in range(quarters):
        size = len(image)
        image = np.array([[image[column, size - 1 - row] for column in range(size)] for row in range(size)])
    return image


def mirrored(image: Array) -> Array:
    return np.array([[row[len(row) - 1 - column] for column in range(len(row))] for row in image])


@pytest.mark.parametrize(
    ("rotations", "mirrors", "ways"),
    [
        (False, False, [(False, 0)]),
        (True, False, [(False, 0), (False, 1), (False, 2), (False, 3)]),
        (False, True, [(False, 0), (True, 0)]),
        (True, True, [(False, 0), (False, 1), (False, 2), (False, 3), (True, 0), (True, 1), (True, 2), (True, 3)]),
    ],
)
def test_every_way_of_turning_is_a_class_of_its_own(rotations: bool, mirrors: bool, ways: list[tuple[bool, int]]) -> None:
    images = turnable()
    turned = add_pose_classes(images, rotations, mirrors)
    expected_images, expected_labels = [], []
    for way, (mirror, quarters) in enumerate(ways):
        for image, label in zip(images.images[:], images.labels, strict=True):
            expected_images.append(rotated(mirrored(image) if mirror else image, quarters))
            expected_labels.append(label * len(ways) + way)
    np.testing.assert_array_equal(turned.images, expected_images)
    assert turned.labels.tolist() == expected_labels
    assert turned.images[:].dtype == np.uint8
    assert turned.labels.dtype == np.int64


def test_all_turned_copies_of_an_image_differ() -> None:
    turned = add_pose_classes(turnable().take(np.array([0])), rotations=True, mirrors=True)
    assert len({image.tobytes() for image in turned.images[:]}) == 8
    assert sorted(turned.labels.tolist()) == list(range(8, 16))


def test_turned_classes_are_at_an_address_that_needs_no_copy() -> None:
    images = ImageSet(np.zeros((500, 28, 28, 1), np.uint8), np.zeros(500, np.int64))
    turned = add_pose_classes(images, rotations=True, mirrors=False).images
    assert isinstance(turned, np.ndarray)
    assert turned.ctypes.data % ALIGNMENT == 0


def test_mirrored_images_need_not_be_square() -> None:
    wide = ImageSet(np.random.default_rng(2).integers(0, 256, (2, 3, 5, 1), np.uint8), np.array([0, 1]))
    turned = add_pose_classes(wide, rotations=False, mirrors=True)
    assert turned.images.shape == (4, 3, 5, 1)
    np.testing.assert_array_equal(turned.images[2], mirrored(wide.images[0]))


# one episode


@pytest.mark.parametrize("size", [SIZE, EpisodeSize(5, 1, 5), EpisodeSize(2, 5, 1), EpisodeSize(2, 1, 1)], ids=str)
def test_an_episode_has_different_classes_and_different_images_of_each(size: EpisodeSize) -> None:
    of = episodes(size)
    for indices in drawn(40, of=of):
        assert indices.shape == (size.way, size.images_per_class)
        classes = LABELS[indices]
        assert (classes == classes[:, :1]).all(), "a row is of one class"
        assert len(np.unique(classes[:, 0])) == size.way
        assert len(np.unique(indices)) == size.images


def test_the_smallest_class_gives_all_its_images_and_never_one_of_another_class() -> None:
    everything = set(np.flatnonzero(LABELS == 0))
    rows = [row for indices in drawn(40) for row in indices if LABELS[row[0]] == 0]
    assert len(rows) > 10
    assert all(set(row) == everything for row in rows)
    assert len({tuple(row) for row in rows}) > 1, "in an order of its own each time"


def test_an_episode_is_the_same_for_one_seed_and_number_and_another_for_others() -> None:
    np.testing.assert_array_equal(drawn(10), drawn(10))
    first, other = drawn(30), drawn(30, seed=SEED + 1)
    assert len({indices.tobytes() for indices in (*first, *other)}) == 60


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    np.testing.assert_array_equal(episodes().indices(SEED, 17).numpy(), drawn(18)[17])


def test_numbers_beyond_32_bits_and_the_largest_seed_are_taken() -> None:
    of = episodes()
    far = [of.indices(2**31 - 1, number).numpy() for number in (2**33, 2**33 + 1, 0)]
    assert len({indices.tobytes() for indices in far}) == 3


def test_every_class_is_drawn_about_equally_often_and_at_every_place() -> None:
    classes = LABELS[drawn(600)[:, :, 0]]  # (600, way)
    expected = 600 / len(COUNTS)
    for place in range(WAY):
        _, counts = np.unique(classes[:, place], return_counts=True)
        assert len(counts) == len(COUNTS)
        # standard deviation of a count: sqrt(600 · 1/5 · 4/5) = 9.8
        assert np.abs(counts - expected).max() < 4 * 9.8


def test_every_image_of_a_class_is_drawn_about_equally_often_as_example_and_as_query() -> None:
    indices = drawn(600)
    largest = np.flatnonzero(LABELS == 5)
    times = (LABELS[indices[:, :, 0]] == 5).sum()
    for part, share in ((indices[:, :, :SHOT], SHOT / 20), (indices[:, :, SHOT:], QUERY / 20)):
        counts = np.bincount(part.ravel(), minlength=len(LABELS))[largest]
        assert counts.sum() == times * share * 20
        assert np.abs(counts - times * share).max() < 4 * np.sqrt(times * share * (1 - share))


def test_classes_that_come_together_are_not_always_the_same() -> None:
    pairs = {tuple(sorted(set(LABELS[indices[:, 0]]))) for indices in drawn(200)}
    assert len(pairs) == 10, "3 of 5 classes, each choice"


def test_the_images_of_one_class_say_nothing_of_those_of_another() -> None:
    labels = np.repeat(np.arange(3), 8)
    places = drawn(40, of=episodes(EpisodeSize(3, 1, 3), labels)) % 8  # where in its class an image is
    assert len({row.tobytes() for episode in places for row in episode}) > 110
    shared = (places[:, 0, 0] == places[:, 1, 0]).mean()
    assert shared < 0.4, "an eighth, by chance"


# too few


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            EpisodeSize(6, 1, 1),
            r"an episode needs 6 classes, but 'small' has 5; lower few_shot\.way, or add classes$",
        ),
        (
            EpisodeSize(5, 3, 4),
            r"an episode needs 3 \+ 4 images per class, but 2 of the 5 classes of 'small' have fewer, one only 6; "
            r"lower few_shot\.shot or few_shot\.query$",
        ),
        (
            EpisodeSize(2, 1, 19),
            r"an episode needs 1 \+ 19 images per class, but 4 of the 5 classes of 'small' have fewer, one only 6",
        ),
    ],
)
def test_a_set_that_is_too_small_for_an_episode_is_refused(size: EpisodeSize, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Episodes(some_images(), size, "'small'")


def test_classes_with_too_few_images_are_named_those_with_the_fewest_first() -> None:
    message = (
        r"an episode needs 1 \+ 19 images per class, but 4 of the 5 classes of 'small' have fewer: '.' has 6, .*; "
        r"lower --shot or --query$"
    )
    with pytest.raises(DataError, match=message):
        Episodes(some_images(), EpisodeSize(2, 1, 19), "'small'", OPTION_NAMES, "abcdefghij")


def test_a_training_episode_that_is_too_large_is_told_with_the_fields_of_training() -> None:
    for size, message in (
        (EpisodeSize(6, 1, 1), r"has 5; lower few_shot\.train_way, or add classes$"),
        (EpisodeSize(2, 9, 3), r"one only 6; lower few_shot\.train_shot or few_shot\.train_query$"),
    ):
        with pytest.raises(DataError, match=message):
            Episodes(some_images(), size, "'small'", TRAIN_FIELDS)


def test_a_set_that_is_just_large_enough_gives_episodes_of_all_of_it() -> None:
    labels = np.repeat(np.arange(3), 6)
    indices = drawn(2, of=episodes(SIZE, labels))
    assert [sorted(each.ravel().tolist()) for each in indices] == [list(range(18))] * 2
    assert indices[0].tolist() != indices[1].tolist()


# episodes of an evaluation


@pytest.mark.parametrize(("at_once", "sizes"), [(3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_index_batches_are_the_first_episodes_in_their_order(at_once: int, sizes: list[int]) -> None:
    batches = list(index_batches(episodes(), SEED, 7, at_once).as_numpy_iterator())
    assert [len(batch) for batch in batches] == sizes
    np.testing.assert_array_equal(np.concatenate(batches), drawn(7))


# episodes to train on


def trained_on(prepare: Preparation = PLAIN, first: int = 0, epochs: int = 2, **changes: Any) -> list[tuple[Array, Array]]:
    """Create the batches of a training: epochs of 5 episodes, 2 per step."""
    settings: dict[str, Any] = {"seed": SEED, "at_once": 2, "per_epoch": 5, **changes}
    per_epoch = settings["per_epoch"]
    dataset = training_episodes(episodes(), prepare, first=first * per_epoch, count=epochs * per_epoch, **settings)
    return list(dataset.as_numpy_iterator())


def stream(batches: list[tuple[Array, Array]]) -> Array:
    """Collect all images of all episodes, (E, way, shot + query, H, W, C)."""
    return np.concatenate([np.concatenate(batch, axis=2) for batch in batches])


def test_a_step_has_labelled_and_query_images_of_several_episodes() -> None:
    support, queries = trained_on()[0]
    assert support.shape == (2, WAY, SHOT, 5, 5, 1)
    assert queries.shape == (2, WAY, QUERY, 5, 5, 1)
    assert support.dtype == queries.dtype == np.float32


def test_the_shape_of_an_episode_is_known_before_it_is_drawn() -> None:
    dataset = training_episodes(episodes(), MOVING, seed=SEED, first=0, count=5, at_once=2, per_epoch=5)
    assert [tuple(spec.shape) for spec in dataset.element_spec] == [(None, WAY, SHOT, 5, 5, 1), (None, WAY, QUERY, 5, 5, 1)]


def test_every_epoch_ends_with_the_smaller_batch() -> None:
    assert [len(support) for support, _ in trained_on(epochs=3)] == [2, 2, 1] * 3
    assert [len(support) for support, _ in trained_on(at_once=9)] == [5, 5]


def test_an_episode_holds_the_images_that_were_drawn_scaled_to_1() -> None:
    np.testing.assert_array_equal(stream(trained_on()), some_images().images[drawn(10)].astype(np.float32) / np.float32(255))


def test_channels_come_first_where_the_network_wants_them() -> None:
    first = stream(trained_on(replace(PLAIN, channels_first=True)))
    assert first.shape == (10, WAY, SHOT + QUERY, 1, 5, 5)
    np.testing.assert_array_equal(np.moveaxis(first, 3, -1), stream(trained_on()))


def test_colour_images_keep_their_channels_in_either_order() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (len(LABELS), 4, 5, 3), np.uint8)
    of = Episodes(ImageSet(pixels, LABELS.astype(np.int64)), SIZE, "train")
    expected = pixels[drawn(2, of=of)].astype(np.float32) / np.float32(255)
    for prepare, axis in ((PLAIN, 5), (replace(PLAIN, channels_first=True), 3)):
        dataset = training_episodes(of, prepare, seed=SEED, first=0, count=2, at_once=2, per_epoch=2)
        found = stream(list(dataset.as_numpy_iterator()))
        np.testing.assert_array_equal(np.moveaxis(found, axis, -1), expected)


@pytest.mark.parametrize("prepare", [PLAIN, MOVING], ids=["plain", "augmented"])
def test_episodes_from_a_later_epoch_are_the_tail_of_all(prepare: Preparation) -> None:
    whole, tail = trained_on(prepare, epochs=4), trained_on(prepare, first=2, epochs=2)
    assert len(tail) == 6
    for found, expected in zip(tail, whole[6:], strict=True):
        for part, expected_part in zip(found, expected, strict=True):
            np.testing.assert_array_equal(part, expected_part)


def test_how_many_episodes_are_in_a_step_changes_none_of_them() -> None:
    np.testing.assert_array_equal(stream(trained_on(MOVING, at_once=2)), stream(trained_on(MOVING, at_once=5)))


def test_no_episode_comes_twice_in_a_training() -> None:
    assert len({episode.tobytes() for episode in stream(trained_on(epochs=8))}) == 40


def test_episodes_follow_from_the_seed() -> None:
    np.testing.assert_array_equal(stream(trained_on(MOVING)), stream(trained_on(MOVING)))
    assert not np.array_equal(stream(trained_on()), stream(trained_on(seed=SEED + 1)))


def test_augmentation_changes_every_image_of_every_episode_in_its_own_way() -> None:
    """In a set of equal images only augmentation makes them differ."""
    pixels = np.broadcast_to(np.random.default_rng(3).integers(0, 256, (1, 5, 5, 1), np.uint8), (len(LABELS), 5, 5, 1))
    equal = Episodes(ImageSet(np.ascontiguousarray(pixels), LABELS.astype(np.int64)), SIZE, "train")
    dataset = training_episodes(equal, MOVING, seed=SEED, first=0, count=10, at_once=2, per_epoch=5)
    found = stream(list(dataset.as_numpy_iterator())).reshape(-1, 25)
    assert len({image.tobytes() for image in found}) == 10 * SIZE.images


def test_augmentation_does_not_change_which_images_are_drawn() -> None:
    """Images of one value each stay as they are, however they are moved."""
    values = np.arange(len(LABELS), dtype=np.uint8)
    pixels = np.ascontiguousarray(np.broadcast_to(values[:, np.newaxis, np.newaxis, np.newaxis], (len(LABELS), 5, 5, 1)))
    flat = Episodes(ImageSet(pixels, LABELS.astype(np.int64)), SIZE, "train")
    dataset = training_episodes(flat, MOVING, seed=SEED, first=0, count=10, at_once=2, per_epoch=5)
    found = stream(list(dataset.as_numpy_iterator()))[:, :, :, 0, 0, 0]
    np.testing.assert_array_equal(np.round(found * 255), drawn(10, of=flat))


def test_the_draws_of_augmentation_are_not_those_of_the_batches_of_a_classifier() -> None:
    """Episodes have the same seed as everything else, so their changes need a stream of their own."""
    draws = MOVING.draws(SIZE.images, SEED, 0)
    chosen = some_images().images[drawn(1)[0].ravel()]
    as_of_batches, _ = MOVING.network_inputs(chosen, np.zeros(SIZE.images, np.int64), draws)
    as_of_episodes = stream(trained_on(MOVING))[0].reshape(-1, 5, 5, 1)
    assert np.abs(as_of_batches.numpy() - as_of_episodes).max() > 0.1
