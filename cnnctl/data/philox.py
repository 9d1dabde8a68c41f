"""Some rows of what `tf.random.stateless_uniform` draws, without the others.

TensorFlow draws by counting: its numbers four by four are a function of a key and of a counter. So those of any row can
be had alone, equal to the bit to the row of the whole, whose memory grows with the set.
J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_TOGETHER = 4
"""Numbers that one value of the counter gives."""


def uniform_rows(rows: Any, width: int, seed: Any) -> Any:
    """Returns rows (B,) of `tf.random.stateless_uniform((N, width), seed, -1.0, 1.0)` on a CPU, for any N; (B, width).

    Args:
        rows: whole numbers from 0 on.
        width: numbers of a row.
        seed: (2,), int64.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed)
    first = tf.cast(rows, tf.uint64) * width  # the place of a row's first number among all
    blocks = -(-width // _TOGETHER) + 1  # a row may begin and end within one
    numbers = first[:, tf.newaxis] // _TOGETHER + tf.cast(tf.range(blocks), tf.uint64)
    drawn = tf.reshape(_drawn(_added(counter, numbers), _halves(key[0])), (-1, _TOGETHER * blocks))
    places = tf.cast(first % _TOGETHER, tf.int32)[:, tf.newaxis] + tf.range(width)
    return _between_0_and_1(tf.gather(drawn, places, batch_dims=1)) * 2.0 - 1.0


def _added(counter: Any, numbers: Any) -> list[Any]:
    """Returns a counter of 128 bits, (2,) with the low half first, plus each number, as four words."""
    low = counter[0] + numbers
    high = counter[1] + tf.cast(low < numbers, tf.uint64)  # the carry
    return [*_halves(low), *_halves(high)]


def _halves(number: Any) -> list[Any]:
    """Returns the low and the high 32 bits."""
    return [tf.cast(number, tf.uint32), tf.cast(tf.bitwise.right_shift(number, tf.constant(32, tf.uint64)), tf.uint32)]


def _drawn(counter: list[Any], key: list[Any]) -> Any:
    """Returns Philox4x32-10 of counters, four words of one shape, and a key, two words: bits, (shape, 4)."""
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
    """Returns float32 in [0, 1) whose fraction is the last 23 bits."""
    fraction = tf.bitwise.bitwise_and(bits, tf.constant(0x7FFFFF, tf.uint32))
    return tf.bitcast(tf.bitwise.bitwise_or(fraction, tf.constant(0x3F800000, tf.uint32)), tf.float32) - 1.0
