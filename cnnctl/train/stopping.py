"""Observers that end a training: no more progress, or numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from cnnctl.errors import RunError
from cnnctl.spec.experiment import EarlyStopping
from cnnctl.train.observe import EndRecord, EpochRecord, Observer, StepsRecord

REMEDIES = "the usual remedies are a smaller learning_rate, global_clipnorm: 1.0 or batch_normalization"


class Diverged(RunError):
    """The loss of a step is infinite or no number; that step has changed no weight.

    Attributes:
        step: counted from 1 since the start of the training.
        loss: `nan`, `inf` or `-inf`.
    """

    def __init__(self, step: int, loss: str) -> None:
        super().__init__(f"the loss became {loss} at step {step}; {REMEDIES}")
        self.step = step
        self.loss = loss


class StopWhenNotFinite(Observer):
    """Ends the run when the mean of losses that are all finite is not: their sum has grown too large."""

    def on_steps(self, record: StepsRecord) -> None:
        """Raises RunError for such a mean."""
        if not math.isfinite(record.loss):
            raise RunError(f"the mean loss became {record.loss} by step {record.step} of epoch {record.epoch}; {REMEDIES}")


class StopWithoutProgress(Observer):
    """Early stopping; the best weights so far are part of its state."""

    def __init__(self, spec: EarlyStopping, model: keras.Model) -> None:
        self._spec = spec
        self._model = model
        self._sign = -1 if spec.monitor.endswith("accuracy") else 1
        self._best = math.inf
        self.best_epoch = 0
        self._weights: list[Any] = []
        self._last_epoch = 0

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Returns a reason to stop after `patience` epochs without a better value."""
        self._last_epoch = record.epoch
        value = self._sign * getattr(record, self._spec.monitor)
        if value < self._best - self._spec.min_delta:
            self._best = value
            self.best_epoch = record.epoch
            self._weights = self._model.get_weights() if self._spec.restore_best else []
        return self.reason()

    def reason(self) -> str | None:
        """Returns why the training should stop by now, or None."""
        waited = self._last_epoch - self.best_epoch
        if waited < self._spec.patience:
            return None
        return f"{self._spec.monitor} has not improved for {waited} epochs, since epoch {self.best_epoch}"

    def on_end(self, record: EndRecord) -> None:
        """Goes back to the weights of the best epoch, where the config says so."""
        if self._weights and self.best_epoch != self._last_epoch:
            self._model.set_weights(self._weights)

    def state(self) -> dict[str, Any]:
        """Returns arrays and numbers from which `restore` makes an equal observer."""
        weights = {f"weight_{index}": weight for index, weight in enumerate(self._weights)}
        epochs = np.array([self.best_epoch, self._last_epoch])
        return {"best": np.float64(self._best), "epochs": epochs, **weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up what `state` returned."""
        self._best = float(state["best"])
        self.best_epoch, self._last_epoch = (int(epoch) for epoch in state["epochs"])
        self._weights = [state[f"weight_{index}"] for index in range(len(state) - 2)]
