"""Find the cause of typing errors in a YAML file: a change of one line that has been checked and repairs it.

PyYAML reports where parsing stops, often a line or two below the mistake. Here each line near that place is changed in
all ways that undo a common slip (a missing space, an odd character, a wrong indentation), and the whole text is parsed
again. The change that repairs it is both the cause and the remedy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from cnnctl.errors import ConfigError, Problem, counted
from cnnctl.spec.document import Document, parse
from cnnctl.spec.load import check, validated
from cnnctl.spec.overrides import override
from cnnctl.spec.slips import SLIPS, quoted, split_comment

MAX_READ = 500_000
"""Characters parsed in total to find one cause, about a second; each change is tried by parsing the whole file."""
MAX_COLUMNS = 500
"""Longest line that is changed: longer ones are not typed by hand, and have too many possible changes."""
MAX_MISTAKES = 5
"""Most mistakes of one file that are explained."""
_LINES_ABOVE = 2
"""Lines above an error that may contain its cause."""

_BLOCKS_AROUND = 4
"""Enclosing first lines of blocks, and lines with unusual indentation, that are also searched."""

_LINE_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
"""Line breaks of YAML 1.1, so that line numbers equal those of the parser."""


@dataclass(frozen=True)
class _Change:
    """One changed line.

    Attributes:
        line: its number, from 0.
        new: the corrected line.
        cause: the mistake.
        remedy: the instruction, with the new line.
    """

    line: int
    new: str
    cause: str
    remedy: str


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#") and line.rstrip() not in ("---", "...")


def _changes(lines: Sequence[str], number: int) -> Iterator[_Change]:
    """Yield every change of one line to try."""
    body, comment = split_comment(lines[number])
    for slip in SLIPS:
        for new, cause in slip(body):
            remedy = "remove the quotes" if slip is quoted else f"write: {new.strip()}"
            yield _Change(number, new + comment, cause, remedy)
    yield from _indented_otherwise(lines, number)


def _indented_otherwise(lines: Sequence[str], number: int) -> Iterator[_Change]:
    """Yield the line at the indentations that nearby lines suggest, the nearest first."""
    line = lines[number]
    text = line.lstrip()
    own = _indent(line) if "\t" not in line[: len(line) - len(text)] else -1
    for depth in sorted(_depths(lines, number) - {own}, key=lambda depth: abs(depth - own)):
        yield _Change(number, " " * depth + text, *_wrong_indentation(own, depth))


def _depths(lines: Sequence[str], number: int) -> set[int]:
    """Return possible indentations of a line: those of nearby and enclosing lines, or two deeper than the line above."""
    above = next((each for each in reversed(lines[:number]) if _is_content(each)), "")
    below = next((each for each in lines[number + 1 :] if _is_content(each)), "")
    outer = {_indent(lines[place]) for place in _outer(lines, number)}
    return {_indent(above), _indent(above) + 2, _indent(below), max(_indent(below) - 2, 0), *outer}


def _outer(lines: Sequence[str], number: int) -> list[int]:
    """Return the first lines of the enclosing blocks, from inside out."""
    found, depth = [], MAX_COLUMNS
    for place in range(number - 1, -1, -1):
        if _is_content(lines[place]) and _indent(lines[place]) < depth:
            found.append(place)
            depth = _indent(lines[place])
    return found


def _wrong_indentation(own: int, depth: int) -> tuple[str, str]:
    if own < 0:
        return "a tab is used for indentation", f"indent it by {counted(depth, 'space')}"
    return f"this line is indented by {counted(own, 'space')}", f"indent it by {counted(depth, 'space')}"


def _changed(lines: Sequence[str], change: _Change) -> list[str]:
    return [*lines[: change.line], change.new, *lines[change.line + 1 :]]


def _unusual(lines: Sequence[str]) -> list[int]:
    """Return the lines that start a block, or the file, with an indentation unusual in this file."""
    content = [place for place, each in enumerate(lines) if _is_content(each)]
    first = [place for place in content[:1] if _indent(lines[place])]
    steps = {below: _indent(lines[below]) - _indent(lines[above]) for above, below in pairwise(content)}
    usual, _ = Counter([2, *(step for step in steps.values() if step > 0)]).most_common(1)[0]
    return [*first, *(place for place, step in steps.items() if step > 0 and step != usual)]


@dataclass(frozen=True)
class _Reading:
    """The result of parsing a text; fewer problems are better.

    Attributes:
        stops_at: the line, from 0, of the syntax error; None if there is none.
        problems: the errors of the config, by line and message.
    """

    stops_at: int | None
    problems: frozenset[tuple[str, str]]

    def is_better_than(self, other: _Reading) -> bool:
        if self.stops_at is None:
            return other.stops_at is not None or self.problems < other.problems
        return other.stops_at is not None and self.stops_at > other.stops_at

    @property
    def rank(self) -> tuple[bool, int, int]:
        return self.stops_at is not None, -(self.stops_at or 0), len(self.problems)


def _reading(lines: Sequence[str], overrides: Sequence[str]) -> _Reading:
    """Parse and check a text as `load` does, without reading images in folders."""
    try:
        document = parse("\n".join(lines), "x", explained=False)
    except ConfigError as error:
        first = error.problems[0]
        if first.message.startswith("not valid YAML"):
            return _Reading(_line_of(first), frozenset())
        return _Reading(None, _keys(error.problems))
    return _Reading(None, _keys(_refused(document, overrides)))


def _refused(document: Document, overrides: Sequence[str]) -> Sequence[Problem]:
    from cnnctl.spec.experiment import Experiment

    problems: list[Problem] = []
    try:
        for text in overrides:
            override(document, text)
        experiment = validated(Experiment, document, (), problems)
        if experiment and not experiment.data.has_path:
            check(document, explained=False)
    except ConfigError as error:
        return error.problems
    return problems


def _keys(problems: Sequence[Problem]) -> frozenset[tuple[str, str]]:
    return frozenset((problem.location.rsplit(":", 1)[0], problem.message) for problem in problems)


def _line_of(problem: Problem) -> int:
    """Return the line of a problem, from 0; -1 if it has none."""
    parts = problem.location.rsplit(":", 2)
    return int(parts[-2]) - 1 if len(parts) == 3 and parts[-2].isdecimal() and parts[-1].isdecimal() else -1


def not_yaml(text: str, name: str, places: Sequence[int]) -> list[Problem]:
    """Find the mistakes that make a text invalid YAML, one problem per mistake; empty if no change of one line helps.

    Args:
        text: the file.
        name: its name in messages.
        places: the lines, from 0, that the parser reported.
    """
    lines = _LINE_BREAK.split(text)
    problems: list[Problem] = []
    reading = _reading(lines, ())
    while reading.stops_at is not None and len(problems) < MAX_MISTAKES:
        found = _best(lines, _around([*places, reading.stops_at], lines), reading, ())
        if not found:
            break
        change, reading = found
        problems.append(_problem(name, lines, change))
        lines[change.line], places = change.new, []
    return problems


_EXPLAINED = re.compile(r"'[^' ]+'; did you mean '[^']+'\?$|\n")
"""Messages that already explain the cause: a misspelled word, or a stack that does not fit."""


def by_cause(document: Document, problems: Sequence[Problem]) -> list[Problem]:
    """Replace the problems that one typing error causes by that one error."""
    lines, overrides = _LINE_BREAK.split(document.text), list(document.overrides.values())
    if not document.text or len(document.places) > MAX_READ // 100:  # aliases may repeat parts thousands of times
        return list(problems)
    explained: list[Problem] = []
    reading = _reading(lines, overrides)
    while reading.problems and len(explained) < MAX_MISTAKES:
        unclear = [each for each in problems if _line_of(each) >= 0 and not _EXPLAINED.search(each.message)]
        places = sorted({_line_of(each) + below for each in unclear for below in (0, 1)})
        found = _best(lines, places[:10], reading, overrides)
        if not found:
            break
        change, better = found
        gone = {message for _, message in reading.problems - better.problems}
        explained.append(_problem(document.name, lines, change))
        problems = [each for each in problems if each.message not in gone]
        lines[change.line], reading = change.new, better
    return [*problems, *explained]


def _around(places: Sequence[int], lines: Sequence[str]) -> list[int]:
    """Return the lines that may contain the cause, those reported by the parser first."""
    places = [min(place, len(lines) - 1) for place in places]  # a file may end where something is missing
    above = [place - back for back in range(_LINES_ABOVE + 1) for place in places]
    blocks = [place for number in places for place in _outer(lines, number)[:_BLOCKS_AROUND]]
    return [place for place in dict.fromkeys([*above, *blocks, *_unusual(lines)[:_BLOCKS_AROUND]]) if 0 <= place < len(lines)]


def _best(
    lines: Sequence[str], places: Sequence[int], now: _Reading, overrides: Sequence[str]
) -> tuple[_Change, _Reading] | None:
    """Return the change that helps most, with the new result of parsing; None if none helps."""
    changes = (
        change
        for number in places
        if number < len(lines) and len(lines[number]) <= MAX_COLUMNS and _is_content(lines[number])
        for change in _changes(lines, number)
    )
    tried = [
        (change, _reading(_changed(lines, change), overrides))
        for change in islice(changes, MAX_READ // (sum(map(len, lines)) + len(lines)))
    ]
    helpful = [each for each in tried if each[1].is_better_than(now)]
    return min(helpful, key=lambda each: (each[1].rank, len(_unusual(_changed(lines, each[0])))), default=None)


def _problem(name: str, lines: Sequence[str], change: _Change) -> Problem:
    old = lines[change.line]
    differs = next((i for i, (one, other) in enumerate(zip(old, change.new, strict=False)) if one != other), len(old))
    column = min(differs, max(len(old.rstrip()) - 1, 0))
    return Problem(f"{name}:{change.line + 1}:{column + 1}", "", f"{change.cause}; {change.remedy}")
