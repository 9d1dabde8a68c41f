"""Python expressions as text: literals, and calls wrapped to lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cnnctl.surroundings import is_utf8

WIDTH = 100
"""Line length of a script."""


def literal(value: object) -> str:
    """Format a config value as a Python literal."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not is_utf8(value))
    if isinstance(value, tuple | list):
        items = [literal(each) for each in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(each)}' for key, each in value.items())}}}"
    return repr(value)


def pair(value: tuple[object, ...]) -> str:
    """Format a pair for Keras: a single value if rows and columns are equal."""
    rows, columns = (pair(each) if isinstance(each, tuple) else literal(each) for each in value)
    return rows if rows == columns else f"({rows}, {columns})"


@dataclass(frozen=True)
class Call:
    """A call in the generated code.

    Attributes:
        function: the called name.
        plain: short arguments.
        parts: arguments that are calls themselves, by keyword.
    """

    function: str
    plain: tuple[str, ...] = ()
    parts: tuple[tuple[str, Call], ...] = ()

    def __str__(self) -> str:
        return f"{self.function}({', '.join((*self.plain, *map(_keyword, self.parts)))})"


def _keyword(part: tuple[str, Call]) -> str:
    return f"{part[0]}={part[1]}"


def laid_out(head: str, call: Call, tail: str = "", first: int = WIDTH) -> list[str]:
    """Format a call on one line, or on several with indented arguments.

    Args:
        head: the indented text before the call.
        call: the call.
        tail: the text after it.
        first: longest single line.
    """
    line = f"{head}{call}{tail}"
    if len(line) <= first:
        return [line]
    indent = " " * (len(head) - len(head.lstrip()) + 4)
    plain = [f"{indent}{argument}," for argument in call.plain]
    parts = [line for keyword, part in call.parts for line in laid_out(f"{indent}{keyword}=", part, ",")]
    return [f"{head}{call.function}(", *plain, *parts, f"{indent[4:]}){tail}"]


def hung(head: str, call: Call, tail: str, first: int) -> list[str]:
    """Format a call with short arguments on the first line and each part aligned below, if that fits.

    Args:
        head: the indented text before the call.
        call: the call.
        tail: the text after it.
        first: longest first line.
    """
    start = f"{head}{call.function}("
    end = f"){tail}"
    short = _rows(call.plain, first - len(start) - len(end))
    parts = list(map(_keyword, call.parts))
    others = _rows([*short[1:], *parts[:1]], WIDTH - len(start) - len(end))  # remaining short arguments share a row with a part
    text = f",\n{' ' * len(start)}".join([*short[:1], *others, *parts[1:]])
    lines = f"{start}{text}{end}".split("\n")
    fits = len(lines[0]) <= first and all(len(line) <= WIDTH for line in lines)
    return lines if fits else laid_out(head, call, tail, first)


def _rows(texts: Iterable[str], width: int) -> list[str]:
    """Join texts to rows of at most `width` columns, without the comma at the end of a row."""
    rows: list[str] = []
    for text in texts:
        if rows and len(rows[-1]) + len(text) + 2 <= width:
            rows[-1] += f", {text}"
        else:
            rows.append(text)
    return rows
