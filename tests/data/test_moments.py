"""Mean and variance of training images: exact, of those images alone, and as Keras's own adapt computes them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.data.moments import described, pixel_moments
from cnnctl.data.store import lazy
from cnnctl.data.store.lazy import LazyImages

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 5, 4, 3)).astype(np.uint8)
KEPT = [[], [3], [1, 2], [1, 3], [1, 2, 3]]


class Stored(LazyImages):
    """Images that are read as from a file: only those that are asked for."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        super().__init__(images.shape)
        self.images, self.most = images, 0

    def _read(self, rows: Any) -> Any:
        self.most = max(self.most, len(rows))
        return self.images[rows]


def exact(values: NDArray[np.uint8]) -> tuple[float, float]:
    numbers = [Fraction(int(value), 255) for value in values.ravel()]
    mean = sum(numbers, Fraction()) / len(numbers)
    return float(mean), float(sum(((number - mean) ** 2 for number in numbers), Fraction()) / len(numbers))


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_mean_and_variance_are_those_of_exact_fractions(kept: list[int]) -> None:
    mean, variance = pixel_moments(IMAGES, kept)
    assert mean.shape == variance.shape == tuple(IMAGES.shape[axis] for axis in kept)
    for place in np.ndindex(mean.shape):
        index: list[Any] = [slice(None)] * 4
        for axis, number in zip(kept, place, strict=True):
            index[axis] = number
        assert (mean[place], variance[place]) == pytest.approx(exact(IMAGES[tuple(index)]), rel=1e-12)


@pytest.mark.parametrize("kept", KEPT, ids=str)
def test_they_are_what_keras_adapts_to_up_to_its_rounding(kept: list[int]) -> None:
    layer = keras.layers.Normalization(axis=kept or None)
    layer.adapt(IMAGES.astype("float32") / 255)
    mean, variance = pixel_moments(IMAGES, kept)
    np.testing.assert_allclose(layer.adapt_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(layer.adapt_variance, variance, rtol=1e-5)


def test_under_channels_first_axes_are_those_of_the_network() -> None:
    mean, _ = pixel_moments(IMAGES, [1, 2], channels_first=True)
    np.testing.assert_allclose(mean, IMAGES.mean((0, 2)).T / 255)


def test_images_that_are_not_in_memory_are_read_in_blocks_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(IMAGES)
    monkeypatch.setattr(lazy, "BLOCK_VALUES", 7 * 60)
    for mine, its in zip(pixel_moments(stored, [3]), pixel_moments(IMAGES, [3]), strict=True):
        np.testing.assert_array_equal(mine, its)
    assert stored.most == 7


def test_the_line_of_a_training_counts_values_that_never_vary() -> None:
    images = IMAGES.copy()
    images[:, 0, :2] = 9
    assert described("n", pixel_moments(images, [1, 2, 3]), 50).endswith(
        "; 6 of 60 never vary there, and other values than theirs are divided by 1e-07"
    )
    assert described("n", pixel_moments(images, []), 50).startswith("'n': mean 0.")
    assert "60 means from" in described("n", pixel_moments(images, [1, 2, 3]), 50)
