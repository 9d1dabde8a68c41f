"""Interpret arrays of images and labels as `(B, H, W, C)` and `(N,)`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError
from cnnctl.formats.names import MAX_CLASSES
from cnnctl.formats.part import Labels, Part, Size
from cnnctl.formats.streams import MAX_PIXELS

PIXEL_KINDS = "buif"
"""The dtype kinds of pixels: bool, integers and floats."""
COLOURS = (1, 3)
_EXPECTED = "expected (N, H, W), (N, H, W, C), (N, C, H, W) or (N, H·W)"
MAX_NAME = 1000
"""Maximum characters of a class name."""
_MAX_COLUMNS = 2**20
"""Maximum number of classes of one-hot labels."""


@dataclass(frozen=True)
class Layout:
    """The order in which an array stores images.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: values per pixel.
        channels_first: True where images are (C, H, W).
    """

    height: int
    width: int
    channels: int
    channels_first: bool = False

    def arrange(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Turn rows of the array into images (B, H, W, C)."""
        if self.channels_first:
            return np.ascontiguousarray(rows.transpose(0, 2, 3, 1))
        return np.ascontiguousarray(rows.reshape(len(rows), self.height, self.width, self.channels))


def part_of(
    name: str,
    images: Any,
    labels: Any,
    layout: Layout,
    read_labels: Callable[[Any], Labels],
    class_names: tuple[str, ...] = (),
) -> Part:
    """Build a split of two stored arrays, each with `file`, `shape` and `rows(max_rows)`; `labels` may be None."""
    return Part(
        name,
        tuple(dict.fromkeys(array.file for array in (images, labels) if array)),
        images.shape[0],
        layout.height,
        layout.width,
        layout.channels,
        partial(read_labels, labels) if labels else None,
        lambda max_rows: map(layout.arrange, images.rows(max_rows)),
        class_names,
    )


def layout_of(shape: Sequence[int], size: Size, where: str) -> Layout:
    """Determine the layout of images from the shape of an array.

    Args:
        shape: of the array.
        size: height and width of images that are rows of pixels; None for squares.
        where: the file and the array, for messages.

    Raises:
        DataError: the shape is not that of images, or the images are too large.
    """
    if 0 in shape[1:]:
        raise DataError(f"{where} has the shape {shown(shape)}: its images have no pixels; {_EXPECTED}")
    layout = _layout_of(shape, size, where)
    if layout.height * layout.width > MAX_PIXELS:
        raise DataError(
            f"{where} has the shape {shown(shape)}: an image has more than {MAX_PIXELS:,} pixels; resize the images"
        )
    return layout


def _layout_of(shape: Sequence[int], size: Size, where: str) -> Layout:
    match list(shape):
        case [_, values]:
            return Layout(*side_lengths(values, size, where), channels=1)
        case [_, height, width]:
            return Layout(height, width, 1)
        case [_, height, width, channels] if channels in COLOURS:
            return Layout(height, width, channels)
        case [_, channels, height, width] if channels in COLOURS:
            return Layout(height, width, channels, channels_first=True)
    raise DataError(f"{where} has the shape {shown(shape)}; {_EXPECTED}, with C 1 or 3")


def side_lengths(values: int, size: Size, where: str) -> tuple[int, int]:
    """Determine height and width of an image stored as a row of pixels.

    Raises:
        DataError: the row fits neither `size` nor a square.
    """
    found = fitting_size(values, size)
    if found is None:
        given = f", and data.image_size {list(size)} has {prod(size):,}" if size else ""
        raise DataError(
            f"{where}: {values:,} pixels per image are not a square{given}; "
            f"write data.image_size: [height, width] with height × width = {values:,}"
        )
    return found


def fitting_size(values: int, size: Size) -> tuple[int, int] | None:
    """Determine height and width for a number of pixels: `size` if it fits, else a square; None if neither fits."""
    if size and prod(size) == values:
        return size
    side = isqrt(max(values, 0))
    return (side, side) if values > 0 and side * side == values else None


def shown(shape: Sequence[int]) -> str:
    """Format a shape, such as (60000, 28, 28)."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def check_label_shape(shape: Sequence[int], images: int, where: str) -> None:
    """Refuse an array whose shape cannot be that of the labels.

    Raises:
        DataError: the number of rows differs, or the array has more than two dimensions.
    """
    if not 1 <= len(shape) <= 2 or (len(shape) == 2 and not 1 <= shape[1] <= _MAX_COLUMNS):
        raise DataError(f"{where} has the shape {shown(shape)}; expected labels of shape ({images},) or ({images}, 1)")
    if shape[0] != images:
        raise DataError(f"{where} has {shape[0]:,} labels for {images:,} images; expected one label per image")


def labels_of(blocks: Iterable[NDArray[Any]], where: str) -> Labels:
    """Join blocks of labels.

    Args:
        blocks: (B,) or (B, 1) integers or texts, or (B, K) one-hot.
        where: the file and the array, for messages.

    Returns:
        (N,) integers, or class names.

    Raises:
        DataError: the values are not labels, or an image has several.
    """
    found = [_plain(block, where) for block in blocks]
    if isinstance(found[0], list):
        return [name for block in found for name in block]
    return np.concatenate(found)


def _plain(block: NDArray[Any], where: str) -> Labels:
    block = block[:, 0] if block.ndim == 2 and block.shape[1] == 1 else block
    if block.dtype.kind in "US":
        return _names(block, where)
    if block.dtype.kind not in PIXEL_KINDS:
        raise DataError(f"{where} has the dtype {block.dtype}; expected integers or texts as labels")
    return whole_numbers(_from_one_hot(block, where) if block.ndim == 2 else block, where)


def _names(block: NDArray[Any], where: str) -> list[str]:
    if block.ndim != 1:
        raise DataError(f"{where} has {block.shape[1]} texts per image; expected one class name per image")
    texts = (text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in block.tolist())
    known: dict[str, str] = {}  # equal texts share memory
    return [known.setdefault(text, text) for text in texts]


def check_names(names: Collection[str], where: str) -> None:
    """Refuse texts that are too long or too many to be class names.

    Raises:
        DataError: a name is too long, or there are too many.
    """
    if len(names) > MAX_CLASSES:
        raise DataError(f"{where} has more than {MAX_CLASSES:,} different labels; expected class names or integers")
    if any(len(name) > MAX_NAME for name in names):
        raise DataError(f"{where} has a label of more than {MAX_NAME:,} characters; expected class names or integers")


def whole_numbers(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Convert labels (N,) of any dtype to integers.

    Raises:
        DataError: a label is not an integer.
    """
    if values.dtype.kind == "u" and values.size and int(values.max()) >= 2**63:
        raise DataError(f"{where} has the label {values.max()}; expected integers below 2**63")
    if values.dtype.kind == "f":
        wrong = ~(np.isfinite(values) & (np.abs(values) < 2**53) & (values == np.floor(values)))
        if wrong.any():
            raise DataError(f"{where} has the label {values[wrong][0]}; expected integers")
    return values.astype(np.int64)


def _from_one_hot(block: NDArray[Any], where: str) -> NDArray[np.int64]:
    ones = (block == 1).sum(axis=1)
    if not ((block == 0) | (block == 1)).all():
        raise DataError(
            f"{where} has {block.shape[1]} values per image; expected one label per image, or one-hot labels of 0 and 1"
        )
    if (ones > 1).any():
        raise DataError(f"{where} has more than one label per image; expected one class per image")
    if (ones < 1).any():
        raise DataError(f"{where} has images without a label: rows of {block.shape[1]} zeros; remove or label them")
    return np.asarray(block.argmax(axis=1), np.int64)
