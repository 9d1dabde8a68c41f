"""Random erasing and mixup: against NumPy arithmetic from the papers, row by row, whatever a batch, a share or a store holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy import stats

from cnnctl.data.augment import augment, draw, draw_partners, draw_rows
from cnnctl.data.image_set import ImageSet
from cnnctl.data.inspect.samples import augmented
from cnnctl.data.pipeline import Preparation, Shares, training_batches, training_sample
from cnnctl.spec.dataset import Augment, Erase
from cnnctl.spec.document import parse
from cnnctl.spec.draws import DRAWS, ERASE_DRAWS, MIXUP_DRAWS, STROKE_DRAWS
from cnnctl.spec.load import check

COUNT, CLASSES, SEED = 23, 23, 3
SHAPE = (9, 12, 2)
EPOCH = tf.constant(2, tf.int64)
GREY = Erase(probability=0.6, scale=(0.1, 0.4), ratio=(0.5, 2.0), fill_value=0.5)
NOISE = GREY.model_copy(update={"fill_value": None})

Values = NDArray[Any]


def pictures(count: int = COUNT, shape: tuple[int, ...] = SHAPE) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def scaled(count: int = COUNT, shape: tuple[int, ...] = SHAPE) -> Any:
    return tf.cast(pictures(count, shape), tf.float32) / 255.0


def erasing(images: Any, settings: Erase, draws: Any | None = None) -> Values:
    """Erases images (B, H, W, C) by the draws of an epoch, or by given ones, (B, ERASE_DRAWS)."""
    whole = Augment(erase=settings)
    if draws is None:
        return np.asarray(augment(images, draw(len(images), SEED, EPOCH, whole), whole))
    return np.asarray(augment(images, tf.concat([tf.zeros((len(draws), DRAWS)), tf.constant(draws)], axis=1), whole))


# erased


def rectangle(draws: Values, settings: Erase, height: int, width: int) -> tuple[int, int, int, int]:
    """Returns the rows and columns that are erased of one image, by the paper's formulas: top, bottom, left, right."""
    happens, area, ratio, down, right = (draws[:5].astype(np.float64) + 1) / 2
    if happens >= settings.probability:
        return 0, 0, 0, 0
    pixels = (settings.scale[0] + area * (settings.scale[1] - settings.scale[0])) * height * width
    over = np.exp(np.log(settings.ratio[0]) * (1 - ratio) + np.log(settings.ratio[1]) * ratio)
    rows = int(min(max(np.floor(np.sqrt(pixels * over) + 0.5), 1), height))
    columns = int(min(max(np.floor(np.sqrt(pixels / over) + 0.5), 1), width))
    top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
    return top, top + rows, left, left + columns


def splitmix64(seed: int, count: int) -> list[float]:
    """Returns numbers in [0, 1) of the generator as its authors print it, with a state that grows by the golden ratio."""
    numbers, mask = [], 2**64 - 1
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        bits = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(((bits ^ (bits >> 31)) >> 40) / 2**24)
    return numbers


@pytest.mark.parametrize("settings", [GREY, NOISE, Erase(probability=1.0, scale=(0.9, 1.0), ratio=(0.2, 5.0), fill_value=0.0)])
def test_a_rectangle_is_erased_where_the_numbers_drawn_say_and_nothing_else_changes(settings: Erase) -> None:
    draws = draw(200, SEED, EPOCH, Augment(erase=settings)).numpy()[:, DRAWS:]
    images = scaled(200).numpy()
    found = erasing(tf.constant(images), settings)
    for image, after, numbers in zip(images, found, draws, strict=True):
        top, bottom, left, right = rectangle(numbers, settings, *SHAPE[:2])
        fill: Any = settings.fill_value
        if fill is None:
            seed = int(np.ascontiguousarray(numbers[-2:]).view(np.uint64)[0])
            fill = np.array(splitmix64(seed, image.size), np.float32).reshape(SHAPE)[top:bottom, left:right]
        expected = image.copy()
        expected[top:bottom, left:right] = fill
        np.testing.assert_array_equal(after, expected)


