"""CSV files with one image per row, such as those of Kaggle's Digit Recognizer.

Rows are parsed by NumPy, some lines at a time: it takes the same memory however many columns there are, while Arrow's reader
takes about 10 kB for each column.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError
from cnnctl.formats.arrays import Layout, check_names, fitting_size, side_lengths
from cnnctl.formats.names import ID_WORDS, listed, role_of
from cnnctl.formats.part import Labels, Part, Size
from cnnctl.formats.recognise import delimiter_of, first_bytes, kind_of
from cnnctl.formats.streams import PIECE_BYTES, as_data_error, check_count, first_line, opened

LABEL_COLUMNS = ("label", "labels", "class", "target", "y")
MAX_LINE = 2**24
"""Bytes of a row, line break included."""
_ENDINGS = re.compile(r"\.(csv|tsv|txt)(\.gz)?$", re.IGNORECASE)
_DTYPES = (np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.float32))
_EXPECTED = {"u": "an integer from 0 to 255", "i": "an integer", "f": "a finite number"}
_NUMBERED = 4
"""Columns from which on 0, 1, 2, ... are taken for names and not for pixels."""


@dataclass(frozen=True)
class Columns:
    """What the columns of a file are.

    Attributes:
        names: in the header; empty without one.
        count: how many there are.
        label: the place of the label; None without one.
        pixels: the places of the pixels.
    """

    names: tuple[str, ...]
    count: int
    label: int | None
    pixels: tuple[int, ...]

    def shown(self, place: int) -> str:
        """Name a column for messages; by its number, from 1, where there is no header."""
        if not self.names:
            return f"column {place + 1}"
        return f"column '{self.names[place]}'" if self.names[place] else f"column {place + 1}, without a name"


@dataclass(frozen=True)
class Lines:
    """Some rows of a file: the text of each, and its number from 1."""

    texts: list[bytes]
    numbers: Sequence[int]


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        file: compressed or not.
        inside: the folder that a link must not lead out of; None lets it lead anywhere.
        delimiter: between the cells.
        columns: what they are.
        dtype: of the pixels.
    """

    file: Path
    inside: Path | None
    delimiter: str
    columns: Columns
    dtype: np.dtype[Any]


def open_csv(path: Path, size: Size) -> dict[str, Part]:
    """Open a file, or the files of a folder that have a split in their name.

    Raises:
        DataError: a file is no table of images and labels, or it is not clear which files are meant.
    """
    inside = None if path.is_file() else path
    files = [path] if path.is_file() else _files(path)
    parts = (_part(file, inside, size) for file in files)
    return {part.name: part for part in parts}


def _files(path: Path) -> list[Path]:
    with as_data_error(path):
        tables = [file for file in path.iterdir() if _ENDINGS.search(file.name) and file.is_file()]
        tables = sorted(file for file in tables if kind_of(first_bytes(file)) == "csv")  # sample_submission.csv has no pixels
    # train.csv comes before train.csv.gz, and is the one that is kept
    by_name = {_name(file): file for file in reversed(tables)}
    named = {name: file for name, file in sorted(by_name.items()) if role_of(name)}
    if len(by_name) > 1 and not named:
        raise DataError(
            f"{path}: expected train.csv and test.csv, received {listed(sorted(by_name))}; give one file as data.path"
        )
    return list((named or by_name).values())


def _name(file: Path) -> str:
    return _ENDINGS.sub("", file.name) if _ENDINGS.search(file.name) else file.stem


def _part(file: Path, inside: Path | None, size: Size) -> Part:
    table = _table(file, inside, size)
    layout = Layout(*side_lengths(len(table.columns.pixels), size, str(file)), channels=1)
    count, labels = _scan(table)
    return Part(
        _name(file),
        (file,),
        count,
        layout.height,
        layout.width,
        1,
        None if labels is None else (lambda: labels),
        lambda most: _blocks(table, layout, count, most),
        unread=_unread(table.columns),
    )


def _unread(columns: Columns) -> tuple[str, ...]:
    return tuple(columns.shown(place) for place in range(columns.count) if place not in {columns.label, *columns.pixels})


def _table(file: Path, inside: Path | None, size: Size) -> Table:
    """Find out what the columns of a file are, by its first rows.

    Raises:
        DataError: it has no rows, or its columns are not those of images.
    """
    with opened(file, inside) as stream:
        texts = next((texts for _, texts in _read_lines(stream, file)), [])
    first, second = [*texts[:2], b"", b""][:2]
    delimiter = delimiter_of(_text(first, file, 1))
    columns = columns_of(_cells(first, delimiter, file, 1), size, str(file), _cells(second, delimiter, file, 2))
    table = Table(file, inside, delimiter, columns, _DTYPES[-1])
    with opened(file, inside) as stream:
        rows = next(_rows(table, stream), None)
    if rows is None:
        raise DataError(f"{file}: it has no images: no rows below the names of the columns; download it again")
    return replace(table, dtype=_dtype(table, rows))


