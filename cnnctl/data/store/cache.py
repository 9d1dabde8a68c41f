"""Decoded images on disk, so that a set is decoded once and not once a run.

An entry is one `.npz` file of plain arrays (no pickle), named by the SHA-256 of all that its arrays follow
from: the contents of the files that were read, and how the config wants the images. A changed file or
option thus finds no entry, and nothing has to be kept up to date. Each array is checked whole by its CRC, and by what is
expected of it (`Layout`); an entry that is damaged, or that somebody else put there, is made anew. Entries appear by one rename, so that several processes may read and write at once.
`stream` writes and reads the same entries for sets that are not to be in memory.
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
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version

from cnnctl.reading import open_regular
from cnnctl.surroundings import number_from

Arrays = Mapping[str, NDArray[Any]]
FORMAT = 2
"""Counted up when the same files and options give other arrays."""
SIZE = 4 * 2**30
"""Bytes that all entries may have together where `CNNCTL_CACHE_SIZE` does not say; the longest unused go first."""
STILL_WRITTEN = 600
"""Seconds since its last change in which a part may belong to a living process."""
NAMES = "names.json"
_MAX_NAMES = 2**16
"""Bytes of the list of arrays."""
_MAX_OTHERS, _BYTES_AN_IMAGE = 2**26, 64
"""Bytes of an array that holds no images: so many, and so many more per image."""
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
"""The arrays that are kept: dtype (or its kinds, U for texts, iu for integers) and shape, None where it may be any."""
_PER_IMAGE = ("images", "labels", "groups")


class Strange(ValueError):
    """An entry that is not what cnnctl keeps."""


@dataclass(frozen=True)
class Layout:
    """What the arrays of an entry must be like.

    Attributes:
        names: the sets of names that they may have.
        image: the shape of one image, (H, W, C); None where the entry has no images.
        count: how many images there are; None where the entry itself knows best, by its labels.
    """

    names: Collection[frozenset[str]]
    image: tuple[int, int, int] | None = None
    count: int | None = None

    def check(self, kinds: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
        """Raise Strange where arrays, given by dtype and shape, are not as they must be."""
        if frozenset(kinds) not in self.names:
            raise Strange(f"it has the arrays {', '.join(kinds)}")
        for name, (dtype, shape) in kinds.items():
            expected, sides = _KINDS[name]
            if dtype.kind not in expected if expected.isalpha() else dtype != np.dtype(expected):
                raise Strange(f"{name} are {dtype}")
            if len(shape) != len(sides) or any(side not in (None, given) for side, given in zip(sides, shape, strict=True)):
                raise Strange(f"{name} have the shape {shape}")
        counts = {shape[0] for name, (_, shape) in kinds.items() if name in _PER_IMAGE}
        if len(counts) > 1 or (self.count is not None and counts - {self.count}):
            raise Strange(f"it has arrays of {' and '.join(map(str, sorted(counts)))} images")
        if self.image and kinds["images"][1][1:] != self.image:
            raise Strange(f"its images have the shape {kinds['images'][1][1:]}")


def cached(
    options: Mapping[str, object],
    files: Iterable[Path],
    make: Callable[[], Arrays],
    layout: Layout | None = None,
    notes: list[str] | None = None,
) -> Arrays:
    """Returns what `make` returns, from disk where it was made before from equal options and equal files.

    Args:
        options: all that the arrays depend on beside the files; plain values.
        files: what `make` reads.
        make: may raise; then nothing is kept.
        layout: what is expected of the arrays; None takes any.
        notes: gets a line where there is an entry that cannot be used.

    Raises:
        OSError: a file cannot be read.
        UsageError: `CNNCTL_CACHE_SIZE` is no number of bytes.
    """
    folder = cache_folder()
    if folder is None:
        return make()
    files = list(files)
    key = key_of(options, files)
    entry = folder / f"{key}.npz"
    arrays = read_entry(entry, layout)
    if arrays is None:
        tell_strange(entry, notes)
        arrays = make()
        if key_of(options, files) == key:  # no file changed while it was read
            _keep(entry, arrays)
    return arrays


def cache_folder() -> Path | None:
    """Returns where entries are; None where `CNNCTL_CACHE_DIR` is `off` or nobody's home is known."""
    said = os.environ.get("CNNCTL_CACHE_DIR")
    if said == "off":
        return None
    below = Path(said) if said else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "cnnctl")
    try:
        return below.expanduser()
    except RuntimeError:  # no HOME, and a user that the system does not know
        return None


