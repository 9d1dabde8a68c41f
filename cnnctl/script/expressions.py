"""Values and calls as Python text, and calls laid out on lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from cnnctl.surroundings import is_utf8

WIDTH = 100
"""Columns of a script."""


def literal(value: object) -> str:
    """Return a value of a config as Python text."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=not is_utf8(value))
    if isinstance(value, tuple | list):
        items = [literal(each) for each in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return repr(value)


def pair(value: tuple[object, ...]) -> str:
    """Return one value for both rows and columns where they are equal, else the pair, as Keras takes it."""
    rows, columns = (pair(each) if isinstance(each, tuple) else literal(each) for each in value)
    return rows if rows == columns else f"({rows}, {columns})"


@dataclass(frozen=True)
class Call:
    """A call of a class.

    Attributes:
        function: what is called.
        plain: its arguments that are short.
        parts: its arguments that are calls themselves, by keyword.
    """

    function: str
    plain: tuple[str, ...] = ()
    parts: tuple[tuple[str, Call], ...] = ()

    def __str__(self) -> str:
        return f"{self.function}({', '.join((*self.plain, *map(_keyword, self.parts)))})"


def _keyword(part: tuple[str, Call]) -> str:
    return f"{part[0]}={part[1]}"


def laid_out(head: str, call: Call, tail: str = "", first: int = WIDTH) -> list[str]:
    """Return a call on one line, or over several with its arguments indented.

    Args:
        head: what stands before the call, indented.
        call: the call.
        tail: what stands after it.
        first: columns that the line may have where it is one.
    """
    line = f"{head}{call}{tail}"
    if len(line) <= first:
        return [line]
    indent = " " * (len(head) - len(head.lstrip()) + 4)
    plain = [f"{indent}{argument}," for argument in call.plain]
    parts = [line for keyword, part in call.parts for line in laid_out(f"{indent}{keyword}=", part, ",")]
    return [f"{head}{call.function}(", *plain, *parts, f"{indent[4:]}){tail}"]


def hung(head: str, call: Call, tail: str, first: int) -> list[str]:
    """Return a call with its short arguments on the first line and each part under the first argument, where that fits.

    Args:
        head: what stands before the call, indented.
        call: the call.
        tail: what stands after it.
        first: columns that the first line may have.
    """
    start = f"{head}{call.function}("
    end = f"){tail}"
    short = _rows(call.plain, first - len(start) - len(end))
    parts = list(map(_keyword, call.parts))
    others = _rows([*short[1:], *parts[:1]], WIDTH - len(start) - len(end))  # what is left of the short ones, beside a part
    text = f",\n{' ' * len(start)}".join([*short[:1], *others, *parts[1:]])
    lines = f"{start}{text}{end}".split("\n")
    fits = len(lines[0]) <= first and all(len(line) <= WIDTH for line in lines)
    return lines if fits else laid_out(head, call, tail, first)


def _rows(texts: Iterable[str], width: int) -> list[str]:
    """Return texts joined to rows of at most `width` columns, the comma that ends a row left out."""
    rows: list[str] = []
    for text in texts:
        if rows and len(rows[-1]) + len(text) + 2 <= width:
            rows[-1] += f", {text}"
        else:
            rows.append(text)
    return rows
