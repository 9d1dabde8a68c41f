"""Augment a batch of images at random, inside the graph and without state.

Every number is a function of (seed, epoch, example). An image is augmented in the same way in either loop, for any batch
size, and after a resume.
"""

from __future__ import annotations

import math
from itertools import takewhile
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.data.philox import uniform_rows
from cnnctl.spec.dataset import Augment, Erase
from cnnctl.spec.draws import (
    DRAWS,
    ERASE_DRAWS,
    ERASE_STREAM,
    KNOTS,
    MIXUP_DRAWS,
    MIXUP_STREAM,
    PARTNER_STREAM,
    SMOOTHNESS,
    STREAM,
    STROKE_DRAWS,
    STROKE_STREAM,
)


def draw(count: Any, seed: int, epoch: Any, settings: Augment) -> Any:
    """Draw uniform numbers in [-1, 1) for all examples of one epoch, (count, DRAWS); more columns where settings need them."""
    parts = [_uniform((count, width), _seeds(seed ^ stream, epoch)) for stream, width in _streams(settings)]
    return tf.concat(parts, axis=1)


def draw_rows(rows: Any, seed: int, epoch: Any, settings: Augment) -> Any:
    """Draw the rows (B,) of `draw` alone, equal to the bit, in memory that does not grow with the set."""
    parts = [uniform_rows(rows, width, _seeds(seed ^ stream, epoch)) for stream, width in _streams(settings)]
    return tf.concat(parts, axis=1)


def draw_partners(count: Any, seed: int, epoch: Any) -> Any:
    """Draw the permutation (count,) that gives each example the one that it is mixed with in an epoch."""
    return tf.random.experimental.stateless_shuffle(tf.range(count), _seeds(seed ^ PARTNER_STREAM, epoch))


def augment(images: Any, draws: Any, settings: Augment) -> Any:
    """Transform each image of `images` (B, H, W, C), float in [0, 1], by its own draws. Edge pixels repeat outwards."""
    changed = images
    if _moves(settings):
        height, width = images.shape[1], images.shape[2]
        transforms = _transforms(draws[:, :DRAWS], settings, height, width)
        changed = (
            _bent(images, transforms, _part(draws, STROKE_STREAM, settings)[:, 1:], settings.elastic)
            if settings.elastic
            else _moved(images, transforms)
        )
    if settings.thickness:
        changed = _with_strokes(changed, _part(draws, STROKE_STREAM, settings)[:, 0] * settings.thickness)
    return erased(changed, _part(draws, ERASE_STREAM, settings), settings.erase) if settings.erase else changed


def mix(values: Any, draws: Any, settings: Augment) -> Any:
    """Mix the rows of the first half of `values`, (2 · B, ...), with their partners, the rows of the second half: (B, ...).

    H. Zhang, M. Cisse, Y. N. Dauphin and D. Lopez-Paz, "mixup: Beyond empirical risk minimization", ICLR 2018. The
    draws, (2 · B, ...), are those of `draw`. The first half of them sets the shares, one for each image, not one for a batch.
    """
    first, partners = tf.split(values, 2)
    shares = _shares(tf.split(_part(draws, MIXUP_STREAM, settings), 2)[0], settings.mixup)
    shares = tf.reshape(shares, (-1, *[1] * (len(values.shape) - 1)))
    return partners + shares * (first - partners)  # where both labels are equal exactly 1


def _streams(settings: Augment) -> list[tuple[int, int]]:
    """List the streams of random numbers that settings need, each with its numbers per image, in the order of the columns."""
    needed = {
        (STREAM, DRAWS): True,
        (STROKE_STREAM, STROKE_DRAWS): settings.elastic or settings.thickness,
        (ERASE_STREAM, ERASE_DRAWS): settings.erase,
        (MIXUP_STREAM, MIXUP_DRAWS): settings.mixup,
    }
    return [each for each, needs in needed.items() if needs]


def _part(draws: Any, stream: int, settings: Augment) -> Any:
    """Return the columns of one stream."""
    before = list(takewhile(lambda each: each[0] != stream, _streams(settings)))
    start = sum(width for _, width in before)
    return draws[:, start : start + dict(_streams(settings))[stream]]


def _moves(settings: Augment) -> bool:
    fields = (settings.rotation, settings.shift, settings.zoom, settings.shear, settings.flip, settings.elastic)
    return any(fields)


def _seeds(seed: int, epoch: Any) -> Any:
    return tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])


def _uniform(shape: tuple[Any, int], seeds: Any) -> Any:
    return tf.random.stateless_uniform(shape, seeds, -1.0, 1.0)


# moved


