"""Files that are written whole or not at all, and never over others that somebody named."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cnnctl.errors import RunError, UsageError
from cnnctl.surroundings import shell_word

UNFINISHED = ".part"
"""How the names of files end that are being written; they begin with a dot."""
LOCK = ".lock"
_SURELY_LOCKED = 5
"""Seconds after which a living process has locked the folder that it made."""


def refuse_output(path: Path, option: str, suffix: str = "", is_folder: bool = False, makes_folders: bool = False) -> None:
    """Check that a new file can be written, before anything slow is done. Every command checks its outputs here.

    Args:
        path: the file or folder to create.
        option: the option that names it, such as `--output`.
        suffix: the required suffix; empty for any.
        is_folder: True for a folder.
        makes_folders: True where missing parent folders will be created.

    Raises:
        UsageError: the suffix is wrong, the path exists, or its parent folder does not.
        RunError: the parent folder is not writable.
    """
    if suffix and path.suffix.lower() != suffix and not path.is_dir():
        raise UsageError(
            f"{option} {path}: expected a name ending with {suffix}, such as {shell_word(path.with_suffix(suffix))}"
        )
    if path.is_dir() and not is_folder:
        raise UsageError(f"{option} {path} is a folder; choose a file in it, such as {shell_word(path / f'new{suffix}')}")
    if os.path.lexists(path):
        raise UsageError(f"{path} already exists; not overwriting. Choose another name: {option} {shell_word(free_name(path))}")
    there = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if there.is_dir() and there != path.absolute().parent and not makes_folders:
        raise UsageError(f"{option} {path}: there is no folder {path.parent}; create it: mkdir -p {shell_word(path.parent)}")
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "cannot be written" if there.is_dir() else "is a file"
        raise RunError(f"{path} cannot be written: {there} {reason}; choose another {option}")


def free_name(path: Path) -> Path:
    """Return a name like that of a path that nothing has yet."""
    number = 2
    while os.path.lexists(path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


@contextlib.contextmanager
def passing_folder(ground: Path, prefix: str) -> Iterator[Path]:
    """Make a folder for the while, and remove those that killed processes left behind in the same place.

    Args:
        ground: where; on the disk of what is to become of its files.
        prefix: how the names of such folders begin, with a dot.

    Raises:
        OSError: nothing can be written there.
        RunError: the same.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=ground) as name, hold(Path(name) / LOCK):
        if _is_locked(Path(name) / LOCK):  # a file system without locks cannot tell who is alive
            _remove_dead(ground, prefix)
        yield Path(name)


def _remove_dead(ground: Path, prefix: str) -> None:
    """Remove the folders whose lock nobody holds any more; links are not followed."""
    with os.scandir(ground) as entries:
        found = [entry for entry in entries if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False)]
    for entry in found:
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _SURELY_LOCKED
            if old and not _is_locked(Path(entry.path) / LOCK):
                shutil.rmtree(entry.path)


def _is_locked(file: Path) -> bool:
    """Return whether a process, this one included, holds a lock file; raises OSError where it is not there."""
    opened = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        return not _lock(opened)
    finally:
        os.close(opened)


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


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A lock file is written into, so it must not be a link to another; Windows has no such flag."""


def _locked(file: Path) -> int | str:
    """Returns the descriptor of the lock file, held; or what its holder wrote into it."""
    while True:
        opened = os.open(file, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o644)
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
