"""Cache decoded images on disk, so that a set is decoded once and not once per run.

An entry is one `.npz` file of plain arrays (no pickle). Its name is the SHA-256 of everything that determines the arrays:
the contents of the files, and the options of the config. A changed file or option has another entry, so no entry is ever
updated. Each array is verified by its CRC and by its expected dtype and shape (`Layout`). An entry that is damaged, or not
cnnctl's, is replaced. An entry appears by one rename, so several processes may read and write at once. `stream` writes and
reads the same entries for sets that are streamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version

from cnnctl.data.decoding_pool import blocks_of, in_order
from cnnctl.data.images import Pixels
from cnnctl.data.store.lazy import BLOCK_VALUES, Shape, empty_images
from cnnctl.reading import FolderOpener, open_regular, read_pieces
from cnnctl.surroundings import number_from

Arrays = Mapping[str, NDArray[Any]]
FORMAT = 2
"""Version number, raised when the same files and options give other arrays."""
SIZE = 4 * 2**30
"""Maximum bytes of all entries unless `CNNCTL_CACHE_SIZE` is set; the least recently used are removed first."""
STILL_WRITTEN = 600
"""Seconds after its last change in which a temporary file may belong to a running process."""
NAMES, IMAGES = "names.json", "images"
HASHED_AT_ONCE = 1024
"""Maximum number of files hashed at a time."""
_MAX_NAMES = 2**16
"""Maximum bytes of the list of arrays."""
_MAX_OTHERS, _BYTES_AN_IMAGE = 2**26, 64
"""Maximum bytes of an array other than `images`: a constant, and an amount per image."""
_KINDS: Mapping[str, tuple[str, tuple[int | None, ...]]] = {
    "images": ("u1", (None, None, None, None)),
    "labels": ("iu", (None,)),
    "groups": ("U", (None,)),
    "class_names": ("U", (None,)),
    "sizes": ("i4", (None, 2)),
    "counts": ("i8", (5,)),
    "highest": ("f8", (2,)),
    "largest": ("f8", (1,)),
}
"""The arrays of an entry: dtype (or its kinds, U for text, iu for integers) and shape, where None is any length."""
_PER_IMAGE = ("images", "labels", "groups")


class ForeignEntry(ValueError):
    """An entry that cnnctl did not write."""


@dataclass(frozen=True)
class Layout:
    """The expected arrays of an entry.

    Attributes:
        names: the allowed sets of array names.
        image: the shape of one image, (H, W, C); None where the entry has no images.
        count: the number of images; None where only the entry's labels determine it.
    """

    names: Collection[frozenset[str]]
    image: tuple[int, int, int] | None = None
    count: int | None = None

    def check(self, kinds: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
        """Raise ForeignEntry where arrays, given by dtype and shape, differ from the layout."""
        if frozenset(kinds) not in self.names:
            raise ForeignEntry(f"it has the arrays {', '.join(kinds)}")
        for name, (dtype, shape) in kinds.items():
            expected, sides = _KINDS[name]
            if dtype.kind not in expected if expected.isalpha() else dtype != np.dtype(expected):
                raise ForeignEntry(f"{name} are {dtype}")
            if len(shape) != len(sides) or any(side not in (None, given) for side, given in zip(sides, shape, strict=True)):
                raise ForeignEntry(f"{name} have the shape {shape}")
        counts = {shape[0] for name, (_, shape) in kinds.items() if name in _PER_IMAGE}
        if len(counts) > 1 or (self.count is not None and counts - {self.count}):
            raise ForeignEntry(f"it has arrays of {' and '.join(map(str, sorted(counts)))} images")
        if self.image and kinds["images"][1][1:] != self.image:
            raise ForeignEntry(f"its images have the shape {kinds['images'][1][1:]}")


def cached(
    options: Mapping[str, object],
    files: Iterable[Path],
    make: Callable[[], Arrays],
    layout: Layout | None = None,
    notes: list[str] | None = None,
) -> Arrays:
    """Load arrays from the cache, or make and store them where no entry has equal options and equal files.

    Args:
        options: everything besides the files that determines the arrays, as plain values.
        files: the files that `make` reads.
        make: makes the arrays. Where it raises, nothing is stored.
        layout: the expected arrays; None accepts any.
        notes: receives a line where an entry exists but cannot be used.

    Raises:
        OSError: a file cannot be read.
        UsageError: `CNNCTL_CACHE_SIZE` is not a number of bytes.
    """
    folder = cache_folder()
    if folder is None:
        return make()
    files = list(files)
    key = key_of(options, files)
    entry = folder / f"{key}.npz"
    arrays = read_entry(entry, layout)
    if arrays is None:
        note_unusable(entry, notes)
        arrays = make()
        if key_of(options, files) == key:  # no file changed while it was read
            _keep(entry, arrays)
    return arrays


def cache_folder() -> Path | None:
    """Find the cache folder; None where `CNNCTL_CACHE_DIR` is `off` or no home folder is known."""
    setting = os.environ.get("CNNCTL_CACHE_DIR")
    if setting == "off":
        return None
    below = Path(setting) if setting else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "cnnctl")
    try:
        return below.expanduser()
    except RuntimeError:  # no HOME, and a user that the system does not know
        return None


def key_of(options: Mapping[str, object], files: Iterable[Path]) -> str:
    """Compute the name of an entry: 32 hexadecimal digits of a SHA-256.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, pillow_version, options], sort_keys=True).encode())
    paths = list(map(os.fspath, files))
    for lines in in_order(_lines_of, blocks_of(paths, HASHED_AT_ONCE), len(paths)):
        digest.update(lines)
    return digest.hexdigest()[:32]


