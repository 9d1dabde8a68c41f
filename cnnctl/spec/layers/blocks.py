"""Blocks: stacks with a name and parameters, which a config uses like layers.

`model.blocks` has their definitions. A use fills in the parameters, and its layers are then validated like any others; an error
inside has the path of the use, `IN_BLOCK`, and the path inside the block. `spec.places` turns it into both places of the file.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializationInfo, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from cnnctl.errors import suggestion
from cnnctl.spec.layers.fields import Layer
from cnnctl.spec.section import UNKNOWN_FIELD, Named, Names, Section, one_line, show, within, wrong

IN_BLOCK = "$"
"""Separates, in the path of a layer, the use of a block from the path inside the block."""
SIGN = "$"
"""The first character of a value that stands for a parameter."""
REQUIRED = "required"
"""The default of a parameter that every use must set."""
MAX_NESTED = 20
OWN_FIELDS = ("name", "inputs")
"""The fields of a use that are not parameters."""

_WORD = re.compile("[a-z][a-z0-9_]{0,59}")
NAMES_OF_A_CONFIG: dict[str, Any] = {"propertyNames": {"pattern": f"^{_WORD.pattern}$"}}
"""The JSON Schema of the keys of a mapping whose names the config chooses."""
_NOT_A_WORD = "expected a name of small letters, digits and _ that starts with a letter"


_ITEM: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 1}]}


class BlockSpec(Section):
    """A block: a stack with a name and parameters.

    Attributes:
        parameters: the names that `$name` stands for inside, with their defaults; `required` for none.
        inputs: the names of its inputs inside, if it takes several; by default `input`.
        layers: the stack; a value may be `$` and the name of a parameter.
    """

    parameters: dict[str, Any] = Field(default_factory=dict, json_schema_extra={"default": {}, **NAMES_OF_A_CONFIG})
    inputs: Names | None = None
    layers: Annotated[list[Any], Field(min_length=1, json_schema_extra={"items": _ITEM})]


class BlockUse(Layer):
    """A block used as a layer; each block has a subclass with its name as `kind`.

    Attributes:
        arguments: the value of each parameter.
        given: those that the use sets.
        takes: the names of its inputs inside.
        layers: its stack, with the parameters filled in.
    """

    arguments: dict[str, Any]
    given: dict[str, Any]
    takes: tuple[str, ...]
    layers: list[Any]


class Use(Layer):
    """A layer or block of the stack once more, with the same weights.

    Attributes:
        layer: the name of the layer or block.
    """

    kind: ClassVar[str] = "use"
    shorthand: ClassVar[str] = "layer"

    layer: str


class _Blocks:
    """The blocks of the config that is being validated."""

    def __init__(self, specs: Mapping[str, BlockSpec]) -> None:
        self.specs = specs
        self.open: list[str] = []
        self.sections = {name: _section(name) for name in specs}
        self._read: dict[str, list[Section]] = {}

    def use(self, name: str, fields: object, item: "StackItem") -> BlockUse:
        """Validate a use of a block.

        Raises:
            ValidationError: a parameter is unknown or missing, or a layer inside is wrong.
        """
        if fields is not None and not isinstance(fields, dict):
            raise wrong(f"expected a mapping of the parameters of {name}, received {show(fields)}", field=name)
        self._check_nesting(name)
        set_here, spec = fields or {}, self.specs[name]
        _check_arguments(name, spec, set_here)
        given = {key: value for key, value in set_here.items() if key not in OWN_FIELDS}
        own = {key: set_here[key] for key in OWN_FIELDS if key in set_here}
        section, takes = self.sections[name], spec.inputs or ("input",)
        try:
            plain = section.model_validate({**own, "arguments": {}, "given": {}, "takes": takes, "layers": []})
        except ValidationError as error:
            raise within(error, name) from None
        arguments = spec.parameters | given
        return plain.model_copy(update={"arguments": arguments, "given": given, "layers": self._layers(name, arguments, item)})

    def _check_nesting(self, name: str) -> None:
        if name in self.open:
            route = " → ".join([*self.open[self.open.index(name) :], name])
            raise wrong(f"a block cannot contain itself: {route}; remove this layer", field=name)
        if len(self.open) == MAX_NESTED:
            raise wrong(f"more than {MAX_NESTED} blocks inside each other", field=name)

    def _layers(self, name: str, arguments: Mapping[str, Any], item: "StackItem") -> list[Section]:
        """Validate the stack of a block; equal uses share it, so that blocks of blocks take no time of their own."""
        key = json.dumps([name, arguments])
        if key not in self._read:
            self.open.append(name)
            try:
                self._read[key] = item.read_stack(filled_in(self.specs[name].layers, arguments))
            except ValidationError as error:
                raise within(error, name, IN_BLOCK) from None
            finally:
                self.open.pop()
        return self._read[key]


_KNOWN: ContextVar[_Blocks] = ContextVar("blocks", default=_Blocks({}))  # noqa: B039 (never changed)


@contextmanager
def known_blocks(specs: Mapping[str, BlockSpec]) -> Iterator[None]:
    """Make blocks known to `StackItem` while the stack of their config is validated."""
    token = _KNOWN.set(_Blocks(specs))
    try:
        yield
    finally:
        _KNOWN.reset(token)


class StackItem(Named):
    """An item of a stack: a layer, a repeat, a use of a layer, or a block of the config."""

    def read(self, value: object) -> Section:
        """Validate an item and return its section."""
        blocks = _KNOWN.get()
        if isinstance(value, Section) or not blocks.specs:
            return super().read(value)
        name, fields = self.parts(value)
        return blocks.use(name, fields, self) if name in blocks.specs else super().read(value)

    def read_stack(self, items: Sequence[Any]) -> list[Section]:
        """Validate the items of a block."""
        stack: Any = self.choices["repeat"].model_validate({"times": 1, "layers": list(items)})
        return list(stack.layers)

    def known(self) -> list[str]:
        """List the names that an item may have."""
        return [*self.choices, *_KNOWN.get().specs]

    @staticmethod
    def write(section: Section, info: SerializationInfo) -> dict[str, Any] | str:
        """Dump an item as in a config; of a block the arguments that it sets."""
        if not isinstance(section, BlockUse):
            return Named.write(section, info)
        own = {key: getattr(section, key) for key in OWN_FIELDS if getattr(section, key) is not None}
        own = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
        return {section.kind: {**section.given, **own}} if section.given or own else section.kind


@cache
def _section(name: str) -> type[BlockUse]:
    return type(name, (BlockUse,), {"kind": name, "__module__": __name__, "__doc__": BlockUse.__doc__})


def _check_arguments(name: str, spec: BlockSpec, given: Mapping[str, Any]) -> None:
    known = [*spec.parameters, *OWN_FIELDS]
    errors = [
        _error(
            (name, key), f"unknown parameter '{key}'{suggestion(key, known) or '; known: ' + ', '.join(known)}", UNKNOWN_FIELD
        )
        for key in given
        if key not in known
    ]
    missing = [key for key, default in spec.parameters.items() if default == REQUIRED and key not in given]
    errors += [_error((name,), f"parameter '{key}' is required") for key in missing]
    _raise(name, errors)


def _error(where: tuple[str | int, ...], message: str, kind: str = "translated") -> InitErrorDetails:
    custom = PydanticCustomError(kind, "{message}", {"message": one_line(message)})
    return InitErrorDetails(type=custom, loc=where, input=None)


def _raise(title: str, errors: list[InitErrorDetails]) -> None:
    if errors:
        raise ValidationError.from_exception_data(title, errors)


def filled_in(value: Any, arguments: Mapping[str, Any]) -> Any:
    """Replace every `$name` in plain data by the argument."""
    if isinstance(value, list):
        return [filled_in(each, arguments) for each in value]
    if isinstance(value, dict):
        return {key: filled_in(each, arguments) for key, each in value.items()}
    return arguments[value[1:]] if isinstance(value, str) and value.startswith(SIGN) else value


Place = tuple[str | int, ...]


def signs_in(value: Any, where: Place = ()) -> Iterator[tuple[Place, str, bool]]:
    """Yield the path and the text of each key and value with a `$`, and whether it is a value."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from signs_in(each, (*where, index))
    elif isinstance(value, dict):
        for key, each in value.items():
            if SIGN in key:
                yield (*where, key), key, False
            yield from signs_in(each, (*where, key))
    elif isinstance(value, str) and SIGN in value:
        yield where, value, True


