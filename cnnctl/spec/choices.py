"""What the choices of a sweep are called, in its study, tables and plots: short texts that show what differs."""

import json
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

MAX_WHOLE = 40
"""Letters up to which a choice is its own name."""
MAX_LABEL = 60
"""Letters of a name at most, but for the number of the choice behind it."""
_ABSENT = object()


def labels(choices: Sequence[Any]) -> list[Any]:
    """Names each choice: numbers and texts are themselves; of sections and stacks it says what differs between them.

    No two names are the same.
    """
    if all(type(each) in (int, float) for each in choices) or all(isinstance(each, str) for each in choices):
        return list(choices)
    whole = [text_of(each) for each in choices]
    short = whole if max(map(len, whole)) <= MAX_WHOLE else [", ".join(each) for each in _phrases(choices)]
    cut = [_cut(text or _brief(choice)) for text, choice in zip(short, choices, strict=True)]
    return [f"{text} ({index})" if cut.count(text) > 1 else text for index, text in enumerate(cut)]


def text_of(value: Any) -> str:
    """Writes a value as it would stand in a config, on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace('"', "")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"


def _phrases(values: Sequence[Any]) -> list[list[str]]:
    """Return for each of some values what sets it apart from the others; nothing where all are the same."""
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
    """Return phrases for values of each group apart, and for one that is alone in its group its own text."""
    groups: dict[Any, list[int]] = {}
    for index, value in enumerate(values):
        groups.setdefault(key(value), []).append(index)
    found: list[list[str]] = [[] for _ in values]
    for indices in groups.values():
        group = [values[index] for index in indices]
        told = phrases(group) if len(group) > 1 else [[_brief(group[0])]]
        for index, each in zip(indices, told, strict=True):
            found[index] = each
    return found


def _of_mappings(values: list[Any]) -> list[list[str]]:
    """Compares named sections by their names, then by their fields."""
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
        there = [value.get(key, _ABSENT) for value in values]
        told = iter(_phrases([each for each in there if each is not _ABSENT]))
        some_lack_it = _ABSENT in there
        for own, each in zip(found, there, strict=True):
            phrase = [] if each is _ABSENT else next(told)
            if each is _ABSENT:
                own.append(f"{key} default")
            elif phrase or some_lack_it:
                own.append(f"{key} {', '.join(phrase) or text_of(each)}")
    return found


def _of_lists(values: list[Any]) -> list[list[str]]:
    """Compares lists of the same layers item by item, others by the layers between those that all begin and end with."""
    names = [tuple(map(_name, value)) for value in values]
    if len(set(names)) == 1:
        return _of_items(values)
    before = _shared(names)
    after = _shared([each[before:][::-1] for each in names])
    found: list[list[str]] = [[] for _ in values]
    for kind in dict.fromkeys(names):
        members = [index for index, each in enumerate(names) if each == kind]
        between = kind[before : len(kind) - after]
        for index, told in zip(members, _of_items([values[index] for index in members]), strict=True):
            shown = ", ".join(told or between)
            found[index] = [f"{len(kind)} layers: {shown}" if shown else f"{len(kind)} layers"]
    return found


def _of_items(values: list[Any]) -> list[list[str]]:
    found: list[list[str]] = [[] for _ in values]
    told = {index: _phrases([value[index] for value in values]) for index in range(len(values[0]))}
    changed = [_name(values[0][index]) for index, phrases in told.items() if any(phrases)]
    for index, phrases in told.items():
        name = _name(values[0][index])
        place = name if changed.count(name) == 1 else f"{index}.{name}"
        for own, phrase in zip(found, phrases, strict=True):
            own.extend([f"{place} {', '.join(phrase)}"] if phrase else [])
    return found


def _shared(values: Sequence[Sequence[Any]]) -> int:
    """Return how many items all lists begin with."""
    return sum(1 for _ in takewhile(lambda items: all(each == items[0] for each in items), zip(*values, strict=False)))


def _name(item: Any) -> str:
    """Return what a layer of a stack is called; of anything else its text."""
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