def key_of(options: Mapping[str, object], files: Iterable[Path]) -> str:
    """Returns the name of an entry: 32 hexadecimal digits of a SHA-256.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, pillow_version, options], sort_keys=True).encode())
    for file in files:
        with open_regular(file) as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        place = f"{len(str(file.name))}:{file.parent.name}/{file.name}:{content}\n"
        digest.update(place.encode(errors="surrogatepass"))  # a name need not be UTF-8
    return digest.hexdigest()[:32]


def read_entry(entry: Path, layout: Layout | None = None) -> Arrays | None:
    """Returns the arrays of an entry, each checked whole; None where it is not there, damaged or another's."""
    try:
        with open_regular(entry, entry.parent) as opened, zipfile.ZipFile(opened) as content:
            arrays = {name: _array_in(content, name, layout) for name in names_in(content)}
            if layout:
                check_arrays(arrays, layout)
            used(opened.fileno())
    except Exception:  # wrong bits make zipfile, NumPy and even Python's tokenizer stumble in a dozen ways
        return None
    return arrays


def names_in(content: zipfile.ZipFile) -> list[str]:
    """Returns the names of an entry's arrays."""
    names = json.loads(member_of(content, NAMES, _MAX_NAMES))
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise Strange("its list of arrays is none")
    return names


def member_of(content: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Returns what a member holds, checked by its CRC (NumPy's own reader stops before it).

    Raises:
        Strange: it has more than `most` bytes, or is compressed and could grow to any size.
    """
    member = content.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > most:
        raise Strange(f"{name} is compressed, or has more than {most:,} bytes")
    return content.read(member)


def _array_in(content: zipfile.ZipFile, name: str, layout: Layout | None) -> NDArray[Any]:
    if name != "images":
        return other_array(content, name, layout.count if layout else None)
    bytes_ = prod((layout.count, *layout.image)) if layout and layout.image and layout.count is not None else max_bytes()
    return array_of(member_of(content, f"{name}.npy", bytes_ + _MAX_NAMES))


def other_array(content: zipfile.ZipFile, name: str, count: int | None) -> NDArray[Any]:
    """Returns an array that holds no images; `count` says how many there are, if that is known."""
    most = max_bytes() if count is None else _MAX_OTHERS + _BYTES_AN_IMAGE * count
    return array_of(member_of(content, f"{name}.npy", most))


def check_arrays(arrays: Arrays, layout: Layout, images: tuple[int, ...] | None = None) -> None:
    """Raises Strange where arrays are not as they must be; `images` is the shape of those that are not read."""
    kinds = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    layout.check(kinds | ({"images": (np.dtype(np.uint8), images)} if images else {}))
    if "sizes" in arrays and arrays["sizes"].min(initial=1) < 1:
        raise Strange("there are images without pixels")


def tell_strange(entry: Path, notes: list[str] | None) -> None:
    """Notes that there is an entry that could not be used."""
    if notes is not None and os.path.lexists(entry):
        notes.append(f"{entry} is damaged, or not what cnnctl keeps there; the images are decoded again")


def used(entry: int) -> None:
    """Notes that an entry, by its descriptor, was used just now: it goes after those that were not."""
    with contextlib.suppress(OSError, TypeError):  # a cache that may only be read; on Windows there is no such call
        os.utime(entry)


def array_of(content: bytes) -> NDArray[Any]:
    """Returns the array that the bytes of an `.npy` file are."""
    array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array


def _written(out: IO[bytes], arrays: Arrays) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as content:
        write_arrays(content, arrays)
        content.writestr(NAMES, json.dumps(list(arrays)))


def write_arrays(content: zipfile.ZipFile, arrays: Arrays) -> None:
    """Writes arrays into an entry; their names, under NAMES, come besides."""
    for name, array in arrays.items():
        with content.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _keep(entry: Path, arrays: Arrays) -> None:
    """Writes an entry; where it cannot be written, the run goes on without."""
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
    """Makes the file that becomes an entry once it is whole; returns its descriptor and its name.

    Raises:
        OSError: nothing can be written there.
    """
    handle, name = tempfile.mkstemp(prefix=f".{entry.stem}.", suffix=".part", dir=entry.parent)
    return handle, Path(name)


def max_bytes() -> int:
    """Returns how many bytes all entries may have together.

    Raises:
        UsageError: `CNNCTL_CACHE_SIZE` is no number of bytes.
    """
    return number_from("CNNCTL_CACHE_SIZE", SIZE, 0, 2**63 - 1, f"a number of bytes such as {SIZE}")


def make_room(folder: Path, size: int) -> None:
    """Removes the entries longest unused, and what killed processes left half written, until `size` more bytes fit."""
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
    """Removes what killed processes left half written, whether there is room or not."""
    for file in folder.glob(".*.part"):
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            if time.time() - file.lstat().st_mtime >= STILL_WRITTEN:
                file.unlink()
