"""Several views of each image: augmented copies, whose vectors are averaged, and turned ones, whose comparisons are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.pipeline import Preparation
from cnnctl.data.store.lazy import AnyImages
from cnnctl.few_shot.episodes import turned_copies
from cnnctl.spec.few_shot import turns_of

Values = NDArray[np.float32]
Embed = Callable[[Any], Any]
"""What the network takes, (B, H, W, C) or (B, C, H, W) → vectors (B, D)."""
_STREAM = 0xC0B1E5
"""Keeps the draws of copies apart from those of training, which have the same seed."""


@dataclass(frozen=True)
class Views:
    """How often each image is looked at, besides as it is.

    Attributes:
        copies: augmented copies, whose vectors are averaged with its own.
        rotations: turned by 90, 180 and 270 degrees too. Two images are compared in each turn, and the comparisons are
            averaged: a network that learned turned images as classes of their own sees something else in each.
        mirrors: mirrored left and right too, likewise.
    """

    copies: int = 0
    rotations: bool = False
    mirrors: bool = False

    @property
    def turns(self) -> int:
        """Returns the turns in which two images are compared."""
        return turns_of(self.rotations, self.mirrors)


AS_IT_IS = Views()


def vectors_of(embed: Embed, images: AnyImages, prepare: Preparation, views: Views, *, seed: int, at_once: int) -> Values:
    """Returns one vector for each turn of each image, the mean of its copies, (N, turns, D).

    Args:
        embed: the network.
        images: (N, H, W, C), uint8.
        prepare: how they are made ready, and changed for copies.
        views: of each image.
        seed: copy k of image i is changed alike for one seed.
        at_once: images that the network takes at once.
    """
    turns = turned_copies(images, views.rotations, views.mirrors)
    return np.stack([_averaged(embed, turned, prepare, views.copies, seed, at_once) for turned in turns], axis=1)


def _averaged(embed: Embed, images: AnyImages, prepare: Preparation, copies: int, seed: int, at_once: int) -> Values:
    """Returns the mean vector of each image and its copies, (N, D)."""
    total: Any = 0
    for copy in range(copies + 1):
        draws = prepare.draws(len(images), seed ^ _STREAM, copy) if copy else None
        total = total + _embedded(embed, images, prepare, draws, at_once)
    return np.asarray(total / (copies + 1), np.float32)


def _embedded(embed: Embed, images: AnyImages, prepare: Preparation, draws: Any | None, at_once: int) -> Values:
    vectors = []
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        labels = tf.zeros(len(images[part]), tf.int64)
        inputs, _ = prepare.network_inputs(images[part], labels, None if draws is None else draws[part])
        vectors.append(np.asarray(embed(inputs)))
    return np.concatenate(vectors)
