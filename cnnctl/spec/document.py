"""YAML text → plain data and where each part of it stands.

The safe loader's tags only; floats such as `1e-3` are floats; a key said twice is refused; the
values that aliases repeat are counted, so that a small file cannot become a huge one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from cnnctl.errors import ConfigError, Problem
from cnnctl.reading import open_regular
from cnnctl.spec.section import one_line, show

Where = tuple[str | int, ...]
MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 50
_MAX_SHOWN = 100
"""Characters of an override that messages repeat."""
NESTED_TOO_DEEPLY = "nested too deeply: no config has so many brackets in brackets"
_TAG = "tag:yaml.org,2002:"


class _TooDeep(yaml.MarkedYAMLError):
    """Brackets in brackets in brackets."""


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2's core schema, and `_` in numbers."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own name)

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Refuses a bracket too many at once: PyYAML asks each open one at every character whether it is a key."""
        if self.flow_level >= MAX_DEPTH:
            raise _TooDeep(problem=NESTED_TOO_DEEPLY, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)


_SCALARS = {
    "null": (re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9][0-9_]*\Z"), list("-+0123456789")),  # 010 is ten, as in YAML 1.2, not eight
    "float": (
        re.compile(
            r"([-+]?([0-9][0-9_]*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z",
        ),
        list("-+0123456789."),
    ),
}
"""How each kind is written, and how it may begin; asked in this order, since an integer is also a float by its pattern."""
for _kind, (_pattern, _beginnings) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, _pattern, _beginnings)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value.replace("_", "")))


class _Dumper(yaml.SafeDumper):
    """The safe dumper that quotes what the loader would not read as text."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def dump(content: Mapping[str, Any]) -> str:
    """Returns plain data as YAML text that `parse` reads back."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


@dataclass
class Document:
    """A config as plain data.

    Attributes:
        name: what messages call it, the path as the user gave it.
        content: mappings, lists, texts, numbers, booleans, None.
        places: `line:column` of each part, by its path.
        overrides: the `--set` that gave a part, by its path.
        text: what was read; empty for a config that no file holds.
    """

    name: str
    content: Any
    places: dict[Where, str] = field(default_factory=dict)
    overrides: dict[Where, str] = field(default_factory=dict)
    text: str = ""

    def location(self, path: Where) -> str:
        """Returns where `path`, or the nearest part around it, was written."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.overrides:
                return setting(self.overrides[path[:length]])
            if path[:length] in self.places:
                return f"{self.name}:{self.places[path[:length]]}"
            for inside, text in self.overrides.items():  # a part that only overrides made
                if inside[:length] == path[:length] and length:
                    return setting(text)
        return self.name


def read_document(file: Path, inside: Path | None = None) -> Document:
    """Returns the document in `file`.

    Args:
        file: what the user named may be a pipe.
        inside: the folder of a run whose own file it is: a regular one that does not lead out of it; None for any file.

    Raises:
        ConfigError: the file is missing, no file, no UTF-8, too large, or not one mapping of YAML.
    """
    return parse(read_text(file, inside), one_line(str(file)))


def read_text(file: Path, inside: Path | None = None) -> str:
    """Return what a config file says; raises as `read_document` does."""
    name = one_line(str(file))
    try:
        if file.is_dir():
            raise ConfigError([Problem(name, "", "this is a folder; give the YAML file of a config")])
        with open_regular(file, inside) if inside else file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)  # a pipe does not say how much it has, and /dev/zero never ends
        if len(content) > MAX_BYTES:
            raise ConfigError([Problem(name, "", f"a config has at most {MAX_BYTES:,} bytes; this is not one")])
        return content.decode()
    except FileNotFoundError as error:
        message = "no such file; 'cnnctl init' lists example configs and copies one to start from"
        raise ConfigError([Problem(name, "", message)]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(name, "", "not a text file in UTF-8; a config is YAML text")]) from error
    except OSError as error:
        raise ConfigError([Problem(name, "", f"cannot be read: {error.strerror}")]) from error


def parse(text: str, name: str, explained: bool = True) -> Document:
    """Returns the document in `text`; see `read_document`.

    Args:
        text: the file.
        name: what messages call it.
        explained: False for the parser's own words where it is no YAML.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            message = "the file is empty; a config has at least the sections data and model; 'cnnctl init' copies a ready one"
            raise ConfigError([Problem(name, "", message)])
        if not isinstance(root, yaml.MappingNode):
            kind = "a list" if isinstance(root, yaml.SequenceNode) else show(root.value)
            message = f"expected a mapping with data, model, train, received {kind}; 'cnnctl init' copies an example config"
            raise ConfigError([Problem(f"{name}:{_place(root)}", "", message)])
        return replace(_Reader(name).document(root), text=text)
    except yaml.MarkedYAMLError as error:
        marks = [mark for mark in (error.problem_mark, error.context_mark) if mark]
        place = f"{name}:{marks[0].line + 1}:{marks[0].column + 1}" if marks else name
        message = NESTED_TOO_DEEPLY if isinstance(error, _TooDeep) else f"not valid YAML: {_reason(error)}"
        causes = _causes(text, name, [mark.line for mark in marks]) if explained and not isinstance(error, _TooDeep) else []
        raise ConfigError(causes or [Problem(place, "", message)]) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise ConfigError([Problem(place, "", f"not valid YAML: {str(error).splitlines()[0]}")]) from error
    except RecursionError as error:
        raise ConfigError([Problem(name, "", NESTED_TOO_DEEPLY)]) from error


