"""Recognise files and folders by their first bytes, whatever their names."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from cnnctl.reading import open_regular

PEEKED = 2**16
"""Bytes of a file to inspect, and of its unpacked content."""
_MAX_FOLDERS, _FILES_PER_FOLDER, _MAX_DEPTH = 50, 20, 4
IDX_FOLDERS = ("", "raw", "gzip")
"""Subfolders for IDX files: the folder itself, and those of torchvision and of EMNIST's archive."""
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The types of values in IDX files, as NumPy's dtypes."""
_SIGNATURES = {
    "image": re.compile(
        rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|II[*+]\0|MM\0[*+]|P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s"
        rb"|BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
        re.DOTALL,
    ),
    "parquet": re.compile(rb"PAR[1E]"),
    "npy": re.compile(rb"\x93NUMPY"),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08)"),
    "mat73": re.compile(rb"\x89HDF\r\n\x1a\n|MATLAB 7\.3|.{512}\x89HDF\r\n\x1a\n", re.DOTALL),
    "mat": re.compile(rb".{124}(\x00\x01IM|\x01\x00MI)", re.DOTALL),
    "tar": re.compile(rb".{257}ustar", re.DOTALL),
    "pickle": re.compile(  # protocol 2 and later; 0 and 1 start with the opcodes of a list, a dict or a known class
        rb"\x80[\x02-\x05][\x00-\x7f\x80-\x95]"
        rb"|\(*(?:\([dlt]p\d+\n|[\]}]q|c(?:numpy|copy_?reg|collections|__builtin__|builtins|_codecs)[\w.]*\n\w+\n)"
    ),
}
_NUMBER = re.compile(r'"?\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*"?')
_CELL = re.compile(r'\s*("[^"]*"|[\w.:+-]*)\s*')
_MIN_CELLS, _MOSTLY = 5, 0.75


def recognised(path: Path) -> str | None:
    """Determine the kind of a file or folder. Reads little of it, and looks inside gzip.

    Returns:
        'idx', 'npz', 'npy', 'csv', 'mat', 'mat73' (HDF5), 'parquet', 'pickle', 'zip', 'tar' or 'image' for a file; 'idx', 'npz',
        'parquet', 'csv' or 'mat' for a folder with such files, 'folder' for one with images; None for anything else.
    """
    with contextlib.suppress(OSError):
        return _of_folder(path) if path.is_dir() else kind_of(first_bytes(path))
    return None


def first_bytes(file: Path) -> bytes:
    """Read the first bytes of a file, unpacked where it is compressed with gzip.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(file) as raw:
        content = raw.read(PEEKED)
    if not content.startswith(b"\x1f\x8b"):
        return content
    with contextlib.suppress(zlib.error):
        return zlib.decompressobj(wbits=31).decompress(content, PEEKED)
    return b""


def is_packed(file: Path) -> bool:
    """Return True where a file is compressed with gzip.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(file) as raw:
        return raw.read(2) == b"\x1f\x8b"


def kind_of(content: bytes) -> str | None:
    """Determine the kind of a file from its first bytes."""
    for kind, signature in _SIGNATURES.items():
        if signature.match(content):
            return "npz" if kind == "zip" and _first_member(content).endswith(b".npy") else kind
    if _is_idx(content):
        return "idx"
    return "csv" if _is_table(content) else None


def _first_member(content: bytes) -> bytes:
    """Read the name of the first file in a zip archive (APPNOTE.TXT of PKWARE, 4.3.7)."""
    return content[30 : 30 + int.from_bytes(content[26:28], "little")]


def _is_idx(content: bytes) -> bool:
    if len(content) < 8 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        return False
    return 1 <= content[3] <= 4 and len(content) >= 4 + 4 * content[3]


def _is_table(content: bytes) -> bool:
    """Return True for rows of numbers, with or without a header; the last row may be incomplete."""
    if b"\0" in content:
        return False
    text = content.decode("utf-8-sig", "replace")
    rows = [split_row(line) for line in text.split("\n") if line.strip()][:2]
    if not rows or len(rows[0]) < _MIN_CELLS:
        return False
    plain = sum(bool(_CELL.fullmatch(cell)) for cell in rows[0])
    return plain >= len(rows[0]) - 2 and (len(rows) == 1 or any(_are_numbers(row) for row in rows))


def _are_numbers(cells: list[str]) -> bool:
    return sum(bool(_NUMBER.fullmatch(cell)) for cell in cells) >= _MOSTLY * len(cells)


def split_row(line: str) -> list[str]:
    """Split a row at its delimiter; quotes stay."""
    return line.rstrip("\r").split(delimiter_of(line))


def delimiter_of(line: str) -> str:
    """Find the delimiter of a row: comma, semicolon or tab, whichever occurs most."""
    return max(",;\t", key=line.count)


def _of_folder(path: Path) -> str | None:
    found: dict[str, list[Path]] = {}
    for file in files_below(path, _MAX_DEPTH, _FILES_PER_FOLDER, _MAX_FOLDERS):
        with contextlib.suppress(OSError):
            found.setdefault(kind_of(first_bytes(file)) or "", []).append(file)
    beside = {kind for kind, files in found.items() if any(file.parent == path for file in files)}
    if any(file.parent == path / name for name in IDX_FOLDERS for file in found.get("idx", [])):
        return "idx"
    if beside & {"npz", "npy"}:
        return "npz"
    if "parquet" in found:
        return "parquet"
    return next((kind for kind in ("csv", "mat") if kind in beside), "folder" if "image" in found else None)


def files_below(path: Path, depth: int, per_folder: int | None = None, folders: int | None = None) -> Iterator[Path]:
    """List the files of a folder and its subfolders, sorted by name, without hidden files and links to folders.

    Args:
        path: the folder.
        depth: maximum depth of subfolders.
        per_folder: maximum files per folder.
        folders: maximum folders.
    """
    for visited, (root, below, names) in enumerate(os.walk(path)):
        if folders is not None and visited >= folders:
            return
        level = len(Path(root).relative_to(path).parts)
        below[:] = sorted(name for name in below if not name.startswith(".")) if level < depth else []
        yield from (Path(root, name) for name in sorted(name for name in names if not name.startswith("."))[:per_folder])


def folders_below(path: Path) -> list[Path]:
    """List the subfolders that contain data files directly, such as MNIST/raw, without their own subfolders."""
    found: list[Path] = []
    for folder in dict.fromkeys(file.parent for file in files_below(path, _MAX_DEPTH, _FILES_PER_FOLDER, _MAX_FOLDERS)):
        kind = None if folder == path or any(folder.is_relative_to(each) for each in found) else recognised(folder)
        if kind in ("idx", "csv", "mat", "parquet") or (
            kind == "npz" and any(folder.glob("*.npz"))
        ):  # skips folders with one npy per image
            found.append(folder)
    return found
