"""Read Matlab's MAT-files of level 5: EMNIST, SVHN and others.

Based on "MAT-File Format" (MathWorks, R2024b), chapter 1. `scipy.io.loadmat` reads whole variables, so EMNIST's images to get
its labels, and allocates cells and structs of any claimed size. This reader walks through the elements while unpacking,
stores only the requested array, and limits the bytes.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError
from cnnctl.formats.arrays import COLOURS, Layout, check_label_shape, labels_of, layout_of, shown, whole_numbers
from cnnctl.formats.names import MAX_CLASSES, keys_of, names_of_codes, role_of
from cnnctl.formats.pairs import Pair, find_pairs, left_over
from cnnctl.formats.part import Keys, Labels, Part, Size
from cnnctl.formats.streams import (
    MAX_RATIO,
    PIECE_BYTES,
    Readable,
    as_data_error,
    check_count,
    damaged,
    memory_share,
    read_exactly,
    rows_at_once,
)
from cnnctl.reading import open_regular

MAX_MAT_BYTES = 2**32
"""Maximum unpacked bytes of a file; on a machine with little memory, a quarter of it."""
_VALUES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of the values of an element (table 1-1), as NumPy's dtypes."""
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Classes of numeric arrays (table 1-3); their values may be stored in a smaller type."""
_TEXTS = (1, 2, 16)
"""Types of names: int8 according to the description, and those of other programs."""
_MATRIX, _COMPRESSED, _STRUCT = 14, 15, 2
_HEADER = 128
_MAX_DEPTH, _MAX_TEXT, _MAX_DIMENSIONS, _MAX_ARRAYS = 8, 2**16, 32, 10_000


@dataclass(frozen=True)
class Array:
    """A numeric array in a file.

    Attributes:
        name: including its structs, such as 'dataset.train.images'.
        shape: in Matlab's order.
        stored: dtype of the values in the file.
        dtype: dtype of the array.
    """

    name: str
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    dtype: np.dtype[Any]


def open_mat(path: Path, keys: Keys, size: Size) -> dict[str, Part]:
    """Open the splits of a file, or of the files of a folder with a split in their name.

    Raises:
        DataError: the variables are not recognised, or the file is damaged or too large.
    """
    if path.is_file():
        return _parts(path, None, keys, size)
    with as_data_error(path):
        files = sorted(file for file in path.iterdir() if file.suffix == ".mat" and role_of(file.stem) and file.is_file())
    return {name: part for file in files for name, part in _parts(file, path, keys_of(keys, file.stem), size).items()}


def _parts(file: Path, inside: Path | None, keys: Keys, size: Size) -> dict[str, Part]:
    arrays = arrays_of(file, inside)
    shapes = {name: array.shape for name, array in arrays.items()}
    found = find_pairs(shapes, keys, file, file.stem)
    unread = left_over(found, {name: shape for name, shape in shapes.items() if not name.endswith(".mapping")})
    short = {name: name.rpartition(".")[2] for name in found}  # EMNIST's splits are dataset.train and dataset.test
    names = short if len(set(short.values())) == len(short) else {name: name for name in found}
    parts = {names[name]: _part(names[name], file, inside, arrays, pair, size) for name, pair in found.items()}
    return {name: replace(part, unread=unread) for name, part in parts.items()}


def _part(name: str, file: Path, inside: Path | None, arrays: Mapping[str, Array], pair: Pair, size: Size) -> Part:
    images, labels = arrays[pair[0]], arrays[pair[1]] if pair[1] else None
    where = f"{file}: variable '{images.name}'"
    axis = _image_axis(images.shape, labels.shape if labels else None)
    shape = (images.shape[axis], *(side for place, side in enumerate(images.shape) if place != axis % len(images.shape)))
    layout = layout_of(shape, size, where)
    check_count(where, shape[0])
    if labels:
        check_label_shape(_label_shape(labels.shape), shape[0], f"{file}: variable '{labels.name}'")
    read = partial(read_array, file, inside)
    mapping = _mapping(images.name, arrays)
    return Part(
        name,
        (file,),
        shape[0],
        layout.height,
        layout.width,
        layout.channels,
        (lambda: _labels(read(labels), labels, file)) if labels else None,
        lambda max_rows: _blocks(read(images), images, axis, layout, max_rows),
        _class_names(read(mapping), file) if mapping else (),
    )


def _image_axis(shape: Sequence[int], labels: Sequence[int] | None) -> int:
    """Determine the dimension that counts images: the first, or as in SVHN's (H, W, C, N) the last."""
    if labels is not None:
        count = _label_shape(labels)[0]
        return -1 if shape[-1] == count != shape[0] else 0
    if len(shape) == 4:
        return -1 if shape[2] in COLOURS and shape[3] not in COLOURS else 0
    return -1 if len(shape) == 3 and shape[0] == shape[1] != shape[2] else 0


