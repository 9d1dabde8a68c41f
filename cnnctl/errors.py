"""Everything that a user can cause, as one tree; each class knows its exit code.

CnnctlError
├── UsageError       2  the command line asks for something that is not there
├── ConfigError      2  the config is wrong; holds every `Problem` found
├── DataError        1  the data is missing, broken or does not suit the config
├── RunError         1  the run failed: divergence, disk, a damaged run folder
└── Interrupted    130  Ctrl-C, or 128 and the number of another signal; the message says what was saved
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class CnnctlError(Exception):
    """A failure with one clear message; `main()` prints it and exits with `exit_code`."""

    exit_code = 1


class UsageError(CnnctlError):
    """The command line asks for something that is not there."""

    exit_code = 2


class DataError(CnnctlError):
    """The data is missing, broken or does not suit the config."""


class RunError(CnnctlError):
    """The run failed, or its folder cannot be written or read."""


class Interrupted(CnnctlError):
    """A signal asked the process to end: SIGINT, which is Ctrl-C, or another one by its number."""

    def __init__(self, message: str, signal_number: int = 2) -> None:
        self.exit_code = 128 + signal_number  # as shells tell it
        super().__init__(message)


def from_system(error: OSError | MemoryError) -> CnnctlError:
    """Makes one message of what the system refuses, such as a full disk or a folder without permission."""
    if isinstance(error, MemoryError):
        return RunError("there is not enough memory")
    return RunError(f"{error.filename or 'output'}: {error.strerror or error}")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a config.

    Attributes:
        location: where it was written: `file:line:column` or `--set path=value`.
        path: what it is about, such as `model.layers[3].conv2d`; empty for the whole file.
        message: what is wrong, what was expected and received, and what to do; may have several lines.
    """

    location: str
    path: str
    message: str

    def __str__(self) -> str:
        subject = f"{self.path}: " if self.path else ""
        return f"{self.location}  {subject}{self.message}"


class ConfigError(CnnctlError):
    """The config is wrong."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def suggestion(word: object, known: Iterable[str]) -> str:
    """Returns `; did you mean 'x'?` for the nearest known word, or an empty string.

    A word that differs in capitals, leading zeros, outer spaces or Unicode form alone is nearest.
    """
    names = list(known)
    same = next((name for name in names if folded(name) == folded(str(word)) and name != word), None)
    if same is not None:
        unicode_form = unicodedata.normalize("NFC", same) == unicodedata.normalize("NFC", str(word))
        return f"; did you mean '{same}'{', the same letters in another Unicode form' * unicode_form}?"
    plain = str(word).lower().replace("-", "_")
    squeezed = {name.lower().replace("_", ""): name for name in names}
    near = difflib.get_close_matches(plain.replace("_", ""), squeezed, n=1, cutoff=0.7)
    return f"; did you mean '{squeezed[near[0]]}'?" if near else ""


def folded(name: str) -> str:
    """Returns a name without what people write now so, now so: capitals, outer spaces, zeros before a number, Unicode form."""
    plain = unicodedata.normalize("NFC", name).strip().casefold()
    return (plain.lstrip("0") or "0") if plain.isdecimal() else plain
