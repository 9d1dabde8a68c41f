"""`--set`: parts of a document that are set to other values."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from cnnctl.errors import ConfigError, Problem
from cnnctl.spec.document import Document, Where, dotted, setting, value_of
from cnnctl.spec.section import Section, one_line, show
from cnnctl.surroundings import is_utf8


def override(document: Document, text: str) -> None:
    """Applies one `--set path=value` to the document in place; the value is read as YAML.

    Raises:
        ConfigError: the text has no '=', its value is no YAML, or its path is not there.
    """
    if not is_utf8(text):
        raise ConfigError([Problem(setting(text), "", "not a text in UTF-8")])
    dotted_path, equals, value_text = text.partition("=")
    if not equals or not dotted_path.strip(".[]"):
        raise ConfigError([Problem(setting(text), "", "expected path=value, such as train.epochs=3")])
    keys = keys_of(dotted_path)
    put(document.content, keys, value_of(value_text, setting(text)), setting(text))
    for written in (document.places, document.overrides):  # what stood here before has no place any more
        for path in [path for path in written if path[: len(keys)] == keys]:
            del written[path]
    document.overrides[keys] = text


def keys_of(path: str) -> Where:
    """Return ('model', 'layers', 3, 'conv2d') for `model.layers[3].conv2d` or `model.layers.3.conv2d`."""
    return tuple(_key(part) for part in re.split(r"[.\[\]]+", path) if part)


BY_SET = "set it as a whole: {path}={{{key}: ...}}"
"""How messages of `put` tell to have another named section than that of the config, on the command line."""


def put(content: Any, keys: Where, value: Any, asked_by: str, as_a_whole: str = BY_SET) -> None:
    """Sets one part of plain data in place, making the fields around it that were left to their defaults.

    Args:
        content: changed in place.
        keys: of the part.
        value: the new one.
        asked_by: where messages say that it was asked for.
        as_a_whole: how to have another named section, with `{path}` and `{key}`.

    Raises:
        ConfigError: there is no such part.
    """
    _parent(content, keys, asked_by, as_a_whole)[keys[-1]] = value


def _key(part: str) -> str | int:
    return int(part) if re.fullmatch("[0-9]{1,9}", part) else part


def _parent(content: Any, keys: Where, asked_by: str, as_a_whole: str) -> Any:
    """Return the mapping or list that holds the last key, making fields that were left to their defaults."""
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
"""How the fields end that hold a name with its fields, as the items of a stack do."""


def _no_such_part(here: Any, keys: Where, depth: int, as_a_whole: str) -> str:
    """Return why `keys[depth]` cannot be set in the part `here`, or an empty text."""
    key, above = keys[depth], keys[depth - 1] if depth else ""
    if isinstance(here, list):
        known = isinstance(key, int) and key < len(here)
        has = f"has {len(here)} items, 0 to {len(here) - 1}" if here else "is empty"
        return "" if known else f"there is no item {show(key)}: the list {has}"
    kind = next(iter(here)) if isinstance(here, dict) and len(here) == 1 else here
    if key not in (kind, here) and str(key) in _fields_of(kind):
        return f"there is no '{key}' here: it is {show(kind)}; the path is {'.'.join(map(str, (*keys[:depth], kind, *keys[depth:])))}"
    if not isinstance(here, dict) or isinstance(key, int):
        return f"there is no '{key}' here: the config says {show(here)}"
    if here and key not in here and (isinstance(above, int) or above.endswith(_NAMED_FIELDS)) and not _is_known(key):
        return f"there is no '{key}' here: it is {show(kind)}; known: {', '.join(map(str, _fields_of(kind)))}"
    if here and key not in here and (isinstance(above, int) or above.endswith(_NAMED_FIELDS)):
        remedy = as_a_whole.format(path=dotted(keys[:depth]), key=key)
        return f"there is no '{key}' here: it is {show(next(iter(here)))}; to have another, {remedy}"
    return ""


def _fields_of(kind: object) -> Collection[object]:
    """Return the fields of what a config calls by a name, such as `adam`; none for another value."""
    named = _choices().get(kind) if isinstance(kind, str) else None
    return named.model_fields if named else ()


def _is_known(kind: object) -> bool:
    return kind in _choices()


def _choices() -> Mapping[object, type[Section]]:
    """Return all that a config calls by a name: layers, optimizers, schedules, losses, and what weights have."""
    from cnnctl.spec.layers import STACK_ITEM  # not needed by paths that are right
    from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
    from cnnctl.spec.training import LOSS
    from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

    named = (CONSTRAINT, INITIALIZER, REGULARIZER, SCHEDULE, LOSS, OPTIMIZER, STACK_ITEM)
    return {kind: choice for each in named for kind, choice in each.choices.items()}
