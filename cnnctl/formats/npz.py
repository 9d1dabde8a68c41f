"""Read npz and npy files block by block and without pickle: those of Keras, MedMNIST, KMNIST or NumPy."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError
from cnnctl.formats.arrays import MAX_NAME, PIXEL_KINDS, check_label_shape, labels_of, layout_of, part_of
from cnnctl.formats.names import IMAGE_WORDS, LABEL_WORDS, keys_of, without_word
from cnnctl.formats.pairs import find_pairs, left_over
from cnnctl.formats.part import Keys, Labels, Part, Size
from cnnctl.formats.recognise import first_bytes, kind_of
from cnnctl.formats.streams import (
    MAX_COUNT,
    MAX_RATIO,
    Readable,
    as_data_error,
    check_count,
    check_size,
    damaged,
    first_line,
    opened,
    read_exactly,
    read_rows,
)
from cnnctl.reading import open_regular

MAX_FORTRAN_BYTES = 10**9
"""Maximum bytes of an array in Fortran order, which must be read as a whole."""
MAX_DIRECTORY = 2**20
"""Maximum bytes of a zip file's directory, which takes several times that in memory."""
_MAX_HEADER = 10_000  # NumPy's own limit, since the header is parsed as Python
_LENGTHS = {1: "<H", 2: "<I"}


@dataclass(frozen=True)
class Array:
    """An array in a file.

    Attributes:
        file: an npz or npy file.
        member: its name in the npz file, with '.npy'; None in an npy file.
        inside: the folder that links must stay inside of; None allows any link.
        dtype: of the file.
        shape: from its header.
        fortran: True where the first dimension varies fastest.
    """

    file: Path
    member: str | None
    inside: Path | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def where(self) -> str:
        """The file and the array, for messages."""
        return f"{self.file}: array '{self.member.removesuffix('.npy')}'" if self.member else str(self.file)

    def rows(self, max_rows: int) -> Iterator[NDArray[Any]]:
        """Yield the rows in blocks of at most `max_rows`."""
        with opened_array(self.file, self.member, self.inside) as stream:
            header = read_header(stream, self.file)
            if (header.shape, header.fortran, header.dtype) != (self.shape, self.fortran, self.dtype):
                raise DataError(f"{self.file} changed while it was read; run the command again")
            if self.fortran:
                yield from self._rows_of_columns(stream, max_rows)
            else:
                yield from read_rows(stream, self.file, self.dtype, self.shape, max_rows)

    def _rows_of_columns(self, stream: Readable, max_rows: int) -> Iterator[NDArray[Any]]:
        (values,) = read_rows(stream, self.file, self.dtype, (1, prod(self.shape)), 1)
        whole = values.reshape(self.shape, order="F")
        for start in range(0, len(whole), max_rows):
            yield np.ascontiguousarray(whole[start : start + max_rows])


