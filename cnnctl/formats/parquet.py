"""Read Parquet files with encoded images, such as Hugging Face's datasets."""

from __future__ import annotations

import contextlib
import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cnnctl.errors import DataError, suggestion
from cnnctl.formats.arrays import MAX_NAME, check_names, whole_numbers
from cnnctl.formats.names import ID_WORDS, MAX_CLASSES, keys_line, keys_of, listed, role_of
from cnnctl.formats.pages import bytes_per_value
from cnnctl.formats.part import Keys, Labels, Part
from cnnctl.formats.recognise import files_below
from cnnctl.formats.streams import PIECE_BYTES, as_data_error, check_count, damaged, first_line, rows_at_once
from cnnctl.reading import open_regular

IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo")
"""Usual names of images, in order of precedence."""
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "y", "digit", "character")
"""Usual names of labels, in order of precedence: fine_label for CIFAR-100, which also has coarse_label."""
_NUMBERS = (re.compile(r"^part-\d.*"), re.compile(r"-\d+-of-\d+(-[0-9a-f]+)?$"), re.compile(r"[-_]?\d+$"))
"""Numbers in the names of the files of one split."""
_MAX_DEPTH = 8
_LABELS_AT_ONCE = 2**14

# Arrow would handle SIGINT itself and end a read with its own error
pa.enable_signal_handlers(False)


@dataclass(frozen=True)
class File:
    """A file of a split.

    Attributes:
        path: of the file.
        inside: the folder that links must stay inside of; None allows any link.
        rows: number of rows from its metadata.
        schema: its columns.
    """

    path: Path
    inside: Path | None
    rows: int
    schema: pa.Schema


@dataclass(frozen=True)
class Columns:
    """The columns of a split.

    Attributes:
        image: name of the column.
        label: name of the column, or None.
        class_names: by label; empty where the file has none.
    """

    image: str
    label: str | None
    class_names: tuple[str, ...]


_SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{1,6})-of-(?P<of>\d{1,6})\.parquet")
MAX_SHARDS = 100_000
"""Maximum number of files of a split."""


def open_parquet(path: Path, keys: Keys) -> dict[str, Part]:
    """Open a file, or the files of a folder and its subfolders. The files of a split are read in the order of their names.

    Raises:
        DataError: a file is damaged, or the choice of columns is ambiguous.
    """
    if path.is_file():
        splits, inside = {_place(path, path.parent)[1]: [path]}, None
    else:
        splits, inside = _splits(path), _root(path)
    unknown = [name for name in keys if name not in splits] if isinstance(keys, Mapping) and splits else []
    if unknown:
        raise DataError(
            f"{path}: data.keys: there is no split '{unknown[0]}'{suggestion(unknown[0], splits)}; expected one of {listed(splits)}"
        )
    return {name: _part(name, files, inside, keys_of(keys, name)) for name, files in sorted(splits.items())}


def _splits(path: Path) -> dict[str, list[Path]]:
    """Find the files of each split. Where several folders have a split of the same name, the folder is a prefix of it."""
    with as_data_error(path):
        files = [file for file in files_below(path, _MAX_DEPTH) if file.suffix == ".parquet" and file.is_file()]
    _refuse_missing_shards(path, files)
    places = {file: _place(file, path) for file in files}
    folders: dict[str, set[str]] = {}
    for folder, split in places.values():
        folders.setdefault(split, set()).add(folder)
    splits: dict[str, list[Path]] = {}
    for file, (folder, split) in places.items():
        splits.setdefault(f"{folder}-{split}" if folder and len(folders[split]) > 1 else split, []).append(file)
    return splits


def _refuse_missing_shards(path: Path, files: Sequence[Path]) -> None:
    """Raise where some files of a series are not there, such as train-00001-of-00003.parquet."""
    series: dict[tuple[Path, str, int], set[int]] = {}
    for file in files:
        if found := _SHARD.fullmatch(file.name):
            series.setdefault((file.parent, found["name"], int(found["of"])), set()).add(int(found["number"]))
    for (folder, name, of), numbers in series.items():
        missing = [number for number in range(min(of, MAX_SHARDS)) if number not in numbers]
        if missing:
            raise DataError(
                f"{path}: {name} has {len(numbers):,} of its {of:,} files; {name}-{missing[0]:05d}-of-{of:05d}.parquet "
                f"is missing in {folder}; download it, or set data.path to one file"
            )


