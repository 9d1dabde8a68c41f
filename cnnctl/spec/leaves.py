"""A config as one flat mapping, value by value, as runs are compared by it in tables and in TensorBoard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from pydantic.fields import FieldInfo

from cnnctl.spec.experiment import METHOD, Experiment, ModelSpec
from cnnctl.spec.layers import STACK_ITEM, Repeat
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE, Span, plain_span
from cnnctl.spec.section import Section
from cnnctl.spec.sweep import PRUNER
from cnnctl.spec.training import LOSS
from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

NAMED = (STACK_ITEM, OPTIMIZER, SCHEDULE, LOSS, METHOD, PRUNER, INITIALIZER, REGULARIZER, CONSTRAINT)
"""What a config says as a name with fields below it."""


class _Required:
    """Stands for the default of a field that has none."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


@dataclass(frozen=True)
class Leaf:
    """One value of a config.

    Attributes:
        value: plain data; a list for a pair, and for a stack the names of its layers.
        default: what the field is where a config does not say it; `REQUIRED` for a field without a default.
    """

    value: Any
    default: Any = REQUIRED

    @property
    def is_default(self) -> bool:
        """Whether a config could leave it out."""
        return same(self.value, self.default)


def leaves(content: Mapping[str, Any]) -> dict[str, Leaf]:
    """Flatten a config, as `plain` gives it or a run's config.yaml has it, to its values by dotted path.

    A name with fields gives the name at its own path and the fields below: `train.optimizer` is adam,
    `train.optimizer.adam.learning_rate` is 0.001. A stack gives the names of its layers, and the fields of each layer
    below its name, `model.layers.conv2d_1.filters`: a layer that is put in between moves no other. A section that may be
    absent gives true or null.
    """
    return dict(_of_section(content, Experiment, ""))


def differing(configs: Sequence[Mapping[str, Leaf]]) -> dict[str, list[Any]]:
    """Return, for each path in which flattened configs are not all the same, the value of each.

    One without a value, since it has another optimizer or no such layer, has None there; and where those that have one
    all have its default, nothing differs that the name of the optimizer or the layers does not show.
    """
    paths = dict.fromkeys(path for each in configs for path in each)
    return {path: [each[path].value if path in each else None for each in configs] for path in paths if _differs(path, configs)}


def _differs(path: str, configs: Sequence[Mapping[str, Leaf]]) -> bool:
    there = [each[path] for each in configs if path in each]
    if not all(same(leaf.value, there[0].value) for leaf in there):
        return True
    return len(there) < len(configs) and (there[0].default is REQUIRED or not there[0].is_default)


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same; 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def text_of(value: Any) -> str:
    """Return a value as a config would have it, on one line: texts as they are, lists of texts with commas between."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _of_section(fields: Mapping[str, Any], section: type[Section] | None, path: str) -> Iterator[tuple[str, Leaf]]:
    for name, value in fields.items():
        field = section.model_fields.get(name) if section else None
        here = f"{path}.{name}" if path else str(name)
        if name == "layers" and section in (ModelSpec, Repeat) and isinstance(value, list):
            yield from _of_stack(value, here)
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
        if inner is None or default is None:  # a section that is always there says nothing by being there
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
    """Return a name for each layer of a stack: its own, else its kind with a number from the second on, as Keras has it."""
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
    """Return the section of a kind; `constant` is a schedule and an initializer, which their fields tell apart."""
    return next((each for each in _classes().get(kind, ()) if set(fields) <= set(each.model_fields)), None)


def _section_in(field: FieldInfo | None) -> type[Section] | None:
    """Return the section that a field is, or may be; None for a value and for a name with fields."""
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
