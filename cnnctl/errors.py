"""The errors that a user can cause, and suggestions for misspelled names. Each class has its exit code.

CnnctlError
├── UsageError       2  a wrong argument or option, or one that does not fit the others
├── ConfigError      2  a wrong config; lists every `Problem` found
├── DataError        1  data that is missing, damaged or does not match the config
├── RunError         1  a failed run: divergence, a full disk, a damaged run folder
└── Interrupted    130  Ctrl-C (128 + the number of any other signal); the message names what was saved
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


class CnnctlError(Exception):
    """A failure with one clear message. `main()` prints it and exits with `exit_code`.

    `state` is the state of a run that it ends.
    """

    exit_code = 1
    state = "failed"


class UsageError(CnnctlError):
    """An argument or option is wrong, or does not fit the others."""

    exit_code = 2


class DataError(CnnctlError):
    """The data is missing, damaged or does not match the config."""


class RunError(CnnctlError):
    """The run failed, or its folder cannot be written or read."""


class Interrupted(CnnctlError):
    """A signal asked the process to end: SIGINT (Ctrl-C), or the one with `signal_number`."""

    state = "interrupted"

    def __init__(self, message: str, signal_number: int = 2) -> None:
        self.exit_code = 128 + signal_number  # as shells report it
        super().__init__(message)


@dataclass(frozen=True)
class Problem:
    """One mistake in a config.

    Attributes:
        location: its source: `file:line:column` or `--set path=value`.
        path: the field, such as `model.layers[3].conv2d`; empty for the whole file.
        message: what is wrong, what was expected and received, and how to fix it; may have several lines.
        elsewhere: the second place of a mistake inside a block; the same mistake in several uses is one problem.
    """

    location: str
    path: str
    message: str
    elsewhere: str = field(default="", compare=False)

    def __str__(self) -> str:
        subject = f"{self.path}: " if self.path else ""
        first, line_break, others = self.message.partition("\n")
        return f"{self.location}  {subject}{first}{self.elsewhere}{line_break}{others}"


class ConfigError(CnnctlError):
    """The config has one mistake or more."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


MAX_SUGGESTIONS = 5
"""The most words of one message that get a suggestion."""


def counted(count: int, noun: str, several: str = "") -> str:
    """Return `1 epoch` or `1,200 epochs`; `several` is an irregular plural."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def suggestion(word: object, known: Iterable[str], of_data: bool = False) -> str:
    """Suggest the nearest known word: `; did you mean 'x'?`, or an empty string.

    A word that differs only in capitals, leading zeros, outer spaces or Unicode form is the nearest, and the suggestion names
    the difference.

    Args:
        word: the word received.
        known: the words expected.
        of_data: whether they are names in the user's data, where a difference in capitals is named too.
    """
    near = _nearest(word, list(known), of_data)
    return f"; did you mean '{near[0]}'{near[1]}?" if near else ""


def suggestions(words: Sequence[object], known: Iterable[str], of_data: bool = False) -> str:
    """Suggest known words for several: `; did you mean 'x' for 'X'; 'y' for 'Y'?`. One word gets the text of `suggestion`."""
    names = list(known)
    if len(words) == 1:
        return suggestion(words[0], names, of_data)
    found = [(word, near) for word in words if (near := _nearest(word, names, of_data))][:MAX_SUGGESTIONS]
    listed = "; ".join(f"'{name}' for '{word}'{difference}" for word, (name, difference) in found)
    return f"; did you mean {listed}?" if listed else ""


def _nearest(word: object, names: Sequence[str], of_data: bool) -> tuple[str, str] | None:
    """Find the nearest name, and describe a difference that is hard to see; None if no name is near."""
    same = next((name for name in names if folded(name) == folded(str(word)) and name != word), None)
    if same is not None:
        return same, _difference(str(word), same, of_data)
    plain = str(word).lower().replace("-", "_")
    squeezed = {name.lower().replace("_", ""): name for name in names}
    near = difflib.get_close_matches(plain.replace("_", ""), squeezed, n=1, cutoff=0.7)
    return (squeezed[near[0]], "") if near else None


def _difference(word: str, same: str, of_data: bool) -> str:
    """Describe the difference between two names that look alike."""
    if unicodedata.normalize("NFC", same) == unicodedata.normalize("NFC", word):
        return ", the same letters in another Unicode form"
    if same.strip() == word.strip():
        return ", which differs only in spaces around it"
    if same.casefold() == word.casefold():
        return ", which differs only in capitals" * of_data
    return ", which differs only in leading zeros" if same.lstrip("0") == word.lstrip("0") or not same.strip("0") else ""


def folded(name: str) -> str:
    """Normalize a name: capitals, outer spaces, leading zeros of a number, Unicode form."""
    plain = unicodedata.normalize("NFC", name).strip().casefold()
    return (plain.lstrip("0") or "0") if plain.isdecimal() else plain
