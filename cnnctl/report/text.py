"""Text that several reports share, and escaping of foreign names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnctl.train.observers import Score


def printable(text: str) -> str:
    r"""Escape every control character, line break and undecodable byte, such as `\x1b`.

    A name can then neither move the cursor nor break a table or a picture.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def loss_text(loss: float, regularized: bool) -> str:
    """Format a loss, and whether it includes the penalties of regularizers."""
    return f"loss {loss:.4f}{' (regularization included)' if regularized else ''}"


def accuracy_text(score: Score) -> str:
    """Format an accuracy, for episodes with its 95 % interval; equal episodes have none."""
    if score.interval is None:
        return f"{score.accuracy:.2%}"
    if score.interval == 0:
        return f"{score.accuracy:.2%} in every episode"
    return f"{score.accuracy:.2%} ± {100 * score.interval:.2f} % (95 % interval)"
