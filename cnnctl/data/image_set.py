"""A set of images with their labels, what every source of such sets can do, and what the readers of sources share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.store.lazy import AnyImages, LazyImages
from cnnctl.data.store.memory import bytes_of_image
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.image_files import broken_images

Labels = NDArray[np.int64]
READ_AT_ONCE, _BYTES_AT_ONCE = 1024, 2**24
"""Examples that are read at a time, and bytes of their images."""
FEW_NAMES = 5
"""So many names are listed in a message; of more, the first ones."""


Sizes = tuple[tuple[int, int], tuple[int, int]]
"""The least height and width of some images, and the largest, as their files have them."""


@dataclass(frozen=True)
class ImageSet:
    """Images (N, H, W, C) as uint8, in memory or read when they are asked for, and their labels (N,).

    Attributes:
        original_sizes: of the images before they were resized, those of the whole split; None where that is not known.
    """

    images: AnyImages
    labels: Labels
    original_sizes: Sizes | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """Returns the images at `indices`, in that order; of images that are not in memory none is read."""
        images = self.images.take(indices) if isinstance(self.images, LazyImages) else self.images[indices]
        return ImageSet(images, self.labels[indices], self.original_sizes)


class Source(Protocol):
    """A set with named splits.

    Attributes:
        class_names: in the order of the labels.
        notes: what a person should know about how the images were read.
    """

    class_names: list[str]
    notes: list[str]

    def read(self, split: str) -> ImageSet:
        """Returns a split, every image fitted to the config.

        Raises:
            DataError: there is no such split, or an image cannot be read.
        """
        ...

    def labels(self, split: str) -> Labels:
        """Returns the labels of a split alone; no image is decoded."""
        ...

    def groups(self, split: str) -> list[str]:
        """Returns the group of each image of a split, such as its alphabet; no image is decoded.

        Raises:
            DataError: the set does not say groups.
        """
        raise DataError("this source has no groups of classes; write hold_out: class")


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
    """Raises DataError for what the system refuses to read."""
    try:
        yield
    except OSError as error:
        raise DataError(f"'{error.filename or 'the data'}' cannot be read: {error.strerror}") from error


def decoded_at_once(data: DataSpec) -> int:
    """Returns how many images are decoded at a time."""
    return at_once_of(bytes_of_image(data))


def at_once_of(bytes_each: int) -> int:
    """Returns how many things of so many bytes are read at a time."""
    return max(1, min(READ_AT_ONCE, _BYTES_AT_ONCE // bytes_each))


def image_options(data: DataSpec) -> dict[str, object]:
    """Returns what decides how `fit_image` makes an image."""
    fields = ("image_size", "channels", "fit", "pixel_max", "transpose", "invert")
    return {field: getattr(data, field) for field in fields}


def range_of(sizes: NDArray[Any]) -> Sizes | None:
    """Return the least and the largest height and width of sizes (N, 2)."""
    if not len(sizes):
        return None
    least, largest = sizes.min(axis=0).tolist(), sizes.max(axis=0).tolist()
    return (least[0], least[1]), (largest[0], largest[1])


def are_no_classes(count: int) -> str:
    """Return the words of a message after the names of so many labels."""
    return "is no class" if count == 1 else "are no classes"


def some_of(names: list[str], most: int = FEW_NAMES) -> str:
    """Returns names for a message, the first few of them."""
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