def test_images_are_erased_as_often_and_as_far_as_the_config_says() -> None:
    settings = Erase(probability=0.3, scale=(0.1, 0.2), ratio=(0.5, 2.0), fill_value=0.0)
    erased = erasing(tf.ones((4000, 40, 40, 1)), settings)[..., 0] == 0
    happened = erased.any(axis=(1, 2))
    assert abs(happened.mean() - 0.3) < 0.03
    areas = erased[happened].mean(axis=(1, 2))
    np.testing.assert_allclose([areas.min(), areas.max()], [0.1, 0.2], atol=0.01)
    ratios = erased[happened].any(axis=2).sum(axis=1) / erased[happened].any(axis=1).sum(axis=1)
    np.testing.assert_allclose([ratios.min(), ratios.max()], [0.5, 2.0], atol=0.2)
    assert abs(np.log(ratios).mean()) < 0.05, "as often high as wide"
    places = erased[happened].mean(axis=0)
    np.testing.assert_allclose(places, places[::-1], atol=0.08)
    np.testing.assert_allclose(places, places.T, atol=0.08)


def test_with_probability_1_every_image_and_with_0_no_image_is_erased() -> None:
    for probability in (0.0, 1.0):
        changed = erasing(scaled(300), Erase(probability=probability, fill_value=2 / 3)) != scaled(300).numpy()
        assert changed.any(axis=(1, 2, 3)).mean() == probability


def test_an_image_of_one_pixel_is_erased_whole() -> None:
    np.testing.assert_array_equal(erasing(tf.zeros((5, 1, 1, 3)), Erase(probability=1.0, fill_value=1.0)), 1)


def test_noise_is_uniform_and_of_its_own_in_every_image() -> None:
    noise = erasing(tf.zeros((300, 20, 20, 1)), Erase(probability=1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))).reshape(300, -1)
    assert stats.kstest(noise.ravel(), "uniform").pvalue > 0.01
    assert np.abs(np.corrcoef(noise) - np.eye(300)).max() < 0.3
    assert np.abs(np.corrcoef(noise.T) - np.eye(400)).max() < 0.35


def test_an_image_is_erased_after_it_has_moved() -> None:
    settings = Augment(rotation=30, elastic=0.1, thickness=0.5, erase=GREY)
    draws = draw(COUNT, SEED, EPOCH, settings)
    moved = augment(scaled(), draws, settings.model_copy(update={"erase": None}))
    own = draws[:, DRAWS + STROKE_DRAWS :].numpy()
    np.testing.assert_array_equal(augment(scaled(), draws, settings), erasing(moved, GREY, own))


# mixed


def mixing(alpha: float = 0.4, **settings: Any) -> Preparation:
    return Preparation(CLASSES, False, Augment(mixup=alpha, **settings))


def numbered() -> ImageSet:
    """Images whose label is their number, so that a mixed label says which two they are, and in which shares."""
    return ImageSet(pictures(), np.arange(COUNT, dtype=np.int64))


def batches(prepare: Preparation, images: ImageSet | None = None, **arguments: Any) -> list[tuple[Values, ...]]:
    given: dict[str, Any] = {"batch_size": 5, "seed": SEED, "first_epoch": 0, "epochs": 1, **arguments}
    return list(training_batches(images or numbered(), prepare, **given).as_numpy_iterator())


def epoch_of(prepare: Preparation, **arguments: Any) -> tuple[Values, Values]:
    found = batches(prepare, **arguments)
    return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])


def shares_of(draws: Values, alpha: float) -> Values:
    """Returns the shares by Bailey's T of Student's distribution with 2 · alpha degrees of freedom, in double precision."""
    u, v = (draws[:, 0].astype(np.float64) + 1) / 2, draws[:, 1].astype(np.float64) / 2
    t = np.sqrt(2 * alpha * (u ** (-1 / alpha) - 1)) * np.cos(2 * np.pi * v)
    shares: Values = 0.5 + 0.5 * t / np.sqrt(2 * alpha + t**2)
    return shares


