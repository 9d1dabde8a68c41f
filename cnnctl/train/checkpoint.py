"""Checkpoints, from which a run resumes exactly: after each epoch, within epochs if asked, and when a signal comes.

A checkpoint is one `.npz` file of plain arrays (no pickle): every variable of the model (weights, moving averages,
dropout seeds), every variable of the optimizer (slots, step count), the rows of metrics.csv, the state of a partial
epoch, the states of listeners, and the origin (see `origin`). Everything else that a step depends on (order,
augmentation, learning rate) is computed from the seed and the step. The file ends with the SHA-256 of everything
before it, as the archive's comment.
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
from cnnctl.model.adapted import use_stored_moments
from cnnctl.reading import read_bounded
from cnnctl.train.averages import AveragedWeights
from cnnctl.train.observers import EpochRecord, Observer, Plan, StepsRecord
from cnnctl.train.origin import MEMBER, Origin, checkpoint_files
from cnnctl.train.steps import build_once
from cnnctl.train.stopping import REMEDIES

NAME = "step_{:09d}.npz"
FORMAT = 3
"""Version of the content; raised when it changes."""
DAMAGE = (
    OSError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, MemoryError, zipfile.BadZipFile,
)  # fmt: skip
"""What numpy, json, zipfile and the code below raise for content that cnnctl did not write."""
_BYTES_BESIDE_VARIABLES = 2**26
"""Upper bound for rows, names and the states of listeners."""
KEPT = 2
"""Checkpoints that are kept: the newest, and the one before it in case the newest is damaged."""
_DIGEST = hashlib.sha256().digest_size * 2
_COMMENT_LENGTH = 2
"""Bytes at the end of a zip file that hold the length of its comment."""


class Stateful(Protocol):
    """An observer whose later behaviour depends on earlier records."""

    def state(self) -> Mapping[str, Any]:
        """Return arrays and numbers from which `restore` makes an equal observer."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        ...


class Checkpoints(Observer):
    """Saves after every epoch, and within epochs if asked; keeps the newest two checkpoints.

    Args:
        folder: of the checkpoints.
        model, optimizer: what is trained.
        listeners: other observers with a state, by a name; they are notified before this one.
        every_steps: optimizer steps between checkpoints within epochs; None for none.
        every_minutes: minutes between checkpoints within epochs; None for none.
        averages: put other weights into the model for a while; a run resumes from the trained ones.

    Attributes:
        rows: the records of all saved epochs, those before a resume included.
        partial_epoch: the saved state of the epoch after them; None if nothing of it is saved.
        notes: messages about damaged checkpoints that were skipped.
        restored: the bytes of the restored checkpoint; empty for a new run.
        origin: config and environment that are saved; those of the restored checkpoint until the training sets its own.
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
        self._intact: list[Path] = []

    def on_start(self, plan: Plan) -> None:
        """Store how long an epoch is."""
        self._steps_per_epoch = plan.steps_per_epoch

    def on_steps(self, record: StepsRecord) -> None:
        """Write a checkpoint within an epoch if one is due."""
        self._unsaved = record
        if record.steps_in_epoch < self._steps_per_epoch and self._is_due(record.step):
            self.save_now()

    def _is_due(self, step: int) -> bool:
        by_steps = self._every_steps is not None and step % self._every_steps == 0
        by_time = self._every_minutes is not None and time.monotonic() - self._saved_at >= 60 * self._every_minutes
        return by_steps or by_time

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the checkpoint of a finished epoch."""
        self._save([*self.rows, record], None, record.step)

    def save_now(self) -> None:
        """Write a checkpoint of the last step, if there is none yet; the weights must still be those of that step."""
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
        self.rows, self.partial_epoch, self._unsaved = rows, partial_epoch, None  # only once the file is written
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
        """Remove all checkpoints but the newest two that are known to be intact."""
        self._intact = [*(file for file in self._intact if file != newest), newest][-KEPT:]
        for other in checkpoint_files(self._folder):
            if other not in self._intact:
                other.unlink()

    def restore(self) -> None:
        """Restore the newest intact checkpoint; do nothing if there is no checkpoint.

        Raises:
            RunError: all are damaged, or the newest intact one belongs to another network.
        """
        damaged: list[str] = []
        build_once(self._groups["optimizer"], self._groups["model"])
        for file in reversed(checkpoint_files(self._folder)):
            try:
                content = read_bounded(file, self._max_bytes(), file.parent.parent)
                self._load(str(file), _arrays_in(content))
            except DAMAGE as error:
                damaged.append(f"{file} is damaged ({_reason(error)})")
                continue
            self.notes = [f"{each}; an earlier checkpoint is used" for each in damaged]
            self._intact = [file]
            self.restored = content
            return
        if damaged:
            raise RunError(f"{'; '.join(damaged)}; there is no other checkpoint, start a new run")

    def load_bytes(self, content: bytes) -> None:
        """Restore a checkpoint that another worker has read; see `restored`."""
        build_once(self._groups["optimizer"], self._groups["model"])
        if content:
            self._load("the chief's checkpoint", _arrays_in(content))

    def _max_bytes(self) -> int:
        """Bound the bytes of a checkpoint; with early stopping the weights may be in it twice."""
        variables = [variable for owner in self._groups.values() for variable in owner.variables]
        return 2 * sum(int(variable.numpy().nbytes) for variable in variables) + _BYTES_BESIDE_VARIABLES

    def _load(self, file: str, arrays: dict[str, Any]) -> None:
        """Load everything that was saved; raise one of `DAMAGE` if something is missing."""
        if int(arrays["format"]) != FORMAT:
            raise ValueError("another version of cnnctl wrote it")
        rows = [EpochRecord(**row) for row in _content(arrays["rows"])]
        partial_epoch, origin = _content(arrays["partial_epoch"]), Origin.from_plain(_content(arrays[MEMBER]))
        record = StepsRecord(**{**partial_epoch, "totals": tuple(partial_epoch["totals"])}) if partial_epoch else None
        for name, listener in self._listeners.items():
            listener.restore(_group(arrays, name))
        for group, owner in self._groups.items():
            _assign(file, group, owner.variables, _group(arrays, group))
        use_stored_moments(self._groups["model"])
        self.rows, self.partial_epoch, self.origin = rows, record, origin


