"""What loops tell and who listens. A loop does not know who listens; an observer does not know which loop runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """A training before it starts.

    Attributes:
        epochs: how many there are to be, those done before a resume included.
        first_epoch: the first to do, counted from 0.
        steps_per_epoch: batches an epoch.
        examples: training images an epoch.
        batch_size: images a step; the last step of an epoch may have fewer.
    """

    epochs: int
    first_epoch: int
    steps_per_epoch: int
    examples: int
    batch_size: int


@dataclass(frozen=True)
class StepsRecord:
    """Where an epoch stands.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps since the start of the training.
        steps_in_epoch: of them, in this epoch.
        images: training images seen in this epoch.
        seconds: since the epoch started.
        loss, accuracy: over this epoch's images so far; the loss includes regularization.
    """

    epoch: int
    step: int
    steps_in_epoch: int
    images: int
    seconds: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class EpochRecord:
    """A finished epoch: one row of metrics.csv, in its order.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps since the start of the training.
        train_loss, train_accuracy: over the epoch's images while they were trained on, regularization included.
        validation_loss, validation_accuracy: after the epoch; None without validation.
        learning_rate: of the last step.
        seconds: of the training steps, validation left out.
        images_per_second: training images over `seconds`.
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


@dataclass(frozen=True)
class EndRecord:
    """A finished training.

    Attributes:
        epochs: done in all.
        step: optimizer steps in all.
        reason: why it stopped before its last epoch; empty where it did not.
    """

    epochs: int
    step: int
    reason: str = ""


class Observer:
    """Listens to a training; each method may be left as it is."""

    def on_start(self, plan: Plan) -> None:
        """Called once, before the first step."""

    def on_steps(self, record: StepsRecord) -> None:
        """Called several times a second at most."""

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Called after each epoch and its validation; a text stops the training and says why."""
        return None

    def on_end(self, record: EndRecord) -> None:
        """Called once, after the last epoch."""


class Observers(Observer):
    """Several observers as one, told in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)

    def on_start(self, plan: Plan) -> None:
        """Tells all."""
        for observer in self._observers:
            observer.on_start(plan)

    def on_steps(self, record: StepsRecord) -> None:
        """Tells all."""
        for observer in self._observers:
            observer.on_steps(record)

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Tells all, then returns the first reason to stop."""
        reasons = [observer.on_epoch(record) for observer in self._observers]
        return next((reason for reason in reasons if reason), None)

    def on_end(self, record: EndRecord) -> None:
        """Tells all."""
        for observer in self._observers:
            observer.on_end(record)
