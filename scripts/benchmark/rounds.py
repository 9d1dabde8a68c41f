"""Run the contenders in turn, A B C, A B C, so that a slow phase of the machine slows all of them."""

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
"""The figures of one process: `OUTSIDE`, and those that it reports (`contenders.Reported`)."""
OUTSIDE = ("wall_seconds", "cpu_seconds", "peak_bytes", "others_cores")
"""The attributes of `Measured` that are figures."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Failure:
    """A contender without figures.

    Attributes:
        contender: its name.
        when: the round, such as `round 2`.
        lines: the last lines of its stderr.
    """

    contender: str
    when: str
    lines: list[str]


@dataclass
class Outcome:
    """The outcome of all rounds.

    Attributes:
        rounds: per contender, its figures per round; None where it failed.
        failures: in their order.
    """

    rounds: dict[str, list[Figures | None]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)


def compete(
    contenders: Sequence[Contender], setting: Setting, rounds: int, folder: Path, say: Say, what: str = "round"
) -> Outcome:
    """Measure each contender in each round.

    Args:
        contenders: in the order in which they run.
        setting: of the training.
        rounds: their number.
        folder: for temporary files.
        say: prints a line after each process.
        what: the name of a round.
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
            return {**outside, **contender.reported(done, Path(own))}
        except (OSError, ValueError, LookupError) as error:
            return Failure(
                contender.name, when, [*done.last_lines(), f"it ended without an error, but reported no figures: {error!r}"]
            )


def _line(when: str, contender: Contender, result: Figures | Failure) -> str:
    if isinstance(result, Failure):
        return "\n".join([f"{when}  {contender.name}  failed:", *(f"    {line}" for line in result.lines)])
    speed = f", {result['images_per_second']:,.0f} images/s in training" if "images_per_second" in result else ""
    return f"{when}  {contender.name:<15} {result['wall_seconds']:6.1f} s{speed}"
