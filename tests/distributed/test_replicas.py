"""Replicas compute what one device does, up to rounding, however a batch is dealt out among them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cnnctl.data.image_set import ImageSet
from cnnctl.data.pipeline import Preparation, Shares, ordered_batches, training_batches
from tests.distributed.arithmetic import STEPS, cases_of

ROOT = Path(__file__).parents[2]
ROUNDING = 2e-6
"""Of a sum of 98 float32 losses in another order, relative to it."""

HALF = "half precision"
REPLICAS = (2, 3)


@cache
def computed(count: int) -> dict[str, Any]:
    """Trains in a process of its own: the number of logical devices is set once."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "tests.distributed.arithmetic", folder, str(count)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)  # type: ignore[no-any-return]


IN_FLOAT32 = [(count, case) for count in REPLICAS for case in cases_of(count) if case != HALF]


@pytest.mark.parametrize(("count", "case"), IN_FLOAT32)
def test_losses_and_weights_are_those_of_one_device_up_to_rounding(count: int, case: str) -> None:
    found = computed(count)[case]
    alone, together = np.array(found["alone"]), np.array(found["together"])
    assert len(alone) == STEPS
    np.testing.assert_allclose(together[:, 0], alone[:, 0], rtol=ROUNDING)
    np.testing.assert_array_equal(together[:, 1:], alone[:, 1:])  # images, and how many of them were named rightly
    assert max(found["apart"]) < ROUNDING


def test_in_half_precision_they_are_those_up_to_its_rounding() -> None:
    found = computed(2)[HALF]
    alone, together = np.array(found["alone"]), np.array(found["together"])
    np.testing.assert_allclose(together[:, 0], alone[:, 0], rtol=10 * ROUNDING)
    np.testing.assert_array_equal(together[:, 1], alone[:, 1])
    assert max(found["apart"]) < 1e-3  # of float16, with 11 binary digits


@pytest.mark.parametrize("count", REPLICAS)
def test_batch_norm_takes_mean_and_variance_of_all_images_however_unequal_the_parts(count: int) -> None:
    assert 0 < computed(count)["normalized"] < 2e-5


@pytest.mark.parametrize("of", [2, 3, 5])
@pytest.mark.parametrize("batch_size", [4, 7])
def test_the_parts_of_replicas_are_the_batch_in_its_order(of: int, batch_size: int) -> None:
    images = ImageSet(np.arange(18 * 4, dtype=np.uint8).reshape(18, 2, 2, 1), np.arange(18, dtype=np.int64))
    prepare = Preparation(0, False, None)
    arguments: Any = {"batch_size": batch_size, "seed": 3, "first_epoch": 1, "epochs": 3, "skip": 2}
    whole = [labels.numpy().tolist() for _, labels in training_batches(images, prepare, **arguments)]
    parts = joined(training_batches(images, prepare, **arguments, shares=Shares(range(of), of)), of)
    assert parts == whole
    in_order = [labels.numpy().tolist() for _, labels in ordered_batches(images, prepare, batch_size)]
    assert joined(ordered_batches(images, prepare, batch_size, Shares(range(of), of)), of) == in_order


def joined(elements: tf.data.Dataset, of: int) -> list[list[int]]:
    """Returns the labels of whole batches, of the parts of which each has at least one row, its own or not."""
    parts: list[list[int]] = []
    wholes: list[int] = []
    for images, labels, (own, whole) in elements:
        assert len(images) == len(labels) == max(int(own), 1)
        parts.append(labels.numpy()[: int(own)].tolist())
        wholes.append(int(whole))
    starts = range(0, len(parts), of)
    assert wholes == [len(list(chain(*parts[start : start + of]))) for start in starts for _ in range(of)]
    return [list(chain(*parts[start : start + of])) for start in starts]


def test_workers_read_their_own_parts_and_together_all() -> None:
    images = ImageSet(np.zeros((10, 2, 2, 1), np.uint8), np.arange(10, dtype=np.int64))
    prepare = Preparation(0, False, None)
    of_workers = [ordered_batches(images, prepare, 6, Shares(range(2 * worker, 2 * worker + 2), 4)) for worker in range(2)]
    read = [[labels.numpy()[: int(own)].tolist() for _, labels, (own, _) in elements] for elements in of_workers]
    assert read == [[[0], [1, 2], [6], [7]], [[3], [4, 5], [8], [9]]]