def _label_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Turn the shape of a row of labels (1, N) into (N, 1)."""
    return tuple(reversed(shape)) if len(shape) == 2 and shape[0] == 1 else tuple(shape)


def _blocks(values: NDArray[Any], array: Array, axis: int, layout: Layout, max_rows: int) -> Iterator[NDArray[Any]]:
    images = np.moveaxis(values, axis, 0)
    at_once = rows_at_once(max_rows, array.dtype.itemsize * prod(images.shape[1:]))
    for start in range(0, len(images), at_once):
        yield layout.arrange(images[start : start + at_once].astype(array.dtype))


def _labels(values: NDArray[Any], array: Array, file: Path) -> Labels:
    return labels_of([values.reshape(_label_shape(values.shape)).astype(array.dtype)], f"{file}: variable '{array.name}'")


def _mapping(name: str, arrays: Mapping[str, Array]) -> Array | None:
    """Find the array of EMNIST's class names: 'mapping', in a struct that contains the images."""
    above = [name[:place] for place, sign in enumerate(name) if sign == "."]
    found = (arrays.get(f"{each}.mapping") for each in reversed(above))
    return next(
        (each for each in found if each and len(each.shape) == 2 and each.shape[1] > 1 and each.shape[0] <= MAX_CLASSES), None
    )


def _class_names(mapping: NDArray[Any], file: Path) -> tuple[str, ...]:
    with as_data_error(file):
        return names_of_codes([whole_numbers(row, f"{file}: variable 'mapping'").tolist() for row in mapping])


def read_array(file: Path, inside: Path | None, array: Array) -> NDArray[Any]:
    """Read the values of an array in their stored dtype."""
    values = None
    for found, content in _walk(file, inside, array.name):
        if content is not None and found == array:
            values = content  # continue to the end of the variable, where damage is detected
    if values is None:
        raise DataError(f"{file} changed while it was read; run the command again")
    return np.frombuffer(values, array.stored).reshape(array.shape, order="F")


# the format


def arrays_of(file: Path, inside: Path | None = None) -> dict[str, Array]:
    """List the numeric arrays of a file by name, including those in structs.

    Raises:
        DataError: the file is damaged, or too large when unpacked.
    """
    arrays: dict[str, Array] = {}
    for array, _ in _walk(file, inside, None):
        arrays[array.name] = array
        if len(arrays) > _MAX_ARRAYS:
            raise DataError(f"{file} has more than {_MAX_ARRAYS:,} arrays; expected images and labels")
    return arrays


Order = Literal["<", ">"]
Found = tuple[Array, bytearray | None]
"""An array, and its values if it was requested."""


def _walk(file: Path, inside: Path | None, wanted: str | None) -> Iterator[Found]:
    with as_data_error(file), open_regular(file, inside) as raw:
        size = os.fstat(raw.fileno()).st_size
        order = _byte_order(raw.read(_HEADER), file)
        left = max_bytes()
        while raw.peek(1):
            kind, length = struct.unpack(f"{order}II", read_exactly(raw, 8, file))
            start = raw.tell()
            if start + length > size:
                raise damaged(file, f"it ends early, {start + length - size:,} bytes before the end of a variable")
            cursor = _Cursor(_Inflated(raw, length) if kind == _COMPRESSED else raw, file, order, left)
            inner = cursor.tag()[:2] if kind == _COMPRESSED else (kind, length)
            if inner[1] > MAX_RATIO * length:
                raise damaged(file, f"a variable claims {inner[1]:,} bytes from {length:,} compressed")
            if inner[0] == _MATRIX:
                yield from _matrix(cursor, inner[1], "", wanted)
            left -= cursor.at
            raw.seek(start + length)


def max_bytes() -> int:
    """Compute the maximum unpacked bytes of a file."""
    return min(MAX_MAT_BYTES, memory_share())


def _byte_order(header: bytes, file: Path) -> Order:
    orders: dict[bytes, Order] = {b"\0\1IM": "<", b"\1\0MI": ">"}
    order = orders.get(header[124:128])
    if order is None:
        raise DataError(f"{file}: expected a MAT-file of level 5; save it again in Matlab with save(file, '-v7')")
    return order


class _Inflated:
    """A compressed element, unpacked in pieces."""

    def __init__(self, raw: Readable, length: int) -> None:
        self._raw, self._left = raw, length
        self._zlib, self._tail = zlib.decompressobj(), b""

    def read(self, count: int, /) -> bytes:
        while not self._zlib.eof:
            content = self._zlib.decompress(self._tail, count)
            self._tail = self._zlib.unconsumed_tail
            if content:
                return content
            if not self._tail and not self._zlib.eof:
                self._tail = self._raw.read(min(PIECE_BYTES, self._left))
                self._left -= len(self._tail)
                if not self._tail:
                    raise EOFError("a variable ends early")
        return b""


