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
    """A failure with one clear message; `main()` prints it and exits with `exit_code`.

    A run that it ends is called by its `state`.
    """

    exit_code = 1
    state = "failed"


class UsageError(CnnctlError):
    """The command line asks for something that is not there."""

    exit_code = 2


class DataError(CnnctlError):
    """The data is missing, broken or does not suit the config."""


class RunError(CnnctlError):
    """The run failed, or its folder cannot be written or read."""


class Interrupted(CnnctlError):
    """A signal asked the process to end: SIGINT, which is Ctrl-C, or another one by its number."""

    state = "interrupted"

    def __init__(self, message: str, signal_number: int = 2) -> None:
        self.exit_code = 128 + signal_number  # as shells tell it
        super().__init__(message)


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


MAX_SUGGESTIONS = 5
"""Wrong words of one message whose near ones are named."""


def counted(count: int, noun: str, several: str = "") -> str:
    """Return `1 epoch` or `1,200 epochs`; `several` where the plural is no s."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def suggestion(word: object, known: Iterable[str], of_data: bool = False) -> str:
    """Returns `; did you mean 'x'?` for the nearest known word, or an empty string.

    A word that differs in capitals, leading zeros, outer spaces or Unicode form alone is nearest, and what differs is said.

    Args:
        word: what was received.
        known: what it may be.
        of_data: whether these are names of the user's files, where capitals are said too.
    """
    near = _nearest(word, list(known), of_data)
    return f"; did you mean '{near[0]}'{near[1]}?" if near else ""


def suggestions(words: Sequence[object], known: Iterable[str], of_data: bool = False) -> str:
    """Return `; did you mean 'x' for 'X'; 'y' for 'Y'?` for the first words that have a near one; as `suggestion` for one word."""
    names = list(known)
    if len(words) == 1:
        return suggestion(words[0], names, of_data)
    found = [(word, near) for word in words if (near := _nearest(word, names, of_data))][:MAX_SUGGESTIONS]
    listed = "; ".join(f"'{name}' for '{word}'{difference}" for word, (name, difference) in found)
    return f"; did you mean {listed}?" if listed else ""


def _nearest(word: object, names: Sequence[str], of_data: bool) -> tuple[str, str] | None:
    """Return the nearest name and what differs, empty where that shows; None where none is near."""
    same = next((name for name in names if folded(name) == folded(str(word)) and name != word), None)
    if same is not None:
        return same, _difference(str(word), same, of_data)
    plain = str(word).lower().replace("-", "_")
    squeezed = {name.lower().replace("_", ""): name for name in names}
    near = difflib.get_close_matches(plain.replace("_", ""), squeezed, n=1, cutoff=0.7)
    return (squeezed[near[0]], "") if near else None


def _difference(word: str, same: str, of_data: bool) -> str:
    """Returns what differs between two names that look alike."""
    if unicodedata.normalize("NFC", same) == unicodedata.normalize("NFC", word):
        return ", the same letters in another Unicode form"
    if same.strip() == word.strip():
        return ", which differs only in spaces around it"
    if same.casefold() == word.casefold():
        return ", which differs only in capitals" * of_data
    return ", which differs only in leading zeros" if same.lstrip("0") == word.lstrip("0") or not same.strip("0") else ""


def folded(name: str) -> str:
    """Returns a name without what people write now so, now so: capitals, outer spaces, zeros before a number, Unicode form."""
    plain = unicodedata.normalize("NFC", name).strip().casefold()
    return (plain.lstrip("0") or "0") if plain.isdecimal() else plain