def _lines_of(files: Sequence[str]) -> bytes:
    """Write a line per file, with its name, the name of its folder, and the SHA-256 of its content."""
    with FolderOpener() as opener:
        return b"".join(_line_of(file, _content_hash(opener, file)) for file in files)


def _line_of(file: str, content: str) -> bytes:
    parent, _, name = file.rpartition(os.sep)
    line = f"{len(name)}:{parent.rpartition(os.sep)[2]}/{name}:{content}\n"
    return line.encode(errors="surrogatepass")  # a name need not be UTF-8


def _content_hash(opener: FolderOpener, file: str) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    opened, digest = opener.open(file), hashlib.sha256()
    try:
        for piece in read_pieces(opened):
            digest.update(piece)
    finally:
        os.close(opened)
    return digest.hexdigest()


def read_entry(entry: Path, layout: Layout | None = None) -> Arrays | None:
    """Read the arrays of an entry, each verified; None where the entry is missing, damaged or not cnnctl's."""
    try:
        with open_regular(entry, entry.parent) as opened, zipfile.ZipFile(opened) as content:
            arrays = {name: _array_in(content, name, layout) for name in names_in(content)}
            if layout:
                check_arrays(arrays, layout)
            used(opened.fileno())
    except Exception:  # damaged bytes raise a dozen kinds of errors in zipfile, NumPy and Python's tokenizer
        return None
    return arrays


def names_in(content: zipfile.ZipFile) -> list[str]:
    """List the names of an entry's arrays."""
    names = json.loads(member_of(content, NAMES, _MAX_NAMES))
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ForeignEntry("its list of arrays is invalid")
    return names


def member_of(content: zipfile.ZipFile, name: str, max_size: int) -> bytes:
    """Read a member, verified by its CRC. NumPy's own reader stops before the CRC. Raises as `_stored_member` does."""
    return content.read(_stored_member(content, name, max_size))


def _stored_member(content: zipfile.ZipFile, name: str, max_size: int) -> zipfile.ZipInfo:
    """Find a member.

    Raises:
        ForeignEntry: it has more than `max_size` bytes, or is compressed and could expand to any size.
    """
    member = content.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > max_size:
        raise ForeignEntry(f"{name} is compressed, or has more than {max_size:,} bytes")
    return member


def _array_in(content: zipfile.ZipFile, name: str, layout: Layout | None) -> NDArray[Any]:
    if name != IMAGES:
        return other_array(content, name, layout.count if layout else None)
    if not (layout and layout.image):
        return array_of(member_of(content, f"{IMAGES}.npy", max_bytes() + _MAX_NAMES))
    bytes_ = max_bytes() if layout.count is None else prod((layout.count, *layout.image))
    return _images_in(content, bytes_ + _MAX_NAMES)


def _images_in(content: zipfile.ZipFile, max_size: int) -> Pixels:
    """Read the images of an entry block by block, so that they are in memory once."""
    stored = _stored_member(content, f"{IMAGES}.npy", max_size)
    with content.open(stored) as member:
        shape = shape_of(member)
        if prod(shape) > stored.file_size:  # before memory is allocated for a shape that anyone can write
            raise ForeignEntry(f"its images have the shape {shape}, but {stored.file_size:,} bytes")
        images = empty_images(shape)
        whole = images.reshape(-1).data
        for start in range(0, len(whole), BLOCK_VALUES):
            whole[start : start + BLOCK_VALUES] = member.read(len(whole[start : start + BLOCK_VALUES]))
        if member.read(1):  # the CRC is verified at the end of the member
            raise ForeignEntry("it has more bytes than images")
    return images


