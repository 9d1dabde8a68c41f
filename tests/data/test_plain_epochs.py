"""`plain_epochs`: the last epochs have the images as they are, in the same order, from any step on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet
from cnnctl.data.images import Pixels
from cnnctl.data.pipeline import WHOLE, Preparation, Shares, steps_of, training_batches
from cnnctl.data.store.lazy import LazyImages
from cnnctl.few_shot.episodes import Episodes, training_episodes
from cnnctl.spec.dataset import Augment, Erase
from cnnctl.spec.few_shot import EpisodeSize

COUNT, BATCH, EPOCHS = 22, 5, 4
STEPS = steps_of(COUNT, BATCH)
MOVED = Preparation(3, False, Augment(rotation=30, shift=0.2, plain_epochs=2))
MIXED = Preparation(3, True, Augment(erase=Erase(), mixup=0.4, plain_epochs=2))
"""Preparations whose last two epochs are plain; how many there are is given to the pipeline by `plain_from`."""


class Streamed(LazyImages):
    """Images that are read row by row."""

    def __init__(self, pixels: Pixels) -> None:
        super().__init__(pixels.shape)
        self.pixels = pixels

    def _read(self, rows: NDArray[np.int64]) -> Pixels:
        return self.pixels[rows]


def a_set(streamed: bool = False) -> ImageSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (COUNT, 6, 6, 1), np.uint8)
    return ImageSet(Streamed(pixels) if streamed else pixels, generator.integers(0, 3, COUNT))


def batches(
    prepare: Preparation,
    plain_from: int | None,
    first_epoch: int = 0,
    skip: int = 0,
    shares: Shares = WHOLE,
    streamed: bool = False,
) -> list[Any]:
    made = training_batches(
        a_set(streamed),
        prepare,
        batch_size=BATCH,
        seed=3,
        first_epoch=first_epoch,
        epochs=EPOCHS,
        plain_from=plain_from,
        skip=skip,
        shares=shares,
    )
    return list(made.as_numpy_iterator())


def assert_equal(mine: list[Any], theirs: list[Any]) -> None:
    assert len(mine) == len(theirs) > 0
    for one, other in zip(mine, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("prepare", [MOVED, MIXED])
@pytest.mark.parametrize("shares", [WHOLE, Shares(range(2), 2)])
@pytest.mark.parametrize("streamed", [False, True])
def test_epochs_are_augmented_and_then_plain(prepare: Preparation, shares: Shares, streamed: bool) -> None:
    found, steps = batches(prepare, 2, shares=shares, streamed=streamed), STEPS * len(shares.replicas)
    augmented, plain = (batches(each, None, shares=shares) for each in (prepare, replace(prepare, augment=None)))
    assert_equal(found[: 2 * steps], augmented[: 2 * steps])
    assert_equal(found[2 * steps :], plain[2 * steps :])
    assert not np.array_equal(augmented[2 * steps][0], plain[2 * steps][0])


@pytest.mark.parametrize(("first_epoch", "skip"), [(0, 0), (0, 3), (1, STEPS - 1), (2, 0), (2, 4), (3, 1)])
def test_a_resumed_training_has_the_same_batches(first_epoch: int, skip: int) -> None:
    found = batches(MOVED, 2, first_epoch, skip)
    assert_equal(found, batches(MOVED, 2)[first_epoch * STEPS + skip :])


def test_a_dataset_after_the_last_epoch_is_plain() -> None:
    """Keras takes a batch even if no epoch is left: the epochs that are left then begin after `plain_from`."""
    assert_equal(batches(MOVED, 1, first_epoch=3), batches(replace(MOVED, augment=None), None, first_epoch=3))


def episodes(plain_from: int | None, prepare: Preparation = MOVED, first: int = 0, skip: int = 0) -> list[Any]:
    labels: NDArray[np.int64] = np.arange(COUNT, dtype=np.int64) % 3
    made = training_episodes(
        Episodes(ImageSet(a_set().images, labels), EpisodeSize(2, 1, 2), "train"),
        replace(prepare, classes=0),
        seed=7,
        first=first,
        count=12 - first,
        at_once=2,
        per_epoch=3,
        plain_from=plain_from,
        skip=skip,
    )
    return list(made.as_numpy_iterator())


def test_episodes_are_augmented_and_then_plain() -> None:
    found, augmented, plain = episodes(6), episodes(None), episodes(None, replace(MOVED, augment=None))
    assert_equal(found[:4], augmented[:4])
    assert_equal(found[4:], plain[4:])
    assert not np.array_equal(augmented[4][0], plain[4][0])
    assert_equal(episodes(6, first=3, skip=1), found[3:])
    assert_equal(episodes(6, first=9, skip=1), found[7:])
