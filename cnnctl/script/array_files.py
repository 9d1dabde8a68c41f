"""The layout of the arrays in IDX, npz and Matlab files, as far as the code of a script depends on it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnctl.errors import UsageError
from cnnctl.script.expressions import literal
from cnnctl.spec.dataset import DataSpec

if TYPE_CHECKING:
    import numpy as np

    from cnnctl.formats import Part


@dataclass(frozen=True)
class Stored:
    """The layout of a split; a script reads all its splits by the same code.

    Attributes:
        rows: rows of an image.
        columns: columns of an image.
        channels: channels of an image.
        channels_before: whether the channels come before rows and columns.
        images_last: whether images are along the last axis.
        bits: whether pixels are booleans.
        labels: `numbers`, `names`, `bytes` (encoded names), `one-hot`, or `first` of several columns.
    """

    rows: int
    columns: int
    channels: int
    channels_before: bool = False
    images_last: bool = False
    bits: bool = False
    labels: str = "numbers"

    def __str__(self) -> str:
        order = "channels before rows" if self.channels_before else "channels last"
        axis = "last" if self.images_last else "first"
        pixels = "bits" if self.bits else "numbers"
        return f"{self.rows}×{self.columns}×{self.channels} ({order}, images along the {axis} axis, {pixels}, labels: {self.labels})"


@dataclass(frozen=True)
class Split:
    """The source of a split in a script.

    Attributes:
        names: names of its files and arrays, as the script lists them.
        stored: their layout.
        dtype: dtype of the pixels.
        needs: further template flags.
    """

    names: tuple[str, ...]
    stored: Stored
    dtype: np.dtype[Any]
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Array:
    """Shape and dtype of an array with images along its first axis."""

    shape: Sequence[int]
    dtype: np.dtype[Any]


def _split(
    names: tuple[str, ...], images: Array, labels: Array, data: DataSpec, part: Part, needs: set[str], last: bool = False
) -> Split:
    """Describe a split by its arrays.

    Args:
        names: names of its files and arrays.
        images: its images, along the first axis.
        labels: its labels.
        data: the data section of a checked config.
        part: the split as cnnctl reads it.
        needs: further template flags.
        last: whether images are along the last axis in the file.
    """
    assert part.height and part.width and part.channels
    one = (part.height, part.width, part.channels)
    before = len(images.shape) == 4 and part.channels > 1 and tuple(images.shape[1:]) != one
    several = len(labels.shape) == 2 and labels.shape[1] > 1
    kind = {"U": "names", "S": "bytes"}.get(labels.dtype.kind, "numbers")
    if several:  # QMNIST has the class in the first of 8 columns
        kind = "first" if data.source == "idx" else "one-hot"
    column = {"label_column"} if len(labels.shape) == 2 and not several else set[str]()
    return Split(names, Stored(*one, before, last, images.dtype.kind == "b", kind), images.dtype, frozenset(needs | column))


# IDX


def idx_split(data: DataSpec, part: Part) -> Split:
    """Inspect a split of IDX files."""
    from cnnctl.formats.recognise import is_packed

    images, labels = (_idx_array(file) for file in part.files)
    needs = {"gzip"} if any(map(is_packed, part.files)) else set[str]()
    return _split(tuple(file.name for file in part.files), images, labels, data, part, needs)


def idx_types(parts: Sequence[Part]) -> str:
    """Return the dtypes in the files of some splits by their codes, as code."""
    from cnnctl.formats.recognise import IDX_TYPES

    codes = {_idx_header(file)[0] for part in parts for file in part.files}
    return f"{{{', '.join(f'{code}: {literal(IDX_TYPES[code])}' for code in sorted(codes))}}}"


def _idx_array(file: Path) -> Array:
    import numpy as np

    from cnnctl.formats.recognise import IDX_TYPES

    code, shape = _idx_header(file)
    return Array(shape, np.dtype(IDX_TYPES[code]))


def _idx_header(file: Path) -> tuple[int, tuple[int, ...]]:
    """Read the type code and the shape."""
    from cnnctl.formats.streams import opened

    with opened(file) as content:
        code, rank = content.read(4)[2:]
        return code, struct.unpack(f">{rank}I", content.read(4 * rank))


# npz


def npz_split(data: DataSpec, part: Part) -> Split:
    """Inspect a split of npz or npy files: two arrays in one file, or a file of images and a file of labels."""
    from cnnctl.formats.npz import arrays_of

    names: tuple[str, ...]
    if len(part.files) == 1:
        arrays = arrays_of(part.files[0])
        pair = _pair({name: array.shape for name, array in arrays.items()}, data, part)
        names, needs = (part.files[0].name, *pair), set[str]()
        images, labels = (arrays[name] for name in pair)
    else:
        images, labels = (next(iter(arrays_of(file).values())) for file in part.files)
        names, needs = tuple(file.name for file in part.files), {"halves"}
        if images.member or labels.member:
            needs.add("zipped")
        if bool(images.member) != bool(labels.member):
            raise UsageError(f"{images.file} and {labels.file} have different formats, npz and npy; save both in one format")
    return _split(names, Array(images.shape, images.dtype), Array(labels.shape, labels.dtype), data, part, needs)


def _pair(shapes: dict[str, tuple[int, ...]], data: DataSpec, part: Part) -> tuple[str, str]:
    """Find the names of images and labels of a split in its file."""
    from cnnctl.formats.names import keys_of
    from cnnctl.formats.pairs import find_pairs

    file = part.files[0]
    keys = data.keys if file == Path(str(data.path)) else keys_of(data.keys, file.stem)
    pairs = find_pairs(shapes, keys, file, file.stem)
    for name, (images, labels) in pairs.items():
        if labels and part.name in (name, name.rpartition(".")[2], f"{file.stem}-{name}"):
            return images, labels
    raise UsageError(f"{file}: '{part.name}' is not among {', '.join(pairs)}; set data.keys to the names of its arrays")


# Matlab


def mat_split(data: DataSpec, part: Part) -> Split:
    """Inspect a split of a Matlab file."""
    from cnnctl.formats.mat import arrays_of

    arrays = arrays_of(part.files[0])
    pair = _pair({name: array.shape for name, array in arrays.items()}, data, part)
    images, labels = (arrays[name] for name in pair)
    last = images.shape[0] != part.count
    shape = (images.shape[-1], *images.shape[:-1]) if last else images.shape
    label_shape = labels.shape[::-1] if labels.shape[0] != part.count else labels.shape
    # loadmat(simplify_cells=True) drops axes of length 1
    label_shape = label_shape[:1] if label_shape[1:] == (1,) else label_shape
    needs = {"structs"} if any("." in name for name in pair) else set()
    names = (part.files[0].name, *pair)
    return _split(names, Array(shape, images.dtype), Array(label_shape, labels.dtype), data, part, needs, last)
