"""Sets that are not to be in memory: decoded block by block into a file on disk, from which images are read one by one.

The file is an entry of the cache, the same that a set in memory has: its arrays are stored as they are, so the place
of each image in it is known. An entry that is found is checked whole, block by block. What the cache has no room for, or
may not hold, has a file without a name that is gone with the process, however it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from cnnctl.data.images import Pixels
from cnnctl.data.store.cache import (
    NAMES,
    Arrays,
    Layout,
    cache_folder,
    check_arrays,
    key_of,
    make_room,
    max_bytes,
    names_in,
    other_array,
    part_of,
    remove_left_behind,
    tell_strange,
    used,
    write_arrays,
)
from cnnctl.data.store.lazy import BLOCK_VALUES, FileImages, LazyImages, Shape
from cnnctl.errors import DataError
from cnnctl.reading import open_regular

IMAGES = "images.npy"
_LOCAL_HEADER = 30
"""Bytes of a zip file before the name of a member, the last four of them the lengths of name and extra field."""

Blocks = Generator[Pixels, None, Arrays]
"""Gives images (B, H, W, C) some at a time, and returns what else is known once all are decoded."""


@dataclass(frozen=True)
class Decoding:
    """A split that can be decoded.

    Attributes:
        take: says the begin of a sentence on how much so many decoded images take.
        count: says how many images there are; asked only where they are decoded.
        image: the shape of one, (H, W, C).
        blocks: decodes them, each time anew.
    """

    take: Callable[[int], str]
    count: Callable[[], int]
    image: tuple[int, int, int]
    blocks: Callable[[], Blocks]

    @cached_property
    def shape(self) -> Shape:
        """The shape of all images."""
        return self.count(), *self.image

    @property
    def bytes(self) -> int:
        """Returns how many bytes the images have."""
        return prod(self.shape)

    def in_memory(self) -> Arrays:
        """Returns all arrays, among them `images`.

        Raises:
            DataError: the images cannot be decoded, or are not as many as they should be.
        """
        images = np.empty(self.shape, np.uint8)
        start = 0

        def keep(block: Pixels) -> None:
            nonlocal start
            images[start : start + len(block)] = block
            start += len(block)

        others = self.drained(keep)
        return {"images": images, **others}

    def drained(self, take: Callable[[Pixels], object]) -> Arrays:
        """Hands each block to `take`; returns the other arrays; raises as `in_memory` does."""
        blocks, count = self.blocks(), 0
        while True:
            try:
                block = next(blocks)
            except StopIteration as ended:
                others: Arrays = ended.value
                break
            count += len(block)
            if count <= self.shape[0]:
                take(block)
        if count != self.shape[0]:
            raise DataError(f"expected {self.shape[0]:,} images and found {count:,}; put the data in order, or prepare it anew")
        return others


@dataclass(frozen=True)
class Streamed:
    """Images in a file, and what is known of them.

    Attributes:
        images: read from the file.
        others: arrays, in memory.
        passing: why the file is gone with this process; empty for an entry of the cache.
    """

    images: LazyImages
    others: Arrays
    passing: str = ""


def streamed(
    options: Mapping[str, object],
    files: Iterable[Path],
    decoding: Decoding,
    layout: Layout | None = None,
    notes: list[str] | None = None,
) -> Streamed:
    """Returns the images of a split from a file on disk, decoded before where there is none; arguments as in `cached`.

    Raises:
        DataError: the images cannot be decoded, or there is no room for them on the disk.
        OSError: a file that is decoded cannot be read.
        UsageError: `CNNCTL_CACHE_SIZE` is no number of bytes.
    """
    folder = cache_folder()
    if folder is None:
        return _without_name(temporary_folder(), decoding, "the cache is off")
    files = list(files)
    key = key_of(options, files)
    entry = folder / f"{key}.npz"
    if found := opened_entry(entry, layout):
        return found
    tell_strange(entry, notes)
    if not _can_be_written(folder):
        return _without_name(temporary_folder(), decoding, f"{folder} cannot be written")
    remove_left_behind(folder)
    if decoding.bytes > max_bytes():
        return _without_name(folder, decoding, f"CNNCTL_CACHE_SIZE is {max_bytes() / 1e9:,.1f} GB")
    make_room(folder, decoding.bytes)
    return _entry(entry, decoding, lambda: key_of(options, files) == key)


def temporary_folder() -> Path:
    """Returns where files are that the cache does not hold: `TMPDIR`, else /var/tmp, since /tmp is often in memory."""
    lasting = Path("/var/tmp")  # noqa: S108  # the file has no name there
    return lasting if "TMPDIR" not in os.environ and os.access(lasting, os.W_OK) else Path(tempfile.gettempdir())


def _can_be_written(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder.is_dir() and os.access(folder, os.W_OK)


# written


def _entry(entry: Path, decoding: Decoding, unchanged: Callable[[], bool]) -> Streamed:
    """Decodes a set into an entry of the cache; where a file changed meanwhile it is gone with this process."""
    with _disk_told(entry.parent, decoding):
        descriptor, beside = part_of(entry)
    try:
        with _disk_told(entry.parent, decoding), os.fdopen(descriptor, "w+b") as out:
            found = _decoded_into(out, entry.parent, decoding)
        if not unchanged():
            return replace(found, passing="files changed while they were decoded")
        with contextlib.suppress(OSError):  # then it has no name either
            beside.replace(entry)
        return found
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # it is there still where anything went wrong, Ctrl-C included


def _without_name(folder: Path, decoding: Decoding, why: str) -> Streamed:
    """Decodes a set into a file that no folder lists, so that nothing is left of it even by a kill."""
    with _disk_told(folder, decoding), tempfile.TemporaryFile(prefix=".cnnctl-", dir=folder) as out:
        return replace(_decoded_into(out, folder, decoding), passing=why)


def _decoded_into(out: IO[bytes], folder: Path, decoding: Decoding) -> Streamed:
    free = shutil.disk_usage(folder).free
    if free < decoding.bytes:
        raise _no_room(folder, decoding, f"has {_shown(free)} free")
    _write(out, decoding)
    return _opened(out, f"the file of decoded images in {folder}")


def _write(out: IO[bytes], decoding: Decoding) -> None:
    """Writes all arrays as an entry of the cache has them."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as content:
        with content.open(IMAGES, "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": decoding.shape}
            np.lib.format.write_array_header_1_0(member, header)
            others = decoding.drained(lambda block: member.write(np.ascontiguousarray(block).data))
        write_arrays(content, others)
        content.writestr(NAMES, json.dumps(["images", *others]))
    out.flush()


