"""The state of one training: its task, its devices and workers, and who is notified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import tensorflow as tf

from cnnctl.data.image_set import ImageSet
from cnnctl.data.splits import Splits
from cnnctl.report.console import Console
from cnnctl.report.tensorboard.observer import Predictions
from cnnctl.session.environment import NotedData
from cnnctl.session.workers import Workers
from cnnctl.spec.experiment import Experiment
from cnnctl.train.device import Device
from cnnctl.train.diagnostics import Diagnostics
from cnnctl.train.distributed.replicas import Replicas
from cnnctl.train.observers import Observer, Score
from cnnctl.train.settings import Settings
from cnnctl.train.signals import Interruption
from cnnctl.train.stopping import StopWithoutProgress


class Task(Protocol):
    """What is trained on which data, and how it is evaluated.

    Attributes:
        splits: the data.
        network: built, as the config describes it; a run saves its weights.
        learner: what is trained.
        examples: training images per epoch.
        batch_size: images per step.
        steps_per_epoch: batches per epoch.
    """

    splits: Splits
    network: keras.Model
    learner: Any
    examples: int
    batch_size: int
    steps_per_epoch: int

    def build(self) -> None:
        """Build network and learner; called once."""
        ...

    def introduction(self) -> list[tuple[str, str]]:
        """Describe the training before it starts, in lines of a key and a text; the first is about the data."""
        ...

    def training(self, first_step: int) -> tf.data.Dataset:
        """Make the batches from a step on, counted from 0, to the end of the last epoch; of replicas, their parts."""
        ...

    def whole_batch(self, step: int) -> Any:
        """Make the batch of one step, counted from 0."""
        ...

    def validation(self) -> Any | None:
        """Return what the learner's evaluation takes; None for no validation."""
        ...

    def diagnostics(self) -> Diagnostics:
        """Return the diagnostics of the network."""
        ...

    def test(self, images: ImageSet) -> Score:
        """Evaluate on the test split."""
        ...

    def rehearse(self) -> None:
        """Trace what is computed after the steps, in another thread than the steps; change nothing that is trained."""
        ...

    def tested_on(self) -> str:
        """Describe the test, such as `10,000 images`."""
        ...

    def result(self, score: Score) -> dict[str, Any]:
        """Return the entries of result.json about the test."""
        ...

    def predictions(self) -> Predictions | None:
        """Return predictions for the images that TensorBoard shows at the end; None if the network has no classes."""
        ...


MakeTask = Callable[[Experiment, Replicas | None], Task]
"""Reads the data of a checked config, and makes the task that it sets."""


@dataclass(frozen=True)
class Part:
    """What a training is a part of, such as a sweep, which then reports its result.

    Attributes:
        listener: notified of each epoch once it is saved; if it raises, the run is left as a stopped one.
        compared_by: config paths and values that the HParams tab shows besides those of any run.
        tested: read the test split at the end; without, result.json has null for its entries.
    """

    listener: Observer
    compared_by: Mapping[str, Any] = field(default_factory=dict)
    tested: bool = True


@dataclass(frozen=True)
class Session:
    """A training that is ready to start.

    Attributes:
        experiment: the config with every `auto` resolved.
        settings: what each `auto` became, and why.
        device: where it computes.
        workers: the processes that train together.
        task: built.
        noted_data: what the run notes of its data.
        stopping: early stopping; None without it.
        console: where to print.
        interruption: stops the training by a signal.
        part_of: what the training is a part of; None for one by itself.
    """

    experiment: Experiment
    settings: Settings
    device: Device
    workers: Workers
    task: Task
    noted_data: NotedData
    stopping: StopWithoutProgress | None
    console: Console
    interruption: Interruption
    part_of: Part | None = None
