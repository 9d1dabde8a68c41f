"""Checkpoints, from which a run goes on exactly: at the end of each epoch, now and then within, and when it is told to stop.

A checkpoint is one `.npz` file of plain arrays (no pickle): every variable of the model (weights, moving averages,
dropout seeds), every variable of the optimizer (slots, step count), the rows of metrics.csv, where the epoch stands
that has partial_epoch, the states of those who listen, and what it all belongs to (see `origin`). What else a step depends on (order, augmentation, learning rate) is
computed from the seed and the step. The file ends with the SHA-256 of all before it, as the archive's comment.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from cnnctl.errors import RunError
from cnnctl.files import write_whole
from cnnctl.reading import read_bounded
from cnnctl.train.averages import AveragedWeights
from cnnctl.train.observers import EpochRecord, Observer, Plan, StepsRecord
from cnnctl.train.origin import MEMBER, Origin, checkpoint_files
from cnnctl.train.steps import build_once
from cnnctl.train.stopping import REMEDIES

NAME = "step_{:09d}.npz"
FORMAT = 2
"""Goes up when what a checkpoint holds is read otherwise."""
DAMAGE = (
    OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, MemoryError, zipfile.BadZipFile,
)  # fmt: skip
"""What numpy, json and zipfile, and our own reading of them, raise for content that cnnctl did not write."""
_MORE_THAN_VARIABLES = 2**26
"""Bytes for what a checkpoint holds besides variables: rows, names, the states of listeners."""
KEPT = 2
"""How many checkpoints stay: the newest, and the one before it in case the newest is damaged."""
_DIGEST = hashlib.sha256().digest_size * 2
_COMMENT_LENGTH = 2
"""Bytes at the end of a zip file without a comment, which say that it has none."""


class Stateful(Protocol):
    """A listener whose later doing depends on what it has heard."""

    def state(self) -> Mapping[str, Any]:
        """Returns arrays and numbers from which `restore` makes an equal listener."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up what `state` returned."""
        ...


