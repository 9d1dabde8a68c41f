"""Atomic save and exact resume, at the end of each epoch.

A checkpoint is one `.npz` file of plain arrays (no pickle): every variable of the model (weights,
moving averages, dropout seeds), every variable of the optimizer (slots, step count), the rows of
metrics.csv and the state of early stopping.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from cnnctl.errors import RunError
from cnnctl.files import write_whole
from cnnctl.train.observe import EpochRecord, Observer
from cnnctl.train.stopping import StopWithoutProgress

NAME = "epoch_{:05d}.npz"
DAMAGE = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile)
"""What numpy and zipfile raise for files that are cut off or have wrong bits."""
KEPT = 2
"""How many checkpoints stay: the newest, and the one before it in case the newest is damaged."""


class Checkpoints(Observer):
    """Saves after every epoch; keeps the newest two.

    Attributes:
        rows: the records of all epochs, those before a resume included.
    """

    def __init__(
        self, folder: Path, model: keras.Model, optimizer: keras.Optimizer, stopping: StopWithoutProgress | None
    ) -> None:
        self._folder = folder
        self._model = model
        self._optimizer = optimizer
        self._stopping = stopping
        self.rows: list[EpochRecord] = []

    def on_epoch(self, record: EpochRecord) -> None:
        """Writes the checkpoint of a finished epoch."""
        rows = [*self.rows, record]
        arrays = {**_arrays("model", self._model.variables), **_arrays("optimizer", self._optimizer.variables)}
        if self._stopping:
            arrays.update({f"stopping/{key}": value for key, value in self._stopping.state().items()})
        arrays["rows"] = np.frombuffer(json.dumps([asdict(row) for row in rows]).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, **arrays)
        self._folder.mkdir(exist_ok=True)
        write_whole(self._folder / NAME.format(record.epoch), content.getvalue())
        self.rows = rows  # only now are they saved
        for old in checkpoint_files(self._folder)[:-KEPT]:
            old.unlink()

    def restore(self) -> int:
        """Takes up the newest checkpoint; returns the epochs it holds, 0 where there is none.

        Raises:
            RunError: the checkpoint is damaged or belongs to another network.
        """
        files = checkpoint_files(self._folder)
        if not files:
            return 0
        arrays = _read(files[-1])
        self._optimizer.build(self._model.trainable_variables)
        _assign(files[-1], "model", self._model.variables, arrays)
        _assign(files[-1], "optimizer", self._optimizer.variables, arrays)
        if self._stopping:
            start = "stopping/"
            self._stopping.restore({k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)})
        self.rows = [EpochRecord(**row) for row in json.loads(arrays["rows"].tobytes())]
        return len(self.rows)


def checkpoint_files(folder: Path) -> list[Path]:
    """Returns the checkpoints in a folder, the newest last."""
    return sorted(folder.glob("epoch_*.npz"))


def _arrays(group: str, variables: Any) -> dict[str, Any]:
    return {f"{group}/{index}": variable.numpy() for index, variable in enumerate(variables)}


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as content:
            return {"rows": content["rows"], **content}  # the rows come last, so they are missing from a file cut off
    except DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise RunError(f"{file} is damaged ({reason}); remove it to resume from the checkpoint before it") from None


def _assign(file: Path, group: str, variables: Any, arrays: dict[str, Any]) -> None:
    saved = [arrays[f"{group}/{index}"] for index in range(sum(key.startswith(f"{group}/") for key in arrays))]
    shapes = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in saved] != shapes:
        raise RunError(f"{file} holds another {group}: its arrays are not those of the run's config.yaml")
    for variable, array in zip(variables, saved, strict=True):
        variable.assign(array)
