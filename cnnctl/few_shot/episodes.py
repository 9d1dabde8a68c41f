"""Few-shot tasks: an episode is `way` classes, `shot` labelled images of each, and `query` images of each to classify."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.data.image_set import FEW_NAMES, ImageSet
from cnnctl.data.pipeline import AT_ONCE, Preparation, augmented_then_plain, pixels_of, prepared_ahead
from cnnctl.data.store.lazy import AnyImages, JoinedImages, LazyImages, empty_images, turned
from cnnctl.errors import DataError
from cnnctl.spec.few_shot import EpisodeSize

QUARTERS = 4  # rotations by 90 degrees
TEST_FIELDS = ("few_shot.way", "few_shot.shot", "few_shot.query")
OPTION_NAMES = ("--way", "--shot", "--query")
"""Fields, or options, that set the size of an episode of validation and test."""
TRAIN_FIELDS = ("few_shot.train_way", "few_shot.train_shot", "few_shot.train_query")
_STREAM = 0xE915
"""Separates these random numbers from all others that have the same seed."""


def add_pose_classes(images: ImageSet, rotations: bool, mirrors: bool) -> ImageSet:
    """Add rotated and mirrored images, with each pose of a class as a class of its own.

    A. Santoro et al. 2016, "Meta-Learning with Memory-Augmented Neural Networks", section 4.1, has the rotations.

    Args:
        images: (N, H, W, C), square where there are rotations; labels (N,) from 0.
        rotations: by 90, 180 and 270 degrees.
        mirrors: left and right, before any rotation.
    """
    poses = poses_of(images.images, rotations, mirrors)
    if len(poses) == 1:
        return images
    labels = np.concatenate([images.labels * len(poses) + pose for pose in range(len(poses))])
    if isinstance(images.images, LazyImages):
        return ImageSet(JoinedImages([each for each in poses if isinstance(each, LazyImages)]), labels)
    joined = empty_images((len(labels), *poses[0].shape[1:]))  # so that the pipeline reads them in place
    return ImageSet(np.concatenate([each[:] for each in poses], out=joined), labels)


def poses_of(images: AnyImages, rotations: bool, mirrors: bool) -> list[AnyImages]:
    """Return the images as they are and then in each other pose; arguments as in `add_pose_classes`."""
    poses = product((False, True) if mirrors else (False,), range(QUARTERS if rotations else 1))
    if isinstance(images, LazyImages):
        return [images.turned(*pose) for pose in poses]
    return [turned(images, *pose) for pose in poses]


class Episodes:
    """Random episodes of a set of images; the same seed and number always draw the same episode.

    Args:
        images: of at least `way` classes with `shot + query` images each.
        size: of an episode.
        split: name of the images, for messages.
        fields: names of the fields for way, shot and query, for messages.
        class_names: by label, for messages; empty if unknown.

    Raises:
        DataError: there are too few classes, or too few images of one.
    """

    def __init__(
        self,
        images: ImageSet,
        size: EpisodeSize,
        split: str,
        fields: Sequence[str] = TEST_FIELDS,
        class_names: Sequence[str] = (),
    ) -> None:
        labels, counts = np.unique(images.labels, return_counts=True)
        refuse_too_few(counts, size, split, fields, [class_names[label] for label in labels] if class_names else ())
        table = np.zeros((len(labels), counts.max()), np.int64)  # one row per class: the indices of its images
        for row, (label, count) in enumerate(zip(labels, counts, strict=True)):
            table[row, :count] = np.flatnonzero(images.labels == label)
        with tf.device("CPU:0"):
            self._table, self._counts = tf.constant(table), tf.constant(counts)
            self._absent = tf.constant(np.arange(table.shape[1]) >= counts[:, np.newaxis])
        self.images = images
        self.size = size

    def indices(self, seed: int, number: Any) -> Any:
        """Draw the indices of the images of an episode, (way, shot + query)."""
        start = tf.stack([tf.cast(seed ^ _STREAM, tf.int64), tf.cast(number, tf.int64)])
        class_seed, image_seed = tf.unstack(tf.random.split(start, 2))
        rows = tf.random.experimental.stateless_shuffle(tf.range(len(self._counts)), class_seed)[: self.size.way]
        keys = tf.random.stateless_uniform((self.size.way, self._table.shape[1]), image_seed)
        keys = tf.where(tf.gather(self._absent, rows), -1.0, keys)
        places = tf.math.top_k(keys, self.size.images_per_class).indices
        return tf.gather(tf.gather(self._table, rows), places, batch_dims=1)


def refuse_too_few(
    counts: Any, size: EpisodeSize, split: str, fields: Sequence[str] = TEST_FIELDS, names: Sequence[str] = ()
) -> None:
    """Raise DataError where an episode cannot be drawn.

    Args:
        counts: images per class.
        size: of an episode.
        split: name of the images.
        fields: names of the fields for way, shot and query.
        names: of the classes; empty if unknown.
    """
    way, shot, query = fields
    if size.way > len(counts):
        raise DataError(f"an episode needs {size.way} classes, but {split} has {len(counts)}; lower {way}, or add classes")
    if min(counts) < size.images_per_class:
        short = [place for place, count in enumerate(counts) if count < size.images_per_class]
        named = f": {_with_counts(short, names, counts)}" if names else f", one only {min(counts)}"
        raise DataError(
            f"an episode needs {size.shot} + {size.query} images per class, but {len(short):,} of the {len(counts):,} classes of "
            f"{split} {'has' if len(short) == 1 else 'have'} fewer{named}; lower {shot} or {query}"
        )


def _with_counts(places: Sequence[int], names: Sequence[str], counts: Any) -> str:
    """List classes with their number of images, the smallest first."""
    fewest = sorted(places, key=lambda place: int(counts[place]))
    shown = ", ".join(f"'{names[place]}' has {counts[place]}" for place in fewest[:FEW_NAMES])
    return shown if len(places) <= FEW_NAMES else f"{shown} and {len(places) - FEW_NAMES:,} more"


def index_batches(episodes: Episodes, seed: int, count: int, at_once: int) -> tf.data.Dataset:
    """Create the first `count` episodes of a seed as indices (E, way, shot + query), at most `at_once` per batch."""
    numbers = tf.data.Dataset.range(count).map(lambda number: episodes.indices(seed, number))
    return prepared_ahead(numbers.batch(at_once))


def training_episodes(
    episodes: Episodes,
    prepare: Preparation,
    *,
    seed: int,
    first: int,
    count: int,
    at_once: int,
    per_epoch: int,
    plain_from: int | None = None,
    skip: int = 0,
) -> tf.data.Dataset:
    """Create episodes `first` to `first + count` of an endless series, `at_once` per batch, fewer in the last of an epoch.

    Each element is labelled images (E, way, shot, H, W, C) and query images (E, way, query, H, W, C), float32 in
    [0, 1], augmented if the config says so.

    Args:
        episodes: draws them.
        prepare: prepares images for the network.
        seed: the same seed and number always draw the same episode.
        first: number of the first one, a multiple of `per_epoch`.
        count: number of episodes, a multiple of `per_epoch`.
        at_once: episodes per step.
        per_epoch: episodes per epoch.
        plain_from: number of the first episode without augmentation, a multiple of `per_epoch`; None for none.
        skip: batches of the first epoch to leave out.
    """
    pixels = pixels_of(episodes.images.images)
    size = episodes.size

    def series(prepare: Preparation, begin: int, until: int) -> tf.data.Dataset:
        def fetch(number: Any) -> tuple[Any, Any]:
            chosen = tf.reshape(episodes.indices(seed, number), (size.images,))
            draws = prepare.draws(size.images, seed ^ _STREAM, number)
            images, _ = prepare.network_inputs(pixels(chosen), tf.zeros(size.images, tf.int64), draws)
            images = tf.reshape(images, (size.way, size.images_per_class, *images.shape[1:]))
            return images[:, : size.shot], images[:, size.shot :]

        def epoch(start: Any) -> tf.data.Dataset:
            left_out = tf.where(tf.equal(start, first), tf.constant(skip * at_once, tf.int64), 0)
            numbers = tf.data.Dataset.range(start + left_out, start + per_epoch)
            return numbers.map(fetch, num_parallel_calls=AT_ONCE).batch(at_once)

        return tf.data.Dataset.range(begin, until, per_epoch).flat_map(epoch)

    return prepared_ahead(augmented_then_plain(series, prepare, first, plain_from, first + count))
