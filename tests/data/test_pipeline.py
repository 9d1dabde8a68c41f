"""Batches: every image once an epoch, in an order and with changes that depend on (seed, epoch, example) alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.augment import augment, draw
from cnnctl.data.image_set import ImageSet
from cnnctl.data.pipeline import Preparation, ordered_batches, pixels_of, preparation, steps_of, training_batches
from cnnctl.data.store.lazy import ALIGNMENT, empty_images
from cnnctl.spec.dataset import Augment
from cnnctl.spec.draws import DRAWS
from cnnctl.spec.experiment import Experiment

PLAIN = Preparation(classes=0, channels_first=False, augment=None)
MOVING = Preparation(0, False, Augment(rotation=20, shift=0.2, zoom=0.2, shear=10, flip=True))
COUNT = 23
ROTATION, DOWN, RIGHT, ZOOM, SHEAR, FLIP = range(DRAWS)

Batch = tuple[NDArray[np.float32], NDArray[Any]]


def numbered_images(count: int = COUNT) -> ImageSet:
    """Images whose label is their number, so that a batch tells which images it holds."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 6, 5, 3), np.uint8)
    return ImageSet(pixels, np.arange(count, dtype=np.int64))


def batches(
    prepare: Preparation = PLAIN, *, batch_size: int = 5, seed: int = 3, first_epoch: int = 0, epochs: int = 1
) -> list[Batch]:
    dataset = training_batches(
        numbered_images(), prepare, batch_size=batch_size, seed=seed, first_epoch=first_epoch, epochs=epochs
    )
    return list(dataset.as_numpy_iterator())


def order(**arguments: Any) -> list[int]:
    return [int(label) for _, labels in batches(**arguments) for label in labels]


def test_every_epoch_visits_every_image_once() -> None:
    seen = order(epochs=3)
    epochs = [seen[start : start + COUNT] for start in range(0, 3 * COUNT, COUNT)]
    assert len(seen) == 3 * COUNT
    assert [sorted(epoch) for epoch in epochs] == [list(range(COUNT))] * 3


def test_every_epoch_ends_with_the_smaller_batch() -> None:
    assert steps_of(COUNT, 5) == 5
    assert [len(labels) for _, labels in batches(epochs=2)] == [5, 5, 5, 5, 3] * 2


def test_epochs_have_different_orders() -> None:
    seen = order(epochs=2)
    assert seen[:COUNT] != seen[COUNT:]
    assert seen[:COUNT] != list(range(COUNT))


def test_the_order_follows_from_the_seed() -> None:
    assert order(seed=3) == order(seed=3)
    assert order(seed=3) != order(seed=4)


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    assert order(batch_size=5) == order(batch_size=8)


@pytest.mark.parametrize("prepare", [PLAIN, MOVING], ids=["plain", "augmented"])
def test_batches_from_a_later_epoch_are_the_tail_of_all(prepare: Preparation) -> None:
    tail, whole = batches(prepare, first_epoch=2, epochs=4), batches(prepare, epochs=4)
    assert len(tail) == 10
    for (images, labels), (expected_images, expected_labels) in zip(tail, whole[10:], strict=True):
        np.testing.assert_array_equal(labels, expected_labels)
        np.testing.assert_array_equal(images, expected_images)


def test_images_become_float32_between_0_and_1() -> None:
    source = numbered_images()
    for images, labels in batches():
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, source.images[labels].astype(np.float32) / np.float32(255))


def test_ordered_batches_keep_the_order_and_the_pixels() -> None:
    source = numbered_images()
    parts = list(ordered_batches(source, MOVING, 10).as_numpy_iterator())
    assert [len(labels) for _, labels in parts] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in parts]), source.labels)
    pixels = np.concatenate([images for images, _ in parts])
    np.testing.assert_array_equal(pixels, source.images[:].astype(np.float32) / np.float32(255))


def test_one_hot_labels_have_a_1_at_the_class() -> None:
    _, labels = batches(Preparation(30, False, None))[0]
    integers = order()[:5]
    assert labels.shape == (5, 30)
    np.testing.assert_array_equal(labels, np.eye(30, dtype=np.float32)[integers])


def test_channels_first_moves_the_channels_alone() -> None:
    last, first = batches(MOVING), batches(Preparation(0, True, MOVING.augment))
    assert first[0][0].shape == (5, 3, 6, 5)
    for (images, _), (turned, _) in zip(last, first, strict=True):
        np.testing.assert_array_equal(turned, images.transpose(0, 3, 1, 2))


def prepared_by(content: dict[str, Any]) -> Preparation:
    experiment = Experiment.model_validate(content)
    return preparation(experiment.data, experiment.model.data_format)


