"""Trace and compile during the first steps what is due after the last one of the epoch."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Self

from cnnctl.train.observers import Observer, Plan, StepsRecord


class Rehearsal(Observer):
    """Calls functions in a thread once the first steps are done; its block ends with the thread, except by Ctrl-C.

    While steps run, Python is free. The thread has ended before anything else is traced: layers are changed while they are.

    Args:
        functions: compute what will be computed again, and change nothing that is trained.
    """

    def __init__(self, functions: Sequence[Callable[[], object]]) -> None:
        self._functions = functions
        self._thread: threading.Thread | None = None
        self._steps_per_epoch = 0

    def on_start(self, plan: Plan) -> None:
        """Store how long an epoch is."""
        self._steps_per_epoch = plan.steps_per_epoch

    def on_steps(self, record: StepsRecord) -> None:
        """Start after the first steps, and wait after the last ones of the epoch."""
        if record.steps_in_epoch == self._steps_per_epoch:
            self.wait()
        elif self._thread is None:
            self._thread = threading.Thread(target=self._rehearse, daemon=True)
            self._thread.start()

    def _rehearse(self) -> None:
        # What fails here fails again where its result is needed, with a message; a thread could only print it.
        with contextlib.suppress(Exception):
            for function in self._functions:
                function()

    def wait(self) -> None:
        """Wait until the functions have ended."""
        if self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or not issubclass(kind, KeyboardInterrupt):  # whoever presses Ctrl-C does not wait for a daemon
            self.wait()
