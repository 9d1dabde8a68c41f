"""Where a part of a config is written: inside a block it has two places, in the definition and in the use."""

from __future__ import annotations

from functools import reduce
from operator import getitem
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
    argument = _argument(document.content, where)
    if argument:
        inside = f" (it is {dotted(written)}, {document.location(written)})"
        return Problem(document.location(argument), dotted(argument), message, inside)
    shown = written if path is None else definition(path)
    use = where[: _last(where)]
    used = f" (the block is used at {document.location(definition(use))})"
    return Problem(document.location(written), dotted(shown), message, used)


def _last(where: Where) -> int:
    return len(where) - 1 - where[::-1].index(IN_BLOCK)


def _argument(content: Any, where: Where) -> Where | None:
    """Return the path of the argument that a part inside a block has its value from; None if it is written there."""
    word = _at(content, definition(where))
    if not isinstance(word, str) or not word.startswith(SIGN):
        return None
    use = (*where[: _last(where)], word[1:])
    if _at(content, definition(use)) is None:
        return ("model", "blocks", where[_last(where) - 1], "parameters", word[1:])
    return _argument(content, use) or definition(use)


def _at(content: Any, path: Where) -> Any:
    """Return the part of plain data at a path; None if there is none, as below a layer written as a bare name."""
    try:
        return reduce(getitem, path, content)
    except (KeyError, IndexError, TypeError):
        return None
