"""Explain what to do about files of another kind than expected, or of an unsupported kind."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from cnnctl.errors import DataError
from cnnctl.formats.recognise import folders_below, is_packed, recognised
from cnnctl.reading import open_regular
from cnnctl.surroundings import shell_word

WHAT = {
    "idx": "IDX file",
    "npz": "npz file",
    "csv": "CSV file",
    "mat": "Matlab file",
    "parquet": "Parquet file",
}
_USUAL = {
    "idx": "train-images-idx3-ubyte",
    "npz": "train.npz, x_train.npy or kmnist-train-imgs.npz",
    "csv": "train.csv",
    "mat": "train.mat",
    "parquet": "train-00000-of-00001.parquet",
}
_TEXT_LOOKED_AT = 256
_PACKED = {b"\xfd7zXZ\0": "xz -dk", b"BZh": "bzip2 -dk", b"\x28\xb5\x2f\xfd": "zstd -dk"}


def quoted(path: Path | str) -> str:
    """Quote a path or a program for a shell."""
    return shell_word(path)


def other_kind(path: Path, kind: str, found: str | None) -> DataError:
    """Build the error for a file or folder of another kind than the config asks for.

    Args:
        path: the file or folder.
        kind: the expected kind, one of `KINDS`.
        found: its kind, from `recognised`.

    Raises:
        OSError: the path cannot be read.
    """
    if found in WHAT and found != kind:
        has = "has" if path.is_dir() else "is"
        return DataError(f"{path}: expected {_a(WHAT[kind])}, but this {has} {_a(WHAT[found])}; write source: {found}")
    if found == kind:
        usual = f"no file has a usual name, such as {_USUAL[kind]}"
        return DataError(f"{path}: {usual}; rename them, or write one file as data.path")
    for below in folders_below(path) if path.is_dir() else ():
        has = recognised(below) or kind
        source = "" if has == kind else f"source: {has}, "
        return DataError(
            f"{path}: expected {_a(WHAT[kind])}; a folder below it has {_a(WHAT[has])}: write {source}path: {below}"
        )
    remedy = _REMEDIES.get(found or "", _unknown)
    return DataError(f"{path}: expected {_a(WHAT[kind])}, but {remedy(path)}")


def unpack_first(path: Path, kind: str) -> DataError:
    """Build the error for a compressed file of a kind that needs random access."""
    return DataError(f"{path}: this is {_a(WHAT[kind])} compressed with gzip; unpack it: python -m gzip -d {quoted(path)}")


def _a(what: str) -> str:
    return f"an {what}" if what[0] in "aeiouIn" else f"a {what}"


def _unknown(path: Path) -> str:
    if path.is_dir():
        return "this folder has none; write another data.path"
    with open_regular(path) as content:
        begin = content.read(_TEXT_LOOKED_AT)
    if not begin:
        return "this file is empty; download it again"
    for signature, command in _PACKED.items():
        if begin.startswith(signature):
            return f"this is compressed; unpack it: {command} {quoted(path)}"
    with contextlib.suppress(UnicodeDecodeError):
        first = begin.decode().partition("\n")[0].strip()
        if first.isprintable():
            return f"this is a text that starts with '{first[:40]}', not rows of pixels with one number per cell; choose another file"
    return f"this starts with {begin[:8].hex(' ')}, which is not a known kind; download it again"


def _pickle(path: Path) -> str:
    """Explain how to convert a pickle with the layout of mnist.pkl.gz (https://deeplearning.net/tutorial/gettingstarted.html)."""
    opening = f"gzip.open({json.dumps(str(path))})" if is_packed(path) else f'open({json.dumps(str(path))}, "rb")'
    target = path.with_name(path.name.partition(".")[0] + ".npz")
    code = (
        f'import gzip, pickle, numpy; a, b, c = pickle.load({opening}, encoding="latin1"); '
        f"numpy.savez_compressed({json.dumps(str(target))}, x_train=a[0], y_train=a[1], x_val=b[0], y_val=b[1], x_test=c[0], y_test=c[1])"
    )
    return (
        "this is a pickle, which can run any code on loading and is never read. If you trust it and it has the layout of "
        f"mnist.pkl.gz, convert it and write source: npz, path: {target}, pixel_max: 1 (its pixels are 0 to 1); type: python -c {quoted(code)}"
    )


def _zip(path: Path) -> str:
    folder = _beside(path)
    return f"this is a zip archive; unpack it, and write path: {folder}; type: python -m zipfile -e {quoted(path)} {quoted(folder)}"


def _tar(path: Path) -> str:
    folder = _beside(path)
    return (
        f"this is a tar archive; unpack it, and write path: {folder}; type: "
        f"mkdir {quoted(folder)} && tar -xf {quoted(path)} -C {quoted(folder)}"
    )


def _beside(path: Path) -> Path:
    """Choose a folder to unpack an archive into."""
    name = path.name.partition(".")[0]
    return path.with_name(name if name and name != path.name and not path.with_name(name).exists() else f"{path.name}-unpacked")


_REMEDIES: dict[str, Callable[[Path], str]] = {
    "npy": lambda path: (
        "this is a single array; put the arrays of images and labels into one folder as x_train.npy and y_train.npy, "
        f"and write source: npz, path: {path.parent}"
    ),
    "mat73": lambda path: (
        f"this is an HDF5 file, as written by Matlab's -v7.3; save it again in Matlab: load('{path.name}'), save('{path.name}', '-v7')"
    ),
    "image": lambda path: "this is an image; put the images of each class into a folder of its own, and write source: folder",
    "folder": lambda path: "this folder has images; write source: folder",
    "pickle": _pickle,
    "zip": _zip,
    "tar": _tar,
}
