"""Tells what became of a process that could not tell it itself: a library aborted it, or the system killed it.

`TF_XLA_FLAGS=--typo` has TensorFlow call `exit`, a failed check has it call `abort`, and a system without memory kills. No
handler of this process runs then. So a second process is forked before TensorFlow is loaded: it waits for the end of a pipe
whose other end this process alone holds, and prints what it was told last, below what was written to stderr unseen.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from typing import IO

_MAX_LINES = 5
_MAX_BYTES = 4_000
"""Of what a library wrote; a failed check is followed by a hundred frames of a stack."""
_CHATTER = ("I0", "W0", "    @ ", "*** ", "WARNING: All log messages")
"""How lines begin that say nothing of the end: TensorFlow's remarks, and stacks."""
_CLOSED_FROM = 1 << 16


class _Teller:
    """The process that tells.

    Attributes:
        wanted: whether this is a process of its own, that ends as the command ends; not so in tests.
        pid: of the process that tells; 0 where there is none.
        to: the end of the pipe that this process holds.
        unseen: takes what libraries write to stderr while nobody shall see it.
    """

    wanted = False
    pid = 0
    to = -1
    unseen: IO[bytes] | None = None


def unseen() -> IO[bytes]:
    """Return the empty file that takes what libraries write to stderr unseen."""
    if _Teller.unseen is None:
        _Teller.unseen = _file_in_memory()
    _Teller.unseen.seek(0)
    _Teller.unseen.truncate()
    return _Teller.unseen


def _file_in_memory() -> IO[bytes]:
    if hasattr(os, "memfd_create"):  # where it is, no disk can be full
        return os.fdopen(os.memfd_create("cnnctl"), "w+b", buffering=0)
    import tempfile  # here, since it costs `cnnctl --help` 4 ms

    return tempfile.TemporaryFile(buffering=0)


def want_teller() -> None:
    """Let `tell_if_killed` work in this process, which has to call `dismiss` before it ends."""
    _Teller.wanted = True


def tell_if_killed(text: str) -> None:
    """Set what is printed should this process end without `dismiss`; nothing for an empty text.

    Raises:
        OSError: the first time, where the system gives no process to print it.
    """
    if not (_Teller.wanted and hasattr(os, "fork")):
        return
    if not _Teller.pid:
        _start()
    with contextlib.suppress(OSError):  # somebody has killed it
        os.write(_Teller.to, text.encode(errors="replace") + b"\0")


def keep_silent() -> None:
    """Print nothing should this process be killed from here on: it was asked to end, and has said so."""
    if _Teller.pid:
        tell_if_killed("")


def dismiss() -> None:
    """End the process that tells: this one ends as it should."""
    if not _Teller.pid:
        return
    keep_silent()
    os.close(_Teller.to)
    with contextlib.suppress(OSError):
        os.waitpid(_Teller.pid, 0)
    _Teller.pid = 0


def _start() -> None:
    heard = unseen()  # before the fork: both processes have it
    ours, to = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a thread may draw a spinner; the child takes no lock
        pid = os.fork()
    if pid == 0:
        try:
            _tell(ours, heard.fileno())
        finally:
            os._exit(0)
    os.close(ours)
    _Teller.pid, _Teller.to = pid, to


# In the process that tells; it calls the system alone, since a thread of its parent may have held any lock


def _tell(pipe: int, heard: int) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP"):  # a terminal sends them to both processes
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _close_all_but(2, pipe, heard)
    os.chdir("/")
    text = _last_text(pipe)
    if text:
        words = _last_words(os.pread(heard, 1 << 20, 0))
        os.write(2, b"".join(line + b"\n" for line in (*words, text)))


def _close_all_but(*kept: int) -> None:
    """Close what the other process may hold open: pipes would not end before this process does."""
    first = 0
    for each in (*sorted(kept), _CLOSED_FROM):
        os.closerange(first, each)
        first = each + 1


def _last_text(pipe: int) -> bytes:
    content = b""
    while said := os.read(pipe, 1 << 16):
        content = b"\0".join((content + said).split(b"\0")[-2:])
    return content.split(b"\0")[0]


def _last_words(content: bytes) -> list[bytes]:
    """Return the last lines of what a library wrote that are more than chatter."""
    lines = [line[:_MAX_BYTES] for line in content.splitlines() if line.strip()]
    return [line for line in lines if not line.decode(errors="replace").startswith(_CHATTER)][-_MAX_LINES:]
