"""What loops tell and who listens. A loop does not know who listens; an observer does not know which loop runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray


NORMAL_95 = 1.959964
"""The standard normal distribution has 95 % of its weight between this and its negative."""


@dataclass(frozen=True)
class Plan:
    """A training before it starts.

    Attributes:
        epochs: how many there are to be, those done before a resume included.
        first_epoch: the first to do, counted from 0.
        steps_per_epoch: batches an epoch.
        examples: training images an epoch.
        batch_size: images a step; the last step of an epoch may have fewer.
        report_every: steps of an epoch between points of the curves; 0 for none within epochs.
        report_at: optimizer steps since the start of the training that are points too.
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
        """Returns how many steps are done before the first."""
        return self.first_epoch * self.steps_per_epoch + (self.partial_epoch.steps_in_epoch if self.partial_epoch else 0)

    def start_of(self, epoch: int) -> StepsRecord:
        """Returns where an epoch, counted from 0, stands when its steps go on."""
        if self.partial_epoch and epoch == self.first_epoch:
            return self.partial_epoch
        return StepsRecord(epoch + 1, epoch * self.steps_per_epoch, 0, 0, 0.0, 0.0, 0.0)

    def points(self, epoch: int) -> set[int]:
        """Returns the steps of an epoch, counted from 0, that the curves have points at; the last is one."""
        before = epoch * self.steps_per_epoch
        regular = range(self.report_every, self.steps_per_epoch, self.report_every) if self.report_every else ()
        asked = [step - before for step in self.report_at if 0 < step - before < self.steps_per_epoch]
        return {*regular, *asked, self.steps_per_epoch}

    def stops(self, epoch: int) -> list[int]:
        """Returns the steps of an epoch after which `on_steps` is surely called, however fast they are."""
        before = epoch * self.steps_per_epoch
        first = self.save_every - before % self.save_every if self.save_every else 0
        saves = range(first, self.steps_per_epoch, self.save_every) if self.save_every else ()
        return sorted({*self.points(epoch), *saves})


class Score(NamedTuple):
    """How a learner did on images that it does not learn from.

    Attributes:
        loss: mean.
        accuracy: mean.
        interval: for few-shot tasks, half the width of the 95 % confidence interval of the accuracy; else None.
        penalty: what the regularizers of weights add to the loss; None where no weight has one.
    """

    loss: float
    accuracy: float
    interval: float | None = None
    penalty: float | None = None


@dataclass(frozen=True)
class StepsRecord:
    """Where an epoch stands.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps since the start of the training.
        steps_in_epoch: of them, in this epoch.
        images: training images seen in this epoch.
        seconds: since the epoch started.
        loss, accuracy: over this epoch's images so far; the loss includes regularization, as all losses but those of episodes.
        totals: what `loss` and `accuracy` are computed from, with which an epoch goes on; empty before its first step.
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
    """A finished epoch: one row of metrics.csv, in its order.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps since the start of the training.
        train_loss, train_accuracy: over the epoch's images while they were trained on, regularization included.
        validation_loss, validation_accuracy: after the epoch, of the weights that the run would leave then; None without
            validation.
        learning_rate: of the last step.
        seconds: of the training steps, validation left out.
        images_per_second: training images over `seconds`.
        validation_interval: for few-shot tasks, as in `Score`; None elsewhere, and then no column of metrics.csv.
        validation_penalty: the part of `validation_loss` that regularizers of weights add; None where no weight has one, and
            then no column of metrics.csv.
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
        epochs: done in all.
        step: optimizer steps in all.
        reason: why it stopped before its last epoch; empty where it did not.
    """

    epochs: int
    step: int
    reason: str = ""


@dataclass(frozen=True)
class SnapshotRecord:
    """What goes on inside a network, looked at with a few training images that stay the same.

    Attributes:
        weights: each weight and moving average by `layer/name`.
        gradients: of the loss in training, dropout and batch norm included, by the trained weight's `layer/name`.
        gradient_norm: the square root of the sum of all their squares.
        activations: the output of each layer in inference (with `maml` in training), by the layer's name; the images are the first axis.
    """

    weights: Mapping[str, NDArray[Any]]
    gradients: Mapping[str, NDArray[Any]]
    gradient_norm: float
    activations: Mapping[str, NDArray[Any]]


class Observer:
    """Listens to a training; each method may be left as it is."""

    def on_start(self, plan: Plan) -> None:
        """Called once, before the first step."""

    def on_steps(self, record: StepsRecord) -> None:
        """Called several times a second at most."""

    def on_epoch(self, record: EpochRecord) -> str | None:
        """Called after each epoch and its validation; a text stops the training and says why.

        The network then has the weights that the run would leave: with `use_ema` the averages.
        """
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
