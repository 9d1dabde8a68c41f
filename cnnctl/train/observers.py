"""The records that loops send, and the observers that receive them; neither knows the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray


NORMAL_95 = 1.959964
"""95 % of the standard normal distribution is between this and its negative."""


@dataclass(frozen=True)
class Plan:
    """A training before it starts.

    Attributes:
        epochs: at the end, those done before a resume included.
        first_epoch: the first to train, counted from 0.
        steps_per_epoch: batches per epoch.
        examples: training images per epoch.
        batch_size: images per step; the last step of an epoch may have fewer.
        report_every: steps between points of the curves within an epoch; 0 for none.
        report_at: optimizer steps, since the start of the training, that get a point too.
        save_every: optimizer steps between checkpoints within epochs; 0 for none.
        partial_epoch: the steps of the first epoch that are done already; None if there are none.
    """

    epochs: int
    first_epoch: int
    steps_per_epoch: int
    examples: int
    batch_size: int
    report_every: int = 0
    report_at: tuple[int, ...] = ()
    save_every: int = 0
    partial_epoch: StepsRecord | None = None

    @property
    def first_step(self) -> int:
        """Count the steps that are done already."""
        return self.first_epoch * self.steps_per_epoch + (self.partial_epoch.steps_in_epoch if self.partial_epoch else 0)

    def start_of(self, epoch: int) -> StepsRecord:
        """Return the record of an epoch, counted from 0, before its next step."""
        if self.partial_epoch and epoch == self.first_epoch:
            return self.partial_epoch
        return StepsRecord(epoch + 1, epoch * self.steps_per_epoch, 0, 0, 0.0, 0.0, 0.0)

    def points(self, epoch: int) -> set[int]:
        """Return the steps of an epoch, counted from 0, at which the curves have points; the last step is one."""
        before = epoch * self.steps_per_epoch
        regular = range(self.report_every, self.steps_per_epoch, self.report_every) if self.report_every else ()
        asked = [step - before for step in self.report_at if 0 < step - before < self.steps_per_epoch]
        return {*regular, *asked, self.steps_per_epoch}

    def stops(self, epoch: int) -> list[int]:
        """Return the steps of an epoch after which `on_steps` is always called."""
        before = epoch * self.steps_per_epoch
        first = self.save_every - before % self.save_every if self.save_every else 0
        saves = range(first, self.steps_per_epoch, self.save_every) if self.save_every else ()
        return sorted({*self.points(epoch), *saves})


class Score(NamedTuple):
    """The result of a learner on images that it is not trained on.

    Attributes:
        loss: mean.
        accuracy: mean.
        interval: half the width of the 95 % confidence interval of the accuracy, for few-shot tasks; None for others.
        penalty: the part of the loss that comes from regularizers of weights; None if no weight has one.
    """

    loss: float
    accuracy: float
    interval: float | None = None
    penalty: float | None = None


@dataclass(frozen=True)
class StepsRecord:
    """The state of an epoch after some of its steps.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps since the start of the training.
        steps_in_epoch: those of this epoch.
        images: training images seen in this epoch.
        seconds: since the epoch started.
        loss, accuracy: over this epoch's images so far; the loss includes regularization, except for episodes.
        totals: the sums and counts behind `loss` and `accuracy`, from which an epoch resumes; empty before its first step.
    """

    epoch: int
    step: int
    steps_in_epoch: int
    images: int
    seconds: float
    loss: float
    accuracy: float
    totals: tuple[float, ...] = ()


@dataclass(frozen=True)
class EpochRecord:
    """A finished epoch: one row of metrics.csv, with its columns in order.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps since the start of the training.
        train_loss, train_accuracy: over the epoch's images as they were trained on, with regularization.
        validation_loss, validation_accuracy: after the epoch, of the weights that the run would save; None without
            validation.
        learning_rate: of the last step.
        seconds: of the training steps, without validation.
        images_per_second: training images over `seconds`.
        validation_interval: as in `Score`; where None, metrics.csv has no such column.
        validation_penalty: as `penalty` in `Score`; where None, metrics.csv has no such column.
    """

    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    validation_interval: float | None = None
    validation_penalty: float | None = None


@dataclass(frozen=True)
class EndRecord:
    """A finished training.

    Attributes:
        epochs: all that are done.
        step: all optimizer steps.
        reason: why it stopped early; empty if it did not.
    """

    epochs: int
    step: int
    reason: str = ""


@dataclass(frozen=True)
class SnapshotRecord:
    """Weights, gradients and activations of a network for a few training images, always the same.

    Attributes:
        weights: weights and moving averages, by `layer/name`.
        gradients: of the training loss, with dropout and batch norm as in training, by the trained weight's `layer/name`.
        gradient_norm: the Euclidean norm of all gradients together.
        activations: the output of each layer in inference (in training for `maml`), by layer name; the first axis is the images.
    """

    weights: Mapping[str, NDArray[Any]]
    gradients: Mapping[str, NDArray[Any]]
    gradient_norm: float
    activations: Mapping[str, NDArray[Any]]

    def gradient_norms(self) -> dict[str, float]:
        """Compute the Euclidean norm of the gradients of each layer's weights together, by layer name, in the order of the layers."""
        squares: dict[str, float] = {}
        for name, gradient in self.gradients.items():
            layer = name.rpartition("/")[0]
            squares[layer] = squares.get(layer, 0.0) + float((gradient.astype(float) ** 2).sum())
        return {layer: math.sqrt(each) for layer, each in squares.items()}


class Observer:
    """Receives the records of a training; each method does nothing by default."""

    def on_start(self, plan: Plan) -> None:
        """Receive the plan, once, before the first step."""

    def on_steps(self, record: StepsRecord) -> None:
        """Receive the state of the epoch, a few times per second at most."""

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Receive each epoch after its validation; a returned text stops the training, and is the reason.

        The network has the weights that the run would save: with `use_ema` the averages.
        """
        return None

    def on_end(self, record: EndRecord) -> None:
        """Receive the end, once, after the last epoch."""


class Observers(Observer):
    """Several observers as one; they are notified in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def on_start(self, plan: Plan) -> None:
        """Notify all."""
        for observer in self._observers:
            observer.on_start(plan)

    def on_steps(self, record: StepsRecord) -> None:
        """Notify all."""
        for observer in self._observers:
            observer.on_steps(record)

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Notify all, then return the first reason to stop."""
        reasons = [observer.on_epoch(record) for observer in self._observers]
        return next((reason for reason in reasons if reason), None)

    def on_end(self, record: EndRecord) -> None:
        """Notify all."""
        for observer in self._observers:
            observer.on_end(record)
