"""Few-shot tasks: an episode is `way` classes, `shot` labelled images of each, and `query` images of each to classify."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.data.image_set import FEW_NAMES, ImageSet
from cnnctl.data.pipeline import AT_ONCE, Preparation, pixels_of, prepared_ahead
from cnnctl.data.store.lazy import AnyImages, JoinedImages, LazyImages, turned
from cnnctl.errors import DataError
from cnnctl.spec.few_shot import EpisodeSize

QUARTERS = 4
AS_TESTED = ("few_shot.way", "few_shot.shot", "few_shot.query")
AS_OPTIONS = ("--way", "--shot", "--query")
"""What says the size of an episode of validation and test."""
IN_TRAINING = ("few_shot.train_way", "few_shot.train_shot", "few_shot.train_query")
_STREAM = 0xE915
"""Keeps these draws apart from all others that have the same seed."""


def with_turned_classes(images: ImageSet, rotations: bool, mirrors: bool) -> ImageSet:
    """Returns the images and turned copies of them, each way of turning a class of its own.

    A. Santoro et al. 2016, "Meta-Learning with Memory-Augmented Neural Networks", section 4.1, has the rotations.

    Args:
        images: (N, H, W, C), square where there are rotations; labels (N,) from 0.
        rotations: by 90, 180 and 270 degrees.
        mirrors: left and right, before any rotation.
    """
    copies = turned_copies(images.images, rotations, mirrors)
    if len(copies) == 1:
        return images
    labels = np.concatenate([images.labels * len(copies) + way for way in range(len(copies))])
    if isinstance(images.images, LazyImages):
        return ImageSet(JoinedImages([each for each in copies if isinstance(each, LazyImages)]), labels)
    return ImageSet(np.concatenate([each[:] for each in copies]), labels)


def turned_copies(images: AnyImages, rotations: bool, mirrors: bool) -> list[AnyImages]:
    """Returns the images as they are and then in each other turn; arguments as in `with_turned_classes`."""
    turns = product((False, True) if mirrors else (False,), range(QUARTERS if rotations else 1))
    if isinstance(images, LazyImages):
        return [images.turned(*turn) for turn in turns]
    return [turned(images, *turn) for turn in turns]


class Episodes:
    """Draws episodes from a set of images; the same seed and number always give the same episode.

    Args:
        images: of at least `way` classes with `shot + query` images each.
        size: of an episode.
        split: what the images are called in messages.
        fields: what says way, shot and query, in messages.

    Raises:
        DataError: there are too few classes, or too few images of one.
    """

    def __init__(
        self,
        images: ImageSet,
        size: EpisodeSize,
        split: str,
        fields: Sequence[str] = AS_TESTED,
        class_names: Sequence[str] = (),
    ) -> None:
        labels, counts = np.unique(images.labels, return_counts=True)
        refuse_too_few(counts, size, split, fields, [class_names[label] for label in labels] if class_names else ())
        table = np.zeros((len(labels), counts.max()), np.int64)  # a row a class: where its images are
        for row, (label, count) in enumerate(zip(labels, counts, strict=True)):
            table[row, :count] = np.flatnonzero(images.labels == label)
        with tf.device("CPU:0"):
            self._table, self._counts = tf.constant(table), tf.constant(counts)
            self._absent = tf.constant(np.arange(table.shape[1]) >= counts[:, np.newaxis])
        self.images = images
        self.size = size

    def indices(self, seed: int, number: Any) -> Any:
        """Returns where in the set the images of an episode are, (way, shot + query)."""
        start = tf.stack([tf.cast(seed ^ _STREAM, tf.int64), tf.cast(number, tf.int64)])
        class_seed, image_seed = tf.unstack(tf.random.split(start, 2))
        rows = tf.random.experimental.stateless_shuffle(tf.range(len(self._counts)), class_seed)[: self.size.way]
        keys = tf.random.stateless_uniform((self.size.way, self._table.shape[1]), image_seed)
        keys = tf.where(tf.gather(self._absent, rows), -1.0, keys)
        places = tf.math.top_k(keys, self.size.images_per_class).indices
        return tf.gather(tf.gather(self._table, rows), places, batch_dims=1)


def refuse_too_few(
    counts: Any, size: EpisodeSize, split: str, fields: Sequence[str] = AS_TESTED, names: Sequence[str] = ()
) -> None:
    """Raises DataError where an episode cannot be drawn.

    Args:
        counts: images of each class.
        size: of an episode.
        split: what the images are called.
        fields: what says way, shot and query.
        names: of the classes, as far as they are known.
    """
    way, shot, query = fields
    if size.way > len(counts):
        raise DataError(
            f"an episode of {size.way} classes cannot be drawn from {split}, which has {len(counts)}; lower {way}, or have more classes there"
        )
    if min(counts) < size.images_per_class:
        short = [place for place, count in enumerate(counts) if count < size.images_per_class]
        named = f": {_with_counts(short, names, counts)}" if names else f", the least {min(counts)}"
        raise DataError(
            f"an episode takes {size.shot} + {size.query} images of a class, but {len(short):,} of the {len(counts):,} classes of "
            f"{split} {'has' if len(short) == 1 else 'have'} fewer{named}; lower {shot} or {query}"
        )


def _with_counts(places: Sequence[int], names: Sequence[str], counts: Any) -> str:
    """Return some classes with how many images they have, those with the fewest first."""
    fewest = sorted(places, key=lambda place: int(counts[place]))
    shown = ", ".join(f"'{names[place]}' has {counts[place]}" for place in fewest[:FEW_NAMES])
    return shown if len(places) <= FEW_NAMES else f"{shown} and {len(places) - FEW_NAMES:,} more"


def index_batches(episodes: Episodes, seed: int, count: int, at_once: int) -> tf.data.Dataset:
    """Returns the first episodes of a seed as indices (E, way, shot + query), at most `at_once` in a batch."""
    numbers = tf.data.Dataset.range(count).map(lambda number: episodes.indices(seed, number))
    return prepared_ahead(numbers.batch(at_once))


def training_episodes(
    episodes: Episodes, prepare: Preparation, *, seed: int, first: int, count: int, at_once: int, an_epoch: int, skip: int = 0
) -> tf.data.Dataset:
    """Returns episodes `first` to `first + count` of an endless row, `at_once` in a batch, fewer in an epoch's last.

    Each element is labelled images (E, way, shot, H, W, C) and query images (E, way, query, H, W, C), float32 in
    [0, 1], changed at random where `prepare` says so.

    Args:
        episodes: draws them.
        prepare: how images are made ready.
        seed: the same seed and number always give the same episode.
        first: number of the first one, a multiple of `an_epoch`.
        count: how many, a multiple of `an_epoch`.
        at_once: episodes a step.
        an_epoch: episodes an epoch.
        skip: batches of the first epoch to leave out.
    """
    pixels = pixels_of(episodes.images.images)
    size = episodes.size

    def fetch(number: Any) -> tuple[Any, Any]:
        chosen = tf.reshape(episodes.indices(seed, number), (size.images,))
        draws = prepare.draws(size.images, seed ^ _STREAM, number)
        images, _ = prepare.network_inputs(pixels(chosen), tf.zeros(size.images, tf.int64), draws)
        images = tf.reshape(images, (size.way, size.images_per_class, *images.shape[1:]))
        return images[:, : size.shot], images[:, size.shot :]

    def epoch(start: Any) -> tf.data.Dataset:
        left_out = tf.where(tf.equal(start, first), tf.constant(skip * at_once, tf.int64), 0)
        numbers = tf.data.Dataset.range(start + left_out, start + an_epoch)
        return numbers.map(fetch, num_parallel_calls=AT_ONCE).batch(at_once)

    return prepared_ahead(tf.data.Dataset.range(first, first + count, an_epoch).flat_map(epoch))
