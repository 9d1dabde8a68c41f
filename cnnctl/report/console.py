"""Print results to stdout and messages to stderr; no other module prints."""

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
"""The escape sequence that shows the cursor again, which a progress bar hides; after a second Ctrl-C nothing else would."""


class Console:
    """The output of one command.

    Args:
        quiet: print only results and errors.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty()

    def result(self, text: str) -> None:
        """Print a result to stdout."""
        sys.stdout.write(_printable_lines(text) + "\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Print a message to stderr; a broken pipe does not stop the training."""
        if not self.quiet:
            with contextlib.suppress(OSError):
                sys.stderr.write(_printable_lines(text) + "\n")
                sys.stderr.flush()

    def error(self, text: str, verbose: bool = False) -> None:
        """Print an error to stderr, with the traceback if `verbose` is set."""
        if verbose:
            traceback.print_exc()
        shown = _printable_lines(text)
        sys.stderr.write(f"{RED}{shown}{PLAIN}\n" if self.live else f"{shown}\n")

    def interrupted(self, number: int) -> None:
        """Acknowledge a signal; written by the system call itself, since Python may be in the middle of printing."""
        if not self.live:
            return
        hint = "Saving; press Ctrl-C again to quit now\n" if number == signal.SIGINT and not self.quiet else ""
        self._write_at_once(f"{SHOW_CURSOR}\n{hint}")  # below the bar, after which the terminal has printed ^C

    def show_cursor(self) -> None:
        """Show the cursor, which a bar hides; written by the system call itself, as in `interrupted`."""
        if self.live:
            self._write_at_once(SHOW_CURSOR)

    def _write_at_once(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone if its window was closed
            os.write(sys.stderr.fileno(), text.encode())

    def rich(self) -> RichConsole:
        """Create rich's console on stderr for animated output; imported only then, since the import is slow."""
        from rich.console import Console as RichConsole

        return RichConsole(stderr=True, highlight=False)

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show a spinner on a terminal while something takes a while."""
        if self.quiet or not self.live:
            yield
            return
        with self.rich().status(what):
            yield


def _printable_lines(text: str) -> str:
    """Escape control characters, so that no file or class name can move the cursor."""
    return "\n".join(map(printable, text.split("\n")))