@pytest.mark.parametrize("settings", [{}, {"rotation": 20, "shift": 0.1, "erase": GREY}], ids=["alone", "moved and erased"])
def test_each_image_and_label_is_mixed_with_that_of_its_partner_by_one_share(settings: dict[str, Any]) -> None:
    alpha = 0.4
    prepare = mixing(alpha, **settings)
    assert prepare.augment
    first = tf.constant(0, tf.int64)
    draws = draw(COUNT, SEED, first, prepare.augment).numpy()
    partners = draw_partners(COUNT, SEED, first).numpy()
    changed = augment(scaled(), draws, prepare.augment.model_copy(update={"mixup": 0.0})).numpy()
    shares = shares_of(draws[:, -MIXUP_DRAWS:], alpha)
    order = tf.random.experimental.stateless_shuffle(tf.range(COUNT), [SEED, 0]).numpy()
    images, labels = epoch_of(prepare)
    for row, image, label in zip(order, images, labels, strict=True):
        share, partner = shares[row], partners[row]
        np.testing.assert_allclose(image, share * changed[row] + (1 - share) * changed[partner], atol=2e-5)
        np.testing.assert_allclose(label, share * np.eye(CLASSES)[row] + (1 - share) * np.eye(CLASSES)[partner], atol=2e-5)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 3.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    settings = Augment(mixup=alpha)
    draws = draw(20_000, SEED, EPOCH, settings)
    pairs = tf.concat([draws, draws], axis=0)
    values = tf.concat([tf.ones((20_000, 1)), tf.zeros((20_000, 1))], axis=0)
    prepared = Preparation(2, False, settings)
    images, _ = prepared.network_inputs(tf.cast(values * 255, tf.uint8)[:, :, None, None], tf.zeros(40_000, tf.int64), pairs)
    shares = np.asarray(images, np.float64).ravel()
    assert shares.min() >= 0 and shares.max() <= 1
    grid = np.linspace(0.001, 0.999, 200)  # near 0 and 1 a float32 has steps
    found = np.searchsorted(np.sort(shares), grid) / len(shares)
    np.testing.assert_allclose(found, stats.beta(alpha, alpha).cdf(grid), atol=0.015)


@pytest.mark.parametrize("alpha", [5e-324, 1e-9, 1e9, 1e308])
def test_any_alpha_gives_shares_between_0_and_1(alpha: float) -> None:
    images, labels = epoch_of(mixing(alpha))
    assert np.isfinite(images).all()
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    largest = labels.max(axis=1)
    assert (largest == 1).sum() > 20 if alpha < 1 else (largest < 0.51).sum() > 20


def test_every_image_is_a_partner_once_in_an_epoch_and_of_another_in_the_next() -> None:
    first, second = (draw_partners(500, SEED, tf.constant(epoch, tf.int64)).numpy() for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(500))
    assert (first == second).mean() < 0.02
    assert (first == np.arange(500)).mean() < 0.02


def test_labels_sum_to_one_and_equal_ones_stay_as_they_are() -> None:
    images = ImageSet(pictures(), np.full(COUNT, 4, np.int64))
    for _, labels in batches(mixing(1.0), images):
        np.testing.assert_array_equal(labels, np.tile(np.eye(CLASSES, dtype=np.float32)[4], (len(labels), 1)))
    _, labels = epoch_of(mixing(1.0))
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)


# for any batch size, share and store

SETTINGS = [
    Augment(erase=GREY),
    Augment(erase=NOISE, elastic=0.1),
    Augment(mixup=1.0),
    Augment(mixup=0.4, shift=0.1, erase=NOISE),
]


def test_the_numbers_of_one_option_are_the_same_beside_others() -> None:
    whole = draw(50, SEED, EPOCH, Augment(elastic=0.1, erase=GREY, mixup=0.2)).numpy()
    assert whole.shape == (50, DRAWS + STROKE_DRAWS + ERASE_DRAWS + MIXUP_DRAWS)
    strokes, erase, mixup = (
        draw(50, SEED, EPOCH, each).numpy() for each in (Augment(elastic=0.1), Augment(erase=GREY), Augment(mixup=2))
    )
    np.testing.assert_array_equal(whole, np.concatenate([strokes, erase[:, DRAWS:], mixup[:, DRAWS:]], axis=1))
    assert len(np.unique(whole)) > 0.99 * whole.size
    assert np.abs(np.corrcoef(whole.T) - np.eye(whole.shape[1])).max() < 0.65


