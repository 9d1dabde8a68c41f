"""Show the progress of a training: a bar and lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cnnctl.errors import counted
from cnnctl.report.console import Console
from cnnctl.train.observers import EndRecord, EpochRecord, Observer, Plan, StepsRecord

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress

HEADER = f"{'epoch':>9} {'loss':>8} {'accuracy':>9} {'val loss':>9} {'val acc':>8} {'lr':>9} {'time':>8} {'images/s':>9}"
PLAIN_SECONDS = 30.0
"""Seconds between progress lines within a long epoch, without a terminal."""


def progress_for(console: Console) -> PlainProgress:
    """Create the observer that shows a training on this console."""
    return LiveProgress(console) if console.live and not console.quiet else PlainProgress(console)


class PlainProgress(Observer):
    """Prints a line per epoch, and further lines within a long epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plan = Plan(0, 0, 0, 0, 0)
        self._last_line = 0.0

    def on_start(self, plan: Plan) -> None:
        """Print the header."""
        self._plan = plan
        self._last_line = time.monotonic()
        self._say(HEADER)

    def on_steps(self, record: StepsRecord) -> None:
        """Print the progress within a long epoch."""
        if time.monotonic() - self._last_line >= PLAIN_SECONDS:
            self._last_line = time.monotonic()
            self._say(
                f"epoch {record.epoch}: {record.images:,} of {counted(self._plan.examples, 'image')}, loss {record.loss:.4f}"
            )

    def on_epoch(self, record: EpochRecord) -> None:
        """Print the line of an epoch."""
        self._last_line = time.monotonic()
        self._say(epoch_line(record, self._plan.epochs))

    def on_end(self, record: EndRecord) -> None:
        """Print why the training stopped early."""
        if record.reason:
            self._say(f"stopped after epoch {record.epochs}: {record.reason}")

    def note(self, text: str) -> None:
        """Print a message between the lines of the epochs."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._console.say(text)

    def close(self) -> None:
        """Restore the terminal, also after an error."""


class LiveProgress(PlainProgress):
    """Prints the same lines, with a progress bar below them during an epoch."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bar = _bar(console.rich())
        self._task = self._bar.add_task("", total=None, state="")

    def on_start(self, plan: Plan) -> None:
        """Print the header and start the bar."""
        super().on_start(plan)
        self._bar.start()

    def on_steps(self, record: StepsRecord) -> None:
        """Update the bar."""
        speed = record.images / record.seconds
        left = (self._plan.examples * (self._plan.epochs - record.epoch + 1) - record.images) / speed
        state = f"loss {record.loss:.4f}  accuracy {record.accuracy:.2%}  {speed:,.0f} images/s  {show_seconds(left)} left"
        self._bar.update(
            self._task,
            description=f"{record.epoch}/{self._plan.epochs}",
            total=self._plan.examples,
            completed=record.images,
            state=state,
        )

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def _say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, soft_wrap=True)

    def on_end(self, record: EndRecord) -> None:
        """Remove the bar, then print why the training stopped early."""
        self.close()
        super().on_end(record)


def _bar(console: RichConsole) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description:>9}"), BarColumn(bar_width=16), TextColumn("{task.fields[state]}"))
    return Progress(*columns, console=console, transient=True)


def epoch_line(record: EpochRecord, epochs: int) -> str:
    """Format the line of an epoch below `HEADER`."""
    validated = record.validation_loss is not None and record.validation_accuracy is not None
    validation = f"{record.validation_loss:>9.4f} {record.validation_accuracy:>8.2%}" if validated else f"{'-':>9} {'-':>8}"
    return (
        f"{f'{record.epoch}/{epochs}':>9} {record.train_loss:>8.4f} {record.train_accuracy:>9.2%} {validation} "
        f"{record.learning_rate:>9.2e} {show_seconds(record.seconds):>8} {record.images_per_second:>9,.0f}"
    )


def show_seconds(seconds: float) -> str:
    """Format a duration: 5.1 s, 2:05 min, 1:02 h."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes}:{round(seconds) % 60:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"
