"""Ctrl-C and the signals by which systems end a process: a training stops where it can resume exactly, all else at once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from cnnctl.errors import CnnctlError, DataError, Interrupted
from cnnctl.last_words import keep_silent
from cnnctl.train.observers import EndRecord, EpochRecord, Observer, Plan, StepsRecord

HANDLED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

BECOMES = (KeyboardInterrupt, SystemError, TypeError)
"""What a KeyboardInterrupt in Python code that C++ called may become; the caller may mistake it for a damaged file."""


class Interruption(Observer):
    """Stops the process when a signal asks for it.

    While steps run, the signal sets a flag that is read between steps: in the middle of one the weights are neither
    those before it nor those after it. At any other time KeyboardInterrupt is raised at once, since imports, reading data,
    tracing and evaluation have no place where a flag could be read soon enough. After the first signal the default
    handlers are back, so a second one ends the process at once. As an observer it comes after all others, which
    are notified of the step before it raises. The first call of TensorFlow, which traces, is cut at once: nothing of it is saved.

    Args:
        notify: called with the signal when it comes.

    Attributes:
        asked: a signal came.
        in_steps: a step may be running, so that the weights may be those of no step.
    """

    def __init__(self, notify: Callable[[signal.Signals], None] = lambda _: None) -> None:
        self.asked = False
        self.in_steps = False
        self._notify = notify
        self._first = signal.SIGINT
        self._around: Interruption | None = None
        self._any_worker: Callable[[bool], bool] | None = None
        self._plan = Plan(0, 0, 0, 0, 0)

    @property
    def signal(self) -> signal.Signals:
        """The first that came, also while the handlers around these were in place; SIGINT while none came."""
        return self._first if self.asked or self._around is None else self._around.signal

    @contextlib.contextmanager
    def listening(self) -> Iterator[Interruption]:
        """Handle the signals for the block, except those that the process was started to ignore, as by nohup."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # Python allows no other
            before = {each: now for each in HANDLED if (now := signal.getsignal(each)) is not signal.SIG_IGN}
        around = getattr(next(iter(before.values()), None), "__self__", None)  # the object of a bound method
        self._around = around if isinstance(around, Interruption) else None
        try:
            for each in before:
                signal.signal(each, self._handle)
            with self._quiet_once_asked():
                yield self
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    @contextlib.contextmanager
    def _quiet_once_asked(self) -> Iterator[None]:
        """Print no uncatchable errors once a signal came.

        TensorFlow leaves no other way. A KeyboardInterrupt may be raised in a weak reference's callback, which Python can
        only print, or in Python code that C++ called, which may turn it into a SystemError, print that by `sys.excepthook` and
        continue. `leave_if_asked` reads the flag later. Other uncatchable errors are not printed then either, since
        nothing distinguishes them.
        """
        print_unraisable, print_error = sys.unraisablehook, sys.excepthook

        def is_shown(error: BaseException | None) -> bool:
            return not (self.asked or isinstance(error, KeyboardInterrupt))

        sys.unraisablehook = lambda each: print_unraisable(each) if is_shown(each.exc_value) else None
        sys.excepthook = lambda kind, error, trace: print_error(kind, error, trace) if is_shown(error) else None
        try:
            yield
        finally:
            sys.unraisablehook, sys.excepthook = print_unraisable, print_error

    def share(self, any_worker: Callable[[bool], bool]) -> None:
        """Stop all workers when one is asked to; a worker that stopped by itself would leave the others waiting.

        Args:
            any_worker: True if any worker passes True; all call it at the same places.
        """
        self._any_worker = any_worker
        self.in_steps = True

    @contextlib.contextmanager
    def passing_on(self) -> Iterator[None]:
        """Raise KeyboardInterrupt for the errors that C++ makes of one."""
        try:
            yield
        except Exception as error:
            if self.asked and not _is_genuine(error):
                raise KeyboardInterrupt from error
            raise

    def _handle(self, number: int, frame: FrameType | None) -> None:
        for each in HANDLED:
            if signal.getsignal(each) == self._handle:
                signal.signal(each, signal.SIG_DFL)
        self._first = signal.Signals(number)
        self.asked = True
        keep_silent()
        self._notify(self.signal)
        if not self.in_steps:
            raise KeyboardInterrupt

    def on_start(self, plan: Plan) -> None:
        """Store how long an epoch is."""
        self._plan = plan

    def on_steps(self, record: StepsRecord) -> None:
        """Raise KeyboardInterrupt if a signal came during the last steps; during validation one is raised at once."""
        self._expect_steps(record.steps_in_epoch < self._plan.steps_per_epoch)

    def on_epoch(self, record: EpochRecord) -> None:
        """Expect steps again, since the next ones start as soon as this returns."""
        self._expect_steps(record.epoch < self._plan.epochs)

    def on_end(self, record: EndRecord) -> None:
        """Raise at once from here on, unless other workers wait."""
        self.in_steps = self._any_worker is not None

    def _expect_steps(self, more: bool) -> None:
        self.in_steps = more or self._any_worker is not None
        self.leave_if_asked()

    def leave_if_asked(self) -> None:
        """Raise KeyboardInterrupt if a signal came, here or in another worker."""
        if self._any_worker(self.asked) if self._any_worker else self.asked:
            self.in_steps = False
            raise KeyboardInterrupt


def _is_genuine(error: BaseException) -> bool:
    """Find out whether an error after a signal is one of its own, not what became of the signal."""
    if isinstance(error, Interrupted):
        return True
    if isinstance(error, DataError) or not isinstance(error, CnnctlError):  # Ctrl-C damages no image
        return False
    cause = error.__cause__
    while cause and not isinstance(cause, BECOMES):
        cause = cause.__cause__
    return cause is None
