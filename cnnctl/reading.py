"""Files that others wrote, opened with care: nothing that keeps a reader waiting, fills the memory or leads elsewhere.

A file is opened first and looked at afterwards, through its descriptor: what another process puts in its place between a
check and an opening is never read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

_AT_ONCE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""A pipe that nobody writes to is opened without waiting too."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_IS_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
"""What systems say of a link that is not followed, EMLINK on FreeBSD."""
_HAS_DESCRIPTORS_OF_FOLDERS = os.open in os.supports_dir_fd  # not on Windows


def open_regular(file: Path, inside: Path | None = None) -> BufferedReader:
    """Open a file to read it, unless it is a pipe, a socket or a device, which could keep a reader waiting for ever.

    Args:
        file: a link counts as what it leads to.
        inside: the folder that a link must not lead out of; None lets it lead anywhere.

    Raises:
        OSError: it cannot be opened, is no regular file, or leads away.
    """
    try:
        opened = os.open(file, _AT_ONCE) if inside is None else _open_inside(file, inside)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _no_regular(file) from error
        raise OSError(error.errno, error.strerror, str(file)) from error
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise _no_regular(file)
        return os.fdopen(opened, "rb")
    except BaseException:
        os.close(opened)
        raise


def _no_regular(file: Path) -> OSError:
    return OSError(errno.EINVAL, "it is no regular file", str(file))


def _open_inside(file: Path, folder: Path) -> int:
    """Open a file below a folder, by the descriptors of the folders on the way; returns its descriptor.

    On the way no link is followed. Where there is one, what it leads to is looked up, and then that is opened in the same way:
    a link that takes its place meanwhile is not followed either.
    """
    if _HAS_DESCRIPTORS_OF_FOLDERS and file.is_relative_to(folder) and ".." not in (parts := file.relative_to(folder).parts):
        try:
            return _open_below(folder, parts)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
    target, real = _target_inside(file, folder)
    if not _HAS_DESCRIPTORS_OF_FOLDERS:
        return os.open(target, _AT_ONCE)
    return _open_below(real, target.relative_to(real).parts)


def _open_below(folder: Path, parts: Sequence[str]) -> int:
    """Open a file by the names that lead to it from a folder, none of which may be a link; returns its descriptor."""
    below = os.open(folder, _AT_ONCE | os.O_DIRECTORY)
    for place, part in enumerate(parts, 1):
        kind = 0 if place == len(parts) else os.O_DIRECTORY
        try:
            opened = os.open(part, _AT_ONCE | _NO_LINK | kind, dir_fd=below)
        finally:
            os.close(below)
        below = opened
    return below


def read_bounded(file: Path, most: int, inside: Path | None = None) -> bytes:
    """Return what a file holds, if that is not too much.

    Args:
        file: as that of `open_regular`.
        most: bytes.
        inside: as that of `open_regular`.

    Raises:
        OSError: it cannot be read, holds more, is no regular file, or leads away.
    """
    with open_regular(file, inside) as opened:
        if os.fstat(opened.fileno()).st_size <= most:
            content = opened.read(most + 1)
            if len(content) <= most:  # it may grow, and what the system makes up, as in /proc, says that it has no bytes
                return content
    raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(file))


def refuse_leading_away(path: Path, folder: Path, remedy: str = "put a copy in its place, or remove it") -> None:
    """Raise OSError where a path leads out of a folder, by a link in it or on the way from the folder to it.

    The folder itself may be a link. Whoever reads the file then opens it with `inside`, since it may have changed.
    """
    _target_inside(path, folder, remedy)


def _target_inside(path: Path, folder: Path, remedy: str = "put a copy in its place, or remove it") -> tuple[Path, Path]:
    """Return what a path in a folder leads to, and the folder, both without links; raise OSError where that is elsewhere."""
    target, real = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if not target.is_relative_to(real):
        raise OSError(errno.EPERM, f"it leads to {target}, out of {folder}; {remedy}", str(path))
    return target, real