class Header(NamedTuple):
    """The header of an npy file.

    Attributes:
        shape: of the array.
        fortran: True where the first dimension varies fastest.
        dtype: of the values.
        size: bytes of the header.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    size: int


def open_npz(path: Path, keys: Keys, size: Size) -> dict[str, Part]:
    """Open the splits of an npz file, or of a folder of npz and npy files.

    Raises:
        DataError: its arrays are not recognised, one cannot be read safely, or one is damaged.
    """
    if path.is_file():
        return _parts(arrays_of(path), keys, size, path, path.stem)
    with as_data_error(path):
        files = sorted(file for file in path.iterdir() if file.suffix in (".npz", ".npy") and file.is_file())
    by_file = {file: arrays_of(file, path) for file in files}
    # the labels of kmnist-train-imgs.npz are in another file, as for npy files
    halves = {file.stem: next(iter(arrays.values())) for file, arrays in by_file.items() if _is_half(file, arrays)}
    whole = {file: arrays for file, arrays in by_file.items() if not _is_half(file, arrays)}
    parts = _parts(halves, None if whole else keys, size, path, path.name) if halves else {}
    for file, arrays in whole.items():
        for name, part in _parts(arrays, keys_of(keys, file.stem), size, file, file.stem).items():
            named = name if len(whole) == 1 or name == file.stem else f"{file.stem}-{name}"
            parts[named] = replace(part, name=named)
    return parts


def _is_half(file: Path, arrays: Mapping[str, Array]) -> bool:
    if file.suffix == ".npy":
        return True
    return len(arrays) == 1 and any(without_word(file.stem, word) is not None for word in (*IMAGE_WORDS, *LABEL_WORDS))


def _parts(arrays: Mapping[str, Array], keys: Keys, size: Size, file: Path, alone: str) -> dict[str, Part]:
    shapes = {name: array.shape for name, array in arrays.items()}
    pairs = find_pairs(shapes, keys, file, alone)
    parts = {
        name: _part(name, arrays[images], arrays[labels] if labels else None, size) for name, (images, labels) in pairs.items()
    }
    return {name: replace(part, unread=left_over(pairs, shapes)) for name, part in parts.items()}


def _part(name: str, images: Array, labels: Array | None, size: Size) -> Part:
    _check_usable(images, PIXEL_KINDS, "numbers")
    layout = layout_of(images.shape, size, images.where)
    check_count(images.where, images.shape[0])
    if labels:
        _check_usable(labels, PIXEL_KINDS + "US", "integers or texts")
        check_label_shape(labels.shape, images.shape[0], labels.where)
    return part_of(name, images, labels, layout, _labels)


def _labels(labels: Array) -> Labels:
    return labels_of(labels.rows(MAX_COUNT), labels.where)


def _check_usable(array: Array, kinds: str, expected: str) -> None:
    """Refuse arrays that need pickle, or that have an unexpected dtype."""
    if array.dtype.hasobject:
        raise DataError(
            f"{array.where} has Python objects (dtype object), which can run any code on loading; "
            f"save it again as {expected}, such as numpy.array(values.tolist()); save images of different sizes as image files"
        )
    if array.dtype.kind not in kinds:
        raise DataError(f"{array.where} has the dtype {array.dtype}; expected {expected}")
    if array.dtype.kind in "US" and array.dtype.itemsize > 4 * MAX_NAME:
        raise DataError(f"{array.where} has the dtype {array.dtype}; expected class names of at most {MAX_NAME:,} characters")
    if array.fortran and array.dtype.itemsize * prod(array.shape) > MAX_FORTRAN_BYTES:
        raise DataError(
            f"{array.where} is in Fortran order and has {array.dtype.itemsize * prod(array.shape) / 1e9:,.1f} GB; "
            "save numpy.ascontiguousarray(values) instead, to read it block by block"
        )


# files


def arrays_of(file: Path, inside: Path | None = None) -> dict[str, Array]:
    """List the arrays of an npz file by name, or the array of an npy file. Reads only headers.

    Raises:
        DataError: the file is damaged, or the size of an array differs from its header.
    """
    with as_data_error(file):
        single = kind_of(first_bytes(file)) == "npy"
    if single:
        with opened_array(file, None, inside) as stream:
            header = read_header(stream, file)
        check_size(file, header.size + _bytes_of(header) if not header.dtype.hasobject else file.stat().st_size)
        return {file.stem: Array(file, None, inside, header.dtype, header.shape, header.fortran)}
    with _opened_zip(file, inside) as content:
        members = [member for member in content.infolist() if member.filename.endswith(".npy")]
        return {member.filename.removesuffix(".npy"): _member(content, member, file, inside) for member in members}


def _member(content: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path, inside: Path | None) -> Array:
    with _opened_member(content, member.filename, file) as stream:
        header = read_header(stream, file)
    expected = header.size + _bytes_of(header)
    if not header.dtype.hasobject and member.file_size != expected:
        raise damaged(file, f"array '{member.filename}' has {member.file_size:,} bytes, expected {expected:,}")
    if member.file_size > MAX_RATIO * min(member.compress_size, file.stat().st_size):
        raise damaged(
            file,
            f"array '{member.filename}' claims {member.file_size:,} bytes from {member.compress_size:,} compressed",
        )
    return Array(file, member.filename, inside, header.dtype, header.shape, header.fortran)


def _bytes_of(header: Header) -> int:
    return header.dtype.itemsize * prod(header.shape)


@contextlib.contextmanager
def opened_array(file: Path, member: str | None, inside: Path | None) -> Iterator[Readable]:
    """Open an npy file, or a member of an npz file, at its start.

    Raises:
        DataError: the file cannot be read, or is found to be damaged while it is open.
    """
    if member is None:
        with opened(file, inside) as stream:
            yield stream
    else:
        with _opened_zip(file, inside) as content, _opened_member(content, member, file) as stream:
            yield stream


class _Bounded:
    """A file that limits each read, since zipfile would read a directory of any claimed size."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.seek, self.tell, self.seekable = raw.seek, raw.tell, raw.seekable

    def read(self, count: int = -1) -> bytes:
        content = self._raw.read(MAX_DIRECTORY + 1 if count < 0 else min(count, MAX_DIRECTORY + 1))
        if len(content) > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has more than {MAX_DIRECTORY:,} bytes")
        return content


@contextlib.contextmanager
def _opened_zip(file: Path, inside: Path | None) -> Iterator[zipfile.ZipFile]:
    with as_data_error(file), open_regular(file, inside) as raw, zipfile.ZipFile(_Bounded(raw)) as content:
        yield content


@contextlib.contextmanager
def _opened_member(content: zipfile.ZipFile, name: str, file: Path) -> Iterator[IO[bytes]]:
    member = content.getinfo(name)
    if member.flag_bits & 1:
        raise DataError(f"{file}: array '{name}' is protected with a password; save it again with numpy.savez_compressed")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # other methods may unpack any amount at a time
        raise DataError(f"{file}: array '{name}' is not compressed as by NumPy; save it again with numpy.savez_compressed")
    with content.open(member) as stream:
        yield stream


def read_header(stream: Readable, file: Path) -> Header:
    """Read the header of an npy file (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).

    Raises:
        DataError: the header is invalid, or too long for an array of numbers or texts.
    """
    begin = bytes(read_exactly(stream, 8, file))
    if begin[:6] != b"\x93NUMPY" or begin[6] not in _LENGTHS:
        raise damaged(file, f"an array starts with {begin.hex(' ')}, expected 93 4e 55 4d 50 59 01 00")
    packed = bytes(read_exactly(stream, struct.calcsize(_LENGTHS[begin[6]]), file))
    (length,) = struct.unpack(_LENGTHS[begin[6]], packed)
    if length > _MAX_HEADER:
        raise damaged(file, f"the header of an array has {length:,} bytes, expected at most {_MAX_HEADER:,}")
    text = bytes(read_exactly(stream, length, file))
    reader = np.lib.format.read_array_header_1_0 if begin[6] == 1 else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings(action="ignore"):  # headers of Python 2
        shape, fortran, dtype = _parsed(reader, packed + text, file)
    if any(side < 0 for side in shape):
        raise damaged(file, f"an array has the shape {shape}")
    return Header(tuple(map(int, shape)), bool(fortran), dtype, 8 + len(packed) + length)


def _parsed(reader: Callable[[IO[bytes]], Any], content: bytes, file: Path) -> Any:
    try:
        return reader(io.BytesIO(content))
    except Exception as error:  # Python's tokenizer and parser raise a dozen kinds of errors
        raise damaged(file, f"the header of an array cannot be read: {first_line(error)}") from error
