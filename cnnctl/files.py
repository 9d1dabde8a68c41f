"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from cnnctl.errors import RunError

UNFINISHED = ".part"
"""How the names of files end that are being written; they begin with a dot."""

LOOKS, SECONDS_OF_A_LOOK = 3, 0.01
"""How often a lock is asked for, and the time between."""


def write_whole(file: Path, content: bytes, verified: bool = False) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new one, never a part.

    Args:
        file: where to.
        content: all of it.
        verified: read it back before it takes the place of the old.

    Raises:
        RunError: the disk is full, the folder cannot be written, or something else was read back.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}{UNFINISHED}")
    try:
        with beside.open("wb") as out:
            out.write(content)
        if verified and beside.read_bytes() != content:
            raise RunError(f"{file} cannot be written: the disk gives back other bytes than it was given")
        put_in_place(beside, file)
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # it is there still where anything went wrong, Ctrl-C included


def put_in_place(beside: Path, file: Path) -> None:
    """Lets a file that is whole take the place of another, so that a loss of power leaves one of the two."""
    with beside.open("rb+") as written:
        os.fsync(written.fileno())
    beside.replace(file)
    _make_lasting(file.parent)


def _make_lasting(folder: Path) -> None:
    """Has the disk keep the names in a folder through a loss of power, where the system can open folders."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_unfinished(folder: Path) -> None:
    """Removes what a killed process left half written in a folder; nobody else may be writing there."""
    for file in folder.glob(f".*{UNFINISHED}*"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(file: Path) -> Iterator[str | None]:
    """Holds a lock file for the while, and removes it in the end; the system lets it go when the process dies.

    Gives None, or, where another process holds it, what that one is for people; empty if it does not say.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        opened = _locked(file)
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror}") from error
    if isinstance(opened, str):
        yield opened
        return
    try:
        yield None
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open
            file.unlink(missing_ok=True)  # while it is held, so that nobody gets one that is not there any more
        os.close(opened)


def is_held(file: Path) -> bool:
    """Return whether a process holds a lock file; changes nothing, and a file that is not there nobody holds."""
    try:
        opened = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False
    try:
        return not _lock(opened, shared=True)
    finally:
        os.close(opened)


def _locked(file: Path) -> int | str:
    """Returns the descriptor of the lock file, held; or what its holder wrote into it."""
    while True:
        opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock_in_the_end(opened):
            holder = os.read(opened, 200).decode(errors="replace")
            os.close(opened)
            return holder
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(opened), file.stat()):  # else its holder has removed it in between
                os.ftruncate(opened, 0)
                os.write(opened, f", {os.getpid()} on {socket.gethostname()}".encode())
                return opened
        os.close(opened)


def _lock_in_the_end(opened: int) -> bool:
    """Lock as `_lock` does, after several tries: who looks whether a file is held has it for a moment."""
    for _ in range(LOOKS):
        if _lock(opened):
            return True
        time.sleep(SECONDS_OF_A_LOOK)
    return False


def _lock(opened: int, shared: bool = False) -> bool:
    """Returns whether the lock is ours now; without locks in the file system, or in the system, it always is."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
