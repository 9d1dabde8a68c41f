"""Rows of random numbers, drawn alone, are those of TensorFlow's own whole."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cnnctl.data.augment import draw, draw_rows
from cnnctl.data.philox import _added, uniform_rows
from cnnctl.spec.dataset import Augment

ROWS = 1003


@pytest.mark.parametrize("seed", [(0, 0), (3, 1), (2**63 - 1, 5), (-7, 123_456)])
@pytest.mark.parametrize("width", [1, 2, 4, 6, 7, 51])
def test_rows_are_those_of_the_whole_to_the_bit(width: int, seed: tuple[int, int]) -> None:
    seeds = tf.constant(seed, tf.int64)
    whole = tf.random.stateless_uniform((ROWS, width), seeds, -1.0, 1.0).numpy()
    rows = np.random.default_rng(0).permutation(ROWS)
    for chosen in (rows, rows[:1], rows[:0], np.array([5, 5, 0])):
        found = uniform_rows(tf.constant(chosen), width, seeds).numpy()
        assert found.shape == (len(chosen), width)
        assert found.tobytes() == whole[chosen].tobytes()


def test_a_counter_carries_into_its_high_half() -> None:
    counter = tf.constant([2**64 - 2, 7], tf.uint64)
    low, low_high, high, high_high = (word.numpy().tolist() for word in _added(counter, tf.constant([0, 1, 2, 3], tf.uint64)))
    assert low == [2**32 - 2, 2**32 - 1, 0, 1]
    assert low_high == [2**32 - 1, 2**32 - 1, 0, 0]
    assert high == [7, 7, 8, 8]
    assert high_high == [0, 0, 0, 0]


@pytest.mark.parametrize("settings", [Augment(rotation=3), Augment(elastic=0.1), Augment(thickness=0.4)])
def test_draws_of_some_examples_are_those_of_all_to_the_bit(settings: Augment) -> None:
    epoch = tf.constant(4, tf.int64)
    whole = draw(ROWS, 11, epoch, settings).numpy()
    rows = np.random.default_rng(0).permutation(ROWS)[:100]
    assert draw_rows(tf.constant(rows), 11, epoch, settings).numpy().tobytes() == whole[rows].tobytes()