def _transforms(draws: Any, settings: Augment, height: int, width: int) -> Any:
    """Compute the maps from output to input pixels, (B, 8), about the centre of the image."""
    turn, down, right, size, slant, mirror = tf.unstack(draws, axis=1)
    angle = turn * math.radians(settings.rotation)
    shear = slant * math.radians(settings.shear)
    scale = 1.0 / (1.0 + size * settings.zoom)
    side = tf.where(mirror < 0, -1.0, 1.0) if settings.flip else tf.ones_like(mirror)
    xx, xy = scale * tf.cos(angle) * side, scale * -tf.sin(angle + shear)
    yx, yy = scale * tf.sin(angle) * side, scale * tf.cos(angle + shear)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    # the shift comes first, so zoom and rotation do not change its length in pixels
    from_x, from_y = centre_x - right * settings.shift * width, centre_y - down * settings.shift * height
    to_x = centre_x - xx * from_x - xy * from_y
    to_y = centre_y - yx * from_x - yy * from_y
    zeros = tf.zeros_like(turn)
    return tf.stack([xx, xy, to_x, yx, yy, to_y, zeros, zeros], axis=1)


def _moved(images: Any, transforms: Any) -> Any:
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


# bent


def _bent(images: Any, transforms: Any, draws: Any, elastic: float) -> Any:
    """Apply the affine and the elastic transform in one step, so that images are interpolated only once.

    The elastic transform displaces each pixel by a random field that a Gaussian smooths: P. Simard, D. Steinkraus and
    J. Platt, "Best practices for convolutional neural networks applied to visual document analysis", ICDAR 2003.
    They draw noise at every pixel. Here a grid of KNOTS × KNOTS points has the same effect after smoothing.

    Args:
        images: (B, H, W, C), float.
        transforms: (B, 8), from `_transforms`.
        draws: (B, 2 · KNOTS · KNOTS), in [-1, 1).
        elastic: the maximum displacement, as a fraction of the height and of the width.
    """
    height, width = images.shape[1], images.shape[2]
    knots = tf.reshape(draws, (-1, KNOTS, KNOTS))  # (2 · B, KNOTS, KNOTS)
    rows, columns = _repeated(_smooth(height), knots), _repeated(tf.transpose(_smooth(width)), knots)
    field = tf.reshape(rows @ knots @ columns, (-1, 2, height, width))  # (B, 2, H, W)
    # one matrix product: TensorFlow may reorder sums with the graph around them, and `cnnctl code` promises equal bits
    bent = _bent_pixels(field * _each(elastic * width, elastic * height))
    moved = tf.reshape(transforms[:, :6], (-1, 2, 3)) @ bent
    x, y = tf.unstack(tf.reshape(moved, (-1, 2, height, width)), axis=1)
    return _read(images, x, y)


def _bent_pixels(field: Any) -> Any:
    """Displace the coordinates (column, row, 1) of every pixel by a field (B, 2, H, W): (B, 3, H · W)."""
    height, width = field.shape[2:]
    column, row = tf.meshgrid(tf.range(width, dtype=tf.float32), tf.range(height, dtype=tf.float32))
    x, y = column + field[:, 0], row + field[:, 1]
    return tf.reshape(tf.stack([x, y, tf.ones_like(x)], axis=1), (-1, 3, height * width))


def _each(right: float, down: float) -> Any:
    return tf.constant([right, down], tf.float32)[:, tf.newaxis, tf.newaxis]


def _repeated(matrix: Any, others: Any) -> Any:
    """Repeat a matrix for each of others, (N, rows, columns).

    oneDNN's product of tensors of different ranks corrupts memory on some processors, at least until TensorFlow has its pull
    request 120199, which 2.21 has not.
    """
    return tf.tile(matrix[tf.newaxis], (tf.shape(others)[0], 1, 1))


def _smooth(pixels: int) -> Any:
    """Compute the Gaussian weight of each knot at each pixel of an axis, (pixels, KNOTS). Each row sums to one."""
    distance = np.linspace(0, 1, pixels)[:, np.newaxis] - np.linspace(0, 1, KNOTS)
    weights = np.exp(-0.5 * (distance / SMOOTHNESS) ** 2)
    return tf.constant(weights / weights.sum(axis=1, keepdims=True), tf.float32)


def _read(images: Any, x: Any, y: Any) -> Any:
    """Interpolate the images bilinearly at columns `x` and rows `y`, both (B, H, W)."""
    height, width, channels = images.shape[1:]
    x, y = tf.clip_by_value(x, 0.0, width - 1.0), tf.clip_by_value(y, 0.0, height - 1.0)
    left, top = tf.floor(x), tf.floor(y)
    right, down = (x - left)[..., tf.newaxis], (y - top)[..., tf.newaxis]
    # the four neighbours are stacked as channels, so that one gather, the expensive part, reads all of them
    pairs = tf.concat([images, tf.concat([images[:, :, 1:], images[:, :, -1:]], axis=2)], axis=3)
    corners = tf.concat([pairs, tf.concat([pairs[:, 1:], pairs[:, -1:]], axis=1)], axis=3)
    places = tf.cast(top, tf.int32) * width + tf.cast(left, tf.int32)
    read = tf.gather(tf.reshape(corners, (-1, height * width, 4 * channels)), places, axis=1, batch_dims=1)
    here, beside, below, across = tf.split(read, 4, axis=3)
    upper, lower = here + right * (beside - here), below + right * (across - below)
    return upper + down * (lower - upper)


