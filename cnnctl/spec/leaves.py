"""A config as a flat mapping of dotted paths to values, for comparing runs in tables and in TensorBoard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from pydantic.fields import FieldInfo

from cnnctl.spec.experiment import METHOD, Experiment, ModelSpec
from cnnctl.spec.layers import STACK_ITEM, BlockSpec, Repeat
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE, Span, plain_span
from cnnctl.spec.section import Section
from cnnctl.spec.sweep import PRUNER
from cnnctl.spec.training import LOSS
from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

NAMED = (STACK_ITEM, OPTIMIZER, SCHEDULE, LOSS, METHOD, PRUNER, INITIALIZER, REGULARIZER, CONSTRAINT)
"""All vocabularies whose values are a name with fields."""


class _Required:
    """The default of a field without a default."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclass(frozen=True)
class Leaf:
    """One value of a config.

    Attributes:
        value: plain data; a list for a pair, and the names of its layers for a stack.
        default: the default of the field; `REQUIRED` if it has none.
    """

    value: Any
    default: Any = REQUIRED

    @property
    def is_default(self) -> bool:
        """Whether the value is the default."""
        return same(self.value, self.default)


def leaves(content: Mapping[str, Any]) -> dict[str, Leaf]:
    """Flatten a config (plain data, as in a run's config.yaml) to its values by dotted path.

    A name with fields becomes the name at its own path, with the fields below: `train.optimizer` is adam,
    `train.optimizer.adam.learning_rate` is 0.001. A stack becomes the names of its layers, with the fields of each layer
    below its name, `model.layers.conv2d_1.filters`, so inserting a layer changes no other path. An optional section
    becomes true or null.
    """
    return dict(_of_section(content, Experiment, ""))


def differing(configs: Sequence[Mapping[str, Leaf]]) -> dict[str, list[Any]]:
    """Find the paths in which flattened configs differ; return the value of each config for each path.

    A config without the path, such as one with another optimizer, has None. If all configs with the path have its
    default, the path is left out: the name of the optimizer or of the layers already shows the difference.
    """
    paths = dict.fromkeys(path for each in configs for path in each)
    return {path: [each[path].value if path in each else None for each in configs] for path in paths if _differs(path, configs)}


def _differs(path: str, configs: Sequence[Mapping[str, Leaf]]) -> bool:
    there = [each[path] for each in configs if path in each]
    if not all(same(leaf.value, there[0].value) for leaf in there):
        return True
    return len(there) < len(configs) and (there[0].default is REQUIRED or not there[0].is_default)


def same(one: Any, other: Any) -> bool:
    """Return True if two values are equal; 1 equals 1.0, but not true."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def text_of(value: Any) -> str:
    """Format a value as in a config, on one line; lists of texts are joined with commas."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _of_section(fields: Mapping[str, Any], section: type[Section] | None, path: str) -> Iterator[tuple[str, Leaf]]:
    for name, value in fields.items():
        field = section.model_fields.get(name) if section else None
        here = f"{path}.{name}" if path else str(name)
        if name == "layers" and section in (ModelSpec, Repeat, BlockSpec) and isinstance(value, list):
            yield from _of_stack(value, here)
        elif name == "blocks" and section is ModelSpec and isinstance(value, Mapping):
            yield here, Leaf(list(value))
            for block, definition in value.items():
                yield from _of_section(definition, BlockSpec, f"{here}.{block}")
        else:
            yield from _of_value(value, field, here)


def _of_value(value: Any, field: FieldInfo | None, path: str) -> Iterator[tuple[str, Leaf]]:
    inner, default = _section_in(field), _plain_default(field)
    if not isinstance(value, Mapping):
        yield path, Leaf(value, default)
    elif inner is None and len(value) == 1 and isinstance(next(iter(value.values())), Mapping):
        kind, fields = next(iter(value.items()))
        yield path, Leaf(kind, default)
        yield from _of_section(fields, _class_of(kind, fields), f"{path}.{kind}")
    else:
        if inner is None or default is None:  # a section that is always present carries no information itself
            yield path, Leaf(True, default)
        yield from _of_section(value, inner, path)


def _of_stack(items: Sequence[Any], path: str) -> Iterator[tuple[str, Leaf]]:
    layers = [_kind_and_fields(item) for item in items]
    names = _names(layers)
    yield path, Leaf(names)
    for name, (kind, fields) in zip(names, layers, strict=True):
        if "name" in fields and fields["name"] is not None:
            yield f"{path}.{name}", Leaf(kind)
        others = {field: value for field, value in fields.items() if field != "name"}
        yield from _of_section(others, _class_of(kind, others), f"{path}.{name}")


def _kind_and_fields(item: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(item, Mapping) and len(item) == 1:
        kind, fields = next(iter(item.items()))
        return str(kind), fields if isinstance(fields, Mapping) else {}
    return text_of(item), {}


def _names(layers: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Name each layer of a stack: its own name, or its kind with a number from the second on, as in Keras."""
    taken = {fields["name"] for _, fields in layers if isinstance(fields.get("name"), str)}
    counts: Counter[str] = Counter()
    names = []
    for kind, fields in layers:
        name = fields.get("name")
        while not isinstance(name, str):
            number, counts[kind] = counts[kind], counts[kind] + 1
            numbered = f"{kind}_{number}" if number else kind
            name = None if numbered in taken else numbered
        names.append(name)
    return names


@cache
def _classes() -> dict[str, list[type[Section]]]:
    found: dict[str, list[type[Section]]] = {}
    for named in NAMED:
        for kind, section in named.choices.items():
            found.setdefault(kind, []).append(section)
    return found


def _class_of(kind: str, fields: Mapping[str, Any]) -> type[Section] | None:
    """Return the section of a kind; the fields decide between the schedule and the initializer `constant`."""
    own = STACK_ITEM.choices.get(kind)  # of one's own, where no other section has this name
    known = [*_classes().get(kind, ()), *([own] if own else [])]
    return next((each for each in known if set(fields) <= set(each.model_fields)), None)


def _section_in(field: FieldInfo | None) -> type[Section] | None:
    """Return the section type of a field, also of an optional one; None for a value and for a name with fields."""
    types = (field.annotation, *get_args(field.annotation)) if field else ()
    return next((each for each in types if isinstance(each, type) and issubclass(each, Section) and each is not Section), None)


def _plain_default(field: FieldInfo | None) -> Any:
    if field is None or field.is_required():
        return REQUIRED
    default = field.default
    if isinstance(default, Section):
        return default.kind
    if isinstance(default, Span):
        return plain_span(default)
    return _as_lists(default)


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, tuple) else value
