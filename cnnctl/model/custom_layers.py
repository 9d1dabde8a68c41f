"""Read a file of the user's own Keras layers: its bytes are read once, hashed, compiled and run, and nothing else is.

Only `--custom-layers FILE.py` on the command line leads here: never a config, a run folder or a model file.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import linecache
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
from pydantic import create_model

from cnnctl.errors import UsageError
from cnnctl.model.custom_class import MODULE, KerasClass, place_of, print_to_stderr, without_prints
from cnnctl.model.custom_fields import NotAField, fields_of
from cnnctl.reading import open_regular
from cnnctl.spec.layers import STACK_ITEM, CustomJoin, CustomLayer
from cnnctl.spec.layers.custom import FLAG, CustomFile

MAX_BYTES = 1_000_000
REGISTER = "@keras.saving.register_keras_serializable()"
_STATE = ("floatx", "epsilon", "image_data_format", "dtype_policy")
"""Settings of Keras for the whole process, which a file must not change: the config decides."""


def read_custom_layers(path: Path) -> CustomFile:
    """Read a file of layers and run it.

    Raises:
        UsageError: it cannot be read or run, or a class in it cannot be a layer of a config.
    """
    try:
        with open_regular(path) as opened:
            source = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{FLAG} {path}: {error.strerror}; expected a Python file that defines layers") from error
    if len(source) > MAX_BYTES:
        raise UsageError(f"{FLAG} {path}: it has more than {MAX_BYTES:,} bytes; expected a Python file that defines layers")
    return custom_file(source, str(path))


def custom_file(source: bytes, path: str) -> CustomFile:
    """Run the bytes of a file, which was at `path`, and make a section for each layer that it registers; raises as above."""
    _forget_earlier()
    places = _places(source, path)
    with _global_state(source, path):
        module = _run(source, path)
    classes = _registered(module, places, path)
    sections: dict[str, type[CustomLayer]] = {}
    for each in classes:
        section = _section(each, places, path)
        _refuse_taken(section, sections)
        sections[section.kind] = section
    return CustomFile(path, source, hashlib.sha256(source).hexdigest(), sections)


def _forget_earlier() -> None:
    """Remove the classes of an earlier file of this process from Keras's registry."""
    known = keras.saving.get_custom_objects()
    for name in [name for name, each in known.items() if getattr(each, "__module__", None) == MODULE]:
        del known[name]


# running the file