def test_the_config_says_how_batches_are_made() -> None:
    content = {
        "data": {"source": "digits", "classes": 10, "labels": "one_hot", "augment": {"shift": 0.1}},
        "model": {"data_format": "channels_first", "layers": ["flatten"]},
    }
    assert prepared_by(content) == Preparation(10, True, Augment(shift=0.1))
    content["data"] = {"source": "digits", "classes": 10}
    assert prepared_by(content) == Preparation(0, True, None)


# Augmentation


def by_label(**arguments: Any) -> dict[int, NDArray[np.float32]]:
    return {
        int(label): image
        for images, labels in batches(MOVING, **arguments)
        for image, label in zip(images, labels, strict=True)
    }


def test_an_image_is_changed_the_same_whatever_the_batch_size() -> None:
    small, large = by_label(batch_size=1), by_label(batch_size=16)
    assert small.keys() == large.keys()
    for label, image in small.items():
        np.testing.assert_array_equal(image, large[label])


@pytest.mark.parametrize("other", [{"seed": 4}, {"first_epoch": 1, "epochs": 2}], ids=["seed", "epoch"])
def test_an_image_is_changed_otherwise_by_another_seed_or_epoch(other: dict[str, int]) -> None:
    first, second = by_label(), by_label(**other)
    assert not any(np.array_equal(image, second[label]) for label, image in first.items())


def test_the_numbers_of_an_image_follow_from_seed_epoch_and_its_place_in_the_set() -> None:
    assert MOVING.augment is not None
    source, settings = numbered_images(), MOVING.augment
    scaled = tf.constant(source.images, tf.float32) / 255
    expected = augment(scaled, draw(COUNT, 3, tf.constant(1, tf.int64), settings), settings).numpy()
    for label, image in by_label(seed=3, first_epoch=1, epochs=2).items():
        np.testing.assert_allclose(image, expected[label], atol=1e-6)


def test_each_image_of_an_epoch_has_numbers_of_its_own() -> None:
    draws = draw(500, 0, tf.constant(0, tf.int64), Augment()).numpy()
    assert draws.shape == (500, DRAWS)
    assert len(np.unique(draws)) > 0.99 * draws.size
    assert draws.min() >= -1 and draws.max() < 1
    assert np.abs(draws.mean(axis=0)).max() < 0.1


def moved(picture: NDArray[np.float32], settings: Augment, **draws: float) -> NDArray[np.float32]:
    """Returns the picture (H, W) augmented with the numbers given, 0 for the others."""
    numbers = np.zeros((1, DRAWS), np.float32)
    for name, value in draws.items():
        numbers[0, globals()[name]] = value
    result: NDArray[np.float32] = augment(tf.constant(picture[None, ..., None]), tf.constant(numbers), settings).numpy()
    return result[0, ..., 0]


