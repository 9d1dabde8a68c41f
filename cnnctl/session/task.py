"""What `session` asks of those it works for: the task that is trained, and what a training may be a part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import tensorflow as tf

from cnnctl.data.image_set import ImageSet
from cnnctl.data.splits import Splits
from cnnctl.report.tensorboard.observer import Predictions
from cnnctl.train.diagnostics import Diagnostics
from cnnctl.train.observers import Observer, Score


class Task(Protocol):
    """What is trained on what, and how it is judged.

    Attributes:
        splits: the data.
        network: built, as the config says it; its weights are what a run leaves.
        learner: what is trained.
        examples: training images an epoch.
        batch_size: images a step.
        steps_per_epoch: batches an epoch.
    """

    splits: Splits
    network: keras.Model
    learner: Any
    examples: int
    batch_size: int
    steps_per_epoch: int

    def build(self) -> None:
        """Builds network and learner; called once."""
        ...

    def introduction(self) -> list[tuple[str, str]]:
        """Returns what a person should know before the training, a key and a text a line; the data comes first."""
        ...

    def training(self, first_step: int) -> tf.data.Dataset:
        """Returns the batches from a step on, counted from 0, to the end of the last epoch; of replicas, their parts."""
        ...

    def whole_batch(self, step: int) -> Any:
        """Returns what a step, counted from 0, trains on."""
        ...

    def validation(self) -> Any | None:
        """Returns what the learner's evaluation takes; None for no validation."""
        ...

    def insight(self) -> Diagnostics:
        """Returns what looks into the network."""
        ...

    def test(self, images: ImageSet) -> Score:
        """Returns how the learner does on the test split."""
        ...

    def tested_on(self) -> str:
        """Returns what the test was, for people."""
        ...

    def result(self, score: Score) -> dict[str, Any]:
        """Returns what result.json says of the test."""
        ...

    def answers(self) -> Predictions | None:
        """Returns what the network says of images, for pictures at the end; None where it names no classes."""
        ...


@dataclass(frozen=True)
class Part:
    """What makes a training a part of something larger, such as a sweep, which then tells of it.

    Attributes:
        listener: hears of each epoch once it is saved; what it raises leaves the run as one that was stopped.
        compared_by: what the HParams tab shows of the run besides what it shows of any, by config paths.
        tested: whether the test split is read in the end; else result.json has null for what it would say.
    """

    listener: Observer
    compared_by: Mapping[str, Any] = field(default_factory=dict)
    tested: bool = True
