"""Bytes of files that others wrote, read piece by piece: a number that a file claims never decides how much is allocated."""

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
"""Images that a file may have."""
MAX_PIXELS = 100_000_000
"""Pixels that one image may have; as for image files."""
BLOCK_BYTES = 2**26
"""Bytes of the images that are in memory at a time, one image aside."""
PIECE_BYTES = 2**20
"""Bytes that are unpacked at a time."""
MAX_RATIO = 1032
"""Bytes that one compressed byte can become (https://zlib.net/zlib_tech.html)."""
_SHOWN = 200


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, count: int, /) -> bytes:
        """Read at most so many bytes; none at the end."""
        ...


@contextlib.contextmanager
def as_data_error(file: Path) -> Iterator[None]:
    """Raise DataError for whatever the system or a library reports of a file."""
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{file}: cannot be read: not enough memory; free some, or split the file") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise damaged(file, first_line(error)) from error
    except OSError as error:
        if error.errno is None:  # Arrow's word for what contradicts itself
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
    """Make the error for a file whose content contradicts itself."""
    return DataError(f"{file}: damaged: {reason}; download it again")


@contextlib.contextmanager
def opened(file: Path, inside: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file to read it, unpacked where it is compressed with gzip.

    Args:
        file: its content decides whether it is compressed, not its name.
        inside: the folder that a link must not lead out of; None lets it lead anywhere.

    Raises:
        DataError: it cannot be read, or turns out to be damaged while it is open.
    """
    with as_data_error(file), open_regular(file, inside) as raw:
        if raw.peek(2)[:2] != GZIP:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield unpacked  # type: ignore[misc]  # all of IO that is used here


def check_size(file: Path, claimed: int) -> None:
    """Compare the bytes that a header claims, itself included, with those that exist.

    Of a compressed file only what is impossible is found; its end is seen when it is read.

    Raises:
        DataError: the file has more or fewer bytes, or is too small to hold so many compressed.
    """
    with as_data_error(file), open_regular(file) as raw:
        size = os.fstat(raw.fileno()).st_size
        packed = raw.peek(2)[:2] == GZIP
    if claimed > (size * MAX_RATIO if packed else size):
        raise damaged(
            file, f"it ends early: its header says {claimed:,} bytes, received {size:,}{' compressed' if packed else ''}"
        )
    if not packed and claimed < size:
        raise damaged(file, f"it is longer than its header says: expected {claimed:,} bytes, received {size:,}")


def memory_share() -> int:
    """Compute how many bytes of a file may be in memory as a whole: a quarter of the machine's, at most 4 GB."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 2**32
    return min(2**32, machine // 4)


def check_count(where: str, count: int) -> None:
    """Refuse a number of images that is none, or that no memory has the labels of.

    Raises:
        DataError: it is 0, more than `MAX_COUNT`, or its labels of 8 bytes take more than `memory_share`.
    """
    if count < 1:
        raise DataError(f"{where}: it has no images; download it again")
    if count > MAX_COUNT:
        raise DataError(
            f"{where}: it claims {count:,} images; expected at most {MAX_COUNT:,}; it is damaged, download it again"
        )
    if 8 * count > memory_share():
        raise DataError(f"{where}: the labels of {count:,} images take {8 * count / 1e9:,.1f} GB; split the file")


def rows_at_once(most: int, row_bytes: int) -> int:
    """Compute how many rows are read at a time: `most`, or as many as a block has room for."""
    return max(1, min(most, BLOCK_BYTES // max(row_bytes, 1)))


def read_exactly(stream: Readable, count: int, file: Path) -> bytearray:
    """Read so many bytes, piece by piece, so that memory grows only with bytes that are there.

    Raises:
        DataError: the file ends before.
    """
    content = bytearray()
    while len(content) < count:
        piece = stream.read(min(PIECE_BYTES, count - len(content)))
        if not piece:
            raise damaged(file, f"it ends early, {count - len(content):,} bytes before its header says")
        content += piece
    return content


def read_rows(stream: Readable, file: Path, dtype: np.dtype[Any], shape: Sequence[int], most: int) -> Iterator[NDArray[Any]]:
    """Read the rows of an array, at most so many at a time, and check that the file ends with them.

    Args:
        stream: stands at the first row.
        file: for messages.
        dtype: of the file; the rows have its native byte order.
        shape: of the whole array.
        most: rows.

    Raises:
        DataError: the file ends early, or goes on behind the last row.
    """
    count, *row = shape
    row_bytes = prod(row) * dtype.itemsize
    at_once = rows_at_once(most, row_bytes)
    for start in range(0, count, at_once):
        rows = min(at_once, count - start)
        values = np.frombuffer(read_exactly(stream, rows * row_bytes, file), dtype).reshape(rows, *row)
        yield values.astype(dtype.newbyteorder("="), copy=False)
    if stream.read(1):
        raise damaged(file, "it is longer than its header says")
