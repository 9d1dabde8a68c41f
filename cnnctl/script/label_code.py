"""A labels file as code, as read by `cnnctl.spec.labels_file`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cnnctl.errors import UsageError
from cnnctl.script.expressions import WIDTH, literal
from cnnctl.script.template import Needs
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.labels_file import FILE_COLUMNS, LABEL_COLUMNS
from cnnctl.spec.listing import Place

LABEL_OF = '''
def label_of(file):
    """Look up the label of an image; None if it is not in the labels file."""
    return LABELS.get(file.relative_to(FOLDER).as_posix())  #? by_path
    parts = file.relative_to(FOLDER).parts  #? !by_path
    ends = ["/".join(parts[start:]) for start in range(len(parts))]  #? !by_path
    names = [*ends, *(end.removesuffix(file.suffix) for end in ends)]  # as "a/0.png", "0.png", "0"  #? !by_path
    return next((LABELS[name] for name in names if name in LABELS), None)  #? !by_path
'''

LABELS = """
with (FOLDER / $labels_file).open(encoding="utf-8-sig", newline="") as table:
    rows = [row for row in csv.reader(table$delimiter) if row]
$labels
"""

Lookup = Mapping[str, str]
"""Labels by the names of their images in the file."""


@dataclass(frozen=True)
class LabelsCode:
    """The code that reads a labels file.

    Attributes:
        needs: the template flags.
        values: the template values.
    """

    needs: Needs
    values: Mapping[str, object]


def labels_code(data: DataSpec, path: Path, images: Sequence[Place], by_place: Mapping[Place, str]) -> LabelsCode:
    """Choose the shortest code that gives every image the same label as cnnctl.

    Args:
        data: the data section of a checked config with `labels_file`.
        path: the dataset folder.
        images: the places of its images.
        by_place: their labels.

    Raises:
        UsageError: no short code does this.
    """
    delimiter, rows = _table(path / str(data.labels_file))
    name, label = _columns(rows[0], data.keys if isinstance(data.keys, tuple) else None)
    for first in (1, 0):  # with a header, or without
        lookup = {_plain(row[name].strip()): row[label].strip() for row in rows[first:]}
        for by_path in (True, False):
            if {place: found for place in images if (found := _label_of(place, lookup, by_path))} == by_place:
                values = {
                    "labels_file": literal(data.labels_file),
                    "delimiter": "" if delimiter == "," else f", delimiter={literal(delimiter)}",
                    "labels": _dictionary(rows, first, name, label),
                }
                return LabelsCode({"labels_file": True, "by_path": by_path}, values)
    raise UsageError(
        f"{data.labels_file} names its images in several ways, which a short script cannot reproduce; "
        "write the path of each image below data.path"
    )


def _dictionary(rows: Sequence[Sequence[str]], first: int, name: int, label: int) -> str:
    """Generate the dictionary of labels by name, from the rows from `first` on."""
    cells = f"{_name_cell(name, [row[name] for row in rows])}: {_cell(label, [row[label] for row in rows])}"
    each = f"for row in rows{'[1:]' if first else ''}"
    line = f"LABELS = {{{cells} {each}}}"
    return line if len(line) <= WIDTH else f"LABELS = {{\n    {cells}\n    {each}\n}}"


def _table(file: Path) -> tuple[str, list[list[str]]]:
    """Read the delimiter of a table and its non-empty rows."""
    text = file.read_text("utf-8-sig")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    return delimiter, [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]


def _columns(header: Sequence[str], keys: tuple[str, str] | None) -> tuple[int, int]:
    """Find the columns of names and labels."""
    head = [cell.strip() for cell in header]
    if keys:
        return head.index(keys[0]), head.index(keys[1])
    head = [cell.lower() for cell in head]
    name = next((head.index(each) for each in FILE_COLUMNS if each in head), None)
    label = next((head.index(each) for each in LABEL_COLUMNS if each in head and head.index(each) != name), None)
    if name is None:
        name = 0 if label != 0 else 1
    return name, label if label is not None else 1 - name if name < 2 else 0


def _label_of(place: Place, lookup: Lookup, by_path: bool) -> str | None:
    """Look up a label as `label_of` of the script does."""
    ends = ["/".join(place[start:]) for start in range(len(place))]
    if by_path:
        return lookup.get(ends[0])
    suffix = PurePosixPath(place[-1]).suffix
    names = [*ends, *(end.removesuffix(suffix) for end in ends)]
    return next((lookup[name] for name in names if name in lookup), None)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./").lstrip("/")


def _name_cell(column: int, cells: Sequence[str]) -> str:
    """Generate the expression of a name as a relative path with slashes, with only the steps that are needed."""
    names, text = [cell.strip() for cell in cells], _cell(column, cells)
    if any("\\" in name for name in names):
        text += '.replace("\\\\", "/")'
    if any(name.startswith(("./", ".\\")) for name in names):
        text += '.removeprefix("./")'
    if any(name.startswith(("/", "\\", ".//", ".\\\\")) for name in names):
        text += '.lstrip("/")'
    return text


def _cell(column: int, cells: Sequence[str]) -> str:
    return f"row[{column}].strip()" if any(cell != cell.strip() for cell in cells) else f"row[{column}]"
