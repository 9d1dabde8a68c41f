"""The files in which people have their image sets: IDX, npz, CSV, Matlab and Parquet.

This package knows nothing of configs. It reads a set block by block, whatever its size, and raises `DataError` with one
message for anything in a file. To import it is cheap: what reads a kind is imported when that kind is opened.
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
"""Kinds that are read in another order than they are stored in, so not through gzip."""


def open_parts(kind: str, path: Path, keys: Keys = None, size: Size = None) -> dict[str, Part]:
    """Open the splits of a file or folder; of the images none is read yet.

    Args:
        kind: one of `KINDS`.
        path: a file, or a folder of several.
        keys: the names of images and labels: npz arrays, Parquet columns, Matlab variables; None finds them.
        size: height and width of images that are rows of pixels (npz, CSV, Matlab) and no squares.

    Returns:
        Each split by its name.

    Raises:
        DataError: it is of another kind, damaged, or does not say what its images and labels are.
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
    """Refuse what is not there, and a file of another kind; which files of a folder are meant is found when it is opened."""
    if path.is_dir():
        return
    if not path.is_file():
        what = "it is no regular file" if path.exists() else "there is no such file or folder"
        raise DataError(f"{path}: {what}; give another data.path")
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