def _places(source: bytes, path: str) -> dict[str, list[int]]:
    """Return the lines of the classes at the top of a file, by name."""
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError) as error:
        raise _failed(error, path) from error
    lines: dict[str, list[int]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            lines.setdefault(node.name, []).append(node.lineno)
    return lines


def _run(source: bytes, path: str) -> ModuleType:
    """Run the bytes as a module. What it prints goes to stderr, since stdout is for results."""
    module = ModuleType(MODULE)
    module.__file__ = path
    vars(module)["print"] = print_to_stderr  # in its layers too, which run later
    text = source.decode("utf-8", "replace")
    linecache.cache[path] = (len(source), None, text.splitlines(keepends=True), path)  # never read again from the disk
    sys.modules[MODULE] = module
    with without_prints():
        try:
            exec(compile(source, path, "exec", dont_inherit=True), vars(module))  # noqa: S102  # what the flag asks for
        except (Exception, SystemExit) as error:
            raise _failed(error, path) from error
    return module


def _failed(error: BaseException, path: str) -> UsageError:
    """Describe why a file does not run, with its line."""
    if isinstance(error, SyntaxError):
        return UsageError(f"{error.filename or path}:{error.lineno or 1}  SyntaxError: {error.msg}; {FLAG} needs valid Python")
    where = place_of(error, path) or f"{path}:1"
    if isinstance(error, SystemExit):
        return UsageError(f"{where}  the file ends the program when it is imported; move that under if __name__ == '__main__':")
    reason = str(error).strip().partition("\n")[0]
    hint = ""
    if isinstance(error, ModuleNotFoundError) and (Path(path).parent / f"{str(error.name).partition('.')[0]}.py").is_file():
        hint = "; files beside it are not imported, since a run keeps and checks this file alone: put everything into one file"
    return UsageError(f"{where}  {type(error).__name__}: {reason}{hint or f'; {FLAG} cannot import the file'}")


@contextlib.contextmanager
def _global_state(source: bytes, path: str) -> Iterator[None]:
    """Refuse a file that changes what all layers depend on: Keras's settings, or the classes that cnnctl registered."""
    known = keras.saving.get_custom_objects()
    before, registered = _settings(), {name: each for name, each in known.items() if each.__module__.startswith("cnnctl.")}
    try:
        yield
        now = _settings()
        for name in _STATE:
            if now[name] != before[name]:
                raise UsageError(
                    f"{_line_with(f'set_{name}', source, path)}  the file changes keras.config.{name} from {before[name]} to "
                    f"{now[name]} for all layers; remove it: data_format and precision are fields of a config"
                )
        for name, each in registered.items():
            if known.get(name) is not each:
                raise UsageError(f"{path}: the file replaces '{name}' of cnnctl; use another package or name")
    finally:
        _restore(before, registered)


def _settings() -> dict[str, Any]:
    return {
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.config.dtype_policy().name,
    }


def _restore(before: Mapping[str, Any], registered: Mapping[str, Any]) -> None:
    keras.config.set_floatx(before["floatx"])
    keras.config.set_epsilon(before["epsilon"])
    keras.config.set_image_data_format(before["image_data_format"])
    keras.config.set_dtype_policy(before["dtype_policy"])
    keras.saving.get_custom_objects().update(registered)


def _line_with(word: str, source: bytes, path: str) -> str:
    lines = source.decode("utf-8", "replace").splitlines()
    number = next((number for number, line in enumerate(lines, 1) if word in line), 1)
    return f"{path}:{number}"


# its classes


def _registered(module: ModuleType, places: Mapping[str, list[int]], path: str) -> list[Any]:
    """Return the layer classes that a file registers, in its order.

    Raises:
        UsageError: there is none, or two have the same name.
    """
    for name, lines in places.items():
        if len(lines) > 1:
            raise UsageError(f"{path}:{lines[1]}  class {name} is defined in line {lines[0]} already; rename one")
    known = keras.saving.get_custom_objects()
    found: list[Any] = []
    unregistered: list[Any] = []
    classes = dict.fromkeys(each for each in vars(module).values() if isinstance(each, type) and each.__module__ == MODULE)
    for each in (each for each in classes if issubclass(each, keras.Layer)):
        holder = known.get(keras.saving.get_registered_name(each))
        (found if holder is each else unregistered).append(each)
        if holder is not None and holder is not each:
            raise UsageError(
                f"{_place(each, places, path)}  class {each.__name__} is registered under the name of class {holder.__name__}; "
                "give one of them another name"
            )
    if not found:
        first = f"; write {REGISTER} above class {unregistered[0].__name__}" if unregistered else ""
        where = _place(unregistered[0], places, path) + "  " if unregistered else f"{path}: "
        raise UsageError(
            f"{where}the file registers no layer: expected a subclass of keras.layers.Layer below {REGISTER}{first}"
        )
    return found


def _place(each: Any, places: Mapping[str, list[int]], path: str) -> str:
    return f"{path}:{places.get(each.__name__, [1])[0]}"


def _section(each: Any, places: Mapping[str, list[int]], path: str) -> type[CustomLayer]:
    """Make the section of a class.

    Raises:
        UsageError: an argument cannot be a field, or a method is missing.
    """
    place, kind = _place(each, places, path), snake_case(each.__name__)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", kind):
        raise UsageError(
            f"{place}  class {each.__name__} has a name that cannot be a layer of a config; use letters and digits"
        )
    own = KerasClass(each.__name__, place, each, path)
    own.refuse_incomplete()
    try:
        fields = fields_of(each)
    except NotAField as error:
        where = _place_of_argument(each, error.argument, place, path)
        raise UsageError(f"{where}  {each.__name__}.__init__ {error}" if not error.argument else f"{where}  {error}") from error
    base = CustomJoin if own.several_inputs else CustomLayer
    make: Any = create_model  # its types allow no fields from a mapping
    section: type[CustomLayer] = make(each.__name__, __base__=base, __doc__=_documentation(each), **fields)
    section.kind, section.own = kind, own
    return section


def _refuse_taken(section: type[CustomLayer], others: Mapping[str, type[CustomLayer]]) -> None:
    own = section.own
    if section.kind in others:
        other = others[section.kind].own
        raise UsageError(f"{own.place}  class {own.name} becomes the layer '{section.kind}', as {other.name} does; rename one")
    if section.kind in STACK_ITEM.choices:
        raise UsageError(f"{own.place}  class {own.name} becomes the layer '{section.kind}', which is built in; rename it")


def snake_case(name: str) -> str:
    """Convert a class name to the name of a layer, as Keras names layers after their classes."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _documentation(each: Any) -> str:
    """Return the docstring of a class, whose `Args:` describe its fields."""
    text = inspect.cleandoc(each.__doc__ or f"The class {each.__name__} of a file of one's own.")
    return textwrap.dedent(text).replace("\nArgs:", "\nAttributes:").replace("\nArguments:", "\nAttributes:")


def _place_of_argument(each: Any, argument: str, place: str, path: str) -> str:
    """Return the line of an argument of `__init__`, or that of the class where the file has no `__init__` for it."""
    code = getattr(each.__init__, "__code__", None)
    if code is None or code.co_filename != path:
        return place
    for node in ast.walk(ast.parse("".join(linecache.getlines(path)))):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__" and code.co_firstlineno == node.lineno:
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg]
            line = next((each.lineno for each in named if each and each.arg == argument), node.lineno)
            return f"{path}:{line}"
    return place