# columns


def columns_of(cells: Sequence[str], size: Size, where: str, second: Sequence[str] = ()) -> Columns:
    """Find out what columns are.

    Args:
        cells: of the first row, which may be names.
        size: height and width of images that are no squares.
        where: the file, for messages.
        second: cells of the second row.

    Raises:
        DataError: a column is neither label nor pixel, or the pixels are no image.
    """
    mangled = _are_mangled(cells, second)
    names = tuple(cell.strip() for cell in cells) if _are_names(cells) or mangled else ()
    places = [place for place in range(len(cells)) if not names or names[place].lower() not in ID_WORDS]
    label = _label_by_name(names, places, where) if names and not mangled else _label_by_text(cells)
    if label is None:
        label = _label_by_count(places, size, where)
    return Columns(names, len(cells), label, tuple(place for place in places if place != label))


def _are_names(cells: Sequence[str]) -> bool:
    """Return whether a row has the names of columns: several texts, or a text or none before 0, 1, 2, ..."""
    texts = [cell.strip().lower() for cell in cells if not _is_number(cell)]
    numbers = [cell.strip() for cell in cells if _is_number(cell)]
    counted = any(numbers == [str(first + place) for place in range(len(numbers))] for first in (0, 1))
    if len(texts) == 1:  # the label of a row without names may be a text as well
        return counted or texts[0] in LABEL_COLUMNS + ID_WORDS[:-1]
    return len(texts) > 1 or (counted and len(cells) > _NUMBERED)


