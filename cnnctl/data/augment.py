"""Random affine changes of a batch of images, in the graph and without state.

Every number is drawn by (seed, epoch, example), so an image is changed in the same way whichever
loop trains, whatever the batch size, and after a resume.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from cnnctl.spec.experiment import Augment

DRAWS = 6
"""Numbers an example needs: rotation, two shifts, zoom, shear, flip."""
_STREAM = 0x5EED
"""Keeps these draws apart from those of the shuffle, which have the same seed."""


def draw(count: int, seed: int, epoch: Any) -> Any:
    """Returns uniform numbers in [-1, 1), (count, DRAWS), for the examples of one epoch."""
    return tf.random.stateless_uniform((count, DRAWS), tf.stack([tf.cast(seed ^ _STREAM, tf.int64), epoch]), -1.0, 1.0)


def augment(images: Any, draws: Any, settings: Augment) -> Any:
    """Returns `images` (B, H, W, C), float, each moved by its own numbers; edges repeat outwards."""
    height, width = images.shape[1], images.shape[2]
    transforms = _transforms(draws, settings, height, width)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def _transforms(draws: Any, settings: Augment, height: int, width: int) -> Any:
    """Returns the maps from output to input pixels, (B, 8), about the centre of the image."""
    turn, down, right, size, slant, mirror = tf.unstack(draws, axis=1)
    angle = turn * math.radians(settings.rotation)
    shear = slant * math.radians(settings.shear)
    scale = 1.0 / (1.0 + size * settings.zoom)
    side = tf.where(mirror < 0, -1.0, 1.0) if settings.flip else tf.ones_like(mirror)
    xx, xy = scale * tf.cos(angle) * side, scale * -tf.sin(angle + shear)
    yx, yy = scale * tf.sin(angle) * side, scale * tf.cos(angle + shear)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    to_x = centre_x - xx * centre_x - xy * centre_y + right * settings.shift * width
    to_y = centre_y - yx * centre_x - yy * centre_y + down * settings.shift * height
    zeros = tf.zeros_like(turn)
    return tf.stack([xx, xy, to_x, yx, yy, to_y, zeros, zeros], axis=1)