@pytest.mark.parametrize("settings", SETTINGS)
def test_draws_of_some_examples_are_those_of_all_to_the_bit(settings: Augment) -> None:
    rows = np.random.default_rng(0).permutation(1003)[:100]
    whole = draw(1003, SEED, EPOCH, settings).numpy()
    assert draw_rows(tf.constant(rows), SEED, EPOCH, settings).numpy().tobytes() == whole[rows].tobytes()


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_example_is_the_same_whatever_the_batch_size(settings: Augment) -> None:
    prepare = Preparation(CLASSES, False, settings)
    whole = epoch_of(prepare, batch_size=COUNT)
    for size in (1, 7):
        images, labels = epoch_of(prepare, batch_size=size)
        np.testing.assert_allclose(images, whole[0], atol=1e-6)  # cosines may differ in the last bit by their place
        np.testing.assert_allclose(labels, whole[1], atol=1e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_batches_after_a_resume_are_those_of_the_whole_to_the_bit(settings: Augment) -> None:
    prepare = Preparation(CLASSES, False, settings)
    whole = batches(prepare, epochs=3)
    tail = batches(prepare, first_epoch=1, epochs=3, skip=2)
    assert len(tail) == len(whole) - 5 - 2
    for mine, expected in zip(tail, whole[7:], strict=True):
        for one, other in zip(mine, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_shares_of_replicas_are_the_rows_of_the_whole_batch(settings: Augment) -> None:
    prepare = Preparation(CLASSES, False, settings)
    whole = batches(prepare)
    parts = batches(prepare, shares=Shares(range(2), 2))
    for (images, labels), one, other in zip(whole, parts[::2], parts[1::2], strict=True):
        np.testing.assert_allclose(np.concatenate([one[0], other[0]]), images, atol=1e-6)
        np.testing.assert_allclose(np.concatenate([one[1], other[1]]), labels, atol=1e-6)
        assert [int(each[2][0]) for each in (one, other)] == [len(each[1]) for each in (one, other)]


def test_the_network_is_inspected_with_images_as_they_are_trained_on() -> None:
    """Gradients and histograms in TensorBoard, and the pictures of `cnnctl data`, are of erased and mixed images."""
    prepare = mixing(1.0, erase=GREY)
    order = tf.random.experimental.stateless_shuffle(tf.range(COUNT), [SEED, 0]).numpy()
    expected = [np.empty_like(each) for each in epoch_of(prepare, batch_size=COUNT)]
    for mine, trained in zip(expected, epoch_of(prepare, batch_size=COUNT), strict=True):
        mine[order] = trained
    images, labels = training_sample(numbered(), prepare, count=COUNT, seed=SEED)
    experiment = check(
        parse(
            "seed: 3\ndata: {source: digits, labels: one_hot, augment: {mixup: 1.0, erase: {probability: 0.6, scale: [0.1, 0.4], "
            "ratio: [0.5, 2.0], fill_value: 0.5}}}\nmodel: {layers: [flatten, dense: {units: classes}]}\n",
            "x.yaml",
        )
    )
    assert experiment.data.augment == prepare.augment
    drawn = augmented(numbered(), np.arange(COUNT), experiment)
    np.testing.assert_allclose(drawn, images, atol=1e-6)
    np.testing.assert_allclose(images, expected[0], atol=1e-6)
    np.testing.assert_allclose(labels, expected[1], atol=1e-6)


def test_validation_and_test_are_neither_erased_nor_mixed() -> None:
    prepare = mixing(1.0, erase=GREY)
    images, labels = prepare.network_inputs(pictures(), np.arange(COUNT))
    np.testing.assert_array_equal(images, scaled())
    np.testing.assert_array_equal(labels, np.eye(COUNT, dtype=np.float32))