@contextlib.contextmanager
def _disk_told(folder: Path, decoding: Decoding) -> Iterator[None]:
    """Raises as a DataError what a disk refuses, also when a file is closed."""
    try:
        yield
    except OSError as error:
        raise _no_room(folder, decoding, f"cannot be written ({error.strerror or error})") from error


def _no_room(folder: Path, decoding: Decoding, reason: str) -> DataError:
    place = "TMPDIR" if cache_folder() != folder else "CNNCTL_CACHE_DIR"
    return DataError(
        f"{decoding.take(decoding.shape[0])} {_shown(decoding.bytes)} on disk, from which they are streamed, and {folder} {reason}; "
        f"free some, set {place} to a folder on a larger disk, give a smaller data.image_size, or read a part of the split"
    )


def _shown(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 10**8 else f"{count / 1e6:,.1f} MB"


# read


def opened_entry(entry: Path, layout: Layout | None = None) -> Streamed | None:
    """Returns the images of an entry of the cache, checked whole; None where it is not there, damaged or another's."""
    try:
        with open_regular(entry, entry.parent) as content:
            found = _opened(content, str(entry), checked=True)
            if layout:
                check_arrays(found.others, layout, found.images.shape)
            used(content.fileno())
    except Exception:  # wrong bits make zipfile, NumPy and even Python's tokenizer stumble in a dozen ways
        return None
    return found


def _opened(file: IO[bytes], name: str, checked: bool = False) -> Streamed:
    """Returns the images of a file that has all arrays of an entry; the file may be closed then.

    Raises:
        Exception: it is damaged.
    """
    with zipfile.ZipFile(file) as content:
        place = content.getinfo(IMAGES)
        with content.open(place) as member:
            shape, header = _shape(member), member.tell()
        others = {name: other_array(content, name, shape[0]) for name in names_in(content) if name != "images"}
    start = _start(file, place)
    if place.compress_type != zipfile.ZIP_STORED or place.file_size != header + prod(shape):
        raise ValueError(f"{name} is damaged: the images are not stored as they are")
    if checked and _checksum(file, start, place.file_size) != place.CRC:
        raise ValueError(f"{name} is damaged: its images have another checksum")
    return Streamed(FileImages(os.dup(file.fileno()), start + header, shape, name), others)


def _shape(member: IO[bytes]) -> Shape:
    """Returns the shape of the images whose header comes next, (N, H, W, C)."""
    version = np.lib.format.read_magic(member)
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(member)
    if version != (1, 0) or by_columns or dtype != np.uint8 or len(shape) != len(("N", "H", "W", "C")):
        raise ValueError(f"expected images, found an array {shape} of {dtype}")
    count, height, width, channels = shape
    return count, height, width, channels


def _start(file: IO[bytes], place: zipfile.ZipInfo) -> int:
    """Returns where in a zip file the content of a member begins (APPNOTE.TXT of PKWARE, 4.3.7)."""
    file.seek(place.header_offset)
    name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[-4:])
    return place.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def _checksum(file: IO[bytes], start: int, count: int) -> int:
    """Returns the CRC-32 of so many bytes, or of those that are there."""
    file.seek(start)
    checksum = 0
    while count and (block := file.read(min(count, BLOCK_VALUES))):
        checksum = zlib.crc32(block, checksum)
        count -= len(block)
    return checksum
