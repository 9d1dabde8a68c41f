"""The layers of one's own in a script: the text of their file, without what the script has or must not run."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator, Mapping

from cnnctl.errors import UsageError
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import CustomLayer
from cnnctl.spec.layers.custom import CustomFile, loaded

FUTURE = "__future__"


def own_file(experiment: Experiment) -> CustomFile | None:
    """Return the file of `--custom-layers` if the network has a layer of it."""
    return loaded() if any(isinstance(node.layer, CustomLayer) for node in experiment.network.nodes) else None


def own_code(file: CustomFile) -> str:
    """Return the text of a file without its docstring, its imports, and what only runs as a program."""
    text = _text(file)
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if _is_docstring(node) or _is_program(node) or _is_import(node):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(_few_blank(lines)).strip("\n")


def with_imports(head: str, file: CustomFile) -> str:
    """Add the imports of a file to those of the head of the script; future ones below its docstring, the only place for them."""
    nodes, tree = [node for node in ast.parse(_text(file)).body if _is_import(node)], ast.parse(head)
    there = [node for node in tree.body if _is_import(node)]
    known = {ast.unparse(node) for node in there}
    future = [ast.unparse(node) for node in nodes if _is_future(node)]
    others = [line for node in nodes if not _is_future(node) and (line := ast.unparse(node)) not in known]
    lines, start, end = head.split("\n"), tree.body[0].end_lineno, there[-1].end_lineno
    return "\n".join([*lines[:start], *(["", *future] if future else []), *lines[start:end], *others, *lines[end:]])


def refuse_same_names(file: CustomFile, script: str) -> None:
    """Raise UsageError if a file and the rest of the script define the same name, so that one would replace the other."""
    theirs, ours = _defined(ast.parse(_text(file))), _defined(ast.parse(script))
    for name, (line, what) in theirs.items():
        if name in ours and (not what or ours[name][1] != what):
            raise UsageError(f"{file.path}:{line}  the script of cnnctl code has a '{name}' of its own; rename this one")


def _text(file: CustomFile) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(file.source).readline)
    return file.source.decode(encoding).replace("\r\n", "\n")


def _few_blank(lines: list[str]) -> Iterator[str]:
    """Yield lines with two blank ones in a row at most."""
    blank = 2
    for line in lines:
        blank = 0 if line.strip() else blank + 1
        if blank <= 2:
            yield line


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_program(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).replace('"', "'") == "__name__ == '__main__'"


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == FUTURE


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def _defined(tree: ast.Module) -> Mapping[str, tuple[int, str]]:
    """Return the names that the top of a module defines: the line, and what is imported, if it is an import."""
    found: dict[str, tuple[int, str]] = {}
    for node in tree.body:
        for name, what in _names(node):
            found.setdefault(name, (node.lineno, what))
    return found


def _names(node: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for name in node.names:
            yield (name.asname or name.name.partition(".")[0]), f"{module}{name.name}"
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name, ""
    elif not _is_program(node):
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                yield each.id, ""
