"""Read images from disk on demand, in the order of the request."""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.images import Pixels
from cnnctl.errors import DataError

Indices = NDArray[np.int64]
Shape = tuple[int, int, int, int]
"""Of images: (N, H, W, C)."""
BLOCK_VALUES = 2**22
"""Pixel values read or processed at a time: 4 MB."""
ALIGNMENT = 64
"""TensorFlow computes with an array in place where its address is a multiple of this (Eigen's EIGEN_MAX_ALIGN_BYTES)."""


def empty_images(shape: Sequence[int]) -> Pixels:
    """Allocate images (N, H, W, C) at an aligned address, where NumPy's own are not."""
    size = prod(shape)
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].reshape(shape)


def taken(images: Pixels, indices: Indices) -> Pixels:
    """Copy the images at `indices` to an aligned address."""
    chosen = empty_images((len(indices), *images.shape[1:]))
    at_once = per_block(images.shape)
    for start in range(0, len(indices), at_once):  # not in one step: NumPy would copy all of them twice
        chosen[start : start + at_once] = images[indices[start : start + at_once]]
    return chosen


def per_block(shape: Sequence[int], values: int | None = None) -> int:
    """Compute how many images of a shape (N, H, W, C) have at most `values` pixel values, by default BLOCK_VALUES; at least 1."""
    return max(1, (values or BLOCK_VALUES) // prod(shape[1:]))


class LazyImages(ABC):
    """Images (N, H, W, C), uint8, of which only requested ones are in memory.

    Indexing works as for the first axis of an array: by an integer, a slice, or an array of integers of any shape.

    Attributes:
        shape: (N, H, W, C).
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """The number of values of all images."""
        return prod(self.shape)

    def __getitem__(self, index: Any) -> Pixels:
        rows = np.arange(len(self))[index] if isinstance(index, slice) else self._checked(np.asarray(index))
        return self._read(rows.ravel()).reshape(*rows.shape, *self.shape[1:])

    def _checked(self, rows: NDArray[Any]) -> Indices:
        if not np.issubdtype(rows.dtype, np.integer) and rows.size:
            raise IndexError(f"expected integers, received {rows.dtype}")
        if rows.size and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"expected indices below {len(self):,}, received {rows.min()} to {rows.max()}")
        return np.where(rows < 0, rows + len(self), rows).astype(np.int64)

    def take(self, indices: Indices) -> LazyImages:
        """Select the images at `indices`, in that order. None is read yet."""
        return _Part(self, self._checked(np.asarray(indices)))

    def turned(self, mirrored: bool, quarters: int) -> LazyImages:
        """Flip the images left to right where `mirrored`, then rotate by quarter turns. None is read yet."""
        return _Turned(self, mirrored, quarters)

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("these images may not fit into memory; index some of them")

    @abstractmethod
    def _read(self, rows: Indices) -> Pixels:
        """Read the images at rows (B,), counted from 0: (B, H, W, C)."""


AnyImages = Pixels | LazyImages


def in_blocks(images: AnyImages, values: int | None = None) -> Iterator[Pixels]:
    """Yield images (N, H, W, C) in blocks of a number of pixel values, so that the memory for work on them does not grow with N."""
    at_once = per_block(images.shape, values)
    return (images[start : start + at_once] for start in range(0, len(images), at_once))


class FileImages(LazyImages):
    """Images stored contiguously in a file. The file stays open as long as this object exists.

    Read at offsets and not mapped into memory: np.memmap would end the process by SIGBUS where the file is cut off or unreadable.

    Args:
        descriptor: the file, open for reading; closed with this object.
        start: offset of the first image in bytes.
        shape: (N, H, W, C).
        name: name of the file in messages.
    """

    def __init__(self, descriptor: int, start: int, shape: Shape, name: str) -> None:
        super().__init__(shape)
        self._descriptor = descriptor
        self._start = start
        self._name = name
        if hasattr(os, "posix_fadvise"):  # batches are random: reading ahead is useless
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        weakref.finalize(self, os.close, descriptor).atexit = False  # threads may still be reading at exit

    def _read(self, rows: Indices) -> Pixels:
        """Read the images in the order of the file; neighbours are read in one call."""
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        bytes_ = prod(self.shape[1:])
        firsts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        lasts = np.append(firsts[1:], len(rows))
        order = np.argsort(rows[firsts])
        whole = images.reshape(-1).data
        places = (self._start + rows[firsts[order]] * bytes_).tolist()
        for place, first, last in zip(places, firsts[order].tolist(), lasts[order].tolist(), strict=True):
            self._fill(whole[first * bytes_ : last * bytes_], place)
        return images

    def _fill(self, out: memoryview, place: int) -> None:
        while out:
            try:
                count = read_at(self._descriptor, out, place)
            except OSError as error:
                raise DataError(f"{self._name}: cannot read images ({error.strerror}); run the command again") from error
            if not count:
                raise DataError(f"{self._name} was truncated while images were read from it; run the command again")
            out, place = out[count:], place + count


def read_at(descriptor: int, out: memoryview, place: int) -> int:
    """Read bytes at an offset into `out`; return their number, 0 at the end of the file."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [out], place)
    with _ONE_AT_A_TIME:  # Windows
        os.lseek(descriptor, place, os.SEEK_SET)
        content = os.read(descriptor, len(out))
    out[: len(content)] = content
    return len(content)


_ONE_AT_A_TIME = threading.Lock()


class _Part(LazyImages):
    """A selection of other images, in its own order."""

    def __init__(self, images: LazyImages, indices: Indices) -> None:
        super().__init__((len(indices), *images.shape[1:]))
        self._images = images
        self._indices = indices

    def take(self, indices: Indices) -> LazyImages:
        return _Part(self._images, self._indices[self._checked(np.asarray(indices))])

    def _read(self, rows: Indices) -> Pixels:
        return self._images[self._indices[rows]]


class _Turned(LazyImages):
    def __init__(self, images: LazyImages, mirrored: bool, quarters: int) -> None:
        count, height, width, channels = images.shape
        super().__init__((count, width, height, channels) if quarters % 2 else images.shape)
        self._images = images
        self._mirrored = mirrored
        self._quarters = quarters

    def _read(self, rows: Indices) -> Pixels:
        return turned(self._images[rows], self._mirrored, self._quarters)


def turned(images: Pixels, mirrored: bool, quarters: int) -> Pixels:
    """Flip images (N, H, W, C) left to right where `mirrored`, then rotate by quarter turns. Copies nothing."""
    return np.rot90(images[:, :, ::-1] if mirrored else images, quarters, axes=(1, 2))


class JoinedImages(LazyImages):
    """Sets of images of one size, concatenated."""

    def __init__(self, sets: Sequence[LazyImages]) -> None:
        self._ends = np.cumsum([len(each) for each in sets])
        super().__init__((int(self._ends[-1]), *sets[0].shape[1:]))
        self._sets = sets

    def _read(self, rows: Indices) -> Pixels:
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        of_set = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(of_set):
            mine = of_set == number
            images[mine] = self._sets[number][rows[mine] - (self._ends[number] - len(self._sets[number]))]
        return images
