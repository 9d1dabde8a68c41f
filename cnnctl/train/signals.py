"""Ctrl-C and the signals by which systems end a process: a training stops where it can go on from exactly, all else at once."""

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

HEARD = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

BECOMES = (KeyboardInterrupt, SystemError, TypeError)
"""What a KeyboardInterrupt in Python that C++ has called may come back as; who calls that may take it for a fault of a file."""


class Interruption(Observer):
    """Raises KeyboardInterrupt where a signal asks the process to end: between steps while it trains, else at once.

    Between steps, for in the middle of one the weights are neither those before it nor those after it. From then on
    the signals do what they do in any process, so that a second one ends it at once. As an observer it belongs behind
    all others: when it raises, they have heard of the step.

    Args:
        heard: called with the signal when it comes.

    Attributes:
        signal: what came first; SIGINT as long as none came.
        asked: whether one came.
        in_steps: whether a step may be under way, so that the weights may be those of no step.
    """

    def __init__(self, heard: Callable[[signal.Signals], None] = lambda _: None) -> None:
        self.signal = signal.SIGINT
        self._heard = heard
        self.asked = False
        self._anyone: Callable[[bool], bool] | None = None
        self.in_steps = False
        self._plan = Plan(0, 0, 0, 0, 0)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Interruption]:
        """Takes the signals for the while, those left alone that the process was told to ignore, as by nohup."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other may
            taken = [each for each in HEARD if signal.getsignal(each) is not signal.SIG_IGN]
            before = {each: signal.signal(each, self._hear) for each in taken}
        try:
            with self._quiet_once_asked():
                yield self
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    @contextlib.contextmanager
    def _quiet_once_asked(self) -> Iterator[None]:
        """Keeps the interpreter from telling, once a signal has come, of errors that nobody can catch.

        They are a KeyboardInterrupt in a weak reference's callback, or what became of one: C++ that calls Python may turn it
        into a SystemError without a cause, print that by PyErr_Print, so by `sys.excepthook`, and go on. `leave_if_asked` heeds
        the signal all the same. Whatever else cannot be caught from then on is not told either: nothing tells them apart.
        """
        tell_dropped, tell_printed = sys.unraisablehook, sys.excepthook

        def told_of(error: BaseException | None) -> bool:
            return not (self.asked or isinstance(error, KeyboardInterrupt))

        sys.unraisablehook = lambda each: tell_dropped(each) if told_of(each.exc_value) else None
        sys.excepthook = lambda kind, error, trace: tell_printed(kind, error, trace) if told_of(error) else None
        try:
            yield
        finally:
            sys.unraisablehook, sys.excepthook = tell_dropped, tell_printed

    def share(self, anyone: Callable[[bool], bool]) -> None:
        """Lets all workers leave where one of them is asked to, and none by itself: the others would wait for it.

        Args:
            anyone: returns whether any worker says true; all call it at the same places.
        """
        self._anyone = anyone
        self.in_steps = True

    @contextlib.contextmanager
    def passing_on(self) -> Iterator[None]:
        """Raises KeyboardInterrupt for whatever became of one: C++ that is called from Python, and calls it, hands on others."""
        try:
            yield
        except Exception as error:
            if self.asked and not _is_meant(error):
                raise KeyboardInterrupt from error
            raise

    def _hear(self, number: int, frame: FrameType | None) -> None:
        for each in HEARD:
            if signal.getsignal(each) == self._hear:
                signal.signal(each, signal.SIG_DFL)
        self.signal = signal.Signals(number)
        self.asked = True
        keep_silent()
        self._heard(self.signal)
        if not self.in_steps:
            raise KeyboardInterrupt

    def on_start(self, plan: Plan) -> None:
        """Learns how long an epoch is."""
        self._plan = plan

    def on_steps(self, record: StepsRecord) -> None:
        """Raises KeyboardInterrupt if it was asked for since the last steps."""
        self._wait_for_steps(record.steps_in_epoch < self._plan.steps_per_epoch)  # then comes validation, where nothing changes

    def on_epoch(self, record: EpochRecord) -> None:
        """Waits for steps from here on: the next ones begin as soon as this has returned."""
        self._wait_for_steps(record.epoch < self._plan.epochs)

    def on_end(self, record: EndRecord) -> None:
        """Raises at once from here on, where no other worker waits."""
        self.in_steps = self._anyone is not None

    def _wait_for_steps(self, more: bool) -> None:
        self.in_steps = more or self._anyone is not None
        self.leave_if_asked()

    def leave_if_asked(self) -> None:
        """Raises KeyboardInterrupt if it was asked for, here or in another worker, and has not been heeded yet."""
        if self._anyone(self.asked) if self._anyone else self.asked:
            self.in_steps = False
            raise KeyboardInterrupt


def _is_meant(error: BaseException) -> bool:
    """Returns whether an error says what it says after a signal too: not so where it is what became of the signal."""
    if isinstance(error, Interrupted):
        return True
    if isinstance(error, DataError) or not isinstance(error, CnnctlError):  # no image is broken by Ctrl-C
        return False
    cause = error.__cause__
    while cause and not isinstance(cause, BECOMES):
        cause = cause.__cause__
    return cause is None
