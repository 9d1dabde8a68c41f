"""Observers that end a training: early stopping, and non-finite losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from cnnctl.errors import RunError, counted
from cnnctl.spec.training import EarlyStopping
from cnnctl.train.observers import EndRecord, EpochRecord, Observer, StepsRecord

REMEDIES = "the usual remedies are a smaller learning_rate, global_clipnorm: 1.0 or batch_normalization"


class Diverged(RunError):
    """The loss of a step is NaN or infinite; that step changed no trained weight.

    Attributes:
        step: counted from 1 since the start of the training.
        loss: `nan`, `inf` or `-inf`.
    """

    def __init__(self, step: int, loss: str) -> None:
        super().__init__(f"the loss became {loss} at step {step}; {REMEDIES}")
        self.step = step
        self.loss = loss


class StopWhenNotFinite(Observer):
    """Ends the run when the validation loss is NaN or infinite, or the sum of the training losses overflowed."""

    def on_steps(self, record: StepsRecord) -> None:
        """Raise RunError for a non-finite mean of the training losses."""
        if not math.isfinite(record.loss):
            raise RunError(f"the mean loss became {record.loss} by step {record.step} of epoch {record.epoch}; {REMEDIES}")

    def on_epoch(self, record: EpochRecord) -> None:
        """Raise RunError for a non-finite validation loss, by which no epoch could be chosen."""
        if record.validation_loss is not None and not math.isfinite(record.validation_loss):
            raise RunError(f"the validation loss became {record.validation_loss} after epoch {record.epoch}; {REMEDIES}")


@dataclass(frozen=True)
class Progress:
    """The state of early stopping.

    Attributes:
        best: value of the best epoch, with the sign that makes lower better.
        best_epoch, last_epoch: counted from 1; 0 before the first.
        weights: of the best epoch, if they are to be restored.
    """

    best: float = math.inf
    best_epoch: int = 0
    last_epoch: int = 0
    weights: tuple[Any, ...] = ()


class StopWithoutProgress(Observer):
    """Early stopping; its state, with the best weights so far, changes in one assignment, so that no signal leaves half of it."""

    def __init__(self, spec: EarlyStopping, model: keras.Model) -> None:
        self._spec = spec
        self._model = model
        self._sign = -1 if spec.monitor.endswith("accuracy") else 1
        self._progress = Progress()

    @property
    def restores(self) -> bool:
        """Whether the training ends with the weights of an earlier epoch."""
        return bool(self._progress.weights) and self._progress.best_epoch != self._progress.last_epoch

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, counted from 1."""
        return self._progress.best_epoch

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Return a reason to stop after `patience` epochs without a better value."""
        value = self._sign * getattr(record, self._spec.monitor)
        if value < self._progress.best - self._spec.min_delta:
            weights = tuple(self._model.get_weights()) if self._spec.restore_best else ()
            self._progress = Progress(value, record.epoch, record.epoch, weights)
        else:
            self._progress = replace(self._progress, last_epoch=record.epoch)
        return self.reason()

    def reason(self) -> str | None:
        """Return the reason to stop by now, or None."""
        waited = self._progress.last_epoch - self._progress.best_epoch
        if waited < self._spec.patience:
            return None
        return f"{self._spec.monitor} has not improved for {counted(waited, 'epoch')}, since epoch {self._progress.best_epoch}"

    def on_end(self, record: EndRecord) -> None:
        """Restore the weights of the best epoch, if the config asks for it."""
        if self.restores:
            self._model.set_weights(list(self._progress.weights))

    def state(self) -> dict[str, Any]:
        """Return arrays and numbers from which `restore` makes an equal observer."""
        weights = {f"weight_{index}": weight for index, weight in enumerate(self._progress.weights)}
        epochs = np.array([self._progress.best_epoch, self._progress.last_epoch])
        return {"best": np.float64(self._progress.best), "epochs": epochs, **weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        best_epoch, last_epoch = (int(epoch) for epoch in state["epochs"])
        weights = tuple(state[f"weight_{index}"] for index in range(len(state) - 2))
        self._progress = Progress(float(state["best"]), best_epoch, last_epoch, weights)