def picture(height: int = 8, width: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(1).random((height, width), np.float32)


EVERYTHING = {"ROTATION": 0.7, "DOWN": 0.3, "RIGHT": -0.9, "ZOOM": 0.5, "SHEAR": -0.4, "FLIP": -0.2}


def test_settings_of_zero_change_nothing() -> None:
    original = picture(7, 9)
    np.testing.assert_array_equal(moved(original, Augment(), **EVERYTHING), original)


def test_numbers_of_zero_change_nothing() -> None:
    settings = Augment(rotation=90, shift=0.5, zoom=0.5, shear=45, flip=True)
    np.testing.assert_allclose(moved(picture(7, 9), settings), picture(7, 9), atol=1e-6)


def test_a_shift_moves_the_picture_by_its_fraction_and_repeats_the_edge() -> None:
    original = picture()
    up = moved(original, Augment(shift=0.25), DOWN=1.0)  # a quarter of 8 rows; reads from two rows below
    np.testing.assert_allclose(up, np.concatenate([original[2:], original[-1:], original[-1:]]), atol=1e-6)
    right = moved(original, Augment(shift=0.25), RIGHT=-0.5)
    np.testing.assert_allclose(right, np.concatenate([original[:, :1], original[:, :-1]], axis=1), atol=1e-6)


def test_a_flip_mirrors_left_and_right() -> None:
    original = picture(7, 9)
    np.testing.assert_allclose(moved(original, Augment(flip=True), FLIP=-0.5), original[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(moved(original, Augment(flip=True), FLIP=0.5), original, atol=1e-6)


@pytest.mark.parametrize(("turn", "quarters"), [(1.0, 1), (-1.0, -1)])
def test_a_rotation_by_90_degrees_is_a_quarter_turn(turn: float, quarters: int) -> None:
    original = picture()
    np.testing.assert_allclose(moved(original, Augment(rotation=90), ROTATION=turn), np.rot90(original, quarters), atol=1e-5)


def test_a_rotation_by_180_degrees_turns_any_picture_upside_down() -> None:
    original = picture(7, 9)
    np.testing.assert_allclose(moved(original, Augment(rotation=180), ROTATION=1.0), original[::-1, ::-1], atol=1e-5)


def test_a_zoom_enlarges_about_the_centre() -> None:
    original = picture(9, 9)
    position = 4 + (np.arange(9) - 4) / 1.5  # where each output pixel is read, in a picture one and a half as large
    np.testing.assert_allclose(moved(original, Augment(zoom=0.5), ZOOM=1.0), bilinear(original, position), atol=1e-5)


def test_a_zoom_out_repeats_the_edge() -> None:
    original = picture(9, 9)
    position = np.clip(4 + (np.arange(9) - 4) / 0.5, 0, 8)
    np.testing.assert_allclose(moved(original, Augment(zoom=0.5), ZOOM=-1.0), bilinear(original, position), atol=1e-5)


def bilinear(original: NDArray[np.float32], position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the picture read at fractional rows and columns, one axis after the other."""
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, len(original) - 1)
    share = position - below
    rows = original[below] * (1 - share)[:, None] + original[above] * share[:, None]
    columns: NDArray[np.float64] = rows[:, below] * (1 - share) + rows[:, above] * share
    return columns


def test_a_shear_moves_rows_against_each_other_and_keeps_the_middle_row() -> None:
    original = np.zeros((9, 9), np.float32)
    original[:, 4] = 1
    slanted = moved(original, Augment(shear=45), SHEAR=0.5)
    centres = (slanted * np.arange(9)).sum(axis=1) / slanted.sum(axis=1)
    slope = np.sin(np.radians(22.5))  # columns between a row and the next, in the transform of shear
    np.testing.assert_allclose(np.diff(centres[1:8]), slope, atol=0.02)
    np.testing.assert_allclose(slanted[4], original[4], atol=1e-6)


def test_about_half_of_the_images_are_flipped() -> None:
    pixels = np.zeros((1000, 4, 4, 1), np.uint8)
    pixels[:, :, 0] = 255
    prepare = Preparation(0, False, Augment(flip=True))
    dataset = training_batches(
        ImageSet(pixels, np.zeros(1000, np.int64)), prepare, batch_size=100, seed=0, first_epoch=0, epochs=1
    )
    images = np.concatenate([batch for batch, _ in dataset.as_numpy_iterator()])
    mirrored = (images[:, :, 3, 0] == 1).all(axis=1)
    assert ((images[:, :, 0, 0] == 1).all(axis=1) ^ mirrored).all()
    assert 430 < mirrored.sum() < 570


def test_images_at_an_aligned_address_are_read_in_place_and_others_from_a_copy() -> None:
    aligned = empty_images((3, 2, 2, 1))
    aligned[:] = 5
    buffer = np.zeros(aligned.size + 2 * ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT + 1
    elsewhere = buffer[start : start + aligned.size].reshape(aligned.shape)
    turned = aligned.swapaxes(1, 2)
    read_only = aligned.view()
    read_only.flags.writeable = False
    rows = [pixels_of(each) for each in (aligned, elsewhere, turned, read_only)]
    aligned[1], elsewhere[1] = 7, 7
    assert [int(read([1])[0, 0, 0, 0]) for read in rows] == [7, 0, 5, 5]


GROWTH = """
import numpy as np, tensorflow as tf
from cnnctl.data.image_set import ImageSet
from cnnctl.data.pipeline import Preparation, first_of, training_batches
from cnnctl.data.store.lazy import empty_images

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def first(images):  # returns by how many bytes the peak of memory exceeds the memory before the pipeline was built
    before = kilobytes("VmRSS:")
    sets = ImageSet(images, np.zeros(len(images), np.int64))
    first_of(training_batches(sets, Preparation(0, False, None), batch_size=8, seed=0, first_epoch=0, epochs=1))
    return (kilobytes("VmHWM:") - before) * 1024

few, many = (empty_images((count, 100, 100, 1)) for count in (10, 20_000))
many[:] = 1
first(few)  # starts threads, and loads what every pipeline needs
print(first(many) / many.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from Linux")
def test_a_pipeline_makes_no_second_copy_of_images_in_memory() -> None:
    ended = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True, timeout=120)
    assert float(ended.stdout) < 0.25  # of 200 MB
