"""Open files that others wrote, but no pipes, no files beyond a size, and no links that lead out of a folder.

A file is opened first and then checked through its descriptor, so another process cannot replace it between a check and
the opening.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Self

_WITHOUT_WAITING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Opens a pipe that nobody writes to without waiting."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_IS_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
"""Errors for a link that is not followed; EMLINK on FreeBSD."""
PIECE_BYTES = 2**16
"""Bytes read at a time; larger pieces would cost small files more than they spare large ones."""
_HAS_DESCRIPTORS_OF_FOLDERS = os.open in os.supports_dir_fd  # not on Windows


def open_regular(file: Path, inside: Path | None = None) -> BufferedReader:
    """Open a regular file to read it. Pipes, sockets and devices are refused: a reader could wait for them forever.

    Args:
        file: the file, or a link to it.
        inside: the folder that a link must not lead out of; None allows any target.

    Raises:
        OSError: it cannot be opened, is not a regular file, or leads out of `inside`.
    """
    opened = open_descriptor(file, inside)
    try:
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def open_descriptor(file: Path, inside: Path | None = None) -> int:
    """Open a regular file as `open_regular` does; return its descriptor."""
    try:
        opened = os.open(file, _WITHOUT_WAITING) if inside is None else _open_inside(file, inside)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _not_regular(file) from error
        raise OSError(error.errno, error.strerror, str(file)) from error
    return _checked(opened, file)


def _checked(opened: int, file: str | Path) -> int:
    """Return a descriptor; close it and raise OSError if it is not that of a regular file."""
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return opened
    os.close(opened)
    raise _not_regular(file)


class FolderOpener:
    """Opens many files as `open_descriptor` does, faster where one comes from the folder of the one before.

    That folder stays open until another one is needed: a link that replaces it meanwhile is not followed.

    Args:
        inside: as in `open_regular`.
    """

    def __init__(self, inside: Path | None = None) -> None:
        self._inside = inside
        self._parent: str | None = None
        self._opened = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened >= 0:
            os.close(self._opened)
            self._opened = -1

    def open(self, file: str) -> int:
        """Open a file; return its descriptor. Raises as `open_regular` does."""
        parent, name = os.path.split(file)
        try:
            if (parent or os.curdir) != self._parent:
                self._enter(parent or os.curdir)
            opened = os.open(name, _WITHOUT_WAITING | _NO_LINK, dir_fd=self._opened)
        except OSError:  # a link, or an error that needs its message
            return open_descriptor(Path(file), self._inside)
        return _checked(opened, file)

    def _enter(self, parent: str) -> None:
        """Open the folder of the next files."""
        self.__exit__()
        self._parent = None
        if not _HAS_DESCRIPTORS_OF_FOLDERS:
            raise OSError(errno.ENOSYS, "folders have no descriptors")
        self._opened = _open_folder(Path(parent), self._inside)
        self._parent = parent


def _open_folder(folder: Path, inside: Path | None) -> int:
    """Open a folder; raise OSError if it is not below `inside`, or a link inside is on its path."""
    if inside is None:
        return os.open(folder, _WITHOUT_WAITING | os.O_DIRECTORY)
    if not folder.is_relative_to(inside) or ".." in (parts := folder.relative_to(inside).parts):
        raise OSError(errno.EPERM, f"it is not below {inside}", str(folder))
    return _open_below(inside, parts, os.O_DIRECTORY)


def read_pieces(opened: int) -> Iterator[bytes]:
    """Read a descriptor to its end, at most `PIECE_BYTES` at a time."""
    while piece := os.read(opened, PIECE_BYTES):
        yield piece


def _not_regular(file: str | Path) -> OSError:
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


def _open_below(folder: Path, parts: Sequence[str], last: int = 0) -> int:
    """Open a file by its path below a folder, of which no part may be a link; return its descriptor.

    `last` is 0 for a file, or `os.O_DIRECTORY` for a folder.
    """
    below = os.open(folder, _WITHOUT_WAITING | os.O_DIRECTORY)
    for place, part in enumerate(parts, 1):
        kind = last if place == len(parts) else os.O_DIRECTORY
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
