"""Files that others wrote, opened with care: nothing that keeps a reader waiting, fills the memory or leads elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(file: Path, inside: Path | None = None) -> BufferedReader:
    """Opens a file to read it, unless it is a pipe, a socket or a device, which could keep a reader waiting for ever.

    Args:
        file: a link counts as what it leads to.
        inside: the folder that a link must not lead out of; None lets it lead anywhere.

    Raises:
        OSError: it cannot be opened, is no regular file, or leads away.
    """
    if inside is not None:
        refuse_leading_away(file, inside)
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    return file.open("rb")


def read_bounded(file: Path, most: int, inside: Path | None = None) -> bytes:
    """Returns what a file holds, if that is not too much.

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
    """Raises OSError where a path leads out of a folder, by a link in it or on the way from the folder to it.

    The folder itself may be a link.
    """
    target = os.path.realpath(path)
    if not Path(target).is_relative_to(os.path.realpath(folder)):
        raise OSError(errno.EPERM, f"it leads to {target}, out of {folder}; {remedy}", str(path))
