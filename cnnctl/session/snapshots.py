"""Weights of a network at some epochs of its training, in `snapshots/` of the run folder: written, and read back."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import RunError
from cnnctl.files import write_whole
from cnnctl.reading import read_bounded
from cnnctl.run_folder import RunFolder
from cnnctl.train.checkpoint import DAMAGE
from cnnctl.train.observers import EndRecord, EpochRecord, Observer, Plan

Weights = dict[str, NDArray[np.float32]]
"""Arrays by `LAYER/WEIGHT`, such as `conv2d/kernel`, in the order of the layers."""
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
        layers: of the network, built.
        count: number of epochs.
    """

    def __init__(self, run: RunFolder, layers: Sequence[keras.Layer], count: int) -> None:
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


def weights_of(layers: Sequence[keras.Layer]) -> Weights:
    """Return the weights of layers, moving statistics included, as float32."""
    return {
        f"{layer.name}/{weight.name}": np.asarray(weight.numpy(), np.float32) for layer in layers for weight in layer.weights
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
    max_bytes = sum(4 * int(np.prod(shape)) + _BYTES_BESIDE_ARRAY for shape in shapes.values()) + _BYTES_BESIDE_ARRAY
    try:
        arrays = _arrays_in(read_bounded(file, max_bytes, run.path))
    except DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise RunError(f"{file} cannot be read: {reason}; remove it, and the other snapshots can be used") from error
    _refuse_other(file, arrays, shapes)
    return {name: arrays[name] for name in shapes}


def _arrays_in(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
            raise ValueError("it is compressed, unlike the snapshots of cnnctl")  # decompressed it could be of any size
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _refuse_other(file: Path, arrays: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise RunError unless the arrays are finite weights of the network."""
    expected = {name: tuple(shape) for name, shape in shapes.items()}
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        wrong = next(name for name in (*expected, *found) if found.get(name) != expected.get(name))
        raise RunError(
            f"{file} belongs to another network: '{wrong}' is {found.get(wrong, 'missing')} there, "
            f"expected {expected.get(wrong, 'no such weight')}"
        )
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in arrays.values()):
        raise RunError(f"{file} is damaged: expected finite values of float32; remove it, and the other snapshots can be used")