def _are_mangled(cells: Sequence[str], second: Sequence[str]) -> bool:
    """Return whether a row has what pandas makes of a row of pixels taken for names: 5, 0, 0.1, 0.2, 84, 84.1, ..., above integers.

    A value that repeats is numbered: the n-th repetition of 84 is 84.n.
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
    """Find the column with the name of a label, or the one that is not numbered as the others are."""
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
    """Find the label of a row without names where it is its only text, before the pixels or behind them."""
    texts = [place for place, cell in enumerate(cells) if cell.strip() and not _is_number(cell)]
    return texts[0] if len(texts) == 1 and texts[0] in (0, len(cells) - 1) else None


def _label_by_count(places: Sequence[int], size: Size, where: str) -> int | None:
    """Find out by the number of columns whether the first one is a label."""
    count = len(places)
    for fits in (lambda pixels: size is not None and pixels == prod(size), lambda pixels: fitting_size(pixels, None)):
        for label, pixels in ((None, count), (next(iter(places), None), count - 1)):
            if fits(pixels):
                return label
    raise DataError(
        f"{where}: {count:,} columns are no square of pixels, with or without a label before them; "
        "write data.image_size: [height, width]"
    )


# rows


def _read_lines(stream: IO[bytes], file: Path) -> Iterator[tuple[list[int], list[bytes]]]:
    """Read the lines of a file that are not blank, about a megabyte at a time, and the number of each from 1."""
    number, rest = 1, b""
    while piece := stream.read(PIECE_BYTES):
        if not rest and not piece.strip(b"\r\n"):  # a megabyte of blank lines is not split
            number += piece.count(b"\n")
            continue
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_LINE:
            raise DataError(
                f"{file}: row {number + len(lines)} has more than {MAX_LINE:,} bytes; expected one image per row; "
                "save larger images as image files"
            )
        if number == 1 and lines:
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
        yield from _not_blank(lines, number)
        number += len(lines)
    yield from _not_blank([rest.removeprefix(codecs.BOM_UTF8) if number == 1 else rest], number)


def _not_blank(lines: list[bytes], number: int) -> Iterator[tuple[list[int], list[bytes]]]:
    kept = [(place, line.rstrip(b"\r")) for place, line in enumerate(lines, number) if line.strip()]
    if kept:
        yield [place for place, _ in kept], [line for _, line in kept]


def _rows(table: Table, stream: IO[bytes]) -> Iterator[Lines]:
    """Read the rows of a file without its header; each is checked to have all columns."""
    header = bool(table.columns.names)
    for numbers, texts in _read_lines(stream, table.file):
        lines = Lines(texts[header:], numbers[header:])
        header = False
        _check_columns(table, lines)
        if lines.texts:
            yield lines


def _check_columns(table: Table, lines: Lines) -> None:
    delimiter = table.delimiter.encode()
    for number, text in zip(lines.numbers, lines.texts, strict=True):
        count = text.count(delimiter) + 1
        if count != table.columns.count and b'"' in text:  # the text in quotes may have delimiters
            count = len(_cells(text, table.delimiter, table.file, number))
        if count != table.columns.count:
            raise DataError(
                f"{table.file}: row {number} has {count:,} columns, expected {table.columns.count:,} as in the first row; "
                "complete or remove it"
            )


def _text(line: bytes, file: Path, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: row {number} is not UTF-8 text; save the file as CSV in UTF-8") from error


def _cells(line: bytes, delimiter: str, file: Path, number: int) -> list[str]:
    text = _text(line, file, number)
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{file}: row {number} cannot be read: {error}; correct or remove it") from error


def _cell(line: bytes, place: int, table: Table, number: int) -> str:
    """Read one cell of a row; the others are left as they are, since there are many."""
    if b'"' in line:
        return _cells(line, table.delimiter, table.file, number)[place].strip()
    return _text(line.split(table.delimiter.encode(), place + 1)[place], table.file, number).strip()


# labels


def _scan(table: Table) -> tuple[int, Labels | None]:
    """Count the rows and read their labels; pixels are not parsed."""
    count, place = 0, table.columns.label
    codes, names = array("q"), dict[str, int]()
    with opened(table.file, table.inside) as stream:
        for lines in _rows(table, stream):
            count += len(lines.texts)
            check_count(str(table.file), count)
            if place is not None:
                found = (_label(text, place, table, number) for number, text in zip(lines.numbers, lines.texts, strict=True))
                codes.extend(names.setdefault(label, len(names)) for label in found)
            check_names(names, f"{table.file}: {table.columns.shown(place or 0)}")
    return count, None if place is None else _decoded(np.frombuffer(codes, np.int64), list(names))


def _label(line: bytes, place: int, table: Table, number: int) -> str:
    label = _cell(line, place, table, number)
    if not label:
        shown = table.columns.shown(place)
        raise DataError(f"{table.file}: row {number}, {shown}: expected a label, received nothing; complete or remove the row")
    return label


def _decoded(codes: NDArray[np.int64], names: Sequence[str]) -> Labels:
    """Turn codes into integers where all names are, else into names; 3.0 is an integer too."""
    if all(re.fullmatch(r"[-+]?\d{1,18}(\.0*)?", name) for name in names):
        return np.array([int(name.partition(".")[0]) for name in names], np.int64)[codes]
    return [names[code] for code in codes]


# pixels


def _blocks(table: Table, layout: Layout, count: int, most: int) -> Iterator[NDArray[Any]]:
    seen = 0
    with opened(table.file, table.inside) as stream:
        for lines in _rows(table, stream):
            values = _pixels(table, lines, table.dtype)
            seen += len(values)
            for start in range(0, len(values), most):
                yield layout.arrange(values[start : start + most])
    if seen != count:
        raise DataError(f"{table.file}: it changed while it was read; run the command again")


def _dtype(table: Table, lines: Lines) -> np.dtype[Any]:
    """Choose the smallest dtype that the first rows fit."""
    for dtype in _DTYPES[:-1]:
        with contextlib.suppress(ValueError):
            _parse(table, lines, dtype)
            return dtype
    _pixels(table, lines, _DTYPES[-1])
    return _DTYPES[-1]


def _pixels(table: Table, lines: Lines, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Parse the pixels of some rows.

    Raises:
        DataError: one is no number of this dtype.
    """
    try:
        values = _parse(table, lines, dtype)
    except ValueError as error:
        raise _bad_pixel(table, lines, dtype, first_line(error)) from error
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise _bad_pixel(table, lines, dtype, "a pixel is not finite")
    return values


def _parse(table: Table, lines: Lines, dtype: np.dtype[Any]) -> NDArray[Any]:
    pixels = table.columns.pixels
    return np.loadtxt(
        lines.texts,
        dtype,
        comments=None,
        delimiter=table.delimiter,
        usecols=pixels if len(pixels) < table.columns.count else None,
        ndmin=2,
        encoding="utf-8",
        quotechar='"',
    )


def _bad_pixel(table: Table, lines: Lines, dtype: np.dtype[Any], otherwise: str) -> DataError:
    """Make the error for the first cell that is no pixel."""
    for number, text in zip(lines.numbers, lines.texts, strict=True):
        cells = _cells(text, table.delimiter, table.file, number)
        for place in table.columns.pixels:
            if not _is_pixel(cells[place], dtype):
                received = repr(cells[place][:50]) if cells[place].strip() else "nothing"
                return DataError(
                    f"{table.file}: row {number}, {table.columns.shown(place)}: expected {_EXPECTED[dtype.kind]}, "
                    f"received {received}; correct or remove the row"
                )
    return DataError(f"{table.file}: rows {lines.numbers[0]} to {lines.numbers[-1]}: {otherwise}; correct or remove them")


def _is_pixel(cell: str, dtype: np.dtype[Any]) -> bool:
    try:
        value = float(cell) if dtype.kind == "f" else int(cell)
    except ValueError:
        return False
    low, high = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return low <= value <= high and value not in (np.inf, -np.inf)