def check_blocks(specs: Mapping[str, BlockSpec], layers: Mapping[str, object]) -> None:
    """Check the definitions by themselves.

    Args:
        specs: the blocks by name.
        layers: the names of all layers, which a block cannot have.

    Raises:
        ValidationError: a name is taken, or a parameter is unknown, unused or in a wrong place.
    """
    _raise("blocks", [error for name, spec in specs.items() for error in _definition_errors(name, spec, layers)])


def _definition_errors(name: str, spec: BlockSpec, layers: Mapping[str, object]) -> Iterator[InitErrorDetails]:
    if name in layers:
        yield _error((name,), f"'{name}' is the name of a layer of cnnctl; choose another")
    if not _WORD.fullmatch(name):
        yield _error((name,), _NOT_A_WORD)
    for key in spec.parameters:
        if not _WORD.fullmatch(key):
            yield _error((name, "parameters", key), _NOT_A_WORD)
        if key in OWN_FIELDS:
            yield _error((name, "parameters", key), f"every use of a block has a field '{key}'; choose another name")
    yield from _signs_in_defaults(name, spec)
    if spec.inputs and len(set(spec.inputs)) < len(spec.inputs):
        yield _error((name, "inputs"), f"expected different names, received {show(spec.inputs)}")
    used = set()
    for where, text, is_value in signs_in(spec.layers, (name, "layers")):
        used.add(text[1:])
        if not is_value:
            yield _error(where, f"{show(text)}: a parameter stands for a value, not for the name of a field or layer")
        elif not text.startswith(SIGN) or SIGN in text[1:]:
            yield _error(where, f"{show(text)}: a parameter stands for a whole value; write $ and its name alone")
        elif text[1:] not in spec.parameters:
            names = [f"{SIGN}{key}" for key in spec.parameters]
            known = f"; known: {', '.join(names)}" if names else "; it has none"
            yield _error(where, f"there is no parameter '{text}' in the block{suggestion(text, names) or known}")
    for key in spec.parameters:
        if key not in used and key not in OWN_FIELDS and _WORD.fullmatch(key):
            yield _error((name, "parameters", key), f"no layer of the block has the value ${key}; write it there, or remove it")


def _signs_in_defaults(name: str, spec: BlockSpec) -> Iterator[InitErrorDetails]:
    for where, text, _ in signs_in(spec.parameters, (name, "parameters")):
        if SIGN not in str(where[2]):  # else its name is wrong, which is reported
            yield _error(
                where, f"{show(text)}: a default is a value, and $ is for the layers of the block; write the value itself"
            )


def check_no_signs(layers: Any) -> None:
    """Check that the stack of the network, which has no parameters, has no `$name`.

    Raises:
        ValidationError: it has one.
    """
    message = "{}: $ is for parameters, inside the layers of a block; write the value itself"
    _raise("layers", [_error(where, message.format(show(text))) for where, text, is_value in signs_in(layers) if is_value])
