"""Wrong edits of the example configs: one line of one file, as a person slips. `python -m tests.spec.edits` counts a thousand.

Four kinds: a field misspelt, a value of a wrong kind, a layer misplaced, a line indented wrongly. Each comes from a seed.
An edit that leaves a right config (a layer that fits at its new place) is none and is drawn again.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import yaml

from cnnctl.errors import ConfigError, Problem
from cnnctl.spec.document import parse
from cnnctl.spec.load import check
from tests.spec.remedies import refused, tried

CONFIGS = [file for file in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")) if file.stem != "custom-layer"]
KINDS = ("a field misspelt", "a value of a wrong kind", "a layer misplaced", "a line indented wrongly")
LETTERS = "abcdefghijklmnopqrstuvwxyz_"


@dataclass(frozen=True)
class Edit:
    """A wrong edit.

    Attributes:
        kind: one of KINDS.
        name: of the config.
        text: the config afterwards.
        lines: the lines, from 1, that a message may name: the edited one; of a misplaced layer also the next that it disturbs.
    """

    kind: str
    name: str
    text: str
    lines: frozenset[int]


@dataclass(frozen=True)
class Outcome:
    """A wrong edit and its messages.

    Attributes:
        named: whether the first message names the right line.
        applied: remedies that a program applied.
        failed: those of them that did not remove their message.
        for_people: remedies that leave a choice, such as "name another split".
    """

    edit: Edit
    first: Problem
    named: bool
    applied: int
    failed: list[str]
    for_people: int


def edits(count: int, seed: int = 0) -> Iterator[Edit]:
    """Yields wrong edits, as many of each kind."""
    random, made = Random(seed), Counter[str]()
    texts = [(file.name, file.read_text()) for file in CONFIGS]
    while sum(made.values()) < count:
        kind = KINDS[sum(made.values()) % len(KINDS)]
        name, text = random.choice(texts)
        edit = _EDITS[kind](random, name, text)
        if edit and edit.text != text and _wrong(edit.text):
            made[kind] += 1
            yield edit


def _keys(text: str) -> list[yaml.ScalarNode]:
    """Returns every key of a config that names a field: not those under sweep.parameters, which are paths."""
    found: list[yaml.ScalarNode] = []

    def visit(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            found.extend(key for key, _ in node.value if "." not in key.value)
        for part in node.value if not isinstance(node, yaml.ScalarNode) else ():
            for each in part if isinstance(part, tuple) else (part,):
                visit(each)

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root
    visit(root)
    return found


def _values(text: str) -> list[yaml.ScalarNode]:
    found: list[yaml.ScalarNode] = []

    def visit(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            found.extend(value for _, value in node.value if isinstance(value, yaml.ScalarNode) and value.value)
            for _, value in node.value:
                visit(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                visit(item)

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root
    visit(root)
    return found


def _replaced(text: str, node: yaml.ScalarNode, new: str) -> str:
    return text[: node.start_mark.index] + new + text[node.end_mark.index :]


def _misspelt_field(random: Random, name: str, text: str) -> Edit | None:
    node = random.choice(_keys(text))
    return Edit(KINDS[0], name, _replaced(text, node, _misspelt(random, node.value)), frozenset({node.start_mark.line + 1}))


def _misspelt(random: Random, word: str) -> str:
    """Returns a word with a letter left out, doubled, put in, changed, or exchanged with the next, or in other capitals."""
    place = random.randrange(len(word))
    ways: list[Callable[[], str]] = [
        lambda: word[:place] + word[place + 1 :],
        lambda: word[: place + 1] + word[place:],
        lambda: word[:place] + random.choice(LETTERS) + word[place:],
        lambda: word[:place] + random.choice(LETTERS) + word[place + 1 :],
        lambda: word[:place] + word[place : place + 2][::-1] + word[place + 2 :],
        lambda: random.choice((word.upper(), word.title(), word.replace("_", "-"), word.replace("_", ""))),
    ]
    return random.choice(ways)() or word


OF_ANOTHER_KIND = (
    "three",
    "'3'",
    '"1e-3"',
    "3",
    "0.5",
    "-1",
    "true",
    "[1, 2]",
    "[]",
    "{a: 1}",
    "null",
    "1.5e",
    "10%",
    "0,1",
    "none",
    "auto",
)


def _wrong_value(random: Random, name: str, text: str) -> Edit | None:
    node = random.choice(_values(text))
    return Edit(KINDS[1], name, _replaced(text, node, random.choice(OF_ANOTHER_KIND)), frozenset({node.start_mark.line + 1}))


def _misplaced_layer(random: Random, name: str, text: str) -> Edit | None:
    """Moves an item of the stack to the place of another one.

    Right are the lines of the moved layer, of the first layer that no longer fits, of the last one, which is now another
    than before or gets other values, and of paths of a sweep that lead to another layer now.
    """
    lines = text.split("\n")
    begins = [number for number, line in enumerate(lines) if line.startswith("    - ")]
    end = next(
        number
        for number in range(begins[-1] + 1, len(lines) + 1)
        if number == len(lines) or not lines[number].startswith("     ")
    )
    items = [lines[start:stop] for start, stop in pairwise([*begins, end])]
    old, new = random.sample(range(len(items)), 2)
    moved = items.pop(old)
    items.insert(new, moved)
    edited = "\n".join([*lines[: begins[0]], *(line for item in items for line in item), *lines[end:]])
    start = begins[0] + sum(map(len, items[:new]))
    right = {*range(start, start + len(moved)), end - 1, *_first_that_fails(edited, begins[0], items)}
    right |= {number for number, line in enumerate(lines) if "model.layers." in line}
    return Edit(KINDS[2], name, edited, frozenset(number + 1 for number in right))


def _first_that_fails(text: str, begin: int, items: list[list[str]]) -> set[int]:
    """Returns the lines of the first item with which those above it do not fit, whatever stands below."""
    lines = text.split("\n")
    end = begin + sum(map(len, items))
    for count in range(1, len(items) + 1):
        kept = begin + sum(map(len, items[:count]))
        problems = _wrong("\n".join([*lines[:kept], *lines[end:]]))
        if any(ENDS_WRONG.search(each.message) is None for each in problems if each.path.startswith("model.layers")):
            return set(range(kept - len(items[count - 1]), kept))
    return set()


ENDS_WRONG = re.compile("^the network |^an embedding is|^no layer takes")
"""Messages about a network that ends too early, which one cut off does."""


def _wrong(text: str) -> list[Problem]:
    try:
        check(parse(text, "x.yaml"), explained=False)
    except ConfigError as error:
        return list(error.problems)
    return []


def _misindented_line(random: Random, name: str, text: str) -> Edit | None:
    lines = text.split("\n")
    number = random.choice([at for at, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")])
    depth = len(lines[number]) - len(lines[number].lstrip())
    new = depth + random.choice((-4, -2, -1, 1, 2, 4))
    if new < 0:
        return None
    lines[number] = " " * new + lines[number].lstrip()
    return Edit(KINDS[3], name, "\n".join(lines), frozenset({number + 1}))


_EDITS: dict[str, Callable[[Random, str, str], Edit | None]] = dict(
    zip(KINDS, (_misspelt_field, _wrong_value, _misplaced_layer, _misindented_line), strict=True)
)


def outcome(edit: Edit) -> Outcome:
    """Return the messages for an edit, and the outcome of each suggested fix."""
    problems = refused(edit.text)
    first = problems[0]
    applied, for_people, failed = 0, 0, []
    for problem in problems:
        for remedy, after in tried(edit.text, problem):
            if after is None:
                for_people += 1
                continue
            applied += 1
            if (problem.path, problem.message) in [(each.path, each.message) for each in after]:
                failed.append(f"{problem}: {remedy}")
    places = re.findall(r"x\.yaml:(\d+):\d+", f"{first.location} {first.elsewhere}")  # inside a block also that of the use
    named = any(int(line) in edit.lines for line in places)
    return Outcome(edit, first, named, applied, failed, for_people)


def counted(outcomes: list[Outcome]) -> dict[str, Any]:
    """Returns the rows of docs/reference/errors.md: by kind, how many edits, right lines, remedies, and remedies that did not help."""
    return {
        kind: [
            len(mine := [each for each in outcomes if each.edit.kind == kind]),
            sum(each.named for each in mine),
            sum(each.applied for each in mine),
            sum(len(each.failed) for each in mine),
            sum(each.for_people for each in mine),
        ]
        for kind in KINDS
    }


if __name__ == "__main__":
    results = [outcome(edit) for edit in edits(1000, int(sys.argv[1]) if sys.argv[1:] else 0)]
    for kind, row in counted(results).items():
        print(f"{kind:<26}", *row)
    for each in results:
        if not each.named or each.failed:
            print("\n", each.edit.kind, each.edit.name, sorted(each.edit.lines), "\n ", each.first, *each.failed, sep="\n    ")
