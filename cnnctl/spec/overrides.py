"""Overrides with `--set path=value`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from cnnctl.errors import ConfigError, Problem
from cnnctl.spec.document import Document, Where, dotted, setting, value_of
from cnnctl.spec.section import Section, one_line, show
from cnnctl.surroundings import is_utf8


def override(document: Document, text: str) -> None:
    """Apply one `--set path=value` to the document in place; the value is parsed as YAML.

    Raises:
        ConfigError: the text has no '=', its value is not valid YAML, or its path does not exist.
    """
    if not is_utf8(text):
        raise ConfigError([Problem(setting(text), "", "not UTF-8 text")])
    dotted_path, equals, value_text = text.partition("=")
    if not equals or not dotted_path.strip(".[]"):
        raise ConfigError([Problem(setting(text), "", "expected path=value, such as train.epochs=3")])
    keys = keys_of(dotted_path)
    put(document.content, keys, value_of(value_text, setting(text)), setting(text))
    for written in (document.places, document.overrides):  # the replaced part is not in the file
        for path in [path for path in written if path[: len(keys)] == keys]:
            del written[path]
    document.overrides[keys] = text


def keys_of(path: str) -> Where:
    """Split a path into keys: `model.layers[3].conv2d`, or `model.layers.3.conv2d`, into ('model', 'layers', 3, 'conv2d')."""
    return tuple(_key(part) for part in re.split(r"[.\[\]]+", path) if part)


BY_SET = "set it as a whole: {path}={{{key}: ...}}"
"""The remedy in messages of `put` for another named section than that of the config, on the command line."""


def put(content: Any, keys: Where, value: Any, asked_by: str, as_a_whole: str = BY_SET) -> None:
    """Set one part of plain data in place, and create the sections around it that have only defaults.

    Args:
        content: changed in place.
        keys: the path of the part.
        value: the new one.
        asked_by: the location in messages.
        as_a_whole: the remedy for another named section, with `{path}` and `{key}`.

    Raises:
        ConfigError: the part does not exist.
    """
    _parent(content, keys, asked_by, as_a_whole)[keys[-1]] = value


def _key(part: str) -> str | int:
    return int(part) if re.fullmatch("[0-9]{1,9}", part) else part


def _parent(content: Any, keys: Where, asked_by: str, as_a_whole: str) -> Any:
    """Return the mapping or list with the last key, and create sections that have only defaults."""
    here = content
    for depth, key in enumerate(keys):
        complaint = _no_such_part(here, keys, depth, as_a_whole)
        if complaint:
            raise ConfigError([Problem(asked_by, dotted(keys[:depth]), one_line(complaint))])
        if depth == len(keys) - 1:
            break
        inside = here.get(key) if isinstance(here, dict) else here[key]
        if inside is None and isinstance(here, dict):
            here[key] = {}
        elif inside == keys[depth + 1]:  # a bare name, such as max_pooling2d, gets fields
            here[key] = {inside: {}}
        here = here[key]
    return here


_NAMED_FIELDS = ("optimizer", "learning_rate", "loss", "_initializer", "_regularizer", "_constraint")
"""Suffixes of the fields whose value is a name with fields, like the items of a stack."""


def _no_such_part(here: Any, keys: Where, depth: int, as_a_whole: str) -> str:
    """Describe why `keys[depth]` cannot be set in the part `here`; empty if it can."""
    key, above = keys[depth], keys[depth - 1] if depth else ""
    if isinstance(here, list):
        known = isinstance(key, int) and key < len(here)
        has = f"has {len(here)} items, 0 to {len(here) - 1}" if here else "is empty"
        return "" if known else f"there is no item {show(key)}: the list {has}"
    kind = next(iter(here)) if isinstance(here, dict) and len(here) == 1 else here
    if key not in (kind, here) and str(key) in _fields_of(kind):
        return f"there is no '{key}' here: it is {show(kind)}; the path is {'.'.join(map(str, (*keys[:depth], kind, *keys[depth:])))}"
    if not isinstance(here, dict) or isinstance(key, int):
        return f"there is no '{key}' here: the value is {show(here)}"
    if here and key not in here and (isinstance(above, int) or above.endswith(_NAMED_FIELDS)) and not _is_known(key):
        return f"there is no '{key}' here: it is {show(kind)}; known: {', '.join(map(str, _fields_of(kind)))}"
    if here and key not in here and (isinstance(above, int) or above.endswith(_NAMED_FIELDS)):
        remedy = as_a_whole.format(path=dotted(keys[:depth]), key=key)
        return f"there is no '{key}' here: it is {show(next(iter(here)))}; for another one, {remedy}"
    return ""


def _fields_of(kind: object) -> Collection[object]:
    """Return the fields of a named section such as `adam`; empty for any other value."""
    named = _choices().get(kind) if isinstance(kind, str) else None
    return named.model_fields if named else ()


def _is_known(kind: object) -> bool:
    return kind in _choices()


def _choices() -> Mapping[object, type[Section]]:
    """Return all named sections: layers, optimizers, schedules, losses, initializers, regularizers and constraints."""
    from cnnctl.spec.layers import STACK_ITEM  # not needed by paths that are right
    from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
    from cnnctl.spec.training import LOSS
    from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

    named = (CONSTRAINT, INITIALIZER, REGULARIZER, SCHEDULE, LOSS, OPTIMIZER, STACK_ITEM)
    return {kind: choice for each in named for kind, choice in each.choices.items()}
