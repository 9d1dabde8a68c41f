"""Batch normalization of a batch in parts, by the statistics of the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


def normalized_together(layer: keras.layers.BatchNormalization, parts: Sequence[Any], real: Sequence[Any]) -> list[Any]:
    """Normalize the parts of a batch in training, and move the averages of the layer.

    Each part is summed by itself, so parts wait for each other only while the sums of their channels are added. The variance is
    E[(x - a)²] - (E[x] - a)², in float32, where a is the mean of the first image: with a = 0, a mean of 100 standard deviations
    would leave two digits (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance").

    Args:
        layer: over the last axis, without `renorm`.
        parts: each (B, H, W, C) or (B, C), of the same sizes but for B.
        real: for each part 1.0, or 0.0 where its images stand in for none; those count in no sum, and get no gradient.

    Returns:
        The parts, normalized, in the precision of the layer.
    """
    with tf.name_scope(layer.name):
        values = [tf.cast(part, tf.float32) for part in parts]
        moving = layer.moving_mean, layer.moving_variance
        gamma = tf.ones_like(moving[0]) if layer.gamma is None else tf.convert_to_tensor(layer.gamma)
        beta = tf.zeros_like(moving[0]) if layer.beta is None else tf.convert_to_tensor(layer.beta)
        *outputs, mean, variance = _normalize(layer.epsilon, real, gamma, beta, *values)
        for average, new in zip(moving, (mean, variance), strict=True):
            average.assign(average * layer.momentum + tf.stop_gradient(new) * (1.0 - layer.momentum))
        return [tf.cast(each, layer.compute_dtype) for each in outputs]


def _normalize(epsilon: float, real: Sequence[Any], gamma: Any, beta: Any, *parts: Any) -> Any:
    """Return each part normalized, then mean and variance of the batch (C,).

    With x̂ = (x - mean) / √(variance + ε) and y = γ x̂ + β, the gradient by x is γ / √(variance + ε) · (dy - E[dy] - x̂ E[dy x̂])
    (Ioffe and Szegedy 2015, "Batch normalization"). Here it is factor · dy - (slope · x + offset), with one number per channel
    each. TensorFlow's decorator takes tensors only, hence a function in a function.
    """

    @tf.custom_gradient
    def normalize(gamma: Any, beta: Any, *parts: Any) -> tuple[Any, Any]:
        count = tf.add_n([each * _count(part) for each, part in zip(real, parts, strict=True)])
        mean = _total(parts, real) / count
        near = tf.reduce_mean(parts[0][:1], _but_last(parts[0]))
        squares = [tf.math.squared_difference(part, near) for part in parts]
        variance = tf.maximum(_total(squares, real) / count - tf.math.squared_difference(mean, near), 0.0)
        scale = tf.math.rsqrt(variance + epsilon)
        factor = gamma * scale
        outputs = [part * factor + (beta - mean * factor) for part in parts]

        def gradient(*upstream: Any) -> list[Any]:
            arriving = upstream[: len(parts)]  # nothing arrives at mean and variance
            by_beta = _total(arriving, real)  # Σ dy
            products = [each * part for each, part in zip(arriving, parts, strict=True)]
            by_gamma = (_total(products, real) - mean * by_beta) * scale  # Σ dy x̂
            slope = factor * scale * by_gamma / count
            offset = factor * by_beta / count - slope * mean
            lines = [part * (slope * each) + offset * each for part, each in zip(parts, real, strict=True)]
            return [by_gamma, by_beta, *(each * factor - line for each, line in zip(arriving, lines, strict=True))]

        return (*outputs, mean, variance), gradient

    return normalize(gamma, beta, *parts)


def _total(parts: Sequence[Any], real: Sequence[Any]) -> Any:
    """Sum all values of each channel over the parts, (C,)."""
    return tf.add_n([each * tf.reduce_sum(part, _but_last(part)) for each, part in zip(real, parts, strict=True)])


def _but_last(part: Any) -> list[int]:
    """List the axes of the images and the pixels."""
    return list(range(part.shape.rank - 1))


def _count(part: Any) -> Any:
    """Count the values per channel, as float32."""
    return tf.cast(tf.size(part) // tf.shape(part)[-1], tf.float32)
