"""Prepare batches, the same for both loops: order, arithmetic and augmentation are in the graph and have no state."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.augment import augment, draw, draw_partners, draw_rows, mix
from cnnctl.data.image_set import ImageSet
from cnnctl.data.images import Pixels
from cnnctl.data.store.lazy import ALIGNMENT, AnyImages, LazyImages
from cnnctl.errors import DataError
from cnnctl.spec.dataset import Augment, DataSpec

AT_ONCE = 4
"""Batches prepared in parallel, and length of the prefetch queue."""

Rows = Callable[[Any], Any]
"""Indices (...) → the values at them, (..., ...)."""

as_written = tf.autograph.experimental.do_not_convert
"""Marks the functions that a dataset maps. They have no Python control flow, and converting them takes 0.3 s."""


@dataclass(frozen=True)
class Preparation:
    """The steps from uint8 images and integer labels to the input of the network.

    Attributes:
        classes: length of one-hot labels; 0 for integer labels.
        channels_first: True where the network expects (B, C, H, W).
        augment: augmentation of training images, or None.
    """

    classes: int
    channels_first: bool
    augment: Augment | None

    def draws(self, count: Any, seed: int, epoch: Any) -> Any:
        """Draw the random numbers for augmentation in one epoch, one row per example; rows are empty without augmentation."""
        return draw(count, seed, epoch, self.augment) if self.augment else tf.zeros((count, 0))

    def draws_of(self, rows: Any, seed: int, epoch: Any) -> Any:
        """Draw the rows (B,) of `draws` alone, equal to the bit, in memory that does not grow with the set."""
        return draw_rows(rows, seed, epoch, self.augment) if self.augment else tf.zeros((tf.size(rows), 0))

    def partners(self, count: Any, seed: int, epoch: Any) -> Any | None:
        """Draw the example (count,) that each is mixed with in one epoch; None without mixup."""
        return draw_partners(count, seed, epoch) if self.augment and self.augment.mixup else None

    def network_inputs(self, images: Any, labels: Any, draws: Any | None = None) -> tuple[Any, Any]:
        """Convert to float32 images in [0, 1] and to labels, as the network and the loss expect them.

        With mixup and draws the images, labels and draws are those of `with_partners`, and half as many are returned.
        """
        scaled = tf.cast(images, tf.float32) / 255.0
        targets = tf.one_hot(labels, self.classes) if self.classes else labels
        if self.augment and draws is not None:
            scaled = augment(scaled, draws, self.augment)
            if self.augment.mixup:
                scaled, targets = mix(scaled, draws, self.augment), mix(targets, draws, self.augment)
        if self.channels_first:
            scaled = tf.transpose(scaled, [0, 3, 1, 2])
        return scaled, targets


@dataclass(frozen=True)
class Shares:
    """The part of each batch that is read, one element per replica.

    The rows of a batch are divided in order, as evenly as possible.

    Attributes:
        replicas: indices of the replicas of this process.
        of: number of replicas that share a batch.
    """

    replicas: range = range(1)
    of: int = 1

    def rows(self, count: Any, element: Any) -> tuple[Any, Any]:
        """Compute the first row, and the row after the last, of one element of a batch of `count` rows."""
        replica = self.replicas.start + element
        return count * replica // self.of, count * (replica + 1) // self.of


WHOLE = Shares()
"""One element per batch."""


def preparation(data: DataSpec, data_format: str) -> Preparation:
    """Build the `Preparation` of a data section and the data format of the model."""
    classes = (data.classes or 0) if data.labels == "one_hot" else 0
    return Preparation(classes, data_format == "channels_first", data.augment)


def steps_of(examples: int, batch_size: int) -> int:
    """Count the batches of `examples`; the last may be smaller."""
    return math.ceil(examples / batch_size)


def training_batches(
    images: ImageSet,
    prepare: Preparation,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    plain_from: int | None = None,
    skip: int = 0,
    shares: Shares = WHOLE,
) -> tf.data.Dataset:
    """Build the batches of all epochs from `first_epoch` on, counted from 0, as one dataset.

    The first `skip` batches are skipped without reading their images. The order of each epoch is a function of (seed, epoch).
    An epoch ends with a smaller batch where `batch_size` does not divide the set. From the epoch `plain_from` on, if it is
    given, images are not augmented. Where replicas share the batches, each element is one replica's part; its third tensor,
    (2,), has the number of rows of the replica and of the batch.
    """
    pixels, labels = pixels_of(images.images), _on_host(images.labels)
    count = len(images)
    each = len(shares.replicas)
    by_row = isinstance(images.images, LazyImages)  # slower, but needs no memory for the draws of all examples

    def series(prepare: Preparation, begin: int, until: int) -> tf.data.Dataset:
        @as_written
        def epoch_indices(epoch: Any) -> tf.data.Dataset:
            order = tf.random.experimental.stateless_shuffle(tf.range(count), tf.stack([tf.cast(seed, tf.int64), epoch]))
            draws = None if by_row else prepare.draws(count, seed, epoch)
            partners = prepare.partners(count, seed, epoch)

            @as_written
            def element_indices(element: Any) -> tuple[Any, Any, Any]:
                first, end, own = _rows_of(element, batch_size, count, shares)
                chosen = with_partners(order[first:end], partners)
                return chosen, epoch if by_row else tf.gather(draws, chosen), own

            return tf.data.Dataset.range(steps_of(count, batch_size) * each).map(element_indices)

        @as_written
        def fetch(indices: Any, drawn: Any, own: Any) -> tuple[Any, ...]:
            draws = prepare.draws_of(indices, seed, drawn) if by_row else drawn
            inputs = prepare.network_inputs(pixels(indices), tf.gather(labels, indices), draws)
            return inputs if shares == WHOLE else (*inputs, own)

        left_out = skip * each if begin == first_epoch else 0  # plain epochs may come after, each whole
        indices = tf.data.Dataset.range(begin, until).flat_map(epoch_indices).skip(left_out)
        return indices.map(fetch, num_parallel_calls=AT_ONCE)

    return prepared_ahead(augmented_then_plain(series, prepare, first_epoch, plain_from, epochs))


def augmented_then_plain(
    series: Callable[[Preparation, int, int], tf.data.Dataset],
    prepare: Preparation,
    first: int,
    plain_from: int | None,
    end: int,
) -> tf.data.Dataset:
    """Join the series of a training from `first` up to `end`, without augmentation from `plain_from` on."""
    turn = end if plain_from is None else min(max(plain_from, first), end)
    if turn == end:
        return series(prepare, first, end)
    plain = series(replace(prepare, augment=None), turn, end)
    return plain if turn == first else series(prepare, first, turn).concatenate(plain)


def with_partners(rows: Any, partners: Any | None) -> Any:
    """Return rows (B,), followed by the partners of each for mixup, (2 · B,); without partners the rows alone."""
    return rows if partners is None else tf.concat([rows, tf.cast(tf.gather(partners, rows), rows.dtype)], axis=0)


def training_sample(images: ImageSet, prepare: Preparation, *, count: int, seed: int) -> tuple[Any, Any]:
    """Prepare one batch of at most `count` training images, spread over the set, as in the first epoch."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).astype(np.int64)
    return in_first_epoch(images, prepare, chosen, seed)


