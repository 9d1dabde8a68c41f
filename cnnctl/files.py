"""Write files whole or not at all, never over a file that a user named, and lock folders.

The locks are our own and not those of `filelock`: that leaves its files behind, cannot look at a lock in a folder that may
only be read, and falls back to marker files that outlive a killed process.
"""

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
"""The suffix of files that are being written; their names begin with a dot."""
LOCK = ".lock"
LOCK_TRIES, SECONDS_BETWEEN_TRIES = 3, 0.01
"""`is_held` of another process takes a lock for a moment, so one failed try is not enough."""
_SURELY_LOCKED = 5
"""Seconds after which a running process has locked the folder that it made."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""A lock file is written to, so it must not be a link to another file. Windows has no such flag."""
_LOCKED_BYTE = 2**30
"""Windows locks bytes, and nobody else can read them: one far behind the text of the holder."""


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
    """Return the path with the first number appended, from 2 on, that makes it new."""
    number = 2
    while os.path.lexists(path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


@contextlib.contextmanager
def passing_folder(ground: Path, prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and remove those that killed processes left in the same place.

    Args:
        ground: the parent folder, on the disk that its files are then moved on.
        prefix: how the names of such folders begin, with a dot.

    Raises:
        OSError: the parent folder cannot be written.
        RunError: the lock file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=ground) as name, hold(Path(name) / LOCK):
        if is_held(Path(name) / LOCK):  # else the file system has no locks, and any folder may be in use
            _remove_dead(ground, prefix)
        yield Path(name)


def _remove_dead(ground: Path, prefix: str) -> None:
    """Remove the folders whose lock no process holds; links are not followed."""
    with os.scandir(ground) as entries:
        found = [entry for entry in entries if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False)]
    for entry in found:
        with contextlib.suppress(OSError):  # another process may remove it meanwhile
            old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _SURELY_LOCKED
            if old and not _is_locked(Path(entry.path) / LOCK):
                shutil.rmtree(entry.path)


def write_whole(file: Path, content: bytes, verified: bool = False) -> None:
    """Write a file so that readers, also after a crash, see the old content or the new one and never a part.

    Args:
        file: the file to write or replace.
        content: all of its bytes.
        verified: whether to read the new file back before it replaces the old one.

    Raises:
        RunError: the disk is full, the folder cannot be written, or other bytes were read back.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}{UNFINISHED}")
    try:
        with beside.open("wb") as out:
            out.write(content)
        if verified and beside.read_bytes() != content:
            raise RunError(f"{file} cannot be written: the disk returned other bytes than were written")
        put_in_place(beside, file)
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # it still exists after any failure, Ctrl-C included


def put_in_place(beside: Path, file: Path) -> None:
    """Replace a file by one that is complete, so that a power failure leaves one of the two."""
    with beside.open("rb+") as written:
        os.fsync(written.fileno())
    beside.replace(file)
    _make_lasting(file.parent)


def _make_lasting(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can open folders."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def remove_unfinished(folder: Path) -> None:
    """Remove the partial files of a killed process from a folder that the caller has locked."""
    for file in folder.glob(f".*{UNFINISHED}*"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(file: Path) -> Iterator[str | None]:
    """Hold a lock file, and remove it at the end. The system releases the lock when the process dies.

    Yields None, or, where another process holds the lock, the text that identifies that process (empty if it wrote none).

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
            file.unlink(missing_ok=True)  # before the release, so that nobody locks a file that is removed a moment later
        os.close(opened)


def is_held(file: Path) -> bool:
    """Return True if a process, this one included, holds a lock file. Changes nothing; a missing file is not held."""
    try:
        return _is_locked(file)
    except OSError:
        return False


def _is_locked(file: Path) -> bool:
    """Return as `is_held`, but raise OSError for a file that cannot be opened."""
    opened = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _NO_LINK)
    try:
        return not _lock(opened, shared=True)
    finally:
        os.close(opened)


def _locked(file: Path) -> int | str:
    """Return the descriptor of the locked file, or the text of the process that holds it."""
    while True:
        opened = os.open(file, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o644)
        if not _lock_with_retries(opened):
            holder = os.read(opened, 200).decode(errors="replace")
            os.close(opened)
            return holder
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(opened), file.stat()):  # else its holder removed it meanwhile
                os.ftruncate(opened, 0)
                os.write(opened, f", {os.getpid()} on {socket.gethostname()}".encode())
                return opened
        os.close(opened)


def _lock_with_retries(opened: int) -> bool:
    for _ in range(LOCK_TRIES):
        if _lock(opened):
            return True
        time.sleep(SECONDS_BETWEEN_TRIES)
    return False


def _lock(opened: int, shared: bool = False) -> bool:
    """Try to lock an open file; return False if another process has it. A file system without locks counts as locked."""
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(opened)
    try:
        fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _lock_on_windows(opened: int) -> bool:
    import msvcrt

    os.lseek(opened, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(opened, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except PermissionError:
        return False
    except OSError:
        return True
    finally:
        os.lseek(opened, 0, os.SEEK_SET)
    return True
