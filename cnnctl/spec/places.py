"""Where a part of a config is written: inside a block it has two places, in the definition and in the use."""

from __future__ import annotations

from typing import Any

from cnnctl.errors import Problem
from cnnctl.spec.document import Document, Where, dotted
from cnnctl.spec.layers.blocks import IN_BLOCK, SIGN


def definition(where: Where) -> Where:
    """Return the path of a part in the file; of a part inside a block, that in the block's definition."""
    if IN_BLOCK not in where:
        return where
    end = _last(where)
    return ("model", "blocks", where[end - 1], *where[end + 1 :])


def problem_at(document: Document, where: Where, message: str, path: Where | None = None) -> Problem:
    """Create a problem with the place of a part, and inside a block with that of the use.

    Args:
        document: the config.
        where: the path of the part.
        message: what is wrong.
        path: the path to print, if it is not that of the part.
    """
    written = definition(where)
    if written == where:
        return Problem(document.location(where), dotted(where if path is None else path), message)
    argument = _argument(document.content, where) if path is None else None  # a name is never that of an argument
    if argument:
        inside = f" (it is {dotted(written)}, {document.location(written)})"
        return Problem(document.location(argument), dotted(argument), message, inside)
    shown = written if path is None else definition(path)
    return Problem(document.location(written), dotted(shown), message, f" ({_used_at(document, where[: _last(where)])})")


def is_argument(content: Any, where: Where) -> bool:
    """Return True if a part inside a block has its value from an argument."""
    return definition(where) != where and _argument(content, where) is not None


def _used_at(document: Document, use: Where) -> str:
    """Name the place of a use, and of the outermost one if it is inside another block."""
    text = f"the block is used at {document.location(definition(use))}"
    outermost = use[: use.index(IN_BLOCK)] if IN_BLOCK in use else use
    return text if outermost == use else f"{text}, inside the block that is used at {document.location(outermost)}"


def _last(where: Where) -> int:
    return len(where) - 1 - where[::-1].index(IN_BLOCK)


def _argument(content: Any, where: Where) -> Where | None:
    """Return the path in the file of the argument, or of a part of it, that a part inside a block has its value from.

    None if the value is written in the definition of the block.
    """
    if IN_BLOCK not in where:
        return None
    end, written = _last(where), definition(where)
    for depth in range(1, len(written) + 1):
        word = _at(content, written[:depth])
        if isinstance(word, str) and word.startswith(SIGN):
            rest = written[depth:]
            use = (*where[:end], word[1:], *rest)
            if word[1:] in (_at(content, definition(where[:end])) or ()):
                return _argument(content, use) or definition(use)
            return ("model", "blocks", where[end - 1], "parameters", word[1:], *rest)
    return None


def _at(content: Any, path: Where) -> Any:
    """Return the part of plain data at a path; None if there is none, as below a layer written as a bare name."""
    for key in path:
        if isinstance(content, str):
            return None
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError):
            return None
    return content
