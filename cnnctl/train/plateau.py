"""An observer that reduces the learning rate when the monitored value has not improved, as Keras's `ReduceLROnPlateau`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import keras
import numpy as np

from cnnctl.errors import counted
from cnnctl.spec.training import ReduceOnPlateau
from cnnctl.train.observers import EpochRecord, Observer, Plan


@dataclass(frozen=True)
class Plateau:
    """The state after an epoch.

    Attributes:
        learning_rate: of the next step, as its float32 variable holds it.
        best: value of the best epoch.
        best_epoch: counted from 1; 0 before the first.
        waited: epochs without an improvement since the best epoch, the last reduction or its cooldown.
        cooldown: epochs for which waiting is still suspended.
        reduced: whether this epoch reduced the rate.
    """

    learning_rate: float
    best: float
    best_epoch: int = 0
    waited: int = 0
    cooldown: int = 0
    reduced: bool = False


class ReduceLearningRate(Observer):
    """Reduces the learning rate on a plateau.

    The state is a function of the epochs that are done, whose records each checkpoint holds. It is computed from them, so a
    run resumes with the same rate after an interruption at any moment. The observer comes after the checkpoints: what they
    save has the rate of the steps that are done, not of the next one.

    Args:
        spec: of the config.
        optimizer: its learning rate is a number, not a schedule. It may have been restored from a checkpoint.
        initial: the learning rate of the config.
        done: the records of the epochs that are done, in their order.
        say: prints a message.
    """

    def __init__(
        self,
        spec: ReduceOnPlateau,
        optimizer: keras.Optimizer,
        initial: float,
        done: Iterable[EpochRecord] = (),
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._spec = spec
        self._optimizer = optimizer
        self._say = say
        self._epochs = 0
        worst = -math.inf if spec.monitor.endswith("accuracy") else math.inf
        self.state = Plateau(float(np.float32(initial)), worst)
        for record in done:
            self.state = after(self.state, spec, record.epoch, getattr(record, spec.monitor))

    def on_start(self, plan: Plan) -> None:
        """Set the learning rate that the epochs before led to."""
        self._epochs = plan.epochs
        self._optimizer.learning_rate = self.state.learning_rate

    def on_epoch(self, record: EpochRecord) -> None:
        """Reduce the learning rate after `patience` epochs without a better value."""
        before = self.state.learning_rate
        self.state = after(self.state, self._spec, record.epoch, getattr(record, self._spec.monitor))
        self._optimizer.learning_rate = self.state.learning_rate
        if self.state.reduced and record.epoch < self._epochs:
            without = counted(record.epoch - self.state.best_epoch, "epoch")
            self._say(
                f"        lr {before:.2e} → {self.state.learning_rate:.2e} from epoch {record.epoch + 1}: {self._spec.monitor} "
                f"has not improved for {without}, since epoch {self.state.best_epoch}"
            )


def after(state: Plateau, spec: ReduceOnPlateau, epoch: int, value: float) -> Plateau:
    """Compute the state after an epoch with this value, by the rules of Keras 3.15's `ReduceLROnPlateau`."""
    cooldown = max(state.cooldown - 1, 0)
    waited = 0 if state.cooldown else state.waited
    if _improves(value, state.best, spec):
        return Plateau(state.learning_rate, value, epoch, 0, cooldown)
    if cooldown:
        return replace(state, waited=waited, cooldown=cooldown, reduced=False)
    waited += 1
    if waited < spec.patience or state.learning_rate <= np.float32(spec.min_lr):
        return replace(state, waited=waited, cooldown=0, reduced=False)
    rate = float(np.float32(max(state.learning_rate * spec.factor, spec.min_lr)))
    return replace(state, learning_rate=rate, waited=0, cooldown=spec.cooldown, reduced=True)


def _improves(value: float, best: float, spec: ReduceOnPlateau) -> bool:
    """Compare in float32, as Keras does: the scripts of `cnnctl code` use its callback."""
    if spec.monitor.endswith("accuracy"):
        return bool(np.float32(value - spec.min_delta) > np.float32(best))
    return bool(np.float32(value + spec.min_delta) < np.float32(best))
