"""Weights of a network at some epochs of its training, in `snapshots/` of the run folder: written, and read back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import DataError, RunError
from cnnctl.files import write_whole
from cnnctl.formats.npz import Header, read_header
from cnnctl.reading import read_bounded
from cnnctl.run_folder import RunFolder
from cnnctl.train.checkpoint import DAMAGE
from cnnctl.train.observers import EndRecord, EpochRecord, Observer, Plan

Weights = dict[str, NDArray[np.float32]]
"""Arrays by `LAYER/WEIGHT`, such as `conv2d/kernel`, in the order of the layers."""
_REMEDY = "remove it, and the other snapshots can be used"
_BYTES_BESIDE_ARRAY = 2_000
"""Upper bound for the headers and names of one array in a file."""


def epochs_to_keep(count: int, epochs: int) -> set[int]:
    """Choose `count` epochs from 0, before the training, to the last one, as evenly spaced as whole epochs are; halves round up."""
    gaps = count - 1
    return {(2 * index * epochs + gaps) // (2 * gaps) for index in range(count)}


class SnapshotFiles(Observer):
    """Writes the weights that are evaluated after some epochs, and before the training: with `use_ema` the averages.

    A training that early stopping ends keeps its last epoch too. One that is given more epochs keeps the files that it has, and
    continues with the epochs of the longer training.

    Args:
        run: its folder.
        layers: of the network, built, by name.
        count: number of epochs.
    """

    def __init__(self, run: RunFolder, layers: Mapping[str, keras.Layer], count: int) -> None:
        self._run = run
        self._layers = layers
        self._count = count
        self._epochs: set[int] = set()

    def on_start(self, plan: Plan) -> None:
        """Remove what an interrupted run wrote after its last checkpoint; keep the initial weights of a new run."""
        self._epochs = epochs_to_keep(self._count, plan.epochs)
        for epoch, file in self._run.snapshot_files().items():
            if epoch > plan.first_epoch or not plan.first_step:
                file.unlink()
        if not plan.first_step:
            self._write(0)

    def on_epoch(self, record: EpochRecord) -> None:
        """Keep the weights of an epoch that is due."""
        if record.epoch in self._epochs:
            self._write(record.epoch)

    def on_end(self, record: EndRecord) -> None:
        """Keep the weights of the last epoch, which early stopping chose; called before it restores those of the best."""
        if not self._run.snapshot_file(record.epochs).exists():
            self._write(record.epochs)

    def _write(self, epoch: int) -> None:
        content = io.BytesIO()
        np.savez(content, **weights_of(self._layers))  # type: ignore[arg-type]  # none of them is named allow_pickle
        try:
            self._run.snapshots.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{self._run.snapshots} cannot be made: {error.strerror}") from error
        write_whole(self._run.snapshot_file(epoch), content.getvalue())


def weights_of(layers: Mapping[str, keras.Layer]) -> Weights:
    """Return the weights of layers, moving statistics included, as float32."""
    return {
        f"{name}/{weight.name}": np.asarray(weight.numpy(), np.float32)
        for name, layer in layers.items()
        for weight in layer.weights
    }


def read_snapshot(run: RunFolder, epoch: int, shapes: Mapping[str, Sequence[int]]) -> Weights:
    """Read the weights after an epoch.

    Args:
        run: its folder.
        epoch: a key of `run.snapshot_files()`.
        shapes: of every weight of the network, by its name.

    Raises:
        RunError: the file cannot be read, is damaged, or belongs to another network.
    """
    file = run.snapshot_file(epoch)
    max_bytes = sum(4 * prod(shape) + _BYTES_BESIDE_ARRAY for shape in shapes.values()) + _BYTES_BESIDE_ARRAY
    try:
        with zipfile.ZipFile(io.BytesIO(read_bounded(file, max_bytes, run.path))) as archive:
            found = _found_in(archive, file)
            _refuse_other(file, {name: header for name, (header, _) in found.items()}, shapes)
            arrays = {name: _array(name, *found[name]) for name in shapes}
    except (DataError, *DAMAGE) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise RunError(f"{file} cannot be read: {reason}; {_REMEDY}") from error
    return arrays


def _found_in(archive: zipfile.ZipFile, file: Path) -> dict[str, tuple[Header, bytes]]:
    """Read the header and the bytes of each array; NumPy would allocate an array of any size that a header claims."""
    found = {}
    for each in archive.infolist():
        if each.compress_type != zipfile.ZIP_STORED:
            raise ValueError("it is compressed, unlike the snapshots of cnnctl")  # decompressed it could be of any size
        stream = io.BytesIO(archive.read(each))
        found[each.filename.removesuffix(".npy")] = read_header(stream, file), stream.read()
    return found


def _refuse_other(file: Path, found: Mapping[str, Header], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise RunError unless the arrays have the names, shapes and type of the network's weights."""
    for name in (*shapes, *found):
        expected = tuple(shapes[name]) if name in shapes else "no such weight"
        received = found[name].shape if name in found else "missing"
        if received != expected:
            raise RunError(f"{file} belongs to another network: '{name}' is {received} there, expected {expected}")
        if found[name].dtype != np.dtype("<f4"):
            raise ValueError(f"'{name}' is of {found[name].dtype}, expected float32")


def _array(name: str, header: Header, content: bytes) -> NDArray[np.float32]:
    values = np.frombuffer(content, "<f4")
    if values.size != prod(header.shape) or not np.isfinite(values).all():
        raise ValueError(f"'{name}' is incomplete, or has NaN or infinite values")
    return values.reshape(header.shape, order="F" if header.fortran else "C")