def shape_of(member: IO[bytes]) -> Shape:
    """Read the array header at the current position: (N, H, W, C)."""
    version = np.lib.format.read_magic(member)
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(member)
    if version != (1, 0) or by_columns or dtype != np.uint8 or len(shape) != len(("N", "H", "W", "C")):
        raise ValueError(f"expected images, found an array {shape} of {dtype}")
    count, height, width, channels = shape
    return count, height, width, channels


def other_array(content: zipfile.ZipFile, name: str, count: int | None) -> NDArray[Any]:
    """Read an array other than `images`; `count` is the number of images, where it is known."""
    max_size = max_bytes() if count is None else _MAX_OTHERS + _BYTES_AN_IMAGE * count
    return array_of(member_of(content, f"{name}.npy", max_size))


def check_arrays(arrays: Arrays, layout: Layout, images: tuple[int, ...] | None = None) -> None:
    """Raise ForeignEntry where arrays differ from a layout. `images` is the shape of images that are not read."""
    kinds = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    layout.check(kinds | ({"images": (np.dtype(np.uint8), images)} if images else {}))
    if "sizes" in arrays and arrays["sizes"].min(initial=1) < 1:
        raise ForeignEntry("there are images without pixels")


def note_unusable(entry: Path, notes: list[str] | None) -> None:
    """Append a note that an existing entry cannot be used."""
    if notes is not None and os.path.lexists(entry):
        notes.append(f"{entry} is damaged, or was not written by cnnctl; decoding the images again")


def used(entry: int) -> None:
    """Mark an entry, given by its descriptor, as recently used, since the least recently used are removed first."""
    with contextlib.suppress(OSError, TypeError):  # a read-only cache; Windows has no such call
        os.utime(entry)


def array_of(content: bytes) -> NDArray[Any]:
    """Parse the bytes of an `.npy` file."""
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array


def _written(out: IO[bytes], arrays: Arrays) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as content:
        write_arrays(content, arrays)
        content.writestr(NAMES, json.dumps(list(arrays)))


def write_arrays(content: zipfile.ZipFile, arrays: Arrays) -> None:
    """Write arrays to an entry. Their names are written separately, to NAMES."""
    for name, array in arrays.items():
        with content.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _keep(entry: Path, arrays: Arrays) -> None:
    """Write an entry. Where it cannot be written, the run continues without it."""
    size = sum(array.nbytes for array in arrays.values())
    if size > max_bytes():
        return
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        make_room(entry.parent, size)
        handle, beside = part_of(entry)
        try:
            with os.fdopen(handle, "wb") as out:
                _written(out, arrays)
            beside.replace(entry)
        finally:
            beside.unlink(missing_ok=True)


def part_of(entry: Path) -> tuple[int, Path]:
    """Create the temporary file of an entry; return its descriptor and path.

    Raises:
        OSError: the folder cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{entry.stem}.", suffix=".part", dir=entry.parent)
    return handle, Path(name)


def max_bytes() -> int:
    """Read the size limit of the cache in bytes.

    Raises:
        UsageError: `CNNCTL_CACHE_SIZE` is not a number of bytes.
    """
    return number_from("CNNCTL_CACHE_SIZE", SIZE, 0, 2**63 - 1, f"a number of bytes such as {SIZE}")


def make_room(folder: Path, size: int) -> None:
    """Remove the least recently used entries, and files left by killed processes, until `size` more bytes fit."""
    found = []
    for file in [*folder.glob("*.npz"), *folder.glob(".*.part")]:
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            found.append((file.lstat().st_mtime, file.lstat().st_size, file))
    room = max_bytes() - size - sum(bytes_ for _, bytes_, _ in found)
    for changed, bytes_, file in sorted(found):
        if room >= 0:
            return
        if file.suffix == ".part" and time.time() - changed < STILL_WRITTEN:
            continue
        with contextlib.suppress(OSError):
            file.unlink()
            room += bytes_


def remove_left_behind(folder: Path) -> None:
    """Remove temporary files left by killed processes, even where there is room."""
    for file in folder.glob(".*.part"):
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            if time.time() - file.lstat().st_mtime >= STILL_WRITTEN:
                file.unlink()
