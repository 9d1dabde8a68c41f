"""The JSON Schema of a config, made from the same models that the loader checks with."""

from __future__ import annotations

from typing import Any

from cnnctl.spec.experiment import LOSS, Experiment
from cnnctl.spec.layers import STACK_ITEM
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
from cnnctl.spec.section import REFERS
from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

_NAMED = (STACK_ITEM, OPTIMIZER, SCHEDULE, LOSS, INITIALIZER, REGULARIZER, CONSTRAINT)


def json_schema() -> dict[str, Any]:
    """Returns the schema (JSON Schema 2020-12) of a whole config.

    It knows fields, types and ranges; whether a stack fits its images only the loader knows.
    """
    schema = Experiment.model_json_schema()
    schema["$defs"].update({named.what: named.json_schema() for named in _NAMED})
    linked: dict[str, Any] = _linked(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **linked, "title": "cnnctl config"}


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
