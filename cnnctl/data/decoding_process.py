"""A decoding process, which `decoding_pool` starts.

It reads pickles from stdin, each a function and its argument, and writes each result to stdout. It ends at once when stdin is
closed: the process that started it is done, or has died. Before the first result it writes `READY`.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

Reply = tuple[Any, Exception | None]
"""The result of a call, or its error."""
READY = b"cnnctl decodes\n"
"""Written to stdout once tasks can be received; what comes before it was printed while Python started."""


def main() -> None:
    """Run tasks until stdin is closed."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # the process that started this one gets them too, and ends this one
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    try:
        threading.Thread(target=_receive, args=(received,), daemon=True).start()
    except RuntimeError:  # the system allows no more threads
        os._exit(1)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # prints of libraries go to stderr
    try:
        results.write(READY)
        results.flush()
        while True:
            pickle.dump(_reply(*received.get()), results, pickle.HIGHEST_PROTOCOL)
            results.flush()
    except BrokenPipeError:
        os._exit(0)


def _receive(received: queue.SimpleQueue[Any]) -> None:
    """Read from stdin, also while the other thread decodes, so that its end is noticed in the middle of an image."""
    try:
        while True:
            received.put(pickle.load(sys.stdin.buffer))  # noqa: S301  # written by cnnctl itself
    except (EOFError, pickle.UnpicklingError):
        os._exit(0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def _reply(function: Callable[[Any], Any], task: Any) -> Reply:
    try:
        return function(task), None
    except Exception as error:
        return None, error
