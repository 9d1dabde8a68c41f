"""Parquet files of encoded images as code, as read by `cnnctl.formats.parquet`."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from cnnctl.errors import UsageError
from cnnctl.spec.dataset import DataSpec

if TYPE_CHECKING:
    from cnnctl.formats import Part

PARQUET = '''
def read(split):
    """Read the images of a split, uint8 $shape, and their labels (N,)."""
    images, labels = [], []
    for file in sorted(FOLDER.glob(FILES[split])):
        table = pq.ParquetFile(file).read([$image, $label])
        contents = table[$image].to_pylist()
        images += [read_image(io.BytesIO(each["bytes"])) for each in contents]  #? structs
        images += [read_image(io.BytesIO(each)) for each in contents]  #? !structs
        labels += table[$label].to_pylist()
    return np.stack(images), np.array(labels).astype(int)  #? !label_names
    return np.stack(images), np.array(labels)  #? label_names
'''


@dataclass(frozen=True)
class Columns:
    """The columns of a split.

    Attributes:
        image: the name of the column of encoded images.
        label: the name of the column of labels.
        structs: whether an image is a struct that contains its bytes.
        names: whether labels are class names.
    """

    image: str
    label: str
    structs: bool
    names: bool

    def __str__(self) -> str:
        kind = "names" if self.names else "numbers"
        return f"the columns {self.image} ({'struct' if self.structs else 'bytes'}) and {self.label} ({kind})"


@dataclass(frozen=True)
class ParquetSplit:
    """A split: its columns, and the pattern of its files below a folder."""

    columns: Columns
    pattern: str


def parquet_split(data: DataSpec, part: Part, folder: Path) -> ParquetSplit:
    """Inspect a split of Parquet files; raise UsageError if no pattern matches exactly its files."""
    from pyarrow import types

    from cnnctl.formats import parquet
    from cnnctl.formats.names import keys_of

    file = parquet._file(part.files[0], None)
    found = parquet._columns(file, keys_of(data.keys, part.name))
    assert found.label is not None and part.labels is not None
    struct = types.is_struct(file.schema.field(found.image).type)
    names = isinstance(part.labels(), list)
    return ParquetSplit(Columns(found.image, found.label, struct, names), _pattern(part.files, folder))


def _pattern(files: Sequence[Path], folder: Path) -> str:
    """Find a pattern, relative to a folder, for the files of a split.

    Raises:
        UsageError: no pattern matches exactly these files, in their order.
    """
    names = [file.relative_to(folder).as_posix() for file in files]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(names[0], names[-1], strict=False))
    start = "".join(letter for letter, _ in same).rstrip("0123456789")
    pattern = glob.escape(names[0]) if len(names) == 1 else f"{glob.escape(start)}*.parquet"
    if sorted(folder.glob(pattern)) != list(files):
        raise UsageError(
            f"{folder}: no file pattern matches only {names[0]} to {names[-1]}; put the files of a split into a separate folder"
        )
    return pattern
