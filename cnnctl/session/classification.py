"""The task of a classifier; imported after TensorFlow."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.data.image_set import ImageSet
from cnnctl.data.moments import described as described_moments
from cnnctl.data.moments import moments_of
from cnnctl.data.pipeline import (
    WHOLE,
    Shares,
    first_of,
    ordered_batches,
    preparation,
    steps_of,
    training_batches,
    training_sample,
)
from cnnctl.data.sources.opening import named_outputs
from cnnctl.data.splits import read_splits
from cnnctl.errors import counted
from cnnctl.model import build_model
from cnnctl.model.adapted import Moments
from cnnctl.model.fast_network import FastNetwork, fast_network
from cnnctl.model.keras_optimizers import build_loss, build_optimizer
from cnnctl.model.replicated import train_as_one
from cnnctl.report.tensorboard.observer import Predictions
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss, output_kind
from cnnctl.train.diagnostics import Diagnostics
from cnnctl.train.distributed.replicas import Replicas
from cnnctl.train.inference import compiled_outputs, outputs_by
from cnnctl.train.learner import Learner
from cnnctl.train.observers import Score
from cnnctl.train.steps import build_metrics

SAMPLE_IMAGES = 32
"""Training images for which gradients and activations are computed."""
PREDICTED_IMAGES = 5_000
"""Images for the confusion matrix and the worst mistakes in TensorBoard."""


class Classification:
    """Training on batches of images, to predict their classes; attributes as in `state.Task`."""

    def __init__(self, experiment: Experiment, replicas: Replicas | None = None) -> None:
        self._experiment = experiment
        self._replicas = replicas
        self._prepare = preparation(experiment.data, experiment.model.data_format)
        self.splits = read_splits(experiment.data)
        self.examples = len(self.splits.train)
        self.batch_size = experiment.train.batch_size
        self.steps_per_epoch = steps_of(self.examples, self.batch_size)

    def build(self) -> None:
        """Build network and learner."""
        self._moments = moments_of(self.splits.train, self._experiment.network)
        self.learner = build_learner(self._experiment, self.steps_per_epoch, self._moments, self._replicas)
        model = self.learner.model
        self.network = model.network if isinstance(model, FastNetwork) else model

    def introduction(self) -> list[tuple[str, str]]:
        """Describe the data and the loss."""
        pixels = [("pixels", described_moments(*each, self.examples)) for each in self._moments.items()]
        return [("data", self._description()), *pixels, ("loss", chosen_loss(self._experiment).why)]

    def _description(self) -> str:
        splits = self.splits
        validation = f", {len(splits.validation):,} validation" if splits.validation else ""
        counts = f"{len(splits.train):,} train{validation}, {splits.test_size:,} test"
        return f"{described(self._experiment.data, counts)}, {self._experiment.data.classes} classes"

    @property
    def _shares(self) -> Shares:
        return self._replicas.shares if self._replicas else WHOLE

    def training(self, first_step: int) -> tf.data.Dataset:
        """Make the batches from a step on, or the replicas' parts of them."""
        return self._batches(first_step, self._shares)

    def whole_batch(self, step: int) -> Any:
        """Make the batch of one step."""
        return first_of(self._batches(step, WHOLE))

    def _batches(self, first_step: int, shares: Shares) -> tf.data.Dataset:
        first_epoch, skip = divmod(first_step, self.steps_per_epoch)
        return training_batches(
            self.splits.train,
            self._prepare,
            batch_size=self.batch_size,
            seed=self._experiment.seed,
            first_epoch=first_epoch,
            epochs=max(self._experiment.train.epochs, first_epoch + 1),  # Keras takes a batch even if no epoch is left
            plain_from=self._experiment.plain_from,
            skip=skip,
            shares=shares,
        )

    def validation(self) -> Any | None:
        """Make the batches of one pass over the validation images."""
        images = self.splits.validation
        return ordered_batches(images, self._prepare, self.batch_size, self._shares) if images else None

    def diagnostics(self) -> Diagnostics:
        """Return diagnostics with a few training images."""
        images, labels = training_sample(self.splits.train, self._prepare, count=SAMPLE_IMAGES, seed=self._experiment.seed)
        nodes = self._experiment.network.nodes
        # One device computes them. A learner without replicas is the same one, whose step is then traced once.
        alone = replace(self.learner, replicas=None) if self._replicas else self.learner
        return Diagnostics(alone, self.network, nodes, images, (images, labels))

    def test(self, images: ImageSet) -> Score:
        """Compute loss and accuracy on the test images."""
        return self.learner.evaluation()(ordered_batches(images, self._prepare, self.batch_size, self._shares))

    def rehearse(self) -> None:
        """Trace evaluation and predictions."""
        self._outputs.get_concrete_function()
        one = self.splits.train.take(np.arange(1))
        self.learner.rehearse(ordered_batches(one, self._prepare, self.batch_size))

    @cached_property
    def _outputs(self) -> Any:
        return compiled_outputs(self.learner.model, tf.TensorSpec((None, *self._experiment.network.image), tf.float32))

    def tested_on(self) -> str:
        """Describe the test."""
        return counted(self.splits.test_size, "image")

    def result(self, score: Score) -> dict[str, Any]:
        """Return the entries of result.json about the test."""
        return {"test_loss": score.loss, "test_accuracy": score.accuracy}

    def predictions(self) -> Predictions | None:
        """Predict validation images, or training images without validation, at most `PREDICTED_IMAGES`."""
        split, images = ("validation", self.splits.validation) if self.splits.validation else ("train", self.splits.train)
        some = images.take(np.arange(min(len(images), PREDICTED_IMAGES)))
        outputs = outputs_by(self._outputs, ordered_batches(some, self._prepare, self.batch_size))
        probabilities = (
            np.asarray(tf.nn.softmax(outputs)) if output_kind(self._experiment.network.nodes) == "logits" else outputs
        )
        class_names = named_outputs(self.splits.class_names, self._experiment.data)
        return Predictions(split, some.images, some.labels, probabilities, class_names)


def build_learner(experiment: Experiment, steps_per_epoch: int, moments: Moments, replicas: Replicas | None = None) -> Learner:
    """Build a network and what trains it.

    Args:
        experiment: a config without `auto`.
        steps_per_epoch: for schedules of the learning rate.
        moments: mean and variance of the training images for layers that need them.
        replicas: share each batch; None for one device.
    """
    train, nodes = experiment.train, experiment.network.nodes
    loss, metrics = build_loss(chosen_loss(experiment)), build_metrics(experiment.data.labels)
    alone = replicas is None
    with replicas.strategy.scope() if replicas else contextlib.nullcontext():
        network = build_model(experiment, moments=moments)
        optimizer = build_optimizer(train.optimizer, steps_per_epoch, train.epochs, train.precision, guarded=alone)
        if not alone:
            train_as_one(network, optimizer)
    assert isinstance(train.batch_parts, int)  # resolved
    trained = fast_network(network, nodes, train.precision, train.batch_parts) if alone else network
    return Learner(trained, optimizer, loss, metrics, replicas=replicas)


def described(data: DataSpec, counts: str) -> str:
    """Describe a data set and the shape of its images; `counts` is a text with the images per split."""
    assert data.image_size and data.channels
    shape = f"{data.image_size[0]}×{data.image_size[1]}×{data.channels}"
    return f"{data.name or data.path or data.source}: {counts} images of {shape}"
