"""The JSON Schema of a config, made from the same models that the loader checks with."""

from __future__ import annotations

from typing import Any

from cnnctl.spec.experiment import LEARNER, LOSS, CategoricalCrossentropy, Experiment, SparseCategoricalCrossentropy
from cnnctl.spec.layers import STACK_ITEM
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
from cnnctl.spec.section import REFERS
from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

_NULL = {"type": "null"}
_NO_SPLIT = {"not": {"type": "string"}}
_BY_SOURCE = {
    "tfds": {"required": ["name"], "properties": {"name": {"type": "string"}, "path": _NULL}},
    "folder": {
        "required": ["path"],
        "properties": {"path": {"type": "string"}, **dict.fromkeys(("name", "data_dir", "group"), _NULL)},
    },
    "digits": {
        "properties": dict.fromkeys(("name", "path", "data_dir", "group"), _NULL)
        | {"train": {"const": "train"}, "validation": _NO_SPLIT, "test": _NO_SPLIT}
    },
}
"""What `DataSpec` checks of fields that go together."""

_RENUMBER = {
    "if": {"required": ["renumber"], "properties": {"renumber": {"const": True}}},
    "then": {"required": ["classes"], "properties": {"classes": {"type": "integer"}}},
}
_GROUP = {
    "if": {"required": ["hold_out"], "properties": {"hold_out": {"const": "group"}}},
    "then": {"required": ["group"], "properties": {"group": {"type": "string"}}},
    "else": {"properties": {"group": _NULL}},
}
_FEW_SHOT = {
    "if": {"required": ["task"], "properties": {"task": {"const": "few_shot"}}},
    "then": {},
    "else": {"properties": {"few_shot": _NULL}},
}
_NAMED = (STACK_ITEM, OPTIMIZER, SCHEDULE, LOSS, LEARNER, INITIALIZER, REGULARIZER, CONSTRAINT)


def json_schema() -> dict[str, Any]:
    """Returns the schema (JSON Schema 2020-12) of a whole config.

    It knows fields, types, ranges and what goes together; whether a stack fits its images only the loader knows.
    """
    schema = Experiment.model_json_schema()
    schema["$defs"].update({named.what: named.json_schema() for named in _NAMED})
    schema["$defs"]["DataSpec"]["allOf"] = [
        {"if": {"required": ["source"], "properties": {"source": {"const": source}}}, "then": rule}
        for source, rule in _BY_SOURCE.items()
    ] + [_RENUMBER, _GROUP]
    linked: dict[str, Any] = _linked(schema)
    rules = {"allOf": [_loss_by_labels(), _FEW_SHOT]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **linked, **rules, "title": "cnnctl config"}


def _loss_by_labels() -> dict[str, Any]:
    """Returns the rule of `spec.head` that each kind of labels has its own loss."""
    one_hot = {"required": ["labels"], "properties": {"labels": {"const": "one_hot"}}}
    return {
        "if": {"properties": {"data": one_hot}},
        "then": _loss_is_not(SparseCategoricalCrossentropy.kind),
        "else": _loss_is_not(CategoricalCrossentropy.kind),
    }


def _loss_is_not(kind: str) -> dict[str, Any]:
    bare_or_with_fields = {"not": {"const": kind}, "properties": {kind: False}}
    return {"properties": {"train": {"properties": {"loss": bare_or_with_fields}}}}


def _linked(schema: Any) -> Any:
    """Returns the schema with every mark of `refers_to` made a `$ref`, and `$defs` only at the top."""
    if isinstance(schema, list):
        return [_linked(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if REFERS in schema:
        others = {key: _linked(value) for key, value in schema.items() if key != REFERS}
        return {"$ref": f"#/$defs/{schema[REFERS]}", **others}
    return {key: _linked(value) for key, value in schema.items()}
