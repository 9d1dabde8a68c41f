"""Read IDX files by their usual names: MNIST, Fashion-MNIST, KMNIST, QMNIST and EMNIST.

The format is described at http://yann.lecun.com/exdb/mnist: two zero bytes, the type of the values, the number of dimensions,
each dimension as a big-endian integer of 4 bytes, and the values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError
from cnnctl.formats.arrays import check_label_shape, labels_of, layout_of, part_of, shown
from cnnctl.formats.names import names_of_codes
from cnnctl.formats.part import Labels, Part
from cnnctl.formats.recognise import IDX_FOLDERS, IDX_TYPES
from cnnctl.formats.remedies import quoted
from cnnctl.formats.streams import MAX_COUNT, as_data_error, check_count, check_size, opened, read_exactly, read_rows
from cnnctl.reading import read_bounded

_NAME = re.compile(
    r"(?P<set>.+?)[-_.](?P<what>images|labels)[-_.]idx\d[-_.](?:ubyte|byte|short|int|float|double)(?P<packed>\.gz|\.xz)?"
)
_MAX_MAPPING = 2**16


@dataclass(frozen=True)
class Array:
    """An array in an IDX file.

    Attributes:
        file: compressed or not.
        inside: the folder that links must stay inside of; None allows any link.
        dtype: of the file.
        shape: from its header.
    """

    file: Path
    inside: Path | None
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def rows(self, max_rows: int) -> Iterator[NDArray[Any]]:
        """Yield the rows in blocks of at most `max_rows`."""
        with opened(self.file, self.inside) as stream:
            if _header(stream, self.file) != (self.dtype, self.shape):
                raise DataError(f"{self.file} changed while it was read; run the command again")
            yield from read_rows(stream, self.file, self.dtype, self.shape, max_rows)


def open_idx(path: Path) -> dict[str, Part]:
    """Open the sets of a folder, or the set of a file, by name.

    Raises:
        DataError: there are no IDX files, one is missing, or one is damaged.
    """
    if path.is_file():
        return _open_file(path)
    folder = idx_folder(path)
    sets = _sets(folder) if folder else {}
    return {name: _part(name, files, folder, None) for name, files in sorted(sets.items()) if folder}


def idx_folder(path: Path) -> Path | None:
    """Find the folder with IDX files: `path`, or a subfolder used by common downloads."""
    with as_data_error(path):
        return next((each for each in (path / name for name in IDX_FOLDERS) if each.is_dir() and _sets(each)), None)


def _open_file(path: Path) -> dict[str, Part]:
    found = _NAME.fullmatch(path.name)
    if found is None:  # another name: images without labels
        name = path.name.removesuffix(".gz").partition(".")[0]
        return {name: _part(name, {"images": path}, path.parent, path)}
    name = _set_name(found["set"])
    files = {**_sets(path.parent)[name], found["what"]: path}
    return {name: _part(name, files, path.parent, path)}


def _sets(folder: Path) -> dict[str, dict[str, Path]]:
    """Find the files of each set, one for images and one for labels, uncompressed where there is a choice."""
    sets: dict[str, dict[str, Path]] = {}
    with as_data_error(folder):
        files = [(file, found) for file in folder.iterdir() if (found := _NAME.fullmatch(file.name)) and file.is_file()]
    for file, found in sorted(files, key=lambda each: (["", ".gz", ".xz"].index(each[1]["packed"] or ""), each[0].name)):
        sets.setdefault(_set_name(found["set"]), {}).setdefault(found["what"], file)
    return sets


def _set_name(name: str) -> str:
    return re.sub(r"(^|[-_.])t10k$", r"\1test", name)


def _part(name: str, files: dict[str, Path], folder: Path, given: Path | None) -> Part:
    """Open a set by its files. The file that the user named may be a link out of its folder."""
    _check_complete(files)
    arrays = {what: _array(file, None if file == given else folder) for what, file in files.items()}
    images, labels = arrays["images"], arrays.get("labels")
    if len(images.shape) < len(("N", "H", "W")):
        raise DataError(f"{images.file} has the shape {shown(images.shape)}; expected images, (N, H, W) or (N, H, W, C)")
    layout = layout_of(images.shape, None, str(images.file))
    if labels:
        check_label_shape(labels.shape, images.shape[0], str(labels.file))
    return part_of(name, images, labels, layout, _labels, _class_names(name, folder))


def _check_complete(files: dict[str, Path]) -> None:
    for file in files.values():
        if file.suffix == ".xz":
            raise DataError(f"{file} is compressed with xz; unpack it: xz -dk {quoted(file)}")
    if "images" not in files:
        missing = files["labels"].name.replace("labels", "images").replace("idx1", "idx3").replace("idx2-int", "idx3-ubyte")
        raise DataError(f"{files['labels']}: the images of these labels are missing; add {missing} to the same folder")


def _labels(labels: Array) -> Labels:
    # QMNIST has 8 integers per image, the class first (https://github.com/facebookresearch/qmnist)
    first = (rows if rows.ndim == 1 else rows[:, 0] for rows in labels.rows(MAX_COUNT))
    return labels_of(first, str(labels.file))


def _array(file: Path, inside: Path | None) -> Array:
    """Read the header of a file.

    Raises:
        DataError: the file is not an IDX file, or its size differs from its header.
    """
    with opened(file, inside) as stream:
        dtype, shape = _header(stream, file)
    check_size(file, 4 + 4 * len(shape) + prod(shape) * dtype.itemsize)
    check_count(str(file), shape[0])
    return Array(file, inside, dtype, shape)


def _header(stream: IO[bytes], file: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    begin = bytes(read_exactly(stream, 4, file))
    zero, code, rank = begin[:2], begin[2], begin[3]
    if zero != b"\0\0" or code not in IDX_TYPES or not 1 <= rank <= 4:
        raise DataError(
            f"{file} is not an IDX file: expected 00 00 08 03 or similar at the start, received {begin.hex(' ')}; download it again"
        )
    sizes = np.frombuffer(read_exactly(stream, 4 * rank, file), ">u4")
    return np.dtype(IDX_TYPES[code]), tuple(map(int, sizes))


def _class_names(name: str, folder: Path) -> tuple[str, ...]:
    """Read the class names that EMNIST stores beside a set: lines of a label and its character codes."""
    file = folder / f"{re.sub(r'[-_.](train|test)$', '', name)}-mapping.txt"
    if not file.is_file():
        return ()
    with as_data_error(file):
        lines = [[int(number) for number in line.split()] for line in read_bounded(file, _MAX_MAPPING, folder).splitlines()]
        return names_of_codes(line for line in lines if line)
