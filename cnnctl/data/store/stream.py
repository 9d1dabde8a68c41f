"""Decode a set block by block into a file on disk, and read single images from it.

The file is a cache entry, the same as for a set in memory. Its arrays are stored uncompressed, so the offset of each image
is known. An existing entry is verified completely, block by block. A set that does not fit into the cache, or that must not
be cached, goes to an unnamed file, which disappears with the process however it ends.
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
    IMAGES,
    NAMES,
    Arrays,
    Layout,
    cache_folder,
    check_arrays,
    key_of,
    make_room,
    max_bytes,
    names_in,
    note_unusable,
    other_array,
    part_of,
    remove_left_behind,
    shape_of,
    used,
    write_arrays,
)
from cnnctl.data.store.lazy import BLOCK_VALUES, FileImages, LazyImages, Shape, empty_images
from cnnctl.errors import DataError
from cnnctl.reading import open_regular

_LOCAL_HEADER = 30
"""Bytes of a local file header before the member's name; the last four are the lengths of name and extra field."""

Blocks = Generator[Pixels, None, Arrays]
"""Yields images (B, H, W, C) in blocks and returns the other arrays at the end."""


@dataclass(frozen=True)
class Decoding:
    """A split that can be decoded.

    Attributes:
        take: writes the start of a sentence on the memory of a number of decoded images.
        count: counts the images; called only where they are decoded.
        image: the shape of one image, (H, W, C).
        blocks: decodes the images, from the start on each call.
    """

    take: Callable[[int], str]
    count: Callable[[], int]
    image: tuple[int, int, int]
    blocks: Callable[[], Blocks]

    @cached_property
    def shape(self) -> Shape:
        """The shape of all images, (N, H, W, C)."""
        return self.count(), *self.image

    @property
    def bytes(self) -> int:
        """The bytes of all images."""
        return prod(self.shape)

    def in_memory(self) -> Arrays:
        """Decode all arrays, including `images`, into memory.

        Raises:
            DataError: an image cannot be decoded, or their number differs from `count`.
        """
        images = empty_images(self.shape)
        start = 0

        def store(block: Pixels) -> None:
            nonlocal start
            images[start : start + len(block)] = block
            start += len(block)

        others = self.drained(store)
        return {"images": images, **others}

    def drained(self, take: Callable[[Pixels], object]) -> Arrays:
        """Pass each block to `take`; return the other arrays. Raises as `in_memory` does."""
        count = 0
        with contextlib.closing(self.blocks()) as blocks:  # an error ends decoding processes
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
            raise DataError(f"expected {self.shape[0]:,} images, found {count:,}; repair the data, or prepare it again")
        return others


@dataclass(frozen=True)
class Streamed:
    """Images in a file, with their other arrays.

    Attributes:
        images: read from the file on demand.
        others: the other arrays, in memory.
        passing: the reason why the file is temporary; empty for a cache entry.
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
    """Open the images of a split in a file on disk, decoded first where no entry exists. Arguments as in `cached`.

    Raises:
        DataError: an image cannot be decoded, or the disk has too little space.
        OSError: a file cannot be read.
        UsageError: `CNNCTL_CACHE_SIZE` is not a number of bytes.
    """
    folder = cache_folder()
    if folder is None:
        return _without_name(temporary_folder(), decoding, "the cache is off")
    files = list(files)
    key = key_of(options, files)
    entry = folder / f"{key}.npz"
    if found := opened_entry(entry, layout):
        return found
    note_unusable(entry, notes)
    if not _can_be_written(folder):
        return _without_name(temporary_folder(), decoding, f"{folder} cannot be written")
    remove_left_behind(folder)
    if decoding.bytes > max_bytes():
        return _without_name(folder, decoding, f"CNNCTL_CACHE_SIZE is {max_bytes() / 1e9:,.1f} GB")
    make_room(folder, decoding.bytes)
    return _entry(entry, decoding, lambda: key_of(options, files) == key)


def temporary_folder() -> Path:
    """Choose the folder for files outside the cache: `TMPDIR`, else /var/tmp, since /tmp is often in memory."""
    lasting = Path("/var/tmp")  # noqa: S108  # the file has no name there
    return lasting if "TMPDIR" not in os.environ and os.access(lasting, os.W_OK) else Path(tempfile.gettempdir())


def _can_be_written(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder.is_dir() and os.access(folder, os.W_OK)


# written


def _entry(entry: Path, decoding: Decoding, unchanged: Callable[[], bool]) -> Streamed:
    """Decode a set into an entry of the cache. Where a file changed meanwhile, the entry is temporary."""
    with _as_disk_error(entry.parent, decoding):
        descriptor, beside = part_of(entry)
    try:
        with _as_disk_error(entry.parent, decoding), os.fdopen(descriptor, "w+b") as out:
            found = _decoded_into(out, entry.parent, decoding)
        if not unchanged():
            return replace(found, passing="files changed while they were decoded")
        with contextlib.suppress(OSError):  # then it stays unnamed
            beside.replace(entry)
        return found
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # it still exists after any failure, including Ctrl-C


def _without_name(folder: Path, decoding: Decoding, why: str) -> Streamed:
    """Decode a set into an unnamed file, so that nothing is left of it even after a kill."""
    with _as_disk_error(folder, decoding), tempfile.TemporaryFile(prefix=".cnnctl-", dir=folder) as out:
        return replace(_decoded_into(out, folder, decoding), passing=why)


def _decoded_into(out: IO[bytes], folder: Path, decoding: Decoding) -> Streamed:
    free = shutil.disk_usage(folder).free
    if free < decoding.bytes:
        raise _no_room(folder, decoding, f"has {_shown(free)} free")
    _write(out, decoding)
    return _opened(out, f"the file of decoded images in {folder}")


def _write(out: IO[bytes], decoding: Decoding) -> None:
    """Write all arrays in the format of a cache entry."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as content:
        with content.open(f"{IMAGES}.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": decoding.shape}
            np.lib.format.write_array_header_1_0(member, header)
            others = decoding.drained(lambda block: member.write(np.ascontiguousarray(block).data))
        write_arrays(content, others)
        content.writestr(NAMES, json.dumps([IMAGES, *others]))
    out.flush()