# strokes


def _with_strokes(images: Any, pixels: Any) -> Any:
    """Dilate the bright strokes of images (B, H, W, C) by a number of pixels (B,), or erode them where it is negative.

    A fraction of a pixel blends with the maximum or minimum of the neighbourhood, as a thin stroke covers pixels partly.
    """
    side = tf.sign(pixels)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    share = tf.abs(pixels)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    grown = side * tf.nn.max_pool2d(side * images, 3, 1, "SAME")  # the minimum, where side is -1
    return images + share * (grown - images)


# erased


def erased(images: Any, draws: Any, settings: Erase) -> Any:
    """Fill a rectangle in some of the images (B, H, W, C), float in [0, 1], by draws (B, ERASE_DRAWS).

    Z. Zhong, L. Zheng, G. Kang, S. Li and Y. Yang, "Random erasing data augmentation", 2017. They draw again until the
    rectangle fits into the image. Here a side that is too long is cut instead, so that each image needs as many numbers.
    """
    height, width = images.shape[1], images.shape[2]
    happens, area, ratio, down, right, _, _ = tf.unstack((draws + 1.0) / 2.0, axis=1)  # (B,), in [0, 1)
    pixels = _within(area, *settings.scale) * (height * width)
    ratio = tf.exp(_within(ratio, *map(math.log, settings.ratio)))  # 1/2 as often as 2
    rows = tf.clip_by_value(tf.floor(tf.sqrt(pixels * ratio) + 0.5), 1.0, height)
    columns = tf.clip_by_value(tf.floor(tf.sqrt(pixels / ratio) + 0.5), 1.0, width)
    rows = tf.where(happens < settings.probability, rows, 0.0)
    inside = _covered(height, down, rows)[:, :, tf.newaxis] & _covered(width, right, columns)[:, tf.newaxis, :]
    fill = _noise(images, draws) if settings.fill_value is None else settings.fill_value
    return tf.where(inside[..., tf.newaxis], fill, images)


def _within(share: Any, least: float, most: float) -> Any:
    return least + share * (most - least)


def _covered(length: int, place: Any, covered: Any) -> Any:
    """Mark which of `length` pixels lie in an interval of `covered` pixels, (B, length); `place` in [0, 1) chooses its start."""
    start = tf.floor(place * (length - covered + 1.0))[:, tf.newaxis]
    at = tf.range(length, dtype=tf.float32)
    return (at >= start) & (at < start + covered[:, tf.newaxis])


def _noise(images: Any, draws: Any) -> Any:
    """Draw a value in [0, 1) for each value of the images (B, H, W, C); the bits of its last two draws seed an image.

    The generator is SplitMix64, which computes any number of a series alone: G. L. Steele, D. Lea and C. H. Flood, "Fast
    splittable pseudorandom number generators", OOPSLA 2014. A `stateless_uniform` for each image takes ten times as long.
    """
    shape = images.shape[1:]
    seeds = tf.bitcast(draws[:, -2:], tf.uint64)  # (B,)
    numbers = tf.range(1, math.prod(shape) + 1, dtype=tf.int64)
    mixed = seeds[:, tf.newaxis] + tf.cast(numbers, tf.uint64) * tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    mixed = _shifted(mixed, 30) * tf.constant(0xBF58476D1CE4E5B9, tf.uint64)
    mixed = _shifted(mixed, 27) * tf.constant(0x94D049BB133111EB, tf.uint64)
    top = tf.bitwise.right_shift(_shifted(mixed, 31), tf.constant(40, tf.uint64))  # as many bits as a float32 has
    return tf.reshape(tf.cast(top, tf.float32) / 2.0**24, (-1, *shape))


def _shifted(bits: Any, by: int) -> Any:
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(by, tf.uint64)))


# mixed


def _shares(draws: Any, alpha: float) -> Any:
    """Compute numbers of Beta(alpha, alpha), (B,), from pairs of uniform ones in [-1, 1), (B, 2), without rejection.

    L. Devroye, "Random variate generation in one line of code", 1996: with U and V uniform in [0, 1), the number is
    1/2 + 1/2 · cos(2πV) · sqrt((1 - q) / (q + (1 - q) · cos²(2πV))), where q = U^(1 / alpha). It is R. W. Bailey's
    "Polar generation of random variates with the t-distribution", 1994, put through T / sqrt(2 · alpha + T²).
    """
    power = tf.pow((draws[:, 0] + 1.0) / 2.0, 1.0 / alpha)
    cosine = tf.cos(math.pi * draws[:, 1])
    rest = 1.0 - power
    signed = cosine * tf.sqrt(rest / (power + rest * cosine * cosine))
    return tf.clip_by_value((1.0 + signed) / 2.0, 0.0, 1.0)  # rounding may leave it by one bit