class _Cursor:
    """A position in an element.

    Attributes:
        file: for messages.
        at: position in unpacked bytes from the start of the element.
    """

    def __init__(self, stream: Readable, file: Path, order: Order, max_size: int) -> None:
        self._stream, self._order, self._max_size = stream, order, max_size
        self.file = file
        self.at = 0

    def take(self, count: int) -> bytearray:
        """Read `count` bytes."""
        self._count(count)
        return read_exactly(self._stream, count, self.file)

    def skip_to(self, place: int) -> None:
        """Read up to a position and discard the bytes."""
        if place < self.at:
            raise damaged(self.file, "an element is longer than its variable")
        while self.at < place:
            step = min(PIECE_BYTES, place - self.at)
            self.take(step)

    def end(self) -> None:
        """Read the end of a compressed element, where zlib verifies the checksum."""
        if isinstance(self._stream, _Inflated) and self._stream.read(1):
            raise damaged(self.file, "a variable is longer than its header states")

    def tag(self) -> tuple[int, int, int]:
        """Read the type of an element, its bytes, and its padding; up to four bytes are stored in the tag itself."""
        word = self._word()
        if word >> 16:
            if word >> 16 > 4:
                raise damaged(self.file, f"a small element has {word >> 16} bytes, expected at most 4")
            return word & 0xFFFF, word >> 16, 4 - (word >> 16)
        length = self._word()
        return word, length, -length % 8

    def integers(self, max_size: int) -> list[int]:
        """Read an element of integers with at most `max_size` bytes."""
        kind, length, padding = self.tag()
        if length > max_size or kind not in _VALUES or "f" in _VALUES[kind]:
            raise damaged(
                self.file, f"expected integers of at most {max_size:,} bytes, received {length:,} bytes of type {kind}"
            )
        values = np.frombuffer(self.take(length), np.dtype(_VALUES[kind]).newbyteorder(self._order))
        self.take(padding)
        return [int(value) for value in values]

    def text(self) -> str:
        """Read an element with a name."""
        kind, length, padding = self.tag()
        if length > _MAX_TEXT or kind not in _TEXTS:
            raise damaged(self.file, f"expected a name, received {length:,} bytes of type {kind}")
        text = self.take(length).decode("utf-8", "replace")
        self.take(padding)
        return text

    def stored(self, kind: int) -> np.dtype[Any] | None:
        """Determine the dtype of values; None for a type that is not numeric."""
        return np.dtype(_VALUES[kind]).newbyteorder(self._order) if kind in _VALUES else None

    def _word(self) -> int:
        return int.from_bytes(self.take(4), "little" if self._order == "<" else "big")

    def _count(self, count: int) -> None:
        self.at += count
        if self.at > self._max_size:
            raise DataError(
                f"{self.file} has more than {max_bytes() / 1e9:,.1f} GB unpacked, the limit for a Matlab file; save it as npz, "
                "which is read block by block"
            )


def _matrix(cursor: _Cursor, length: int, name: str, wanted: str | None, depth: int = 0) -> Iterator[Found]:
    """Walk through a matrix element after its tag, and through the structs in it."""
    end = cursor.at + length
    if not length:  # an empty field of a struct
        return
    flags, *_ = cursor.integers(8)
    shape = tuple(cursor.integers(4 * _MAX_DIMENSIONS))
    own = cursor.text()
    name = name or own
    if any(side < 0 for side in shape):
        raise damaged(cursor.file, f"variable '{name}' has the shape {shown(shape)}")
    code, is_complex = flags & 0xFF, flags & 0x0800
    taken = False
    if code in _CLASSES and name and not is_complex:
        found = _numbers(cursor, name, shape, code, wanted)
        taken = any(content is not None for _, content in found)
        yield from found
    elif code == _STRUCT and prod(shape) == 1 and depth < _MAX_DEPTH:
        yield from _fields(cursor, name, wanted, depth + 1)
        taken = True
    if taken or depth:  # the rest of other variables is not unpacked
        cursor.skip_to(end)
    if taken and not depth:
        cursor.end()


def _numbers(cursor: _Cursor, name: str, shape: tuple[int, ...], code: int, wanted: str | None) -> list[Found]:
    kind, length, _ = cursor.tag()
    stored = cursor.stored(kind)
    if stored is None or prod(shape) * stored.itemsize != length:
        raise damaged(cursor.file, f"variable '{name}' of shape {shown(shape)} has {length:,} bytes of type {kind}")
    return [(Array(name, shape, stored, np.dtype(_CLASSES[code])), cursor.take(length) if name == wanted else None)]


def _fields(cursor: _Cursor, name: str, wanted: str | None, depth: int) -> Iterator[Found]:
    """Walk through the fields of a struct: the length of a name, all names, and one matrix element per name."""
    (width,) = cursor.integers(4)
    names = cursor.text()
    if not 0 < width <= len(names) + 1 or len(names) % width:
        raise damaged(cursor.file, f"the struct '{name}' has field names of {width} characters in {len(names)}")
    for place in range(0, len(names), width):
        kind, length, _ = cursor.tag()
        if kind != _MATRIX:
            raise damaged(cursor.file, f"a field of the struct '{name}' has the type {kind}, expected {_MATRIX}")
        field = names[place : place + width].partition("\0")[0]
        yield from _matrix(cursor, length, f"{name}.{field}", wanted, depth)