@contextlib.contextmanager
def _as_disk_error(folder: Path, decoding: Decoding) -> Iterator[None]:
    """Convert an OSError of writing to DataError, also on closing the file."""
    try:
        yield
    except OSError as error:
        raise _no_room(folder, decoding, f"cannot be written ({error.strerror or error})") from error


def _no_room(folder: Path, decoding: Decoding, reason: str) -> DataError:
    place = "TMPDIR" if cache_folder() != folder else "CNNCTL_CACHE_DIR"
    return DataError(
        f"{decoding.take(decoding.shape[0])} {_shown(decoding.bytes)} on disk for streaming, but {folder} {reason}; "
        f"free some, set {place} to a folder on a larger disk, set a smaller data.image_size, or read part of the split"
    )


def _shown(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 10**8 else f"{count / 1e6:,.1f} MB"


# read


def opened_entry(entry: Path, layout: Layout | None = None) -> Streamed | None:
    """Open the images of a cache entry, verified; None where it is missing, damaged or not cnnctl's."""
    try:
        with open_regular(entry, entry.parent) as content:
            found = _opened(content, str(entry), checked=True)
            if layout:
                check_arrays(found.others, layout, found.images.shape)
            used(content.fileno())
    except Exception:  # damaged bytes raise a dozen kinds of errors in zipfile, NumPy and Python's tokenizer
        return None
    return found


def _opened(file: IO[bytes], name: str, checked: bool = False) -> Streamed:
    """Open the images of a file in the format of an entry. The file may be closed afterwards.

    Raises:
        Exception: the file is damaged.
    """
    with zipfile.ZipFile(file) as content:
        place = content.getinfo(f"{IMAGES}.npy")
        with content.open(place) as member:
            shape, header = shape_of(member), member.tell()
        others = {name: other_array(content, name, shape[0]) for name in names_in(content) if name != IMAGES}
    start = _start(file, place)
    if place.compress_type != zipfile.ZIP_STORED or place.file_size != header + prod(shape):
        raise ValueError(f"{name} is damaged: the images are compressed or incomplete")
    if checked and _checksum(file, start, place.file_size) != place.CRC:
        raise ValueError(f"{name} is damaged: the checksum of its images differs")
    return Streamed(FileImages(os.dup(file.fileno()), start + header, shape, name), others)


def _start(file: IO[bytes], place: zipfile.ZipInfo) -> int:
    """Find the offset of the content of a member in a zip file (APPNOTE.TXT of PKWARE, 4.3.7)."""
    file.seek(place.header_offset)
    name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[-4:])
    return place.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def _checksum(file: IO[bytes], start: int, count: int) -> int:
    """Compute the CRC-32 of `count` bytes, or of those up to the end of the file."""
    file.seek(start)
    checksum = 0
    while count and (block := file.read(min(count, BLOCK_VALUES))):
        checksum = zlib.crc32(block, checksum)
        count -= len(block)
    return checksum
