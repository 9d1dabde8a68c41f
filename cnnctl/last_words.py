"""Report the end of a process that could not report it itself: a library aborted it, or the system killed it.

TensorFlow calls `exit` for `TF_XLA_FLAGS=--typo` and `abort` where a check fails, and a system without memory kills. No
handler of this process runs then. So a second process, the reporter, is forked before TensorFlow is loaded. It waits for the
end of a pipe that this process alone writes to, and prints the last message it received, below what a library wrote to the
hidden stderr.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from typing import IO

_MAX_LINES = 5
_MAX_BYTES = 4_000
"""Limits of what is printed of a library's output: a hundred stack frames follow a failed check."""
_CHATTER = ("I0", "W0", "    @ ", "*** ", "WARNING: All log messages")
"""Prefixes of lines that do not explain the end: TensorFlow's log and stack frames."""
_CLOSED_FROM = 1 << 16


class _Reporter:
    """The process that reports.

    Attributes:
        enabled: whether this process ends as the command ends, which is not so in tests.
        pid: of the reporter; 0 before it is started.
        pipe: the descriptor that messages are written to.
        hidden: the file that libraries write to in place of stderr.
    """

    enabled = False
    pid = 0
    pipe = -1
    hidden: IO[bytes] | None = None


def hidden_stderr() -> IO[bytes]:
    """Empty and return the file that libraries write to in place of stderr."""
    if _Reporter.hidden is None:
        _Reporter.hidden = _file_in_memory()
    _Reporter.hidden.seek(0)
    _Reporter.hidden.truncate()
    return _Reporter.hidden


def _file_in_memory() -> IO[bytes]:
    if hasattr(os, "memfd_create"):  # Linux: no disk can be full
        return os.fdopen(os.memfd_create("cnnctl"), "w+b", buffering=0)
    import tempfile  # here, since it costs `cnnctl --help` 4 ms

    return tempfile.TemporaryFile(buffering=0)


def enable_reporter() -> None:
    """Let `report_if_killed` work in this process, which has to call `dismiss` before it ends."""
    _Reporter.enabled = True


def report_if_killed(message: str) -> None:
    """Set what is printed if this process ends without `dismiss`; an empty message prints nothing.

    Raises:
        OSError: the system cannot start the reporter, at the first call.
    """
    if not (_Reporter.enabled and hasattr(os, "fork")):
        return
    if not _Reporter.pid:
        _start()
    with contextlib.suppress(OSError):  # the reporter was killed
        os.write(_Reporter.pipe, message.encode(errors="replace") + b"\0")


def keep_silent() -> None:
    """Print nothing if this process is killed from now on: it was asked to end, and has reported that."""
    if _Reporter.pid:
        report_if_killed("")


def dismiss() -> None:
    """End the reporter: this process ends normally."""
    if not _Reporter.pid:
        return
    keep_silent()
    os.close(_Reporter.pipe)
    with contextlib.suppress(OSError):
        os.waitpid(_Reporter.pid, 0)
    _Reporter.pid = 0


def _start() -> None:
    hidden = hidden_stderr()  # before the fork, so that both processes have it
    source, pipe = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a thread may draw a spinner; the child takes no lock
        pid = os.fork()
    if pid == 0:
        try:
            _report(source, hidden.fileno())
        finally:
            os._exit(0)
    os.close(source)
    _Reporter.pid, _Reporter.pipe = pid, pipe


# In the reporter. It uses system calls only, since a thread of its parent may have held any lock.


def _report(pipe: int, hidden: int) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTSTP"):  # a terminal sends them to both processes
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _close_all_but(2, pipe, hidden)
    os.chdir("/")
    message = _last_message(pipe)
    if message:
        written = _last_lines(os.pread(hidden, 1 << 20, 0))
        os.write(2, b"".join(line + b"\n" for line in (*written, message)))


def _close_all_but(*kept: int) -> None:
    """Close inherited descriptors: a pipe ends only once every process has closed it."""
    first = 0
    for each in (*sorted(kept), _CLOSED_FROM):
        os.closerange(first, each)
        first = each + 1


def _last_message(pipe: int) -> bytes:
    content = b""
    while read := os.read(pipe, 1 << 16):
        content = b"\0".join((content + read).split(b"\0")[-2:])
    return content.split(b"\0")[0]


def _last_lines(content: bytes) -> list[bytes]:
    """Return the last lines of a library's output, without its log."""
    lines = [line[:_MAX_BYTES] for line in content.splitlines() if line.strip()]
    return [line for line in lines if not line.decode(errors="replace").startswith(_CHATTER)][-_MAX_LINES:]
