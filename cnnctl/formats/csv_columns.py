"""Determine which columns of a CSV file are the label and the pixels, from its first rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from cnnctl.errors import DataError
from cnnctl.formats.arrays import fitting_size
from cnnctl.formats.names import ID_WORDS, listed
from cnnctl.formats.part import Size

LABEL_COLUMNS = ("label", "labels", "class", "target", "y")
_NUMBERED = 4
"""Minimum number of columns for 0, 1, 2, ... to be a header and not pixels."""


@dataclass(frozen=True)
class Columns:
    """The meaning of the columns of a file.

    Attributes:
        names: from the header; empty without one.
        count: number of columns.
        label: index of the label, or None.
        pixels: indices of the pixels.
    """

    names: tuple[str, ...]
    count: int
    label: int | None
    pixels: tuple[int, ...]

    def shown(self, place: int) -> str:
        """Name a column for messages, by its number from 1 where there is no header."""
        if not self.names:
            return f"column {place + 1}"
        return f"column '{self.names[place]}'" if self.names[place] else f"column {place + 1}, without a name"


def columns_of(cells: Sequence[str], size: Size, where: str, second: Sequence[str] = ()) -> Columns:
    """Determine the meaning of columns.

    Args:
        cells: cells of the first row, which may be names.
        size: height and width of images that are not squares.
        where: the file, for messages.
        second: cells of the second row.

    Raises:
        DataError: a column is neither label nor pixel, or the pixels are not an image.
    """
    mangled = _are_mangled(cells, second)
    names = tuple(cell.strip() for cell in cells) if _are_names(cells) or mangled else ()
    places = [place for place in range(len(cells)) if not names or names[place].lower() not in ID_WORDS]
    label = _label_by_name(names, places, where) if names and not mangled else _label_by_text(cells)
    if label is None:
        label = _label_by_count(places, size, where)
    return Columns(names, len(cells), label, tuple(place for place in places if place != label))


def _are_names(cells: Sequence[str]) -> bool:
    """Return True for a header: several texts, or at most one text before 0, 1, 2, ..."""
    texts = [cell.strip().lower() for cell in cells if not _is_number(cell)]
    numbers = [cell.strip() for cell in cells if _is_number(cell)]
    counted = any(numbers == [str(first + place) for place in range(len(numbers))] for first in (0, 1))
    if len(texts) == 1:  # a label in a row of pixels may also be a text
        return counted or texts[0] in LABEL_COLUMNS + ID_WORDS[:-1]
    return len(texts) > 1 or (counted and len(cells) > _NUMBERED)


def _are_mangled(cells: Sequence[str], second: Sequence[str]) -> bool:
    """Return True where a row of pixels went through pandas' header parser: 5, 0, 0.1, 0.2, 84, 84.1, ..., above integers.

    pandas numbers repeated names: the n-th repetition of 84 is 84.n.
    """
    seen: Counter[str] = Counter()
    for cell in cells:
        value, _, repetition = cell.strip().partition(".")
        if not value.isdecimal() or repetition != (str(seen[value]) if seen[value] else ""):
            return False
        seen[value] += 1
    return max(seen.values(), default=0) > 1 and all(re.fullmatch(r"\s*\d+\s*", cell) for cell in second)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _label_by_name(names: Sequence[str], places: Sequence[int], where: str) -> int | None:
    """Find the column named as a label, or the only one not numbered like the others."""
    known = [place for place in places if names[place].lower() in LABEL_COLUMNS]
    forms = {place: re.sub(r"\d+", "#", names[place].lower()) for place in places}
    usual, times = Counter(forms.values()).most_common(1)[0] if forms else ("", 0)
    odd = [place for place in places if forms[place] != usual and place not in known] if 2 * times > len(places) else []
    if len(known) > 1 or (known and odd) or len(odd) > 1:
        texts = listed(repr(names[place]) for place in known + odd)
        raise DataError(
            f"{where}: expected one column of labels beside the pixels, received {texts}; name it label, remove others"
        )
    return next(iter(known + odd), None)


def _label_by_text(cells: Sequence[str]) -> int | None:
    """Find the label of a row without names: its only text, at the start or at the end."""
    texts = [place for place, cell in enumerate(cells) if cell.strip() and not _is_number(cell)]
    return texts[0] if len(texts) == 1 and texts[0] in (0, len(cells) - 1) else None


def _label_by_count(places: Sequence[int], size: Size, where: str) -> int | None:
    """Decide from the number of columns whether the first one is a label."""
    count = len(places)
    for fits in (lambda pixels: size is not None and pixels == prod(size), lambda pixels: fitting_size(pixels, None)):
        for label, pixels in ((None, count), (next(iter(places), None), count - 1)):
            if fits(pixels):
                return label
    raise DataError(
        f"{where}: {count:,} columns are not a square of pixels, with or without a label before them; "
        "write data.image_size: [height, width]"
    )
