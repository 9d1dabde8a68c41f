"""CSV files with one image per row as code, as read by `cnnctl.formats.csv`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnctl.errors import UsageError
from cnnctl.script.array_files import Split, Stored
from cnnctl.script.expressions import Call, laid_out, literal
from cnnctl.spec.dataset import DataSpec

if TYPE_CHECKING:
    import numpy as np

    from cnnctl.formats import Part

CSV = """
$table  #? one_table
    labels, images = table[:, 0], table[:, 1:]  #? one_table
$labels  #? !one_table
    labels = np.char.strip(labels)  #? label_names
$images  #? !one_table
"""
_MAX_IN_FLOAT = 2**24
"""Largest integer up to which float32 represents every integer."""


@dataclass(frozen=True)
class Table:
    """The layout of a CSV file.

    Attributes:
        delimiter: the delimiter of its cells.
        header: whether the first row has names.
        quoted: whether a row has quotes.
        marked: whether the file starts with a byte order mark.
        count: the number of columns.
        label: the column of the labels.
        pixels: the columns of the pixels.
    """

    delimiter: str
    header: bool
    quoted: bool
    marked: bool
    count: int
    label: int
    pixels: tuple[int, ...]

    def __str__(self) -> str:
        header = "with" if self.header else "without"
        return f"{self.count} columns {header} a header, labels in column {self.label + 1}, delimiter {self.delimiter!r}"


@dataclass(frozen=True)
class TableSplit:
    """A split of a CSV file.

    Attributes:
        split: the split as arrays.
        table: its layout.
        plain: whether labels and pixels fit in one array of the dtype of the pixels.
    """

    split: Split
    table: Table
    plain: bool


def table_split(data: DataSpec, part: Part) -> TableSplit:
    """Inspect a split of a CSV file; raise UsageError if NumPy would not decompress it because of its name."""
    from cnnctl.formats.recognise import is_packed

    assert part.height and part.width and part.labels
    (file,) = part.files
    if is_packed(file) != (file.suffix == ".gz"):
        raise UsageError(f"{file}: the script reads it by NumPy, which decompresses only files that end with .gz; rename it")
    table, label = _table(data, file)
    block, labels = next(iter(part.blocks(1))), part.labels()
    dtype: np.dtype[Any] = block.dtype  # type: ignore[union-attr]  # an array, as of every table
    kind = "names" if isinstance(labels, list) else "numbers"
    stored = Stored(part.height, part.width, 1, labels=kind)
    plain = not isinstance(labels, list) and "." not in label and _fits(labels, dtype)
    return TableSplit(Split((file.name,), stored, dtype), table, plain)


def _table(data: DataSpec, file: Path) -> tuple[Table, str]:
    """Return how a file is laid out, and the first of its labels."""
    from cnnctl.formats.csv_columns import columns_of
    from cnnctl.formats.recognise import delimiter_of
    from cnnctl.formats.streams import opened

    with opened(file) as content:
        lines = (line.decode().strip("\r\n") for line in content)
        first, second = next(filter(str.strip, lines)), next(filter(str.strip, lines), "")
    delimiter, bare = delimiter_of(first), first.removeprefix("\ufeff")
    columns = columns_of(_cells(bare, delimiter), data.image_size, str(file))
    row = second if columns.names else bare
    assert columns.label is not None
    table = Table(delimiter, bool(columns.names), '"' in row, bare != first, columns.count, columns.label, columns.pixels)
    return table, _cells(row, delimiter)[columns.label]


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter))


def _fits(labels: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    import numpy as np

    low, high = int(labels.min()), int(labels.max())
    if dtype.kind == "f":
        return -_MAX_IN_FLOAT <= low <= high <= _MAX_IN_FLOAT
    return bool(np.iinfo(dtype).min <= low <= high <= np.iinfo(dtype).max)


def table_needs(splits: Sequence[TableSplit]) -> dict[str, bool]:
    """Return the template flags."""
    return {"one_table": all(each.plain for each in splits) and len({each.split.dtype for each in splits}) == 1}


def table_values(splits: Sequence[TableSplit]) -> dict[str, str]:
    """Return the template values: the calls that read a table, its labels or its pixels."""
    table, names = splits[0].table, splits[0].split.stored.labels == "names"
    dtype = f"np.{max((each.split.dtype for each in splits), key=lambda each: (each.kind == 'f', each.itemsize))}"
    ranges = _ranges(table.pixels)
    pixels = ranges[0] if len(ranges) == 1 else f"[{', '.join(f'*{each}' for each in ranges)}]"
    every = f"[{table.label}, {', '.join(f'*{each}' for each in ranges)}]"
    whole = table.label == 0 and table.pixels == tuple(range(1, table.count))
    return {
        "table": _loadtxt("table", dtype, table, "" if whole else every, names),
        "labels": _loadtxt("labels", "str" if names else "float", table, str(table.label), names),
        "images": _loadtxt("images", dtype, table, pixels, names),
    }


def _ranges(columns: Sequence[int]) -> list[str]:
    """Format columns as code, with a `range` per contiguous block."""
    starts = [place for place in columns if place - 1 not in columns]
    ends = [place + 1 for place in columns if place + 1 not in columns]
    return [f"range({start}, {end})" if start else f"range({end})" for start, end in zip(starts, ends, strict=True)]


def _loadtxt(name: str, dtype: str, table: Table, columns: str, names: bool) -> str:
    arguments = ["FOLDER / FILES[split]", dtype, f"delimiter={literal(table.delimiter)}"]
    arguments += ["skiprows=1"] if table.header else []
    arguments += [f"usecols={columns}"] if columns else []
    arguments += ["quotechar='\"'"] if table.quoted or names else []
    arguments += ["comments=None"] if names else []  # a name may have a #
    arguments += ['encoding="utf-8-sig"'] if names or table.marked else []
    return "\n".join(laid_out(f"    {name} = ", Call("np.loadtxt", tuple(arguments))))