def _place(file: Path, root: Path) -> tuple[str, str]:
    """Find the folder and the split of a file: data/train-00000-of-00002.parquet, or default/train/0000.parquet."""
    name = file.name.removesuffix(".parquet").partition(".")[0]
    for number in _NUMBERS:
        name = number.sub("", name)
    above = list(file.parent.relative_to(root).parts)
    in_folder_of_split = bool(above) and role_of(file.parent.name)
    if role_of(name) or (name and not in_folder_of_split):
        return "-".join(above), name
    return "-".join(above[:-1]), file.parent.name


def _root(path: Path) -> Path:
    """Find the folder that links must not lead out of; Hugging Face's cache links from snapshots/REVISION to blobs."""
    folder = path.absolute()
    return next((each.parents[1] for each in (folder, *folder.parents) if each.parent.name == "snapshots"), path)


def _part(name: str, paths: Sequence[Path], inside: Path | None, keys: tuple[str, str] | None) -> Part:
    files = [_file(path, inside) for path in paths]
    columns = _columns(files[0], keys)
    for file in files[1:]:
        if columns != _columns(file, keys):
            raise DataError(
                f"{file.path}: its columns differ from those of {files[0].path.name}; write the folder of one set as data.path"
            )
    count = sum(file.rows for file in files)
    check_count(str(files[0].path), count)
    return Part(
        name,
        tuple(paths),
        count,
        None,
        None,
        None,
        partial(_labels, files, columns.label, count) if columns.label else None,
        lambda max_rows: _blocks(files, columns.image, count, max_rows),
        columns.class_names,
        tuple(name for name in files[0].schema.names if name not in (columns.image, columns.label)),
    )


def _file(path: Path, inside: Path | None) -> File:
    with _opened(path, inside) as content:
        rows, size = content.metadata.num_rows, path.stat().st_size
        if not 0 <= rows <= size:
            raise damaged(path, f"it claims {rows:,} images in {size:,} bytes")
        return File(path, inside, rows, content.schema_arrow)


@contextlib.contextmanager
def _opened(path: Path, inside: Path | None) -> Iterator[pq.ParquetFile]:
    """Open a file; Arrow reads it a megabyte at a time."""
    with as_data_error(path), open_regular(path, inside) as raw:
        try:
            with pq.ParquetFile(raw, pre_buffer=False, buffer_size=PIECE_BYTES) as content:
                yield content
        except pa.ArrowException as error:
            raise damaged(path, first_line(error)) from error


# columns


