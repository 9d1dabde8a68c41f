"""The base of every part of a config: frozen pydantic models, with one translation of validation errors into messages.

A config has two forms of parts. A *section* is a mapping with known fields. A *named section* is
a name with its own fields, `adam: {learning_rate: 1e-3}`, or the bare name for the defaults: layers,
optimizers, schedules, losses, initializers and regularizers.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

# Pydantic would search every installed package for plugins at the first model: slow, and foreign code.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "1"

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PlainValidator,
    SerializationInfo,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from cnnctl.errors import suggestion

if TYPE_CHECKING:
    from pydantic.json_schema import GenerateJsonSchema

TRANSLATED = "translated"  # the type of an error whose message is final
UNKNOWN_FIELD = "unknown_field"  # the type of an error about a key, not about its value


def show(value: object, limit: int = 60) -> str:
    """Format `value` as in a config, on one line of at most `limit` characters."""
    text = repr(value) if isinstance(value, float | str) else json.dumps(value, default=repr, ensure_ascii=True)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def one_line(text: str) -> str:
    r"""Escape every line break as `\n`; a key or a name may contain one, and printing escapes other characters."""
    return text.replace("\n", r"\n")


MAX = 2**31 - 1
"""Largest integer that TensorFlow accepts for sizes, numbers of steps and seeds."""


def wrong(message: str, field: str = "") -> PydanticCustomError:
    """Create an error for validators to raise, with the final `message`, about `field` of the section."""
    return PydanticCustomError(TRANSLATED, "{message}", {"message": one_line(message), "field": field})


def expected(what: str, received: object, hint: str = "") -> PydanticCustomError:
    """Create the error 'expected ..., received ...'."""
    return wrong(f"expected {what}, received {show(received)}{hint}")


_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "list_type": "a list, [...] or lines that start with '- '",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "finite_number": "a finite number",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "too_short": "a list of at least {min_length}",
    "string_pattern_mismatch": "a name of letters, digits and _ . - that starts with a letter",
    "string_too_short": "a non-empty text",
}


FEW_WORDS = 6
"""Most words that are listed together with the nearest one; of more words, only one of the two."""


def _translated(error: Any, known: Iterable[str], renamed: Mapping[str, str]) -> InitErrorDetails:
    """Translate one pydantic error into our message; `known` are the fields of its section, `renamed` the old ones."""
    kind, where, value = error["type"], error["loc"], error["input"]
    if kind in (TRANSLATED, UNKNOWN_FIELD):
        field = error["ctx"].get("field")
        where = (*where, field) if field else where
        custom = PydanticCustomError(kind, "{message}", {"message": error["ctx"]["message"]})
    elif kind == "missing":
        where, custom = where[:-1], wrong(f"field '{where[-1]}' is required")
    elif kind == "extra_forbidden":
        names = ", ".join(known)
        message = f"unknown field '{where[-1]}'{suggestion(where[-1], known) or f'; known: {names}'}"
        if where[-1] in renamed:
            message = f"'{where[-1]}' has been renamed; did you mean '{renamed[where[-1]]}'?"
        custom = PydanticCustomError(UNKNOWN_FIELD, "{message}", {"message": one_line(message)})
    elif kind in _EXPECTED:
        context = {key: f"{limit:g}" if isinstance(limit, float) else limit for key, limit in error.get("ctx", {}).items()}
        words = context["expected"].replace("'", "").replace(" or ", ", ").split(", ") if kind == "literal_error" else []
        hint = suggestion(value, words) if isinstance(value, str) else ""
        if len(words) > FEW_WORDS and isinstance(value, str):
            custom = wrong(f"unknown {where[-1]} {show(value)}{hint or '; known: ' + ', '.join(words)}")
        else:
            custom = expected(_EXPECTED[kind].format(**context), value, hint)
    else:
        custom = wrong(f"{error['msg'].lower()}, received {show(value)}")
    return InitErrorDetails(type=custom, loc=where, input=value)


class Section(BaseModel):
    """A mapping of the config with known fields; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    kind: ClassVar[str] = ""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Old names of fields, with the new ones."""
    shorthand: ClassVar[str] = ""
    """The field of a named section that a plain text in place of its fields sets."""

    @model_validator(mode="wrap")
    @classmethod
    def _translate_errors(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        try:
            return handler({cls.shorthand: value} if cls.shorthand and isinstance(value, str) else value)
        except ValidationError as error:
            details = [_translated(each, cls.model_fields, cls.renamed) for each in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @classmethod
    def required(cls) -> list[str]:
        """Return the fields without a default."""
        return [name for name, field in cls.model_fields.items() if field.is_required()]


def field_error(section: type[Section], field: str, value: object) -> str:
    """Return the error of a value for one field of a section, as the loader words it; empty if the value is valid."""
    try:
        section.model_validate({field: value})
    except ValidationError as error:
        return next((each["msg"] for each in error.errors(include_url=False) if each["loc"] == (field,)), "")
    return ""


def within(error: ValidationError, *prefix: str) -> ValidationError:
    """Move every location of `error` below `prefix`."""
    details = [
        InitErrorDetails(type=PydanticCustomError(e["type"], "{message}", e["ctx"]), loc=(*prefix, *e["loc"]), input=e["input"])
        for e in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, details)


REFERS = "refers"


def refers_to(what: str) -> dict[str, Any]:
    """Create a mark that `spec.schema` replaces by a `$ref`; pydantic refuses a foreign `$ref`."""
    return {REFERS: what}


class Named:
    """Annotation of a field whose value is one of several named sections.

    Args:
        what: the noun in messages, such as 'layer'.
        choices: the sections allowed here.
        others: how to have others, for the message of an unknown name.
    """

    def __init__(self, what: str, choices: Iterable[type[Section]], others: str = "") -> None:
        self.what = what
        self.others = f"; {others}" if others else ""
        self.choices = {choice.kind: choice for choice in choices}

    def read(self, value: object) -> Section:
        """Validate `value` and return the section that it names."""
        if isinstance(value, Section):
            return value
        name, fields = self.parts(value)
        if name not in self.choices:
            known = self.known()
            hint = suggestion(name, known) or f"{self.others}; known: {', '.join(known)}"
            raise wrong(f"unknown {self.what} {show(name)}{hint}")
        choice = self.choices[name]
        if fields is not None and not isinstance(fields, dict) and not (choice.shorthand and isinstance(fields, str)):
            raise wrong(f"expected {self._example(choice, fields)}, received {show(fields)}", field=name)
        try:
            return choice.model_validate(fields or {})
        except ValidationError as error:
            raise within(error, name) from None

    def known(self) -> list[str]:
        """List the names that a value may have."""
        return list(self.choices)

    @staticmethod
    def _example(choice: type[Section], value: object) -> str:
        """Format an example of a choice for which only `value` was set."""
        general = ("name", "inputs", "seed", "data_format")
        fields = choice.required() or [name for name in choice.model_fields if name not in general][:1]
        if not fields:
            return f"the bare name {choice.kind}{' or a mapping of its fields' if choice.model_fields else ''}"
        fills = len(fields) == 1 and fields[0] not in general and isinstance(value, int | float)
        values = [show(value)] if fills else ["..."] * len(fields)
        pairs = ", ".join(f"{field}: {each}" for field, each in zip(fields, values, strict=True))
        return f"a mapping of fields such as {choice.kind}: {{{pairs}}}"

    def parts(self, value: object) -> tuple[str, object]:
        """Split a value into the name and its fields, which are not yet validated."""
        if isinstance(value, str):
            return value, None
        if isinstance(value, dict) and len(value) == 1:
            name, fields = next(iter(value.items()))
            return str(name), fields
        if isinstance(value, dict) and value:
            first, *others = map(str, value)
            raise wrong(
                f"expected one {self.what}, received the keys {first}, {', '.join(others)}{self._remedy(first, others)}"
            )
        article = "an" if self.what[0] in "aeiou" else "a"
        raise expected(f"the name of {article} {self.what}, alone or with its fields", value)

    def _remedy(self, first: str, others: list[str]) -> str:
        """Return the remedy for several keys in place of one name."""
        if any(other in self.choices for other in others):
            return "; start each with its own '- '" if self.what == "layer" else "; keep one of them"
        return f"; indent {', '.join(others)} under '{first}'" if first in self.choices else ""

    @staticmethod
    def write(section: Section, info: SerializationInfo) -> dict[str, Any] | str:
        """Dump the section as in a config, with every field or only those that the dump asks for."""
        fields = section.model_dump(mode="json", exclude_unset=info.exclude_unset, exclude_none=info.exclude_none)
        return {section.kind: fields} if fields or not info.exclude_unset else section.kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        to_plain = core_schema.plain_serializer_function_ser_schema(self.write, info_arg=True)
        return core_schema.no_info_plain_validator_function(self.read, serialization=to_plain)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return refers_to(self.what)

    def json_schema(self, generator: type["GenerateJsonSchema"]) -> dict[str, Any]:
        """Generate the JSON Schema of the bare name and of the name with fields."""
        bare = [name for name, choice in self.choices.items() if not choice.required()]
        fields = {}
        for name, choice in self.choices.items():
            schema = choice.model_json_schema(schema_generator=generator)
            if choice.shorthand:
                schema = {"anyOf": [schema, {"type": "string"}]}
            fields[name] = {"anyOf": [schema, {"type": "null"}]} if name in bare else schema
        mapping = {
            "type": "object",
            "properties": fields,
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
        return {"anyOf": [{"enum": bare}, mapping]} if bare else mapping


def _pair(low: int, what: str) -> Any:
    def read(value: object) -> tuple[int, int]:
        both = [value, value] if isinstance(value, int) else value
        if not isinstance(both, list | tuple) or len(both) != 2 or not all(is_integer(n, low) for n in both):
            raise expected(f"{what} or a pair of them, [height, width]", value, at_most(value))
        return both[0], both[1]

    one = {"type": "integer", "minimum": low, "maximum": MAX}
    schema = {"anyOf": [one, {"type": "array", "items": one, "minItems": 2, "maxItems": 2}]}
    return Annotated[tuple[int, int], PlainValidator(read), PlainSerializer(list), WithJsonSchema(schema)]


def at_most(value: object) -> str:
    """Return a hint for a message if `value` is, or its lists contain, an integer above `MAX`."""
    if isinstance(value, list | tuple):
        return next(filter(None, map(at_most, value)), "")
    return f", at most {MAX}" if type(value) is int and value > MAX else ""


def is_integer(value: object, low: int) -> bool:
    """Return True if `value` is an integer from `low` to `MAX`, and not a boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= MAX


def _names(least: int, what: str, most: int = sys.maxsize) -> Any:
    def read(value: object) -> tuple[str, ...]:
        names = value if isinstance(value, list | tuple) else ()
        if not least <= len(names) <= most or not all(isinstance(name, str) and name for name in names):
            raise expected(what, value)
        return tuple(names)

    schema: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": least}
    schema |= {"maxItems": most} if most < sys.maxsize else {}
    return Annotated[tuple[str, ...], PlainValidator(read), PlainSerializer(list), WithJsonSchema(schema)]


Count = Annotated[int, Field(gt=0, le=MAX)]
Seed = Annotated[int, Field(ge=0, le=MAX)]
Size = _pair(1, "a positive integer")
"""One positive integer for height and width, or one for each."""
SizeOrZero = _pair(0, "an integer of at least 0")
Names = _names(1, "a list of layer names")
TwoNames = _names(2, "a list of at least two layer names, such as [first, second]")
ExactlyTwoNames = _names(2, "a list of two layer names, such as [first, second]", most=2)


def plain(section: Section) -> Mapping[str, Any]:
    """Dump a section as plain data that `yaml` can write and the loader reads back."""
    return section.model_dump(mode="json")
