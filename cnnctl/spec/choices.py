"""Labels for the choices of a sweep, in its study, tables and plots: short texts that show the differences."""

import json
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

MAX_WHOLE = 40
"""Longest choice, in characters, that is its own label."""
MAX_LABEL = 60
"""Longest label in characters, without the number that makes it unique."""
_ABSENT = object()


def labels(choices: Sequence[Any]) -> list[Any]:
    """Label each choice: numbers and texts label themselves, sections and stacks are labelled by what differs.

    All labels are distinct.
    """
    if all(type(each) in (int, float) for each in choices) or all(isinstance(each, str) for each in choices):
        return list(choices)
    whole = [text_of(each) for each in choices]
    short = whole if max(map(len, whole)) <= MAX_WHOLE else [", ".join(each) for each in _phrases(choices)]
    cut = [_cut(text or _brief(choice)) for text, choice in zip(short, choices, strict=True)]
    return [f"{text} ({index})" if cut.count(text) > 1 else text for index, text in enumerate(cut)]


def text_of(value: Any) -> str:
    """Format a value as in a config, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"


def _phrases(values: Sequence[Any]) -> list[list[str]]:
    """Describe how each value differs from the others; empty where all are equal."""
    if all(value == values[0] and type(value) is type(values[0]) for value in values):
        return [[] for _ in values]
    named = [
        {value: {}} if isinstance(value, str) and any(isinstance(each, dict) for each in values) else value for value in values
    ]
    return _by_group(named, _form, lambda group: _OF_FORM[_form(group[0])](group))


def _form(value: Any) -> str:
    return "mapping" if isinstance(value, dict) else "list" if isinstance(value, list | tuple) else "other"


def _by_group(
    values: Sequence[Any], key: Callable[[Any], Any], phrases: Callable[[list[Any]], list[list[str]]]
) -> list[list[str]]:
    """Describe the values of each group separately; a value alone in its group gets its own text."""
    groups: dict[Any, list[int]] = {}
    for index, value in enumerate(values):
        groups.setdefault(key(value), []).append(index)
    found: list[list[str]] = [[] for _ in values]
    for indices in groups.values():
        group = [values[index] for index in indices]
        described = phrases(group) if len(group) > 1 else [[_brief(group[0])]]
        for index, each in zip(indices, described, strict=True):
            found[index] = each
    return found


def _of_mappings(values: list[Any]) -> list[list[str]]:
    """Compare named sections by name, then by fields."""
    if all(len(value) == 1 for value in values):
        names = {next(iter(value)) for value in values}
        return _by_group(values, lambda value: next(iter(value)), lambda group: _of_one_name(group, named=len(names) > 1))
    return _of_fields(values)


def _of_one_name(values: list[Any], named: bool) -> list[list[str]]:
    name = next(iter(values[0]))
    inside = _phrases([value[name] or {} for value in values])
    return [[" ".join(([name] if named else []) + [", ".join(each)])] if each or named else [] for each in inside]


def _of_fields(values: list[Any]) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in values]
    for key in dict.fromkeys(key for value in values for key in value):
        column = [value.get(key, _ABSENT) for value in values]
        differences = iter(_phrases([each for each in column if each is not _ABSENT]))
        some_lack_it = _ABSENT in column
        for own, each in zip(found, column, strict=True):
            phrase = [] if each is _ABSENT else next(differences)
            if each is _ABSENT:
                own.append(f"{key} default")
            elif phrase or some_lack_it:
                own.append(f"{key} {', '.join(phrase) or text_of(each)}")
    return found


def _of_lists(values: list[Any]) -> list[list[str]]:
    """Compare lists of the same layers item by item, and other lists by the layers between their common start and end."""
    names = [tuple(map(_name, value)) for value in values]
    if len(set(names)) == 1:
        return _of_items(values)
    before = _shared(names)
    after = _shared([each[before:][::-1] for each in names])
    found: list[list[str]] = [[] for _ in values]
    for kind in dict.fromkeys(names):
        members = [index for index, each in enumerate(names) if each == kind]
        between = kind[before : len(kind) - after]
        for index, changes in zip(members, _of_items([values[index] for index in members]), strict=True):
            shown = ", ".join(changes or between)
            found[index] = [f"{len(kind)} layers: {shown}" if shown else f"{len(kind)} layers"]
    return found


def _of_items(values: list[Any]) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in values]
    differences = {index: _phrases([value[index] for value in values]) for index in range(len(values[0]))}
    changed = [_name(values[0][index]) for index, phrases in differences.items() if any(phrases)]
    for index, phrases in differences.items():
        name = _name(values[0][index])
        place = name if changed.count(name) == 1 else f"{index}.{name}"
        for own, phrase in zip(found, phrases, strict=True):
            own.extend([f"{place} {', '.join(phrase)}"] if phrase else [])
    return found


def _shared(values: Sequence[Sequence[Any]]) -> int:
    """Count the items that all lists share at their start."""
    return sum(1 for _ in takewhile(lambda items: all(each == items[0] for each in items), zip(*values, strict=False)))


def _name(item: Any) -> str:
    """Return the name of a layer of a stack, or the text of any other value."""
    return str(next(iter(item))) if isinstance(item, dict) and len(item) == 1 else text_of(item)


def _brief(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{len(value)} layers: {', '.join(map(_name, value))}"
    return _name(value)


_OF_FORM: dict[str, Callable[[list[Any]], list[list[str]]]] = {
    "mapping": _of_mappings,
    "list": _of_lists,
    "other": lambda values: [[text_of(value)] for value in values],
}
