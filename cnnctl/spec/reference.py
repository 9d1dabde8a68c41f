"""The fields below a config path with their descriptions, from the JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cnnctl.errors import UsageError, suggestion
from cnnctl.spec.overrides import keys_of
from cnnctl.spec.schema import json_schema
from cnnctl.spec.section import MAX

REQUIRED = "required"
ANY_NAME = "NAME"
"""Stands for the keys of a mapping whose names the config chooses, such as those of model.blocks."""


@dataclass(frozen=True)
class Field:
    """One field of a config.

    Attributes:
        path: the full path, without list indices.
        type: the type, in a few words.
        default: the default as written in a config; `required` if there is none, empty for a name with fields.
        meaning: the description.
    """

    path: str
    type: str
    default: str
    meaning: str


def fields_below(path: str) -> list[Field]:
    """Return the fields below a config path, such as `train.optimizer.adam`, or the field itself if it has none.

    Raises:
        UsageError: the path does not exist.
    """
    schema = json_schema()
    done, node = _found(path, schema)
    below = _fields(node, schema)
    if not below:
        return [_field(".".join(done), node, True)]
    prefix = "".join(f"{part}." for part in done)
    required = {name for each in _objects(node, schema) for name in each.get("required", ())}
    return [_field(f"{prefix}{name}", each, name in required) for name, each in below.items()]


def meaning_of_path(path: str) -> str:
    """Return the description of a section or name with fields; empty for a field, which `fields_below` describes.

    Raises:
        UsageError: the path does not exist.
    """
    schema = json_schema()
    _, node = _found(path, schema)
    return str(node.get("description", "")) if _fields(node, schema) else ""


def _found(path: str, schema: Mapping[str, Any]) -> tuple[list[str], Mapping[str, Any]]:
    """Return the keys of a path without list indices, and its part of the schema."""
    node: Any = schema
    done: list[str] = []
    for word in keys_of(path):
        if isinstance(word, int):  # every item of a stack may be any of the layers
            continue
        known = _fields(node, schema)
        key = ANY_NAME if word not in known and ANY_NAME in known else word
        if key not in known:
            where = ".".join(done) or "the top"
            raise UsageError(f"there is no '{key}' in {where}{suggestion(key, known) or _there_are(known)}")
        node = known[key]
        done.append(str(word))
    return done, node


def _there_are(known: Mapping[str, Any]) -> str:
    return f"; there are {', '.join(known)}" if known else ": it has no fields"


def _fields(node: Any, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys allowed below a part: the fields of a section, and the names of named sections."""
    return {name: field for each in _objects(node, schema) for name, field in each["properties"].items()}


def _objects(node: Any, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings allowed for a part, without the rules that combine fields."""
    if "$ref" in node:
        yield from _objects(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    elif node.get("type") == "object" and "properties" in node:
        yield node
    elif isinstance(node.get("additionalProperties"), dict):
        yield {"properties": {ANY_NAME: node["additionalProperties"]}}
    else:
        for each in [*node.get("anyOf", ()), *([node["items"]] if isinstance(node.get("items"), dict) else ())]:
            yield from _objects(each, schema)


def _field(path: str, node: Mapping[str, Any], required: bool) -> Field:
    default = json.dumps(node["default"]) if "default" in node else REQUIRED if required else ""
    return Field(path, type_of(node), default.strip('"'), node.get("description", ""))


def type_of(node: Mapping[str, Any]) -> str:
    """Describe the type that a schema allows, in a few words."""
    if "$ref" in node:
        name = str(node["$ref"]).rpartition("/")[2]
        return "section" if name.endswith("Spec") or name[0].isupper() else name.replace("_", " ")
    if "enum" in node:
        return ", ".join(map(_word, node["enum"]))
    if "const" in node:
        return _word(node["const"])
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(type_of(each) for each in node["anyOf"]))
    kind = str(node.get("type", "any"))
    if kind == "array":
        return f"list of {type_of(node['items'])}" if node.get("items") else "list"
    return {"object": "fields", "string": "text", "boolean": "true, false"}.get(kind, f"{kind}{_bounds(node)}")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _bounds(node: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return "".join(f" {sign} {node[key]:g}" for key, sign in signs.items() if key in node and abs(node[key]) < MAX)
