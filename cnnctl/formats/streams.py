"""Read untrusted files in pieces: a number in a file never decides how much memory is allocated."""

from __future__ import annotations

import contextlib
import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError
from cnnctl.reading import open_regular

GZIP = b"\x1f\x8b"
MAX_COUNT = 2**31 - 1
"""Maximum number of images of a file."""
MAX_PIXELS = 100_000_000
"""Maximum pixels of one image, the same as for image files."""
BLOCK_BYTES = 2**26
"""Bytes of images in memory at a time, unless a single image is larger."""
PIECE_BYTES = 2**20
"""Bytes unpacked at a time."""
MAX_RATIO = 1032
"""Maximum expansion of deflate (https://zlib.net/zlib_tech.html)."""
_SHOWN = 200


class Readable(Protocol):
    """A source of bytes."""

    def read(self, count: int, /) -> bytes:
        """Read at most `count` bytes; none at the end."""
        ...


@contextlib.contextmanager
def as_data_error(file: Path) -> Iterator[None]:
    """Convert errors of the system or of a library about a file to DataError."""
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{file}: cannot be read: not enough memory; free some, or split the file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise damaged(file, first_line(error)) from error
    except OSError as error:
        if error.errno is None:  # Arrow raises this for damaged files
            raise damaged(file, first_line(error)) from error
        raise DataError(f"{error.filename or file}: cannot be read: {error.strerror}") from error
    except (
        ValueError,
        RuntimeError,
        NotImplementedError,
        OverflowError,
    ) as error:  # zipfile, NumPy and Arrow raise all of these
        raise damaged(file, first_line(error)) from error


def first_line(error: BaseException) -> str:
    """Shorten the message of a library to one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= _SHOWN else lines[0][: _SHOWN - 3] + "..."


def damaged(file: Path, reason: str) -> DataError:
    """Build the error for a damaged file."""
    return DataError(f"{file}: damaged: {reason}; download it again")


@contextlib.contextmanager
def opened(file: Path, inside: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked where it is compressed with gzip.

    Args:
        file: compressed or not, as recognised by its content.
        inside: the folder that links must stay inside of; None allows any link.

    Raises:
        DataError: the file cannot be read, or is found to be damaged while it is open.
    """
    with as_data_error(file), open_regular(file, inside) as raw:
        if raw.peek(2)[:2] != GZIP:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield unpacked  # type: ignore[misc]  # has every method of IO that is used here


def check_size(file: Path, claimed: int) -> None:
    """Compare the size in a header, including the header, with the size of the file.

    For a compressed file only impossible sizes are found here; its end is checked while reading.

    Raises:
        DataError: the size differs, or is impossible for a compressed file.
    """
    with as_data_error(file), open_regular(file) as raw:
        size = os.fstat(raw.fileno()).st_size
        packed = raw.peek(2)[:2] == GZIP
    if claimed > (size * MAX_RATIO if packed else size):
        raise damaged(file, f"it ends early: expected {claimed:,} bytes, received {size:,}{' compressed' if packed else ''}")
    if not packed and claimed < size:
        raise damaged(file, f"it is longer than its header states: expected {claimed:,} bytes, received {size:,}")


def memory_share() -> int:
    """Compute the maximum bytes of a file in memory: a quarter of the machine, at most 4 GB."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 2**32
    return min(2**32, machine // 4)


def check_count(where: str, count: int) -> None:
    """Refuse a number of images that is 0, or whose labels do not fit into memory.

    Raises:
        DataError: `count` is 0, more than `MAX_COUNT`, or its labels of 8 bytes exceed `memory_share`.
    """
    if count < 1:
        raise DataError(f"{where}: expected images, received none; download it again")
    if count > MAX_COUNT:
        raise DataError(
            f"{where}: expected at most {MAX_COUNT:,} images, received {count:,}; the file is damaged, download it again"
        )
    if 8 * count > memory_share():
        raise DataError(f"{where}: the labels of {count:,} images take {8 * count / 1e9:,.1f} GB; split the file")


def rows_at_once(max_rows: int, row_bytes: int) -> int:
    """Compute how many rows to read at a time: at most `max_rows`, and at most a block of bytes."""
    return max(1, min(max_rows, BLOCK_BYTES // max(row_bytes, 1)))


def read_exactly(stream: Readable, count: int, file: Path) -> bytearray:
    """Read `count` bytes in pieces, so that memory grows only with existing bytes.

    Raises:
        DataError: the file ends early.
    """
    content = bytearray()
    while len(content) < count:
        piece = stream.read(min(PIECE_BYTES, count - len(content)))
        if not piece:
            raise damaged(file, f"it ends early, {count - len(content):,} bytes too short")
        content += piece
    return content


def read_rows(
    stream: Readable, file: Path, dtype: np.dtype[Any], shape: Sequence[int], max_rows: int
) -> Iterator[NDArray[Any]]:
    """Yield the rows of an array in blocks of at most `max_rows`, and check that the file ends after them.

    Args:
        stream: positioned at the first row.
        file: for messages.
        dtype: dtype of the file; rows have its native byte order.
        shape: of the whole array.
        max_rows: maximum rows per block.

    Raises:
        DataError: the file ends early, or continues after the last row.
    """
    count, *row = shape
    row_bytes = prod(row) * dtype.itemsize
    at_once = rows_at_once(max_rows, row_bytes)
    for start in range(0, count, at_once):
        rows = min(at_once, count - start)
        values = np.frombuffer(read_exactly(stream, rows * row_bytes, file), dtype).reshape(rows, *row)
        yield values.astype(dtype.newbyteorder("="), copy=False)
    if stream.read(1):
        raise damaged(file, "it is longer than its header states")
