"""A CSV file with the classes of images: file names in one column, labels in another."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from cnnctl.errors import suggestion
from cnnctl.formats.names import ROLES
from cnnctl.reading import read_bounded
from cnnctl.spec.dataset import DataSpec, NotUsable, expanded
from cnnctl.spec.image_files import IMAGE_SUFFIXES
from cnnctl.spec.listing import Place

MAX_BYTES = 200_000_000
ROWS_LOOKED_AT = 1_000
"""Rows inspected to recognize one-hot columns."""
FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_name", "image_id", "img", "path", "filepath", "name", "id")
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target", "y")
"""Usual names of the two columns, in any case."""


class LabelsFile:
    """The labels of a folder's images.

    Args:
        data: a section with `labels_file`, a path below `data.path` or relative to the current folder.
        path: the dataset folder.
        images: the places of its images.

    Attributes:
        place: the place of the file itself, if it is in the folder.
        by_place: the label of each image in the file.
        missing: names without an image in the folder.
        unlabelled: images in the file without a label.
        columns: the names of the two columns that are read, and of the others; empty without a header.

    Raises:
        NotUsable: the file cannot be read, names no image of the folder, or has two labels for one image.
    """

    def __init__(self, data: DataSpec, path: Path, images: Sequence[Place]) -> None:
        self._name = str(data.labels_file)
        file = self._found(path)
        self.place = tuple(file.relative_to(path).parts) if file.is_relative_to(path) else None
        rows = self._rows(file)
        name_column, label_column = self._columns(rows, data.keys if isinstance(data.keys, tuple) else None, images)
        self.by_place: dict[Place, str] = {}
        self.missing: list[str] = []
        self.unlabelled: set[Place] = set()
        self.columns = self._named_columns(rows[0], (name_column, label_column))
        names = _Names(images, self.place[:-1] if self.place else ())
        self._assign(rows[1:] if self._has_header else rows, name_column, label_column, names)
        if not self.by_place:
            raise self._unusable(
                f"names no image of {path}{self._such_as(images)}; its columns "
                "must be file names below data.path and labels; set them with data.keys: [file, label]"
            )

    def _such_as(self, images: Sequence[Place]) -> str:
        """Format the first name of the file without an image, and the first image of the folder."""
        present = f" (the folder has {'/'.join(images[0])})" if images else ""
        return f", such as '{self.missing[0]}'{present}" if self.missing else ""

    def _named_columns(self, head: list[str], read: tuple[int, int]) -> tuple[list[str], list[str]]:
        if not self._has_header:
            return [], []
        return [head[place] for place in read], [cell for place, cell in enumerate(head) if place not in read]

    def labels_folders(self, folders: set[str]) -> bool:
        """Return True if some labels are names of folders; images not in the file then keep the class of their folder."""
        return not folders.isdisjoint(self.by_place.values())

    def _found(self, path: Path) -> Path:
        for file in (path / self._name, expanded("labels_file", self._name)):
            if file.is_file():
                return file
        raise self._unusable(f"there is no file '{path / self._name}'")

    def _unusable(self, message: str) -> NotUsable:
        return NotUsable("labels_file", f"{self._name}: {message}")

    def _rows(self, file: Path) -> list[list[str]]:
        try:
            text = read_bounded(file, MAX_BYTES).decode("utf-8-sig")
            delimiter = _delimiter(text.partition("\n")[0])
            rows = [
                [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True) if row
            ]
        except (OSError, ValueError, csv.Error) as error:
            utf8 = "it is not text in UTF-8; save it as CSV in UTF-8"
            why = error.strerror if isinstance(error, OSError) else utf8 if isinstance(error, UnicodeDecodeError) else error
            raise self._unusable(f"cannot be read as CSV: {why}") from error
        if not rows or len(rows[0]) < 2:
            raise self._unusable(f"expected two columns, file names and labels; received {len(rows[0]) if rows else 0}")
        return rows

    def _columns(self, rows: list[list[str]], keys: tuple[str, str] | None, images: Sequence[Place]) -> tuple[int, int]:
        """Find the columns of names and labels: those in `keys`, those with the usual names, or the first two."""
        head = [cell.lower() for cell in rows[0]]
        if keys:
            self._has_header = True
            return self._named(keys[0], rows[0]), self._named(keys[1], rows[0])
        name = next((head.index(each) for each in FILE_COLUMNS if each in head), None)
        label = next((head.index(each) for each in LABEL_COLUMNS if each in head and head.index(each) != name), None)
        self._has_header = (name is not None or label is not None) or not _Names(images).of(rows[0][0])
        if name is None:
            name = 0 if label != 0 else 1
        if label is None:
            label = 1 - name if name < 2 else 0
            self._refuse_one_hot(rows, [place for place in range(len(head)) if place != name])
        return name, label

    def _refuse_one_hot(self, rows: list[list[str]], others: list[int]) -> None:
        """Raise if every column except that of names is a flag for one class."""
        flags = ("0", "1", "0.0", "1.0")
        below = rows[1 : ROWS_LOOKED_AT + 1]
        if len(others) > 1 and below and all(row[place] in flags for row in below for place in others if place < len(row)):
            names = ", ".join(rows[0][place] for place in others[:5])
            raise self._unusable(
                f"expected one column of labels, received a column for each class ({names}); write the class of each image into one column"
            )

    def _named(self, key: str, head: list[str]) -> int:
        if key not in head:
            raise self._unusable(f"has no column '{key}'{suggestion(key, head) or '; it has ' + ', '.join(head[:10])}")
        return head.index(key)

    def _assign(self, rows: list[list[str]], name_column: int, label_column: int, names: _Names) -> None:
        for name, label in self._pairs(rows, name_column, label_column):
            places = names.of(name)
            if not label:
                self.unlabelled.update(places)
                continue
            if len(places) > 1:
                several = " and ".join("/".join(place) for place in places[:2])
                raise self._unusable(f"'{name}' matches {several}; write its path below data.path")
            if not places:
                self.missing.append(name)
            elif self.by_place.setdefault(places[0], label) != label:
                raise self._unusable(f"'{name}' has two labels, '{self.by_place[places[0]]}' and '{label}'; remove one of them")

    def _pairs(self, rows: list[list[str]], name_column: int, label_column: int) -> Iterator[tuple[str, str]]:
        needed = max(name_column, label_column)
        for number, row in enumerate(rows, 2 if self._has_header else 1):
            if len(row) <= needed:
                raise self._unusable(f"row {number} has {len(row)} columns, expected {needed + 1} or more")
            yield row[name_column], row[label_column]


def _delimiter(line: str) -> str:
    """Detect the delimiter of a line: comma, semicolon or tab, or a space if there is none of them."""
    found = max(",;\t", key=line.count)
    return found if found in line else " "


class _Names:
    """Finds images by their names in a labels file: a path, a file name, without a suffix or with another one."""

    def __init__(self, images: Sequence[Place], beside: Place = ()) -> None:
        self._beside = beside  # the folder of the table: images in it have precedence
        self._known: dict[str, list[Place]] = {}
        self._alike: dict[str, list[Place]] = {}
        for place in images:
            for end in ("/".join(place[start:]) for start in range(len(place))):
                plain = _without_ending(end)
                for name in {end, plain}:
                    self._known.setdefault(name, []).append(place)
                self._alike.setdefault(plain.casefold(), []).append(place)

    def of(self, name: str) -> list[Place]:
        """Return the images that a name may refer to; a whole path has precedence, then an image of train."""
        plain = name.replace("\\", "/").removeprefix("./")
        if plain.startswith("/") or plain[1:3] == ":/":  # an absolute path of another machine
            plain = plain.rpartition("/")[2]
        places = self._known.get(plain) or self._alike.get(_without_ending(plain).casefold(), [])
        near = [place for place in places if self._beside and place[: len(self._beside)] == self._beside]
        places = near or places
        whole = [place for place in places if "/".join(place) == plain]
        of_train = [place for place in places if place[0].lower() in ROLES["train"]]
        return whole or (of_train if len(of_train) == 1 else places)  # test images often have the names of training images


def _without_ending(name: str) -> str:
    return next((name[: -len(suffix)] for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), name)
