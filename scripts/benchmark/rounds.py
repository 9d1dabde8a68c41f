"""Contenders in turns: A B C, A B C, so that what slows the machine for a while slows all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contenders import Contender
from .measure import measure, variables_for
from .settings import Setting

Figures = dict[str, Any]
"""What one process took: `OUTSIDE`, and what it said of itself (`contenders.Told`)."""
OUTSIDE = ("wall_seconds", "cpu_seconds", "peak_bytes", "others_cores")
"""What of `Measured` is a figure."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """A contender that gave no figures.

    Attributes:
        contender: its name.
        when: such as `round 2`.
        lines: the last of its stderr.
    """

    contender: str
    when: str
    lines: list[str]


@dataclass
class Outcome:
    """What came of the rounds.

    Attributes:
        rounds: of each contender, its figures a round; None where it failed.
        failures: as they came.
    """

    rounds: dict[str, list[Figures | None]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


def compete(
    contenders: Sequence[Contender], setting: Setting, rounds: int, folder: Path, say: Say, what: str = "round"
) -> Outcome:
    """Returns what each contender took in each round.

    Args:
        contenders: in the order of their turns.
        setting: what they train.
        rounds: how many.
        folder: for what they write while they run.
        say: told after each process.
        what: what a round is called.
    """
    outcome = Outcome({each.name: [] for each in contenders})
    for number in range(1, rounds + 1):
        when = f"{what} {number} of {rounds}" if rounds > 1 else what
        for contender in contenders:
            result = _take_turn(contender, setting, when, folder)
            say(_line(when, contender, result))
            outcome.rounds[contender.name].append(result if isinstance(result, dict) else None)
            outcome.failures += [result] if isinstance(result, Failure) else []
    return outcome


def _take_turn(contender: Contender, setting: Setting, when: str, folder: Path) -> Figures | Failure:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        done = measure(contender.command(setting, Path(own)), Path(own), variables_for(contender.python, folder / "cache"))
        outside = {name: getattr(done, name) for name in OUTSIDE}
        if done.exit_code:
            return Failure(contender.name, when, [*done.last_lines(), f"exit code {done.exit_code}"])
        try:
            return {**outside, **contender.told(done, Path(own))}
        except (OSError, ValueError, LookupError) as error:
            return Failure(contender.name, when, [*done.last_lines(), f"it ended well, but says nothing of itself: {error!r}"])


def _line(when: str, contender: Contender, result: Figures | Failure) -> str:
    if isinstance(result, Failure):
        return "\n".join([f"{when}  {contender.name}  failed:", *(f"    {line}" for line in result.lines)])
    speed = f", {result['images_per_second']:,.0f} images/s in training" if "images_per_second" in result else ""
    return f"{when}  {contender.name:<15} {result['wall_seconds']:6.1f} s{speed}"
