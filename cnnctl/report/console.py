"""Messages on stderr, results on stdout: the only module that prints."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cnnctl.report.text import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

RED, PLAIN = "\x1b[31m", "\x1b[0m"
SHOW_CURSOR = "\x1b[?25h"
"""A bar hides the cursor, and a second Ctrl-C leaves nobody to show it again."""


class Console:
    """Prints for one command.

    Args:
        quiet: leave out everything but results and errors.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty()

    def result(self, text: str) -> None:
        """Prints a result to stdout."""
        sys.stdout.write(_printable_lines(text) + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Prints a message to stderr; where nobody can read it, such as a broken pipe, the training goes on all the same."""
        if not self.quiet:
            with contextlib.suppress(OSError):
                sys.stderr.write(_printable_lines(text) + "\n")
                sys.stderr.flush()

    def error(self, text: str, verbose: bool = False) -> None:
        """Prints an error to stderr, with the traceback where `verbose` asks for it."""
        if verbose:
            traceback.print_exc()
        shown = _printable_lines(text)
        sys.stderr.write(f"{RED}{shown}{PLAIN}\n" if self.live else f"{shown}\n")

    def interrupted(self, number: int) -> None:
        """Says that a signal was heard; by the system itself, since Python may be in the middle of printing."""
        if not self.live:
            return
        hint = "Saving; press Ctrl-C again to quit now\n" if number == signal.SIGINT and not self.quiet else ""
        self._write_at_once(f"{SHOW_CURSOR}\n{hint}")  # below the bar, behind which the terminal has shown ^C

    def show_cursor(self) -> None:
        """Shows the cursor again, which a bar hides; by the system itself, as in `interrupted`."""
        if self.live:
            self._write_at_once(SHOW_CURSOR)

    def _write_at_once(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone where its window was closed
            os.write(sys.stderr.fileno(), text.encode())

    def rich(self) -> RichConsole:
        """Returns rich's console on stderr, for what moves; imported only then, since that takes its time."""
        from rich.console import Console as RichConsole

        return RichConsole(stderr=True, highlight=False)

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Shows on a terminal that something takes a while."""
        if self.quiet or not self.live:
            yield
            return
        with self.rich().status(what):
            yield


def _printable_lines(text: str) -> str:
    """Returns a message in which no file or class name can move the cursor."""
    return "\n".join(map(printable, text.split("\n")))