def in_first_epoch(images: ImageSet, prepare: Preparation, rows: NDArray[np.int64], seed: int) -> tuple[Any, Any]:
    """Prepare the images and labels at some rows (B,) as they are in the first epoch."""
    rows = np.asarray(with_partners(rows, prepare.partners(len(images), seed, 0)))
    return prepare.network_inputs(images.images[rows], images.labels[rows], prepare.draws_of(rows, seed, 0))


def ordered_batches(images: ImageSet, prepare: Preparation, batch_size: int, shares: Shares = WHOLE) -> tf.data.Dataset:
    """Build the batches of one pass in the set's own order, without augmentation; shares as in `training_batches`."""
    pixels, labels = pixels_of(images.images), _on_host(images.labels)
    count = len(images)

    @as_written
    def fetch(element: Any) -> tuple[Any, ...]:
        first, end, own = _rows_of(element, batch_size, count, shares)
        indices = tf.range(first, end)
        inputs = prepare.network_inputs(pixels(indices), tf.gather(labels, indices))
        return inputs if shares == WHOLE else (*inputs, own)

    elements = tf.data.Dataset.range(steps_of(count, batch_size) * len(shares.replicas))
    return prepared_ahead(elements.map(fetch, num_parallel_calls=AT_ONCE))


def _rows_of(element: Any, batch_size: int, count: int, shares: Shares) -> tuple[Any, Any, Any]:
    """Compute, for one element, its first row in the pass, the row after the last, and (its rows, rows of the batch).

    Where a batch has fewer rows than replicas, the others read a row that is not theirs, with weight 0: a convolution fails
    on an empty batch.
    """
    each = len(shares.replicas)
    start = element // each * batch_size
    rows = tf.minimum(count - start, batch_size)
    first, end = shares.rows(rows, element % each)
    taken = tf.minimum(first, rows - 1)
    return start + taken, start + tf.maximum(end, taken + 1), tf.stack([end - first, rows])