def _columns(file: File, keys: tuple[str, str] | None) -> Columns:
    """Find the columns of images and labels: from the config, from Hugging Face's metadata, or by type and name."""
    images = [column.name for column in file.schema if _is_image(column.type)]
    labels = [column.name for column in file.schema if _is_label(column.type)]
    features = _features(file.schema)
    known = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    named = [name for name in labels if name.lower() not in ID_WORDS]
    image: str | None
    label: str | None
    if keys:
        image, label = _existing(keys[0], images, file), _existing(keys[1], labels, file)
    elif not images:
        image = label = None
    else:
        image = _chosen([name for name in images if known.get(name) == "Image"] or images, IMAGE_COLUMNS, file)
        label = _chosen([name for name in labels if known.get(name) == "ClassLabel"] or named, LABEL_COLUMNS, file)
    if image is None:
        raise DataError(f"{file.path}: expected a column of encoded images, binary or struct<bytes, path>, among {_all(file)}")
    return Columns(image, label, _class_names(features.get(label or "")))


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_label(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _existing(name: str, fitting: Sequence[str], file: File) -> str:
    if name not in file.schema.names:
        raise DataError(
            f"{file.path}: data.keys: there is no column '{name}'{suggestion(name, fitting)}; expected one of {_all(file)}"
        )
    if name not in fitting:
        raise DataError(
            f"{file.path}: data.keys: column '{name}' has the type {file.schema.field(name).type}; expected a column of encoded images, "
            "binary or struct<bytes, path>, and one of labels, integers or texts"
        )
    return name


def _chosen(found: Sequence[str], usual: Sequence[str], file: File) -> str | None:
    by_name = {name.lower(): name for name in found}
    for name in usual:
        if name in by_name:
            return by_name[name]
    if len(found) > 1:
        images, labels = ([column.name for column in file.schema if fits(column.type)] for fits in (_is_image, _is_label))
        line = keys_line(images[0] if images else "image", labels[0] if labels else "label")
        raise DataError(f"{file.path}: it is not clear which columns are images and labels among {_all(file)}; write {line}")
    return found[0] if found else None


def _all(file: File) -> str:
    return listed(f"{column.name} ({column.type})" for column in file.schema)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Read Hugging Face's metadata of the columns; empty where it is missing or broken."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return dict(json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"])
    return {}


def _class_names(feature: Any) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list) or len(names) > MAX_CLASSES:
        return ()
    return tuple(names) if all(isinstance(name, str) and len(name) <= MAX_NAME for name in names) else ()


# rows


def _blocks(files: Sequence[File], column: str, count: int, max_rows: int) -> Iterator[list[bytes]]:
    for start, file, values in _read(files, column, count, max_rows):
        images = (values.flatten()[0] if pa.types.is_struct(values.type) else values).to_pylist()
        if not all(images):
            row = start + next(place for place, image in enumerate(images) if not image)
            raise DataError(
                f"{file.path}: row {row + 1}: column '{column}' has no image; if the file only has paths of images, "
                "put the images into one folder per class and write source: folder"
            )
        yield images


def _labels(files: Sequence[File], column: str, count: int) -> Labels:
    numbers: list[NDArray[np.int64]] = []
    codes, names = array("q"), dict[str, int]()
    for start, file, values in _read(files, column, count, _LABELS_AT_ONCE):
        where = f"{file.path}: column '{column}'"
        if values.null_count:
            row = start + values.is_null().to_pylist().index(True)
            raise DataError(f"{where}: row {row + 1} has no label; remove or label the row")
        if _is_text(values.type):
            codes.extend(names.setdefault(name, len(names)) for name in values.to_pylist())
            check_names(names, where)
        else:
            numbers.append(whole_numbers(values.to_numpy(zero_copy_only=False), where))
    if numbers:
        return np.concatenate(numbers)
    known = list(names)
    return [known[code] for code in codes]


def _read(files: Sequence[File], column: str, count: int, max_rows: int) -> Iterator[tuple[int, File, pa.Array]]:
    """Yield a column in blocks, each with the index of its first row in the file.

    Raises:
        DataError: a file is damaged, or its number of rows differs from its metadata.
    """
    seen = 0
    for file in files:
        row = 0
        with _opened(file.path, file.inside) as content:
            leaf = next(name for name in _leaves(content) if name in (column, f"{column}.bytes"))
            at_once = rows_at_once(
                max_rows, 2 * _value_bytes(file, content, leaf)
            )  # a value exists twice, for Arrow and for Python
            for batch in content.iter_batches(at_once, columns=[leaf], use_threads=False):
                yield row, file, batch.column(0)
                row += len(batch)
        seen += row
    if seen != count:
        raise damaged(files[-1].path, f"expected {count:,} rows, received {seen:,}")


def _leaves(content: pq.ParquetFile) -> list[str]:
    return [content.schema.column(place).path for place in range(len(content.schema))]


def _value_bytes(file: File, content: pq.ParquetFile, leaf: str) -> int:
    place, metadata = _leaves(content).index(leaf), content.metadata
    chunks = (metadata.row_group(group).column(place) for group in range(metadata.num_row_groups))
    with open_regular(file.path, file.inside) as raw:
        return bytes_per_value(raw, file.path, chunks)