def _refuse_not_finite(arrays: Mapping[str, Any], step: int) -> None:
    """Raise RunError for weights that are NaN or infinite: the loss was finite, its gradient was not."""
    for name, array in arrays.items():
        if name.startswith("model/") and np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise RunError(f"weights became NaN or infinite by step {step}; they are not saved; {REMEDIES}")


def _as_array(content: Any) -> Any:
    return np.frombuffer(json.dumps(content).encode(), np.uint8)


def _content(array: Any) -> Any:
    return json.loads(array.tobytes())


def _group(arrays: Mapping[str, Any], name: str) -> dict[str, Any]:
    start = f"{name}/"
    return {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}


def _archive(arrays: Mapping[str, Any]) -> bytes:
    """Pack arrays into the bytes of a checkpoint."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    body = content.getvalue()[:-_COMMENT_LENGTH] + _DIGEST.to_bytes(_COMMENT_LENGTH, "little")
    return body + hashlib.sha256(body).hexdigest().encode()


def _reason(error: BaseException) -> str:
    """Describe why a checkpoint cannot be read."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "its header asks for more than the memory of this machine"
    return f"it has no {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__


def _arrays_in(content: bytes) -> dict[str, Any]:
    """Unpack the arrays of a checkpoint; raise one of `DAMAGE` if its bytes have changed."""
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("its checksum does not match")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
            raise ValueError("it is compressed, unlike the checkpoints of cnnctl")  # decompressed it could be of any size
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _assign(file: str, group: str, variables: Any, arrays: Mapping[str, Any]) -> None:
    saved = [arrays.get(f"{index}") for index in range(len(variables))]
    shapes = [tuple(variable.shape) for variable in variables]
    if len(arrays) != len(variables) or [None if array is None else array.shape for array in saved] != shapes:
        raise RunError(f"{file} is of another {group}: its arrays do not match the run's config.yaml")
    for variable, array in zip(variables, saved, strict=True):
        variable.assign(array)
