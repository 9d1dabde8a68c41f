"""Define a set of images with labels, the interface of every data source, and helpers that the sources share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.store.lazy import AnyImages, LazyImages, taken
from cnnctl.data.store.memory import bytes_of_image
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.image_files import broken_images

Labels = NDArray[np.int64]
READ_AT_ONCE, _BYTES_AT_ONCE = 1024, 2**24
"""Maximum number of examples read at a time, and of bytes of their images."""
FEW_NAMES = 5
"""Maximum number of names listed in a message."""


Sizes = tuple[tuple[int, int], tuple[int, int]]
"""The minimum (height, width) of some image files, and the maximum."""


@dataclass(frozen=True)
class ImageSet:
    """Images (N, H, W, C), uint8, in memory or read on demand, and their labels (N,).

    Attributes:
        original_sizes: sizes of the whole split before resizing; None where unknown.
    """

    images: AnyImages
    labels: Labels
    original_sizes: Sizes | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """Select the images at `indices`, in that order. Lazy images are not read."""
        images = self.images.take(indices) if isinstance(self.images, LazyImages) else taken(self.images, indices)
        return ImageSet(images, self.labels[indices], self.original_sizes)

    def reduced(self, indices: NDArray[np.int64]) -> ImageSet:
        """Select the images at ascending `indices`, within the memory of this set, which must not be used any more."""
        if isinstance(self.images, LazyImages):
            return self.take(indices)
        at_once = at_once_of(prod(self.images.shape[1:]))
        for start in range(0, len(indices), at_once):
            rows = indices[start : start + at_once]
            # no overwritten row is needed later: each comes from its place or after
            self.images[start : start + len(rows)] = self.images[rows]
        return ImageSet(self.images[: len(indices)], self.labels[indices], self.original_sizes)


class Source(Protocol):
    """A set with named splits.

    Attributes:
        class_names: in the order of the labels.
        notes: messages about how the images were read.
    """

    class_names: list[str]
    notes: list[str]

    def read(self, split: str) -> ImageSet:
        """Read a split, every image fitted to the config.

        Raises:
            DataError: the split does not exist, or an image cannot be read.
        """
        ...

    def labels(self, split: str) -> Labels:
        """Read the labels of a split. Decodes no image."""
        ...

    def groups(self, split: str) -> list[str]:
        """Read the group of each image of a split, such as its alphabet. Decodes no image.

        Raises:
            DataError: the source has no groups.
        """
        raise DataError("this source has no groups of classes; write data.hold_out: class")


class BrokenImages(DataError):
    """Some images of a set cannot be read; the message names the first of them.

    Attributes:
        every: the message that names all of them.
    """

    def __init__(self, broken: Sequence[tuple[str, str]], of: str) -> None:
        super().__init__(broken_images(broken, of))
        self.every = broken_images(broken, of, most=len(broken))


@contextlib.contextmanager
def as_data_errors() -> Iterator[None]:
    """Convert an OSError of reading to DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(f"'{error.filename or 'the data'}' cannot be read: {error.strerror}") from error


def decoded_at_once(data: DataSpec) -> int:
    """Compute how many images to decode at a time."""
    return at_once_of(bytes_of_image(data))


def at_once_of(bytes_each: int) -> int:
    """Compute how many items of a size in bytes to read at a time."""
    return max(1, min(READ_AT_ONCE, _BYTES_AT_ONCE // bytes_each))


def image_options(data: DataSpec) -> dict[str, object]:
    """Collect the config fields that determine the result of `fit_image`."""
    fields = ("image_size", "channels", "fit", "pixel_max", "transpose", "invert")
    return {field: getattr(data, field) for field in fields}


def range_of(sizes: NDArray[Any]) -> Sizes | None:
    """Return the least and the largest height and width of sizes (N, 2)."""
    if not len(sizes):
        return None
    least, largest = sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()
    return (least[0], least[1]), (largest[0], largest[1])


def are_no_classes(count: int) -> str:
    """Complete a message after the names of one or more unknown labels."""
    return "is not a class" if count == 1 else "are not classes"


def some_of(names: list[str], most: int = FEW_NAMES) -> str:
    """Quote names for a message, at most `most` of them."""
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
