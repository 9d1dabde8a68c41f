"""Compute single rows of `tf.random.stateless_uniform` without the others.

TensorFlow's generator is counter-based: each group of four numbers is a function of a key and a counter. Any row can be
computed alone, equal to the bit, while memory for all rows would grow with the set.
J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_TOGETHER = 4
"""Numbers per value of the counter."""


def uniform_rows(rows: Any, width: int, seed: Any) -> Any:
    """Compute rows (B,) of `tf.random.stateless_uniform((N, width), seed, -1.0, 1.0)` on a CPU, for any N: (B, width).

    Args:
        rows: integers, 0 or more.
        width: numbers per row.
        seed: (2,), int64.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    first = tf.cast(rows, tf.uint64) * width  # the index of a row's first number
    blocks = -(-width // _TOGETHER) + 1  # a row may start and end inside a block
    numbers = first[:, tf.newaxis] // _TOGETHER + tf.cast(tf.range(blocks), tf.uint64)
    drawn = tf.reshape(_drawn(_added(counter, numbers), _halves(key[0])), (-1, _TOGETHER * blocks))
    places = tf.cast(first % _TOGETHER, tf.int32)[:, tf.newaxis] + tf.range(width)
    return _between_0_and_1(tf.gather(drawn, places, batch_dims=1)) * 2.0 - 1.0


def _added(counter: Any, numbers: Any) -> list[Any]:
    """Add each number to a 128-bit counter, (2,) with the low half first; the sum is four 32-bit words."""
    low = counter[0] + numbers
    high = counter[1] + tf.cast(low < numbers, tf.uint64)  # the carry
    return [*_halves(low), *_halves(high)]


def _halves(number: Any) -> list[Any]:
    """Split into the low and the high 32 bits."""
    return [tf.cast(number, tf.uint32), tf.cast(tf.bitwise.right_shift(number, tf.constant(32, tf.uint64)), tf.uint32)]


def _drawn(counter: list[Any], key: list[Any]) -> Any:
    """Compute Philox4x32-10 of counters, four words of one shape, and a key of two words: random bits, (shape, 4)."""
    one, two, three, four = counter
    for _ in range(_ROUNDS):
        low, high = _halves(tf.cast(one, tf.uint64) * _MULTIPLIERS[0])
        other_low, other_high = _halves(tf.cast(three, tf.uint64) * _MULTIPLIERS[1])
        one, two, three, four = _xor(other_high, two, key[0]), other_low, _xor(high, four, key[1]), low
        key = [word + step for word, step in zip(key, _WEYL, strict=True)]
    return tf.stack([one, two, three, four], axis=-1)


def _xor(one: Any, two: Any, three: Any) -> Any:
    return tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(one, two), three)


def _between_0_and_1(bits: Any) -> Any:
    """Convert the last 23 bits to the fraction of a float32 in [0, 1)."""
    fraction = tf.bitwise.bitwise_and(bits, tf.constant(0x7FFFFF, tf.uint32))
    return tf.bitcast(tf.bitwise.bitwise_or(fraction, tf.constant(0x3F800000, tf.uint32)), tf.float32) - 1.0
