"""Decoded images on disk, so that a set is decoded once and not once a run.

An entry is one `.npz` file of plain arrays (no pickle), named by the SHA-256 of all that its arrays follow
from: the contents of the files that were read, and how the config wants the images. A changed file or
option thus finds no entry, and nothing has to be kept up to date. Each array is checked whole by its CRC; a
damaged entry is made anew. Entries appear by one rename, so that several processes may read and write at once.
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
from collections.abc import Callable, Iterable, Mapping
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


def remembered(options: Mapping[str, object], files: Iterable[Path], make: Callable[[], Arrays]) -> Arrays:
    """Returns what `make` returns, from disk where it was made before from equal options and equal files.

    Args:
        options: all that the arrays depend on beside the files; plain values.
        files: what `make` reads.
        make: may raise; then nothing is kept.

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
    arrays = read_entry(entry)
    if arrays is None:
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


def read_entry(entry: Path) -> Arrays | None:
    """Returns the arrays of an entry, each checked whole; None where it is not there or damaged."""
    try:
        with zipfile.ZipFile(entry) as content:  # NumPy's own reader stops before the checksum
            arrays = {name: array_of(content.read(f"{name}.npy")) for name in json.loads(content.read(NAMES))}
    except Exception:  # wrong bits make zipfile, NumPy and even Python's tokenizer stumble in a dozen ways
        return None
    used(entry)
    return arrays


def used(entry: Path) -> None:
    """Notes that an entry was used just now: it goes after those that were not."""
    with contextlib.suppress(OSError):  # a cache that may only be read
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
    if size > most_bytes():
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


def most_bytes() -> int:
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
            found.append((file.stat().st_mtime, file.stat().st_size, file))
    room = most_bytes() - size - sum(bytes_ for _, bytes_, _ in found)
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
            if time.time() - file.stat().st_mtime >= STILL_WRITTEN:
                file.unlink()
