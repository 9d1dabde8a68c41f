"""Find the cause of typing errors in a YAML file: a change of one line that has been checked and repairs it.

PyYAML reports where parsing stops, often a line or two below the mistake. Here each line near that place is changed in
all ways that undo a common slip (a missing space, an odd character, a wrong indentation), and the whole text is parsed
again. The change that repairs it is both the cause and the remedy.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from cnnctl.errors import ConfigError, Problem, counted
from cnnctl.spec.document import Document, parse
from cnnctl.spec.load import check, validated
from cnnctl.spec.overrides import override

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

_KEY = r"[A-Za-z_][\w.]*"
_ITEM = rf"^(\s*(?:- +)*{_KEY})"
_DASHES = "‐‑‒–—―−"
_DOUBLE_QUOTES, _SINGLE_QUOTES = "“”„‟«»", "‘’‚‛"
_CLOSES = {"{": "}", "[": "]"}


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


Slips = Iterator[tuple[str, str]]
"""Corrected lines, each with the mistake that it removes."""


def _odd_spaces(body: str) -> Slips:
    odd = [each for each in body if each != "\t" and (unicodedata.category(each) in ("Zs", "Cf") and each != " ")]
    if odd:
        cause = f"{_character(odd[0])} is used in place of a space"
        yield "".join(" " if each in odd else each for each in body), cause
        yield "".join("" if each in odd else each for each in body), f"{_character(odd[0])} is in this line"


def _tabs(body: str) -> Slips:
    if "\t" in body.strip():
        yield re.sub(r"(?<=\S)\t+", " ", body), "a tab is used in place of a space"


def _odd_dashes(body: str) -> Slips:
    odd = [each for each in body if each in _DASHES]
    if odd:
        plain = re.sub(rf"^(\s*)[{_DASHES}]\s*", r"\1- ", body)
        yield re.sub(f"[{_DASHES}]", "-", plain), f"{_character(odd[0])} is used in place of a hyphen"


def _odd_quotes(body: str) -> Slips:
    odd = [each for each in body if each in _DOUBLE_QUOTES + _SINGLE_QUOTES]
    if odd:
        straight = re.sub(f"[{_DOUBLE_QUOTES}{_SINGLE_QUOTES}]", '"', body)
        yield straight, f"{_character(odd[0])} is used in place of a straight quote"


def _odd_colon(body: str) -> Slips:
    if "：" in body:
        yield re.sub(r"：\s*", ": ", body), f"{_character('：')} is used in place of a colon"


def _no_space_after_colon(body: str) -> Slips:
    new = re.sub(rf"{_ITEM}:(?=\S)", r"\1: ", body)
    new = re.sub(rf"([{{,]\s*{_KEY}):(?=[^\s,}}])", r"\1: ", new)
    if new != body:
        yield new, "there is no space after a colon"


def _no_space_after_dash(body: str) -> Slips:
    new = re.sub(r"^(\s*)-(?=[^\s-])", r"\1- ", body)
    if new != body:
        yield new, "there is no space after the dash"


def _no_space_before_comment(body: str) -> Slips:
    if re.search(r"\S#", body):
        yield re.sub(r"(?<=\S)#.*", "", body), "there is no space before #, which starts a comment"


def _equals(body: str) -> Slips:
    new = re.sub(rf"{_ITEM}\s*=\s*(?=\S)", r"\1: ", body)
    new = re.sub(rf"([{{,]\s*{_KEY})\s*=\s*", r"\1: ", new)
    if new != body:
        yield new, "an equals sign is used in place of a colon"


def _no_colon(body: str) -> Slips:
    new = re.sub(rf"{_ITEM} +(?=[^\s:=])", r"\1: ", body) if not re.match(rf"{_ITEM}\s*:", body) else body
    new = re.sub(rf"([{{,]\s*{_KEY}) +(?=[\w.'\"\[{{-])", r"\1: ", new)
    if new != body:
        yield new, "a colon is missing"
    if re.fullmatch(rf"\s*(- +)?{_KEY}", body):
        yield f"{body}:", "the colon is missing"


def _no_comma(body: str) -> Slips:
    new = re.sub(rf"(?<=[\w\]}}\"'])\s*;?\s+(?={_KEY}\s*:\s)", ", ", body.replace(";", " "))
    if new != body and "{" in body:
        yield new, "a comma is missing"


def _no_dash(body: str) -> Slips:
    if not body.lstrip().startswith("-"):
        yield re.sub(r"^(\s*)", r"\1- ", body), "the dash of a list item is missing"


def _brackets(body: str) -> Slips:
    """Yield the line with balanced brackets: closed at the end, opened after the key, or without the extra one."""
    open_ = _unclosed(body)
    if open_ is None:
        for place in [place for place, each in enumerate(body) if each in "}]"]:
            wrong = body[place]
            other = "]" if wrong == "}" else "}"
            yield body[:place] + other + body[place + 1 :], f"{wrong} closes what another bracket opened"
            yield body[:place] + body[place + 1 :], f"there is one {wrong} too many"
        for opens, closes in _CLOSES.items():
            for space in re.finditer(r"(?<=[:-]) +", body) if closes in body else ():
                yield body[: space.end()] + opens + body[space.end() :], f"the opening {opens} is missing"
    elif open_:
        closing = "".join(_CLOSES[each] for each in reversed(open_))
        cause = f"{open_[-1]} is not closed"
        yield body + closing, cause
        for place in range(len(body) - 1, 0, -1):  # closed earlier, as in [{a: [1, 2}]
            if body[place] in ",}]":
                yield body[:place] + closing + body[place:], cause
        yield body.replace(open_[-1], "", 1), f"there is one {open_[-1]} too many"


def _unclosed(body: str) -> str | None:
    """Return the brackets that a line leaves open; None if it closes one that is not open."""
    open_ = ""
    for each in re.sub(r"\"[^\"]*\"|'[^']*'", "", body):
        if each in _CLOSES:
            open_ += each
        elif each in _CLOSES.values():
            if not open_ or _CLOSES[open_[-1]] != each:
                return None
            open_ = open_[:-1]
    return open_


def _quote_not_closed(body: str) -> Slips:
    for quote in "\"'":
        if body.count(quote) % 2:
            cause = f"{quote} is not closed"
            yield re.sub(rf"{quote}([^{quote},}}\]]*)(?=[,}}\]]|$)", rf"{quote}\1{quote}", body), cause
            yield body.replace(quote, ""), cause


def _backslashes(body: str) -> Slips:
    if re.search(r'"[^"]*\\[^"]*"', body):
        yield re.sub(r'"([^"\']*)"', r"'\1'", body), "a backslash in double quotes starts an escape sequence"


def _begins_oddly(body: str) -> Slips:
    """Quote a value that starts with a YAML indicator, or contains a colon and a space."""
    match = re.match(rf"{_ITEM}: +([^\s'\"{{\[].*)$", body)
    if match and "'" not in match[2]:
        if re.match(r"[@`%!|>?]|[*&]\W", match[2]):
            yield f"{match[1]}: '{match[2]}'", f"a text that starts with {match[2][0]} needs quotes"
        elif ": " in match[2]:
            yield f"{match[1]}: '{match[2]}'", "a text that contains a colon and a space needs quotes"


_NO_TEXT = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|true|false|null|\[.*\]|\{.*\}")
"""Values that are not a text without quotes: numbers, booleans, null, lists and mappings."""


def _quoted(body: str) -> Slips:
    for match in re.finditer(r"([\"'])([^\"']+)\1", body):
        if _NO_TEXT.fullmatch(match[2]):
            yield body[: match.start()] + match[2] + body[match.end() :], f"{match[0]} in quotes is a text"


_SLIPS: Sequence[Callable[[str], Slips]] = (
    _odd_spaces, _odd_dashes, _odd_quotes, _odd_colon, _tabs, _no_space_after_colon, _no_space_after_dash, _equals,
    _no_space_before_comment, _quote_not_closed, _quoted, _brackets, _no_comma, _no_colon, _backslashes, _begins_oddly, _no_dash,
)  # fmt: skip
"""All slips, the most certain cause first: ties between changes go to the first."""


def _character(each: str) -> str:
    """Name a character that looks like another, with its article: `an en dash (U+2013)`."""
    name = "non-breaking space" if each == "\xa0" else unicodedata.name(each, "character").lower()
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name} (U+{ord(each):04X})"


def _split(line: str) -> tuple[str, str]:
    """Split a line into its content, and its comment with the spaces before it."""
    match = re.match(r"((?:\"[^\"]*\"|'[^']*'|\S|(?!\s+#)\s)*)(.*)", line)
    assert match
    body = match[1].rstrip(" ")
    return body, line[len(body) :]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#") and line.rstrip() not in ("---", "...")


def _changes(lines: Sequence[str], number: int) -> Iterator[_Change]:
    """Yield every change of one line to try."""
    body, comment = _split(lines[number])
    for slip in _SLIPS:
        for new, cause in slip(body):
            remedy = "remove the quotes" if slip is _quoted else f"write: {new.strip()}"
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
