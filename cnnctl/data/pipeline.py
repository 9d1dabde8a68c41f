"""Images → batches, the same for both loops: order, arithmetic and augmentation are in the graph and have no state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.data.augment import augment, draw
from cnnctl.data.sources import ImageSet
from cnnctl.spec.experiment import Augment, Experiment

AT_ONCE = 4
"""Batches that are prepared at once, and that may wait to be taken."""

as_written = tf.autograph.experimental.do_not_convert
"""Marks what a dataset maps: it has no Python control flow to convert, and converting takes a third of a second."""


@dataclass(frozen=True)
class Preparation:
    """How a batch is made from uint8 images and integer labels.

    Attributes:
        classes: 0 for integer labels, otherwise the length of the one-hot ones.
        channels_first: whether the network takes (B, C, H, W).
        augment: random changes, of training images only.
    """

    classes: int
    channels_first: bool
    augment: Augment | None

    def draws(self, count: Any, seed: int, epoch: Any) -> Any:
        """Returns the numbers that change the images of one epoch, a row an example; rows are empty where nothing does."""
        return draw(count, seed, epoch, self.augment) if self.augment else tf.zeros((count, 0))

    def network_inputs(self, images: Any, labels: Any, draws: Any | None = None) -> tuple[Any, Any]:
        """Returns float32 images in [0, 1] and labels, as the network and the loss take them."""
        scaled = tf.cast(images, tf.float32) / 255.0
        if self.augment and draws is not None:
            scaled = augment(scaled, draws, self.augment)
        if self.channels_first:
            scaled = tf.transpose(scaled, [0, 3, 1, 2])
        return scaled, tf.one_hot(labels, self.classes) if self.classes else labels


@dataclass(frozen=True)
class Shares:
    """Which rows of each batch are read: those of some replicas, an element each, one replica after the other.

    The rows of a batch are dealt out in their order, as evenly as can be.

    Attributes:
        replicas: the numbers of those that are read for.
        of: how many replicas share a batch.
    """

    replicas: range = range(1)
    of: int = 1

    def rows(self, count: Any, element: Any) -> tuple[Any, Any]:
        """Returns the first row, and the row after the last, of one element of a batch of `count` rows."""
        replica = self.replicas.start + element
        return count * replica // self.of, count * (replica + 1) // self.of


WHOLE = Shares()
"""Each batch is one element."""


def preparation(experiment: Experiment) -> Preparation:
    """Returns how the config wants batches made."""
    data = experiment.data
    classes = (data.classes or 0) if data.labels == "one_hot" else 0
    return Preparation(classes, experiment.model.data_format == "channels_first", data.augment)


def steps_of(examples: int, batch_size: int) -> int:
    """Returns the batches that `examples` make; the last may be smaller."""
    return math.ceil(examples / batch_size)


def training_batches(
    images: ImageSet,
    prepare: Preparation,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    skip: int = 0,
    shares: Shares = WHOLE,
) -> tf.data.Dataset:
    """Returns the batches of all epochs from `first_epoch` on, counted from 0, one after the other.

    The first `skip` of them are left out; no image of theirs is touched. Each epoch has its own order, a function of
    (seed, epoch), and ends with a smaller batch where `batch_size` does not divide the set. Where replicas share the
    batches, each element is a replica's part of one, and says as its third tensor how many rows are the replica's own.
    """
    pixels, labels = _on_host(images)
    count = len(images)
    each = len(shares.replicas)

    @as_written
    def epoch_indices(epoch: Any) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), tf.stack([tf.cast(seed, tf.int64), epoch]))
        draws = prepare.draws(count, seed, epoch)

        @as_written
        def element_indices(element: Any) -> tuple[Any, Any, Any]:
            first, end, own = _rows_of(element, batch_size, count, shares)
            chosen = order[first:end]
            return chosen, tf.gather(draws, chosen), own

        return tf.data.Dataset.range(steps_of(count, batch_size) * each).map(element_indices)

    @as_written
    def fetch(indices: Any, draws: Any, own: Any) -> tuple[Any, ...]:
        inputs = prepare.network_inputs(tf.gather(pixels, indices), tf.gather(labels, indices), draws)
        return inputs if shares == WHOLE else (*inputs, own)

    indices = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_indices).skip(skip * each)
    return prepared_ahead(indices.map(fetch, num_parallel_calls=AT_ONCE))


def training_sample(images: ImageSet, prepare: Preparation, *, count: int, seed: int) -> tuple[Any, Any]:
    """Returns one batch of at most `count` training images, from all over the set, as the first epoch sees them."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.int64)
    draws = tf.gather(prepare.draws(len(images), seed, 0), chosen)
    return prepare.network_inputs(images.images[chosen], images.labels[chosen], draws)


def ordered_batches(images: ImageSet, prepare: Preparation, batch_size: int, shares: Shares = WHOLE) -> tf.data.Dataset:
    """Returns the batches of one pass in the set's own order, without augmentation; shares as in `training_batches`."""
    pixels, labels = _on_host(images)
    count = len(images)

    @as_written
    def fetch(element: Any) -> tuple[Any, ...]:
        first, end, own = _rows_of(element, batch_size, count, shares)
        inputs = prepare.network_inputs(pixels[first:end], labels[first:end])
        return inputs if shares == WHOLE else (*inputs, own)

    elements = tf.data.Dataset.range(steps_of(count, batch_size) * len(shares.replicas))
    return prepared_ahead(elements.map(fetch, num_parallel_calls=AT_ONCE))


def _rows_of(element: Any, batch_size: int, count: int, shares: Shares) -> tuple[Any, Any, Any]:
    """Returns the first row of a pass, the row after the last, and how many rows are the replica's own, for one element.

    Where a batch has fewer rows than replicas, those without one take another's, which counts for nothing: a convolution
    cannot take no image.
    """
    each = len(shares.replicas)
    start = element // each * batch_size
    rows = tf.minimum(count - start, batch_size)
    first, end = shares.rows(rows, element % each)
    taken = tf.minimum(first, rows - 1)
    return start + taken, start + tf.maximum(end, taken + 1), end - first


def prepared_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the same batches, some of them prepared while the network computes.

    How many is said and not left to TensorFlow's autotuning: its thread sleeps for longer and longer, and whoever
    lets an iterator go waits for it to wake up, which took 22 s after a training of 20 s.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(AT_ONCE).with_options(options)


def _on_host(images: ImageSet) -> tuple[Any, Any]:
    """Returns images and labels as tensors in main memory, where the input pipeline runs."""
    with tf.device("CPU:0"):
        return tf.constant(images.images), tf.constant(images.labels)
