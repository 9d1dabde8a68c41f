"""The arguments of a user's layer as fields of a config: annotations become checks and JSON Schema."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import keras
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from cnnctl.spec.layers.custom import CustomLayer
from cnnctl.spec.section import MAX, at_most, expected, show

KERAS_OWN = ("self", "name", "dtype")
"""Arguments that are no fields: cnnctl passes a name and a precision to every layer."""
KNOWN = "int, float, bool, str, Literal[...], list[...], tuple[...], or any of these or None"


class NotAField(Exception):
    """An argument cannot be a field of a config; the message says why.

    Attributes:
        argument: its name; empty for `__init__` as a whole.
    """

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument = argument


@dataclass(frozen=True)
class _Kind:
    """The values that an annotation allows.

    Attributes:
        words: what is expected, for messages.
        schema: the same as JSON Schema.
        read: converts a value of the config, or raises ValueError.
    """

    words: str
    schema: dict[str, Any]
    read: Callable[[Any], Any]


def fields_of(keras_class: Any) -> dict[str, tuple[Any, Any]]:
    """Return the fields of a class by name, each with its type and default for pydantic; `...` is required.

    Raises:
        NotAField: an argument of `__init__` cannot be a field.
    """
    if keras_class.__init__ is keras.Layer.__init__:
        return {}
    if keras_class.__init__.__module__ != keras_class.__module__:
        owner = keras_class.__init__.__qualname__.partition(".")[0]
        raise NotAField(
            "", f"is that of {owner}, whose arguments have no annotations; write an __init__ with annotated arguments"
        )
    parameters = inspect.signature(keras_class.__init__).parameters
    _refuse_without_keras_own(parameters)
    hints = _hints(keras_class.__init__)
    return {
        name: _field(name, parameter, hints)
        for name, parameter in parameters.items()
        if name not in KERAS_OWN and parameter.kind is not parameter.VAR_KEYWORD
    }


def _refuse_without_keras_own(parameters: Mapping[str, inspect.Parameter]) -> None:
    passed_on = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    lacking = [name for name in ("name", "dtype") if name not in parameters]
    if lacking and not passed_on:
        raise NotAField("", f"takes no {' and no '.join(lacking)}; add **kwargs, and pass it on: super().__init__(**kwargs)")


def _hints(initializer: Any) -> dict[str, Any]:
    try:
        return get_type_hints(initializer)
    except Exception as error:  # an annotation in quotes is evaluated here, and may raise anything
        raise NotAField("", f"has an annotation that cannot be read: {error}") from error


def _field(name: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> tuple[Any, Any]:
    if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
        raise NotAField(
            name, f"argument '{name}' has no name for a config; Keras cannot save it either. Write it without * and /"
        )
    if name == "inputs" or name.startswith(("_", "model_")) or hasattr(CustomLayer, name):
        raise NotAField(name, f"argument '{name}' has a name that a field of a layer cannot have; rename it")
    if name not in hints:
        raise NotAField(name, f"argument '{name}' has no annotation; write one, such as {name}: int. Known are {KNOWN}")
    kind = _seed() if name == "seed" and _is_seed(hints[name]) else kind_of(hints[name])
    if kind is None:
        raise NotAField(
            name, f"argument '{name}' has the annotation {_shown(hints[name])}, which a config cannot have; known are {KNOWN}"
        )
    return _type(kind), _default(name, parameter, kind)


def _default(name: str, parameter: inspect.Parameter, kind: _Kind) -> Any:
    if parameter.default is parameter.empty:
        return ...
    try:
        return kind.read(list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default)
    except ValueError:
        message = f"argument '{name}' has the default {show(parameter.default)}, but its annotation expects {kind.words}"
        raise NotAField(name, message) from None


def _type(kind: _Kind) -> Any:
    """Make the pydantic type of a kind."""

    def read(value: Any) -> Any:
        try:
            return kind.read(value)
        except ValueError:
            raise _expected(kind, value) from None

    return Annotated[Any, PlainValidator(read), PlainSerializer(_plain), WithJsonSchema(kind.schema)]


def _expected(kind: _Kind, value: Any) -> PydanticCustomError:
    return expected(kind.words, value, at_most(value))


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _shown(annotation: Any) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type) and not get_args(annotation)
        else str(annotation).replace("typing.", "")
    )


# annotations


def kind_of(annotation: Any) -> _Kind | None:
    """Return the values that an annotation allows; None if cnnctl cannot check it."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _literal(arguments)
    inner = [None if each is Ellipsis else kind_of(each) for each in arguments]
    known = [each for each in inner if each is not None]
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis and known:
        return _list(known[0], tuple)
    if not known or len(known) < len(inner):
        return None
    if origin in (Union, types.UnionType):
        return _any_of(known)
    if origin is list:
        return _list(known[0], list)
    return _tuple(known) if origin is tuple else None


def _whole(value: Any, low: int = -MAX) -> int:
    if type(value) is not int or not low <= value <= MAX:
        raise ValueError
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError
        return value

    return read


_PLAIN: dict[Any, _Kind] = {
    int: _Kind("an integer", {"type": "integer", "minimum": -MAX, "maximum": MAX}, _whole),
    float: _Kind("a number", {"type": "number"}, _number),
    bool: _Kind("true or false", {"type": "boolean"}, _exactly(bool)),
    str: _Kind("a text", {"type": "string"}, _exactly(str)),
    type(None): _Kind("null", {"type": "null"}, _exactly(type(None))),
}


def _is_seed(annotation: Any) -> bool:
    return set(get_args(annotation)) == {int, type(None)}


def _seed() -> _Kind:
    """Return the values of a seed; null derives it from the seed of the config, as of built-in layers."""

    def read(value: Any) -> int | None:
        return None if value is None else _whole(value, 0)

    schema = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX}, {"type": "null"}]}
    return _Kind("an integer of at least 0, or null", schema, read)


def _literal(values: tuple[Any, ...]) -> _Kind | None:
    if not all(isinstance(value, str | int | bool | None) for value in values):
        return None

    def read(value: Any) -> Any:
        if not any(value == each and type(value) is type(each) for each in values):
            raise ValueError
        return value

    words = ", ".join("null" if value is None else show(value).strip("'") for value in values)
    return _Kind(f"one of {words}" if len(values) > 1 else words, {"enum": list(values)}, read)


def _any_of(kinds: list[_Kind]) -> _Kind:
    def read(value: Any) -> Any:
        for kind in kinds:
            try:
                return kind.read(value)
            except ValueError:
                continue
        raise ValueError

    return _Kind(" or ".join(each.words for each in kinds), {"anyOf": [each.schema for each in kinds]}, read)


def _list(kind: _Kind, made: type) -> _Kind:
    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError
        return made(kind.read(each) for each in value)

    return _Kind(f"a list, each item {kind.words}", {"type": "array", "items": kind.schema}, read)


def _tuple(kinds: list[_Kind]) -> _Kind:
    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise ValueError
        return tuple(kind.read(each) for kind, each in zip(kinds, value, strict=True))

    items = [each.schema for each in kinds]
    schema = {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return _Kind(f"a list of {len(kinds)}: {', '.join(each.words for each in kinds)}", schema, read)
