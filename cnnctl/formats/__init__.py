"""Read the file formats of image sets: IDX, npz, CSV, Matlab and Parquet.

This package knows nothing of configs. It reads a set of any size block by block, and raises `DataError` with one message for
any content of a file. The import is cheap: the reader of a format is imported when a file of it is opened.
"""

from __future__ import annotations

from pathlib import Path

from cnnctl.errors import DataError
from cnnctl.formats.names import role_of
from cnnctl.formats.part import Keys, Part, Size
from cnnctl.formats.recognise import folders_below, is_packed, recognised
from cnnctl.formats.remedies import other_kind, unpack_first

__all__ = ["KINDS", "Keys", "Part", "Size", "folders_below", "open_parts", "recognised", "role_of"]

KINDS = ("idx", "npz", "csv", "mat", "parquet")
_NOT_STREAMED = ("npz", "mat", "parquet")
"""Kinds that need random access, so that gzip is not supported."""


def open_parts(kind: str, path: Path, keys: Keys = None, size: Size = None) -> dict[str, Part]:
    """Open the splits of a file or folder. Reads no image yet.

    Args:
        kind: one of `KINDS`.
        path: a file, or a folder of several.
        keys: the names of images and labels: npz arrays, Parquet columns, Matlab variables; None finds them.
        size: height and width of images that are rows of pixels (npz, CSV, Matlab) and not squares.

    Returns:
        Each split by its name.

    Raises:
        DataError: the file has another kind, is damaged, or has no recognisable images and labels.
    """
    try:
        _check_kind(kind, path)
        parts = _opened(kind, path, keys, size)
        if not parts:
            raise other_kind(path, kind, recognised(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parts


def _check_kind(kind: str, path: Path) -> None:
    """Refuse a missing file, or a file of another kind. Folders are checked when they are opened."""
    if path.is_dir():
        return
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such file or folder"
        raise DataError(f"{path}: {what}; write another data.path")
    if (found := recognised(path)) != kind:
        raise other_kind(path, kind, found)
    if kind in _NOT_STREAMED and is_packed(path):
        raise unpack_first(path, kind)


def _opened(kind: str, path: Path, keys: Keys, size: Size) -> dict[str, Part]:
    if kind == "idx":
        from cnnctl.formats.idx import open_idx

        return open_idx(path)
    if kind == "npz":
        from cnnctl.formats.npz import open_npz

        return open_npz(path, keys, size)
    if kind == "csv":
        from cnnctl.formats.csv import open_csv

        return open_csv(path, size)
    if kind == "mat":
        from cnnctl.formats.mat import open_mat

        return open_mat(path, keys, size)
    from cnnctl.formats.parquet import open_parquet

    return open_parquet(path, keys)
