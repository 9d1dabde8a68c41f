"""Augment a batch of images at random, inside the graph and without state.

Every number is a function of (seed, epoch, example). An image is augmented in the same way in either loop, for any batch
size, and after a resume.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.data.philox import uniform_rows
from cnnctl.spec.dataset import Augment
from cnnctl.spec.draws import DRAWS, KNOTS, SMOOTHNESS, STREAM, STROKE_DRAWS, STROKE_STREAM


def draw(count: Any, seed: int, epoch: Any, settings: Augment) -> Any:
    """Draw uniform numbers in [-1, 1), (count, DRAWS), for all examples of one epoch; STROKE_DRAWS more where settings need them."""
    moves = _uniform((count, DRAWS), _seeds(seed ^ STREAM, epoch))
    if not _changes_strokes(settings):
        return moves
    return tf.concat([moves, _uniform((count, STROKE_DRAWS), _seeds(seed ^ STROKE_STREAM, epoch))], axis=1)


def draw_rows(rows: Any, seed: int, epoch: Any, settings: Augment) -> Any:
    """Draw the rows (B,) of `draw` alone, equal to the bit, in memory that does not grow with the set."""
    moves = uniform_rows(rows, DRAWS, _seeds(seed ^ STREAM, epoch))
    if not _changes_strokes(settings):
        return moves
    return tf.concat([moves, uniform_rows(rows, STROKE_DRAWS, _seeds(seed ^ STROKE_STREAM, epoch))], axis=1)


def augment(images: Any, draws: Any, settings: Augment) -> Any:
    """Transform each image of `images` (B, H, W, C), float, by its own draws. Edge pixels repeat outwards."""
    height, width = images.shape[1], images.shape[2]
    transforms = _transforms(draws[:, :DRAWS], settings, height, width)
    if settings.elastic:
        moved = _bent(images, transforms, draws[:, DRAWS + 1 :], settings.elastic)
    else:
        moved = _moved(images, transforms)
    return _with_strokes(moved, draws[:, DRAWS] * settings.thickness) if settings.thickness else moved


def _changes_strokes(settings: Augment) -> bool:
    return bool(settings.elastic or settings.thickness)


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
    knots = tf.reshape(draws, (-1, 2, KNOTS, KNOTS))
    field = _smooth(height) @ knots @ tf.transpose(_smooth(width))  # (B, 2, H, W)
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
