"""Open files that others wrote, but no pipes, no files beyond a size, and no links that lead out of a folder.

A file is opened first and then checked through its descriptor, so another process cannot replace it between a check and
the opening.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

_WITHOUT_WAITING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Opens a pipe that nobody writes to without waiting."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_IS_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
"""Errors for a link that is not followed; EMLINK on FreeBSD."""
_HAS_DESCRIPTORS_OF_FOLDERS = os.open in os.supports_dir_fd  # not on Windows


def open_regular(file: Path, inside: Path | None = None) -> BufferedReader:
    """Open a regular file to read it. Pipes, sockets and devices are refused: a reader could wait for them forever.

    Args:
        file: the file, or a link to it.
        inside: the folder that a link must not lead out of; None allows any target.

    Raises:
        OSError: it cannot be opened, is not a regular file, or leads out of `inside`.
    """
    try:
        opened = os.open(file, _WITHOUT_WAITING) if inside is None else _open_inside(file, inside)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _not_regular(file) from error
        raise OSError(error.errno, error.strerror, str(file)) from error
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise _not_regular(file)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def _not_regular(file: Path) -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file", str(file))


def _open_inside(file: Path, folder: Path) -> int:
    """Open a file below a folder through the descriptors of the folders on its path; return its descriptor.

    No link is followed. If the path has one, its target is resolved and opened in the same way, so that a link that replaces
    a folder meanwhile is not followed either.
    """
    if _HAS_DESCRIPTORS_OF_FOLDERS and file.is_relative_to(folder) and ".." not in (parts := file.relative_to(folder).parts):
        try:
            return _open_below(folder, parts)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
    target, real = _target_inside(file, folder)
    if not _HAS_DESCRIPTORS_OF_FOLDERS:
        return os.open(target, _WITHOUT_WAITING)
    return _open_below(real, target.relative_to(real).parts)


def _open_below(folder: Path, parts: Sequence[str]) -> int:
    """Open a file by its path below a folder, of which no part may be a link; return its descriptor."""
    below = os.open(folder, _WITHOUT_WAITING | os.O_DIRECTORY)
    for place, part in enumerate(parts, 1):
        kind = 0 if place == len(parts) else os.O_DIRECTORY
        try:
            opened = os.open(part, _WITHOUT_WAITING | _NO_LINK | kind, dir_fd=below)
        finally:
            os.close(below)
        below = opened
    return below


def read_bounded(file: Path, max_bytes: int, inside: Path | None = None) -> bytes:
    """Read a file of limited size.

    Args:
        file, inside: as in `open_regular`.
        max_bytes: the largest size that is read.

    Raises:
        OSError: as `open_regular`, or the file is larger.
    """
    with open_regular(file, inside) as opened:
        if os.fstat(opened.fileno()).st_size <= max_bytes:
            content = opened.read(max_bytes + 1)
            if len(content) <= max_bytes:  # the file may grow, and those of /proc have a size of 0
                return content
    raise OSError(errno.EFBIG, f"it has more than {max_bytes:,} bytes", str(file))


def refuse_leading_away(path: Path, folder: Path, remedy: str = "put a copy in its place, or remove it") -> None:
    """Raise OSError if a link leads a path below a folder out of that folder. The folder itself may be a link.

    Readers still have to open the file with `inside`, since the path may change after this check.
    """
    _target_inside(path, folder, remedy)


def _target_inside(path: Path, folder: Path, remedy: str = "put a copy in its place, or remove it") -> tuple[Path, Path]:
    """Resolve a path in a folder, and the folder; raise OSError if the path leads out of it."""
    target, real = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if not target.is_relative_to(real):
        raise OSError(errno.EPERM, f"it leads to {target}, out of {folder}; {remedy}", str(path))
    return target, real
