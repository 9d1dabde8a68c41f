"""Parse YAML text into plain data, with the line and column of each part.

Only the tags of the safe loader are read. Floats such as `1e-3` are floats. Duplicate keys are refused.
Values repeated by aliases count each time, so a small file cannot expand without bound.
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
"""Characters of an override shown in messages."""
NESTED_TOO_DEEPLY = "nested too deeply for a config"
_TAG = "tag:yaml.org,2002:"


class _TooDeep(yaml.MarkedYAMLError):
    """The text is nested more than MAX_DEPTH levels deep."""


class _Loader(yaml.SafeLoader):
    """The safe loader with the scalars of YAML 1.2's core schema, and `_` in numbers."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own name)

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Stop at too many open brackets: PyYAML checks every open one at every character for a key."""
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
"""Pattern and first characters of each scalar, tried in this order: every integer also matches the pattern of floats."""
for _kind, (_pattern, _beginnings) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, _pattern, _beginnings)
_Loader.add_constructor(_TAG + "int", lambda _, node: int(node.value.replace("_", "")))


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which quotes every text that the loader would read as another type."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def dump(content: Mapping[str, Any]) -> str:
    """Dump plain data as YAML text that `parse` reads back."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


@dataclass
class Document:
    """A config as plain data.

    Attributes:
        name: its name in messages: the path as the user typed it.
        content: mappings, lists, texts, numbers, booleans, None.
        places: `line:column` of each part, by path.
        overrides: the `--set` text that set a part, by path.
        text: the text of the file; empty for a config without a file.
    """

    name: str
    content: Any
    places: dict[Where, str] = field(default_factory=dict)
    overrides: dict[Where, str] = field(default_factory=dict)
    text: str = ""

    def location(self, path: Where) -> str:
        """Locate `path`, or the nearest part around it, in the file or the overrides."""
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
    """Read and parse a config file.

    Args:
        file: the path; it may be a pipe.
        inside: the run folder that the file must be in, as a regular file; None for any file.

    Raises:
        ConfigError: the file is missing, a folder, not UTF-8, too large, or not a single YAML mapping.
    """
    return parse(read_text(file, inside), one_line(str(file)))


def read_text(file: Path, inside: Path | None = None) -> str:
    """Read the text of a config file; raise as `read_document` does."""
    name = one_line(str(file))
    try:
        if file.is_dir():
            raise ConfigError([Problem(name, "", "this is a folder; pass the YAML file of a config")])
        with open_regular(file, inside) if inside else file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)  # a pipe has no known size, and /dev/zero never ends
        if len(content) > MAX_BYTES:
            raise ConfigError([Problem(name, "", f"a config has at most {MAX_BYTES:,} bytes; this is not one")])
        return content.decode()
    except FileNotFoundError as error:
        message = "no such file; 'cnnctl init' lists the example configs and copies one"
        raise ConfigError([Problem(name, "", message)]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(name, "", "not a text file in UTF-8; a config is YAML text")]) from error
    except OSError as error:
        raise ConfigError([Problem(name, "", f"cannot be read: {error.strerror}")]) from error


def parse(text: str, name: str, explained: bool = True) -> Document:
    """Parse the text of a config; raise as `read_document` does.

    Args:
        text: the YAML text.
        name: its name in messages.
        explained: False to report syntax errors in PyYAML's words, without searching for the cause.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is None:
            message = "the file is empty; a config has at least the sections data and model; 'cnnctl init' copies an example"
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
    from cnnctl.spec.mistakes import not_yaml  # imports this module, and is rarely needed

    return not_yaml(text, name, places)


def _reason(error: yaml.MarkedYAMLError) -> str:
    """Describe the error of PyYAML, with the part around it if that starts on another line."""
    problem, context = error.problem or "", error.context or ""
    if problem.startswith("but "):
        return f"{context}, {problem}"
    if "'\\t'" in problem:
        return f"{problem}; indent with spaces"
    began = error.context_mark
    if began and error.problem_mark and began.line != error.problem_mark.line:
        return f"{problem}, {context} that starts on line {began.line + 1}"
    return problem or context


class _Reader:
    """Converts composed nodes into plain data; collects places and problems."""

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
            message = f"more than {MAX_VALUES:,} values, including those repeated by aliases: too many for a config"
            raise ConfigError([Problem(f"{self.name}:{_place(node)}", "", message)])
        if any(node is above for above in self.open):
            raise ConfigError(
                [Problem(f"{self.name}:{_place(node)}", "", "an alias inside this part refers to the part itself")]
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
        self.problem(node, path, f"unknown tag {show(node.tag.replace(_TAG, '!!'))}: a config has no tags; remove the tag")
        return None

    def text(self, node: yaml.ScalarNode, path: Where) -> str:
        if "\0" in node.value:
            self.problem(node, path, f"{show(node.value)} contains the character NUL, which is not allowed in names and paths")
            return ""
        try:  # JSON writes characters beyond 16 bits as two surrogates
            return str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self.problem(node, path, f"{show(node.value)} contains half of a surrogate pair, which is not a character")
            return ""

    def scalar(self, node: yaml.ScalarNode, path: Where, kind: str) -> Any:
        pattern, _ = _SCALARS[kind]
        try:
            if pattern.match(node.value):
                return self.constructor.construct_object(node)
        except ValueError:  # too many digits for Python
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
                self.problem(key_node, path, "the YAML merge key << is not supported; write the fields themselves")
            elif key in content:
                self.problem(key_node, path, f"duplicate key '{key}', first on line {first[key]}; keep one of them")
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
    """Return `model.layers[3].conv2d` for ('model', 'layers', 3, 'conv2d')."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return one_line(text.removeprefix("."))


def setting(text: str) -> str:
    """Format an override for messages; a long one is cut."""
    shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    return one_line(f"--set {shown}")


def value_of(text: str, asked_by: str) -> Any:
    """Parse a value written as YAML; `asked_by` is its location in messages.

    Raises:
        ConfigError: the text is not valid YAML, or has a part that a config cannot have.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        return None if root is None else _Reader(asked_by).document(root).content
    except (_TooDeep, RecursionError) as error:
        raise ConfigError([Problem(asked_by, "", NESTED_TOO_DEEPLY)]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Problem(asked_by, "", f"{show(text)} is not valid YAML")]) from error
