"""Observers that end a training: no more progress, or numbers that are none."""

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
    """The loss of a step is infinite or no number; that step has changed no trained weight.

    Attributes:
        step: counted from 1 since the start of the training.
        loss: `nan`, `inf` or `-inf`.
    """

    def __init__(self, step: int, loss: str) -> None:
        super().__init__(f"the loss became {loss} at step {step}; {REMEDIES}")
        self.step = step
        self.loss = loss


class StopWhenNotFinite(Observer):
    """Ends the run when a loss of validation is infinite or no number, or the sum of those of training has grown too large."""

    def on_steps(self, record: StepsRecord) -> None:
        """Raises RunError for such a mean."""
        if not math.isfinite(record.loss):
            raise RunError(f"the mean loss became {record.loss} by step {record.step} of epoch {record.epoch}; {REMEDIES}")

    def on_epoch(self, record: EpochRecord) -> None:
        """Raises RunError for a loss of validation that is infinite or no number: nothing can be chosen by it."""
        if record.validation_loss is not None and not math.isfinite(record.validation_loss):
            raise RunError(f"the validation loss became {record.validation_loss} after epoch {record.epoch}; {REMEDIES}")


@dataclass(frozen=True)
class Progress:
    """What early stopping has seen.

    Attributes:
        best: value of the best epoch, so that less is better.
        best_epoch, last_epoch: counted from 1; 0 before the first.
        weights: of the best epoch, where they are kept.
    """

    best: float = math.inf
    best_epoch: int = 0
    last_epoch: int = 0
    weights: tuple[Any, ...] = ()


class StopWithoutProgress(Observer):
    """Early stopping; the best weights so far are part of its state, which changes in one go or, where interrupted, not at all."""

    def __init__(self, spec: EarlyStopping, model: keras.Model) -> None:
        self._spec = spec
        self._model = model
        self._sign = -1 if spec.monitor.endswith("accuracy") else 1
        self._seen = Progress()

    @property
    def restores(self) -> bool:
        """Returns whether the training ends with the weights of another epoch than its last."""
        return bool(self._seen.weights) and self._seen.best_epoch != self._seen.last_epoch

    @property
    def best_epoch(self) -> int:
        """Returns the best epoch so far, counted from 1."""
        return self._seen.best_epoch

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Returns a reason to stop after `patience` epochs without a better value."""
        value = self._sign * getattr(record, self._spec.monitor)
        if value < self._seen.best - self._spec.min_delta:
            weights = tuple(self._model.get_weights()) if self._spec.restore_best else ()
            self._seen = Progress(value, record.epoch, record.epoch, weights)
        else:
            self._seen = replace(self._seen, last_epoch=record.epoch)
        return self.reason()

    def reason(self) -> str | None:
        """Returns why the training should stop by now, or None."""
        waited = self._seen.last_epoch - self._seen.best_epoch
        if waited < self._spec.patience:
            return None
        return f"{self._spec.monitor} has not improved for {counted(waited, 'epoch')}, since epoch {self._seen.best_epoch}"

    def on_end(self, record: EndRecord) -> None:
        """Goes back to the weights of the best epoch, where the config says so."""
        if self.restores:
            self._model.set_weights(list(self._seen.weights))

    def state(self) -> dict[str, Any]:
        """Returns arrays and numbers from which `restore` makes an equal observer."""
        weights = {f"weight_{index}": weight for index, weight in enumerate(self._seen.weights)}
        epochs = np.array([self._seen.best_epoch, self._seen.last_epoch])
        return {"best": np.float64(self._seen.best), "epochs": epochs, **weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up what `state` returned."""
        best_epoch, last_epoch = (int(epoch) for epoch in state["epochs"])
        weights = tuple(state[f"weight_{index}"] for index in range(len(state) - 2))
        self._seen = Progress(float(state["best"]), best_epoch, last_epoch, weights)
