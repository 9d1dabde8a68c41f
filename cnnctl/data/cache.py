"""Decoded images on disk, so that a set is decoded once and not once a run.

An entry is one `.npz` file of plain arrays (no pickle), named by the SHA-256 of all that its arrays follow
from: the contents of the files that were read, and how the config wants the images. A changed file or
option thus finds no entry, and nothing has to be kept up to date. Each array is checked by its CRC as it is read; a
damaged entry is made anew. Entries appear by one rename, so that several processes may read and write at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version

Arrays = Mapping[str, NDArray[Any]]
FORMAT = 1
"""Counted up when the same files and options give other arrays."""
SIZE = 4 * 2**30
"""Bytes that all entries may have together where `CNNCTL_CACHE_SIZE` does not say; the longest unused go first."""
_DAMAGE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


def remembered(options: Mapping[str, object], files: Iterable[Path], make: Callable[[], Arrays]) -> Arrays:
    """Returns what `make` returns, from disk where it was made before from equal options and equal files.

    Args:
        options: all that the arrays depend on beside the files; plain values.
        files: what `make` reads.
        make: may raise; then nothing is kept.
    """
    folder = cache_folder()
    if folder is None:
        return make()
    entry = folder / f"{key_of(options, files)}.npz"
    return _read(entry) or _kept(entry, make())


def cache_folder() -> Path | None:
    """Returns where entries are; None where `CNNCTL_CACHE_DIR` is `off`."""
    said = os.environ.get("CNNCTL_CACHE_DIR")
    if said == "off":
        return None
    if said:
        return Path(said).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cnnctl"


def key_of(options: Mapping[str, object], files: Iterable[Path]) -> str:
    """Returns the name of an entry: 32 hexadecimal digits of a SHA-256.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, pillow_version, options], sort_keys=True).encode())
    for file in files:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{len(str(file.name))}:{file.parent.name}/{file.name}:{content}\n".encode())
    return digest.hexdigest()[:32]


def _read(entry: Path) -> Arrays | None:
    try:
        with entry.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            arrays = dict(content)
        os.utime(entry)  # used just now
    except _DAMAGE:
        return None
    return arrays


def _kept(entry: Path, arrays: Arrays) -> Arrays:
    """Returns the arrays after writing them; where they cannot be written, the run goes on without."""
    size = sum(array.nbytes for array in arrays.values())
    if size > most_bytes():
        return arrays
    beside = entry.with_name(f".{entry.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        _make_room(entry.parent, size)
        try:
            with beside.open("wb") as out:
                np.savez(out, allow_pickle=False, **arrays)
            beside.replace(entry)
        finally:
            beside.unlink(missing_ok=True)
    return arrays


def most_bytes() -> int:
    """Returns how many bytes all entries may have together."""
    said = os.environ.get("CNNCTL_CACHE_SIZE", "")
    return int(said) if said.isdecimal() else SIZE


def _make_room(folder: Path, size: int) -> None:
    """Removes the entries longest unused, and parts that a killed process left, until `size` more bytes fit."""
    found = []
    for file in [*folder.glob("*.npz"), *folder.glob(".*.part")]:
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            found.append((file.stat().st_mtime, file.stat().st_size, file))
    room = most_bytes() - size - sum(bytes_ for _, bytes_, _ in found)
    for _, bytes_, file in sorted(found):
        if room >= 0:
            return
        with contextlib.suppress(OSError):
            file.unlink()
            room += bytes_
