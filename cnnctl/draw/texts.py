"""The title of a picture of one layer, and the lines below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cnnctl.draw.labels import SIZE, Line
from cnnctl.svg import text

MARGIN, TITLE = 24.0, 17.0
"""Pixels around a picture, and of the title's font."""


def text_width(texts: Sequence[str]) -> float:
    """Estimate the pixels that the title and the lines need, with the margins."""
    title, *lines = texts
    return max([Line(title).width * TITLE / SIZE * 1.05, *(Line(each).width for each in lines)]) + 2 * MARGIN


def drawn_texts(texts: Sequence[str]) -> Iterator[str]:
    """Yield the title and the lines."""
    yield text(MARGIN, MARGIN + 12, texts[0], font_size=TITLE, font_weight="bold")
    for number, each in enumerate(texts[1:]):
        yield text(MARGIN, MARGIN + 32 + 17 * number, each, "faint", font_size=SIZE)