def prepared_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch some of the batches while the network computes.

    The number is fixed, not autotuned: TensorFlow's tuning thread sleeps longer and longer, and closing an iterator waits
    for it, which took 22 s after a training of 20 s.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False  # rewriting the pipeline copies all its images
    return batches.prefetch(AT_ONCE).with_options(options)


def pixels_of(images: AnyImages) -> Rows:
    """Build the function that reads images by index inside the pipeline: (...) → (..., H, W, C), uint8."""
    if not isinstance(images, LazyImages):
        pixels = _shared_with_host(images)
        return lambda indices: tf.gather(pixels, indices)

    def read(indices: Any) -> Any:
        found = tf.numpy_function(images.__getitem__, [indices], tf.uint8, stateful=False)
        return tf.ensure_shape(found, [*indices.shape, *images.shape[1:]])

    return read


@contextlib.contextmanager
def owned(batches: tf.data.Dataset, distribute: Callable[[tf.data.Dataset], Any] | None = None) -> Iterator[Any]:
    """Yield the dataset; close every iterator over it at the end of the block, also those that Keras made.

    An iterator that is only forgotten lives on in tracebacks and cycles until Python collects garbage. That may happen in
    any thread, also in one that reads images for this very iterator: it would wait for itself forever.

    Args:
        batches: the dataset.
        distribute: makes the dataset of a strategy; None for one device.
    """
    opened: list[Any] = []
    dataset = distribute(batches) if distribute else batches

    # Keras calls iter() itself, so the class of the dataset records what it returns.
    class Recorded(type(dataset)):  # type: ignore[misc]
        def __iter__(self) -> Any:
            opened.append(super().__iter__())
            return opened[-1]

    own = object.__new__(Recorded)
    own.__dict__.update(dataset.__dict__)
    try:
        yield own
    finally:
        for iterator in opened:
            _close(iterator, tf.data.experimental.to_variant(batches.take(0)))


def _close(iterator: Any, empty: Any) -> None:
    """Let an iterator start again on an empty dataset, which ends the threads of its own in this thread."""
    resource, *of_devices = tf.nest.flatten(iterator, expand_composites=True)
    if of_devices:  # a strategy's
        tf.raw_ops.MultiDeviceIteratorInit(dataset=empty, multi_device_iterator=resource, max_buffer_size=1)
    else:
        tf.raw_ops.MakeIterator(dataset=empty, iterator=resource)


@contextlib.contextmanager
def iterate(batches: tf.data.Dataset, distribute: Callable[[tf.data.Dataset], Any] | None = None) -> Iterator[Any]:
    """Yield an iterator that is closed at the end of the block; arguments as in `owned`."""
    with owned(batches, distribute) as dataset:
        yield iter(dataset)


def first_of(batches: tf.data.Dataset) -> Any:
    """Return the first element of a dataset."""
    with iterate(batches) as iterator:
        return next(iterator)


@contextlib.contextmanager
def as_read_error() -> Iterator[None]:
    """Raise the DataError of images that could not be read, which TensorFlow's graph raises as an error of its own."""
    try:
        yield
    except tf.errors.OpError as error:
        message = re.search(r"\bDataError: (.+)", error.message)
        if message is None:
            raise
        raise DataError(message[1]) from error


def _shared_with_host(images: Pixels) -> Any:
    """Build a tensor of images, which must not change any more, in main memory; without a copy where the array is aligned."""
    flags = images.flags
    if images.ctypes.data % ALIGNMENT or not flags.c_contiguous or not flags.writeable or not images.size:
        # TensorFlow ends the process when it computes with an array at another address; NumPy exports no read-only array
        return _on_host(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def _on_host(values: NDArray[Any]) -> Any:
    """Build a tensor in main memory, where the input pipeline runs."""
    with tf.device("CPU:0"):
        return tf.constant(values)