def _causes(text: str, name: str, places: Sequence[int]) -> list[Problem]:
    from cnnctl.spec.mistakes import not_yaml  # reads texts by this module, and is seldom needed

    return not_yaml(text, name, places)


def _reason(error: yaml.MarkedYAMLError) -> str:
    """Returns what PyYAML found, and the part around it where that began on another line."""
    problem, context = error.problem or "", error.context or ""
    if problem.startswith("but "):
        return f"{context}, {problem}"
    if "'\\t'" in problem:
        return f"{problem}; indent with spaces"
    began = error.context_mark
    if began and error.problem_mark and began.line != error.problem_mark.line:
        return f"{problem}, {context} that begins on line {began.line + 1}"
    return problem or context


class _Reader:
    """Turns composed nodes into plain data, noting places and problems on the way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places: dict[Where, str] = {}
        self.problems: list[Problem] = []
        self.constructor = _Loader("")
        self.open: list[yaml.Node] = []

    def document(self, root: yaml.Node) -> Document:
        content = self.value(root, ())
        if self.problems:
            raise ConfigError(self.problems)
        return Document(self.name, content, self.places)

    def value(self, node: yaml.Node, path: Where) -> Any:
        self.places.setdefault(path, _place(node))
        if len(self.places) > MAX_VALUES:
            message = f"more than {MAX_VALUES:,} values, counting each time what aliases repeat: no config needs so many"
            raise ConfigError([Problem(f"{self.name}:{_place(node)}", "", message)])
        if any(node is above for above in self.open):
            raise ConfigError(
                [Problem(f"{self.name}:{_place(node)}", "", "an alias inside this part repeats the part itself, without end")]
            )
        if len(self.open) > MAX_DEPTH:
            raise ConfigError([Problem(f"{self.name}:{_place(node)}", "", NESTED_TOO_DEEPLY)])
        self.open.append(node)
        try:
            return self._content(node, path)
        finally:
            self.open.pop()

    def _content(self, node: yaml.Node, path: Where) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and kind == "str":
            return self.text(node, path)
        if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
            return self.scalar(node, path, kind)
        self.problem(node, path, f"unknown tag {show(node.tag.replace(_TAG, '!!'))}, and a config needs none; remove the tag")
        return None

    def text(self, node: yaml.ScalarNode, path: Where) -> str:
        if "\0" in node.value:
            self.problem(node, path, f"{show(node.value)} has the character NUL, which no name or path can have")
            return ""
        try:  # JSON writes what is beyond 16 bits as two halves
            return str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.problem(node, path, f"{show(node.value)} has half a character, which no name or path can have")
            return ""

    def scalar(self, node: yaml.ScalarNode, path: Where, kind: str) -> Any:
        pattern, _ = _SCALARS[kind]
        try:
            if pattern.match(node.value):
                return self.constructor.construct_object(node)
        except ValueError:  # of too many digits for Python
            pass
        self.problem(node, path, f"cannot read {show(node.value)} as {kind}")
        return None

    def mapping(self, node: yaml.MappingNode, path: Where) -> dict[str, Any]:
        content: dict[str, Any] = {}
        first: dict[str, str] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                received = show(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self.problem(key_node, path, f"expected the name of a field, received {received}")
                continue
            key = self.text(key_node, path)
            if key == "<<":
                self.problem(key_node, path, "YAML's merge key << is not supported; write the fields out")
            elif key in content:
                self.problem(key_node, path, f"'{key}' stands twice, first on line {first[key]}; keep one of them")
            else:
                first[key] = str(key_node.start_mark.line + 1)
                self.places[*path, key] = _place(key_node)
                content[key] = self.value(value_node, (*path, key))
        return content

    def problem(self, node: yaml.Node, path: Where, message: str) -> None:
        self.problems.append(Problem(f"{self.name}:{_place(node)}", dotted(path), one_line(message)))


def _place(node: yaml.Node) -> str:
    return f"{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def dotted(path: Where) -> str:
    """Returns `model.layers[3].conv2d` for ('model', 'layers', 3, 'conv2d')."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return one_line(text.removeprefix("."))


def setting(text: str) -> str:
    """Returns what messages call an override; a long one is cut."""
    shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    return one_line(f"--set {shown}")


def value_of(text: str, asked_by: str) -> Any:
    """Returns a value that is written as YAML; `asked_by` is where messages say that it was asked for.

    Raises:
        ConfigError: it is no YAML, or means something else than it seems to.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        return None if root is None else _Reader(asked_by).document(root).content
    except (_TooDeep, RecursionError) as error:
        raise ConfigError([Problem(asked_by, "", NESTED_TOO_DEEPLY)]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Problem(asked_by, "", f"{show(text)} is not valid YAML")]) from error
