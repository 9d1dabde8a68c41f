"""Test-time augmentation: embeddings averaged over augmented views, and comparisons averaged over poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.pipeline import Preparation
from cnnctl.data.store.lazy import AnyImages
from cnnctl.few_shot.episodes import poses_of
from cnnctl.spec.few_shot import turns_of

Values = NDArray[np.float32]
Embed = Callable[[Any], Any]
"""Prepared images, (B, H, W, C) or (B, C, H, W) → embeddings (B, D)."""
_STREAM = 0xC0B1E5
"""Separates the random numbers of views from those of training, which have the same seed."""


@dataclass(frozen=True)
class Views:
    """Views of each image that an evaluation uses, besides the image itself.

    Attributes:
        augmented: augmented views; their embeddings are averaged with that of the image.
        rotations: also rotate by 90, 180 and 270 degrees. Two images are compared in each pose and the logits are averaged:
            a network that was trained with each pose as a class of its own sees something different in each.
        mirrors: also mirror left and right, in the same way.
    """

    augmented: int = 0
    rotations: bool = False
    mirrors: bool = False

    @property
    def poses(self) -> int:
        """Number of poses in which two images are compared, the original included."""
        return turns_of(self.rotations, self.mirrors)


NO_VIEWS = Views()


def embed_views(embed: Embed, images: AnyImages, prepare: Preparation, views: Views, *, seed: int, at_once: int) -> Values:
    """Compute one embedding per pose of each image, averaged over its augmented views, (N, poses, D).

    Args:
        embed: the network.
        images: (N, H, W, C), uint8.
        prepare: prepares images for the network, and augments them.
        views: of each image.
        seed: view k of image i is the same for the same seed.
        at_once: batch size.
    """
    poses = poses_of(images, views.rotations, views.mirrors)
    return np.stack([_mean_embeddings(embed, pose, prepare, views.augmented, seed, at_once) for pose in poses], axis=1)


def _mean_embeddings(embed: Embed, images: AnyImages, prepare: Preparation, augmented: int, seed: int, at_once: int) -> Values:
    """Compute the mean embedding of each image and its augmented views, (N, D)."""
    total: Any = 0
    for view in range(augmented + 1):  # view 0 is the image itself
        draws = prepare.draws(len(images), seed ^ _STREAM, view) if view else None
        total = total + _embeddings(embed, images, prepare, draws, at_once)
    return np.asarray(total / (augmented + 1), np.float32)


def _embeddings(embed: Embed, images: AnyImages, prepare: Preparation, draws: Any | None, at_once: int) -> Values:
    vectors = []
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        labels = tf.zeros(len(images[part]), tf.int64)
        inputs, _ = prepare.network_inputs(images[part], labels, None if draws is None else draws[part])
        vectors.append(np.asarray(embed(inputs)))
    return np.concatenate(vectors)