class Checkpoints(Observer):
    """Saves after every epoch, and within epochs as asked; keeps the newest two.

    Args:
        folder: where to.
        model, optimizer: what is trained.
        listeners: who else has a state, by a name; they hear everything before this one does.
        every_steps: steps between checkpoints within epochs; None for none.
        every_minutes: minutes after which a checkpoint is due within an epoch; None for none.
        averages: what puts other weights into the model for the while, which are not those that a run goes on with.

    Attributes:
        rows: the records of all epochs that are saved, those before a resume included.
        partial_epoch: where the epoch after them stands, as far as it is saved; None if nothing of it is.
        notes: what a person should know about how the run was taken up.
        restored: the bytes of the checkpoint that the training goes on from; empty where it begins.
        origin: what is saved belongs to; that of the checkpoint that was taken up, until the training says its own.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        optimizer: keras.Optimizer,
        listeners: Mapping[str, Stateful],
        every_steps: int | None = None,
        every_minutes: float | None = None,
        averages: AveragedWeights | None = None,
    ) -> None:
        self.rows: list[EpochRecord] = []
        self.partial_epoch: StepsRecord | None = None
        self.notes: list[str] = []
        self.restored = b""
        self.origin = Origin()
        self._folder = folder
        self._groups = {"model": model, "optimizer": optimizer}
        self._averages = averages or AveragedWeights(model, optimizer)
        self._listeners = listeners
        self._every_steps = every_steps
        self._every_minutes = every_minutes
        self._saved_at = time.monotonic()
        self._steps_per_epoch = 0
        self._unsaved: StepsRecord | None = None
        self._good: list[Path] = []

    def on_start(self, plan: Plan) -> None:
        """Learns how long an epoch is."""
        self._steps_per_epoch = plan.steps_per_epoch

    def on_steps(self, record: StepsRecord) -> None:
        """Writes a checkpoint within an epoch if one is due."""
        self._unsaved = record
        if record.steps_in_epoch < self._steps_per_epoch and self._is_due(record.step):
            self.save_now()

    def _is_due(self, step: int) -> bool:
        by_steps = self._every_steps is not None and step % self._every_steps == 0
        by_time = self._every_minutes is not None and time.monotonic() - self._saved_at >= 60 * self._every_minutes
        return by_steps or by_time

    def on_epoch(self, record: EpochRecord) -> None:
        """Writes the checkpoint of a finished epoch."""
        self._save([*self.rows, record], None, record.step)

    def save_now(self) -> None:
        """Writes a checkpoint of the step that was last heard of, if there is none yet.

        The weights must still be those of that step.
        """
        if self._unsaved:
            self._save(self.rows, self._unsaved, self._unsaved.step)

    def _save(self, rows: list[EpochRecord], partial_epoch: StepsRecord | None, step: int) -> None:
        arrays = {f"{group}/{name}": array for group, each in self._arrays().items() for name, array in each.items()}
        _refuse_not_finite(arrays, step)
        arrays["format"] = np.array(FORMAT)
        arrays["rows"] = _as_array([asdict(row) for row in rows])
        arrays["partial_epoch"] = _as_array(asdict(partial_epoch) if partial_epoch else None)
        arrays[MEMBER] = _as_array(asdict(self.origin))
        self._folder.mkdir(exist_ok=True)
        file = self._folder / NAME.format(step)
        write_whole(file, _archive(arrays), verified=True)
        self.rows, self.partial_epoch, self._unsaved = rows, partial_epoch, None  # only now are they saved
        self._saved_at = time.monotonic()
        self._keep(file)

    def _arrays(self) -> dict[str, Mapping[str, Any]]:
        trained = self._averages.trained()
        variables = {
            group: {f"{index}": trained.get(id(each), each.numpy()) for index, each in enumerate(owner.variables)}
            for group, owner in self._groups.items()
        }
        return {**variables, **{name: listener.state() for name, listener in self._listeners.items()}}

    def _keep(self, newest: Path) -> None:
        """Removes all checkpoints but the newest two that are known to be good."""
        self._good = [*(file for file in self._good if file != newest), newest][-KEPT:]
        for other in checkpoint_files(self._folder):
            if other not in self._good:
                other.unlink()

    def restore(self) -> None:
        """Takes up the newest checkpoint that is whole; nothing happens where there is none.

        Raises:
            RunError: all are damaged, or the newest whole one belongs to another network.
        """
        damaged: list[str] = []
        build_once(self._groups["optimizer"], self._groups["model"])
        for file in reversed(checkpoint_files(self._folder)):
            try:
                content = read_bounded(file, self._most_bytes(), file.parent.parent)
                self._take_up(str(file), _arrays_in(content))
            except DAMAGE as error:
                damaged.append(f"{file} is damaged ({_reason(error)})")
                continue
            self.notes = [f"{each}; an earlier checkpoint is taken" for each in damaged]
            self._good = [file]
            self.restored = content
            return
        if damaged:
            raise RunError(f"{'; '.join(damaged)}; no other checkpoint is there, train anew")

    def load_bytes(self, content: bytes) -> None:
        """Takes up a checkpoint that another worker has read; see `restored`."""
        build_once(self._groups["optimizer"], self._groups["model"])
        if content:
            self._take_up("the chief's checkpoint", _arrays_in(content))

    def _most_bytes(self) -> int:
        """Returns more bytes than a checkpoint of this training has; early stopping may keep the weights a second time."""
        variables = [variable for owner in self._groups.values() for variable in owner.variables]
        return 2 * sum(int(variable.numpy().nbytes) for variable in variables) + _MORE_THAN_VARIABLES

    def _take_up(self, file: str, arrays: dict[str, Any]) -> None:
        """Makes everything that was saved what it was; raises one of `DAMAGE` where something is missing."""
        if int(arrays["format"]) != FORMAT:
            raise ValueError("another version of cnnctl wrote it")
        rows = [EpochRecord(**row) for row in _content(arrays["rows"])]
        partial_epoch, origin = _content(arrays["partial_epoch"]), Origin.from_plain(_content(arrays[MEMBER]))
        record = StepsRecord(**{**partial_epoch, "totals": tuple(partial_epoch["totals"])}) if partial_epoch else None
        for name, listener in self._listeners.items():
            listener.restore(_group(arrays, name))
        for group, owner in self._groups.items():
            _assign(file, group, owner.variables, _group(arrays, group))
        self.rows, self.partial_epoch, self.origin = rows, record, origin


def _refuse_not_finite(arrays: Mapping[str, Any], step: int) -> None:
    """Raises RunError for weights that are no numbers: the loss was finite, but its gradient was not."""
    for name, array in arrays.items():
        if name.startswith("model/") and np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise RunError(
                f"after step {step} there are weights that are infinite or no numbers, which are not saved; {REMEDIES}"
            )


def _as_array(content: Any) -> Any:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _content(array: Any) -> Any:
    return json.loads(array.tobytes())


def _group(arrays: Mapping[str, Any], name: str) -> dict[str, Any]:
    start = f"{name}/"
    return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}


def _archive(arrays: Mapping[str, Any]) -> bytes:
    """Returns arrays as the bytes of a checkpoint."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    body = content.getvalue()[:-_COMMENT_LENGTH] + _DIGEST.to_bytes(_COMMENT_LENGTH, "little")
    return body + hashlib.sha256(body).hexdigest().encode()


def _reason(error: BaseException) -> str:
    """Returns why a checkpoint cannot be read, for people."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it claims to hold more than there is memory"
    return f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _arrays_in(content: bytes) -> dict[str, Any]:
    """Returns the arrays of a checkpoint; raises one of `DAMAGE` where it is not as it was written."""
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("it is not what was written: its checksum is another")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
            raise ValueError("it is compressed, and cnnctl compresses no checkpoint")  # it could grow without bound
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _assign(file: str, group: str, variables: Any, arrays: Mapping[str, Any]) -> None:
    saved = [arrays.get(f"{index}") for index in range(len(variables))]
    shapes = [tuple(variable.shape) for variable in variables]
    if len(arrays) != len(variables) or [None if array is None else array.shape for array in saved] != shapes:
        raise RunError(f"{file} holds another {group}: its arrays are not those of the run's config.yaml")
    for variable, array in zip(variables, saved, strict=True):
        variable.assign(array)
