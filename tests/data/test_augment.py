"""Augmentation: what it was stays to the bit, and strokes bend and grow as said; moves alone are in test_pipeline.py."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.augment import augment, draw
from cnnctl.data.image_set import ImageSet
from cnnctl.data.pipeline import Preparation, training_batches
from cnnctl.errors import ConfigError
from cnnctl.spec.dataset import Augment
from cnnctl.spec.document import parse
from cnnctl.spec.draws import DRAWS, KNOTS, SMOOTHNESS, STROKE_DRAWS
from cnnctl.spec.load import check

Pixels = NDArray[np.float32]
MOVES = Augment(rotation=20, shift=0.2, zoom=0.2, shear=10, flip=True)
STROKES = Augment(elastic=0.2, thickness=0.6)
EPOCH = tf.constant(2, tf.int64)


def pictures(count: int = 9, shape: tuple[int, int, int] = (6, 5, 3)) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def scaled(count: int = 9, shape: tuple[int, int, int] = (6, 5, 3)) -> Any:
    return tf.cast(pictures(count, shape), tf.float32) / 255.0


def bent(images: Any, knots: NDArray[np.float64], elastic: float) -> Pixels:
    """Returns images (B, H, W, C) bent by knots (B, 2, KNOTS, KNOTS): right, then down."""
    draws = np.concatenate([np.zeros((len(images), DRAWS + 1)), knots.reshape(len(images), -1)], axis=1)
    return np.asarray(augment(tf.constant(images), tf.constant(draws, tf.float32), Augment(elastic=elastic)))


def stroked(images: Any, number: float, thickness: float) -> Pixels:
    """Returns images (B, H, W, C) with strokes changed by one number."""
    draws = np.zeros((len(images), DRAWS + STROKE_DRAWS), np.float32)
    draws[:, DRAWS] = number
    return np.asarray(augment(tf.constant(images), tf.constant(draws), Augment(thickness=thickness)))


# what it is


def test_the_numbers_that_move_an_image_are_what_they_were_before_there_were_strokes() -> None:
    """Golden: made by the function as it was then."""
    draws = draw(9, 3, EPOCH, MOVES).numpy()
    first = np.array([0.5667114, -0.7690325, 0.5142014, 0.7859206, -0.5830982, 0.94241905], np.float32)
    np.testing.assert_array_equal(draws[0], first)
    assert draws.shape == (9, 6)


def test_images_without_strokes_stay_what_they_are() -> None:
    """Golden: sines may differ in their last bit by CPU."""
    moved = augment(scaled(), draw(9, 3, EPOCH, MOVES), MOVES).numpy()
    middle = [0.63361645, 0.29776365, 0.45716196, 0.24625082, 0.49665004, 0.48702508, 0.16069609, 0.18781738, 0.12025005]
    np.testing.assert_allclose(moved[:, 2, 3, 1], middle, rtol=1e-6)
    np.testing.assert_allclose(moved.sum(dtype=np.float64), 395.57624542620033, rtol=1e-7)


def test_without_settings_an_image_keeps_its_bits() -> None:
    np.testing.assert_array_equal(augment(scaled(), draw(9, 3, EPOCH, Augment()), Augment()), scaled())


@pytest.mark.parametrize("elastic", [0.0, 1e-9], ids=["projected", "read pixel by pixel"])
def test_an_image_moves_by_the_pixels_said_however_it_is_turned_zoomed_sheared_and_mirrored(elastic: float) -> None:
    """The middle of a blob, in columns and rows of 101 pixels, against the numbers that were drawn."""
    settings = Augment(shift=0.1, rotation=90, zoom=0.5, shear=20, flip=True, elastic=elastic)
    at = np.arange(101) - 50.0
    blob = np.exp(-(at[:, None] ** 2 + at**2) / 18)
    draws = draw(40, 1, EPOCH, settings)
    moved = np.asarray(augment(tf.constant(np.tile(blob, (40, 1, 1))[..., None], tf.float32), draws, settings))[..., 0]
    whole = moved.sum(axis=(1, 2), dtype=np.float64)
    columns, rows = ((moved * axis).sum(axis=(1, 2), dtype=np.float64) / whole for axis in (at, at[:, None]))
    down, right = draws.numpy()[:, 1], draws.numpy()[:, 2]
    np.testing.assert_allclose(columns, -right * 0.1 * 101, atol=0.02)
    np.testing.assert_allclose(rows, -down * 0.1 * 101, atol=0.02)
    assert np.abs([columns, rows]).max() > 9


def test_elastic_moves_by_no_more_than_said_however_the_image_is_zoomed() -> None:
    """All knots at once move the blob by the whole fraction, in the pixels of the image that comes out."""
    settings = Augment(elastic=0.1, rotation=90, zoom=0.5)
    at = np.arange(101) - 50.0
    blob = np.exp(-(at[:, None] ** 2 + at**2) / 18)[None, ..., None]
    draws = draw(1, 1, EPOCH, settings).numpy()
    draws[:, DRAWS + 1 :] = 1
    moved = np.asarray(augment(tf.constant(blob, tf.float32), tf.constant(draws), settings))[0, ..., 0]
    middles = [(moved * axis).sum(dtype=np.float64) / moved.sum(dtype=np.float64) for axis in (at, at[:, None])]
    np.testing.assert_allclose(middles, [-10.1, -10.1], atol=0.02)


# numbers


def test_strokes_have_numbers_of_their_own_beside_those_of_the_moves() -> None:
    draws = draw(500, 0, EPOCH, STROKES).numpy()
    assert draws.shape == (500, DRAWS + STROKE_DRAWS)
    np.testing.assert_array_equal(draws[:, :DRAWS], draw(500, 0, EPOCH, MOVES))
    assert len(np.unique(draws)) > 0.99 * draws.size
    assert draws.min() >= -1 and draws.max() < 1
    assert np.abs(draws.mean(axis=0)).max() < 0.1
    assert np.abs(np.corrcoef(draws.T) - np.eye(draws.shape[1])).max() < 0.25


def test_bending_alone_and_thickness_alone_use_the_numbers_of_both() -> None:
    both = draw(9, 0, EPOCH, STROKES)
    for settings in (Augment(elastic=0.1), Augment(thickness=0.1)):
        np.testing.assert_array_equal(draw(9, 0, EPOCH, settings), both)


def by_label(settings: Augment, **arguments: int) -> dict[int, Pixels]:
    images = ImageSet(pictures(23), np.arange(23, dtype=np.int64))
    given: Any = {"batch_size": 5, "seed": 3, "first_epoch": 0, "epochs": 1, **arguments}
    dataset = training_batches(images, Preparation(0, False, settings), **given)
    return {
        int(label): image for batch, labels in dataset.as_numpy_iterator() for image, label in zip(batch, labels, strict=True)
    }


def test_strokes_are_changed_the_same_whatever_the_batch_size() -> None:
    first, *others = (by_label(STROKES, batch_size=size) for size in (1, 2, 7, 16))
    for label, other in itertools.product(first, others):
        np.testing.assert_array_equal(first[label], other[label])


@pytest.mark.parametrize("other", [{"seed": 4}, {"first_epoch": 1, "epochs": 2}], ids=["seed", "epoch"])
@pytest.mark.parametrize("settings", [Augment(elastic=0.2), Augment(thickness=0.5)], ids=["elastic", "thickness"])
def test_strokes_are_changed_otherwise_by_another_seed_or_epoch(settings: Augment, other: dict[str, int]) -> None:
    first, second = by_label(settings), by_label(settings, **other)
    assert not any(np.array_equal(image, second[label]) for label, image in first.items())


def test_a_batch_is_changed_by_the_numbers_of_its_epoch_and_places_in_the_set() -> None:
    settings = MOVES.model_copy(update={"elastic": 0.2, "thickness": 0.6})
    expected = augment(scaled(23), draw(23, 3, tf.constant(1, tf.int64), settings), settings).numpy()
    for label, image in by_label(settings, first_epoch=1, epochs=2).items():
        np.testing.assert_allclose(image, expected[label], atol=1e-5)


# elastic


def test_a_field_of_zero_moves_as_without_it() -> None:
    images = scaled(9, (7, 10, 2))
    draws = draw(9, 3, EPOCH, STROKES).numpy()
    draws[:, DRAWS:] = 0
    moved = augment(images, tf.constant(draws[:, :DRAWS]), MOVES).numpy()
    both = augment(images, tf.constant(draws), MOVES.model_copy(update={"elastic": 0.3})).numpy()
    np.testing.assert_allclose(both, moved, atol=1e-5)


def test_equal_knots_move_the_whole_image_by_the_fraction_and_repeat_the_edge() -> None:
    images = scaled(1, (8, 12, 1)).numpy()
    knots = np.zeros((1, 2, KNOTS, KNOTS))
    knots[:, 0] = 1  # a quarter of 12 columns: reads from three columns to the right
    np.testing.assert_allclose(bent(images, knots, 0.25), images[:, :, [*range(3, 12), 11, 11, 11]], atol=1e-5)
    knots[:, 0], knots[:, 1] = 0, -0.5  # an eighth of 8 rows, upwards
    np.testing.assert_allclose(bent(images, knots, 0.25), images[:, [0, *range(7)]], atol=1e-5)


def test_bending_reads_each_pixel_where_the_smoothed_knots_say() -> None:
    """Against the definition, pixel by pixel: every knot weighs by a Gaussian of its distance in the plane."""
    images = scaled(2, (6, 9, 2)).numpy().astype(np.float64)
    knots = np.random.default_rng(1).uniform(-1, 1, (2, 2, KNOTS, KNOTS))
    expected = np.empty_like(images)
    for index, row, column in np.ndindex(images.shape[:3]):
        right, down = displacement(knots[index], row / 5, column / 8)
        expected[index, row, column] = between(images[index], row + down * 0.3 * 6, column + right * 0.3 * 9)
    np.testing.assert_allclose(bent(images.astype(np.float32), knots, 0.3), expected, atol=1e-5)


def displacement(knots: NDArray[np.float64], down: float, right: float) -> NDArray[np.float64]:
    at = np.arange(KNOTS) / (KNOTS - 1)
    squares = (at[:, None] - down) ** 2 + (at - right) ** 2
    weights = np.exp(-squares / (2 * SMOOTHNESS**2))
    displaced: NDArray[np.float64] = (knots * weights).sum(axis=(1, 2)) / weights.sum()
    return displaced


def between(image: NDArray[np.float64], y: float, x: float) -> NDArray[np.float64]:
    y, x = min(max(y, 0), len(image) - 1), min(max(x, 0), image.shape[1] - 1)
    value = np.zeros(image.shape[2])
    for row, column in itertools.product({int(np.floor(y)), int(np.ceil(y))}, {int(np.floor(x)), int(np.ceil(x))}):
        value += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def downward() -> Pixels:
    """Returns how many pixels each pixel of 300 images of 28 rows moves down, away from the edges, by an elastic of 0.1."""
    ramp = np.broadcast_to(np.arange(28, dtype=np.float32)[:, None, None], (300, 28, 28, 1))
    knots = draw(300, 5, EPOCH, STROKES).numpy()[:, DRAWS + 1 :].astype(np.float64)
    moved: Pixels = (bent(ramp, knots, 0.1) - ramp)[:, 4:-4, 4:-4]
    return moved


def test_no_pixel_moves_further_than_elastic_says_and_most_move_less_than_a_third_of_it() -> None:
    moved = np.abs(downward())
    assert 1.9 < moved.max() <= 0.1 * 28
    assert 0.6 < (moved < 0.1 * 28 / 3).mean() < 0.9


def test_neighbours_move_alike() -> None:
    moved = downward()
    assert max(np.abs(np.diff(moved, axis=axis)).max() for axis in (1, 2)) < 0.5  # pixels, where displacements reach 2.8


def test_an_image_of_one_row_and_column_can_bend() -> None:
    np.testing.assert_array_equal(bent(np.full((1, 1, 1, 1), 0.5, np.float32), np.ones((1, 2, KNOTS, KNOTS)), 0.5), 0.5)


def test_products_are_of_tensors_of_equal_ranks() -> None:
    """Of others oneDNN corrupts memory on some processors, and the process ends at any later time."""
    every = Augment(rotation=10, elastic=0.1, thickness=0.3)
    shapes = [tf.TensorSpec((None, 6, 5, 1)), tf.TensorSpec((None, DRAWS + STROKE_DRAWS))]
    graph = tf.function(lambda images, draws: augment(images, draws, every)).get_concrete_function(*shapes).graph
    products = [operation for operation in graph.get_operations() if operation.type.startswith("BatchMatMul")]
    assert [{each.shape.rank for each in operation.inputs} for operation in products] == 3 * [{3}]


# thickness


def around(images: Pixels, function: Any) -> Pixels:
    """Returns the function of the 3 × 3 values around each."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = images.shape[1:3]
    result: Pixels = function([padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    return result


@pytest.mark.parametrize(("number", "function"), [(1.0, np.max), (-1.0, np.min)], ids=["thicker", "thinner"])
def test_one_pixel_is_the_largest_or_smallest_value_around(number: float, function: Any) -> None:
    images = scaled().numpy()
    np.testing.assert_allclose(stroked(images, number, 1.0), around(images, function), atol=1e-6)
    part = images + 0.4 * (around(images, function) - images)
    np.testing.assert_allclose(stroked(images, number * 0.5, 0.8), part, atol=1e-6)


def test_a_bar_grows_and_shrinks_by_the_pixels_said_on_every_side() -> None:
    bar = np.zeros((1, 12, 12, 1), np.float32)
    bar[:, :, 4:8] = 1
    for pixels in (-0.75, -0.25, 0.0, 0.5, 1.0):
        widths = stroked(bar, pixels, 1.0).sum(axis=2)
        np.testing.assert_allclose(widths, 4 + 2 * pixels, atol=1e-6)


def test_thickness_treats_ink_on_white_as_ink_on_black() -> None:
    images = scaled().numpy()
    np.testing.assert_allclose(stroked(1 - images, -0.7, 0.9), 1 - stroked(images, 0.7, 0.9), atol=1e-6)


def test_an_empty_image_stays_empty_and_all_values_stay_between_0_and_1() -> None:
    settings = MOVES.model_copy(update={"elastic": 0.3, "thickness": 1.0})
    draws = draw(50, 0, EPOCH, settings)
    for value in (0.0, 1.0):
        np.testing.assert_allclose(augment(tf.fill((50, 7, 9, 1), value), draws, settings), value, atol=1e-6)
    changed = augment(scaled(50, (7, 9, 1)), draws, settings).numpy()
    assert changed.min() >= -1e-6 and changed.max() <= 1 + 1e-6


# config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{elastic: 1.0}", r"data.augment.elastic: .*less than 1.*1.0"),
        ("{elastic: -0.1}", r"data.augment.elastic: .*-0.1"),
        ("{thickness: 1.5}", r"data.augment.thickness: .*1.5"),
        ("{thicknes: 0.5}", r"unknown field 'thicknes'; did you mean 'thickness'\?"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_place(settings: str, message: str) -> None:
    text = f"data: {{source: digits, augment: {settings}}}\nmodel: {{layers: [flatten, dense: {{units: classes}}]}}\n"
    with pytest.raises(ConfigError, match=message):
        check(parse(text, "x.yaml"))
