"""Read the weights that a run kept during its training: arrays of known names and shapes, and nothing else.

A file of a run may come from anybody. It is read as a whole up to the size that its arrays can have; each member must be
one of the expected arrays, uncompressed to no more than its size, float32 and finite; nothing is unpickled.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError, RunError
from cnnctl.formats.npz import read_header
from cnnctl.reading import read_bounded

FOLDER = "snapshots"
"""In a run folder."""
_NAME = re.compile(r"epoch-(\d{1,9})\.weights\.npz", re.ASCII)
_OVERHEAD = 10_000
"""More bytes per array than its npy header, its name and its entries in the zip file take."""
Weights = dict[str, NDArray[np.float32]]
"""Arrays by `LAYER/kernel` and the like."""


@dataclass(frozen=True)
class Snapshot:
    """The weights after an epoch; 0 is before training."""

    epoch: int
    weights: Weights


def snapshot_files(run: Path) -> dict[int, Path]:
    """List the files of weights that a run kept, by epoch; none for most runs."""
    folder = run / FOLDER
    if not folder.is_dir():
        return {}
    found = {int(match[1]): file for file in folder.iterdir() if (match := _NAME.fullmatch(file.name))}
    return dict(sorted(found.items()))


def evenly_spread(files: Mapping[int, Path], most: int | None) -> dict[int, Path]:
    """Choose at most `most` files, evenly spread with the first and the last; all for None."""
    epochs = list(files)
    if most is None or len(epochs) <= most:
        return dict(files)
    places = np.linspace(0, len(epochs) - 1, most).round().astype(int) if most > 1 else range(-most, 0)
    return {epochs[place]: files[epochs[place]] for place in places}


def read_snapshot(epoch: int, file: Path, shapes: Mapping[str, tuple[int, ...]], run: Path) -> Snapshot:
    """Read the weights of one epoch.

    Args:
        epoch: of the file's name.
        file: an npz file in the run folder.
        shapes: of the arrays that it must have.
        run: the run folder, which a link must not lead out of.

    Raises:
        RunError: it cannot be read, or has other arrays than the network.
    """
    most = sum(4 * prod(shape) + _OVERHEAD for shape in shapes.values()) + _OVERHEAD
    try:
        with zipfile.ZipFile(io.BytesIO(read_bounded(file, most, run))) as archive:
            _refuse_other_arrays(archive, shapes)
            return Snapshot(epoch, {name: _array(archive, name, shape, file) for name, shape in shapes.items()})
    except OSError as error:
        raise _unusable(file, error.strerror or str(error)) from error
    except (DataError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise _unusable(file, str(error) or type(error).__name__) from error


def _unusable(file: Path, reason: str) -> RunError:
    return RunError(f"{file} cannot be used: {reason}; remove it, or retrain the run")


def _refuse_other_arrays(archive: zipfile.ZipFile, shapes: Mapping[str, tuple[int, ...]]) -> None:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    odd = sorted(set(names).symmetric_difference(shapes))
    if odd or len(names) > len(shapes):
        raise ValueError(f"expected the weights of the network, received other arrays ({(odd or names)[0]!r})")
    for info in archive.infolist():
        shape = shapes[info.filename.removesuffix(".npy")]
        if info.file_size > 4 * prod(shape) + _OVERHEAD:
            raise ValueError(f"{info.filename!r} is larger than its array")


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], file: Path) -> NDArray[np.float32]:
    stream = io.BytesIO(archive.read(f"{name}.npy"))
    header = read_header(stream, file)  # before memory is allocated for the array that it describes
    if header.shape != shape or header.dtype != np.dtype("<f4"):
        raise ValueError(f"expected {name!r} of float32 {shape}, received {header.dtype} {header.shape}")
    values = np.frombuffer(stream.read(), np.dtype("<f4"))
    if values.size != prod(shape) or not np.isfinite(values).all():
        raise ValueError(f"{name!r} is incomplete, or has NaN or infinite values")
    return values.reshape(shape, order="F" if header.fortran else "C")
