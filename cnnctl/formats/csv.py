"""Read CSV files with one image per row, such as Kaggle's Digit Recognizer.

NumPy parses some lines at a time, in memory independent of the number of columns. Arrow's reader would need about 10 kB per
column.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError
from cnnctl.formats.arrays import Layout, check_names, side_lengths
from cnnctl.formats.csv_columns import Columns, columns_of
from cnnctl.formats.names import listed, role_of
from cnnctl.formats.part import Labels, Part, Size
from cnnctl.formats.recognise import delimiter_of, first_bytes, kind_of
from cnnctl.formats.streams import PIECE_BYTES, as_data_error, check_count, first_line, opened

MAX_LINE = 2**24
"""Maximum bytes of a row, including the line break."""
_ENDINGS = re.compile(r"\.(csv|tsv|txt)(\.gz)?$", re.IGNORECASE)
_DTYPES = (np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.float32))
_EXPECTED = {"u": "an integer from 0 to 255", "i": "an integer", "f": "a finite number"}


@dataclass(frozen=True)
class Lines:
    """Some rows of a file: their texts, and their numbers from 1."""

    texts: list[bytes]
    numbers: Sequence[int]


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        file: compressed or not.
        inside: the folder that links must stay inside of; None allows any link.
        delimiter: between cells.
        columns: the meaning of the columns.
        dtype: of the pixels.
    """

    file: Path
    inside: Path | None
    delimiter: str
    columns: Columns
    dtype: np.dtype[Any]


def open_csv(path: Path, size: Size) -> dict[str, Part]:
    """Open a file, or the files of a folder with a split in their name.

    Raises:
        DataError: a file is not a table of images, or the choice of files is ambiguous.
    """
    inside = None if path.is_file() else path
    files = [path] if path.is_file() else _files(path)
    parts = (_part(file, inside, size) for file in files)
    return {part.name: part for part in parts}


def _files(path: Path) -> list[Path]:
    with as_data_error(path):
        tables = [file for file in path.iterdir() if _ENDINGS.search(file.name) and file.is_file()]
        tables = sorted(file for file in tables if kind_of(first_bytes(file)) == "csv")  # sample_submission.csv has no pixels
    # train.csv takes precedence over train.csv.gz
    by_name = {_name(file): file for file in reversed(tables)}
    named = {name: file for name, file in sorted(by_name.items()) if role_of(name)}
    if len(by_name) > 1 and not named:
        raise DataError(
            f"{path}: expected train.csv and test.csv, received {listed(sorted(by_name))}; write one file as data.path"
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
        lambda max_rows: _blocks(table, layout, count, max_rows),
        unread=_unread(table.columns),
    )


def _unread(columns: Columns) -> tuple[str, ...]:
    return tuple(columns.shown(place) for place in range(columns.count) if place not in {columns.label, *columns.pixels})


def _table(file: Path, inside: Path | None, size: Size) -> Table:
    """Determine the columns and the dtype of a file from its first rows.

    Raises:
        DataError: the file has no rows, or its columns are not those of images.
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
        raise DataError(f"{file}: expected images, received only a header; download it again")
    return replace(table, dtype=_dtype(table, rows))


# rows


def _read_lines(stream: IO[bytes], file: Path) -> Iterator[tuple[list[int], list[bytes]]]:
    """Yield the lines of a file that are not blank with their numbers from 1, about a megabyte at a time."""
    number, rest = 1, b""
    while piece := stream.read(PIECE_BYTES):
        if not rest and not piece.strip(b"\r\n"):  # do not split a megabyte of blank lines
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
    filled = [(place, line.rstrip(b"\r")) for place, line in enumerate(lines, number) if line.strip()]
    if filled:
        yield [place for place, _ in filled], [line for _, line in filled]


def _rows(table: Table, stream: IO[bytes]) -> Iterator[Lines]:
    """Yield the rows of a file without its header, each checked for the number of columns."""
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
        if count != table.columns.count and b'"' in text:  # quoted text may contain delimiters
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
    """Extract one cell of a row without splitting the rest."""
    if b'"' in line:
        return _cells(line, table.delimiter, table.file, number)[place].strip()
    return _text(line.split(table.delimiter.encode(), place + 1)[place], table.file, number).strip()


# labels


def _scan(table: Table) -> tuple[int, Labels | None]:
    """Count the rows and read their labels. Parses no pixels."""
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
    """Convert codes to integers where all names are integers, such as 3 or 3.0, else to names."""
    if all(re.fullmatch(r"[-+]?\d{1,18}(\.0*)?", name) for name in names):
        return np.array([int(name.partition(".")[0]) for name in names], np.int64)[codes]
    return [names[code] for code in codes]


# pixels


def _blocks(table: Table, layout: Layout, count: int, max_rows: int) -> Iterator[NDArray[Any]]:
    seen = 0
    with opened(table.file, table.inside) as stream:
        for lines in _rows(table, stream):
            values = _pixels(table, lines, table.dtype)
            seen += len(values)
            for start in range(0, len(values), max_rows):
                yield layout.arrange(values[start : start + max_rows])
    if seen != count:
        raise DataError(f"{table.file} changed while it was read; run the command again")


def _dtype(table: Table, lines: Lines) -> np.dtype[Any]:
    """Choose the smallest dtype for the first rows."""
    for dtype in _DTYPES[:-1]:
        with contextlib.suppress(ValueError):
            _parse(table, lines, dtype)
            return dtype
    _pixels(table, lines, _DTYPES[-1])
    return _DTYPES[-1]


def _pixels(table: Table, lines: Lines, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Parse the pixels of some rows.

    Raises:
        DataError: a cell is not a number of this dtype.
    """
    try:
        values = _parse(table, lines, dtype)
    except ValueError as error:
        raise _bad_pixel(table, lines, dtype, first_line(error)) from error
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise _bad_pixel(table, lines, dtype, "a pixel is NaN or infinite")
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


def _bad_pixel(table: Table, lines: Lines, dtype: np.dtype[Any], reason: str) -> DataError:
    """Build the error for the first cell that is not a pixel."""
    for number, text in zip(lines.numbers, lines.texts, strict=True):
        cells = _cells(text, table.delimiter, table.file, number)
        for place in table.columns.pixels:
            if not _is_pixel(cells[place], dtype):
                received = repr(cells[place][:50]) if cells[place].strip() else "nothing"
                return DataError(
                    f"{table.file}: row {number}, {table.columns.shown(place)}: expected {_EXPECTED[dtype.kind]}, "
                    f"received {received}; correct or remove the row"
                )
    return DataError(f"{table.file}: rows {lines.numbers[0]} to {lines.numbers[-1]}: {reason}; correct or remove them")


def _is_pixel(cell: str, dtype: np.dtype[Any]) -> bool:
    try:
        value = float(cell) if dtype.kind == "f" else int(cell)
    except ValueError:
        return False
    low, high = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return low <= value <= high and value not in (np.inf, -np.inf)
