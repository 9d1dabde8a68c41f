"""The task of a few-shot training: data, network, learner and episodes. Imported after TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.image_set import ImageSet
from cnnctl.data.moments import described as described_moments
from cnnctl.data.moments import moments_of
from cnnctl.data.pipeline import as_read_error, first_of, preparation, steps_of, training_batches, training_sample
from cnnctl.errors import counted
from cnnctl.few_shot.cosine_head import CosineHead
from cnnctl.few_shot.episodes import TEST_FIELDS, TRAIN_FIELDS, Episodes, add_pose_classes, refuse_too_few, training_episodes
from cnnctl.few_shot.learners import CosineClassifierLearner, MamlLearner, PrototypicalLearner
from cnnctl.few_shot.scoring import EpisodeSeries
from cnnctl.model import build_model
from cnnctl.model.fast_network import fast_network
from cnnctl.model.keras_optimizers import build_optimizer
from cnnctl.report.tensorboard.observer import Predictions
from cnnctl.session.classification import Classification, described
from cnnctl.spec.experiment import CosineClassifier, Experiment, FewShotSpec, Maml
from cnnctl.spec.few_shot import EpisodeSize, size_of, training_size_of
from cnnctl.train.diagnostics import Diagnostics
from cnnctl.train.distributed.replicas import Replicas
from cnnctl.train.learner import Trainable
from cnnctl.train.observers import Score
from cnnctl.train.steps import Metrics

DIAGNOSTIC_IMAGES = 32
"""Training images whose activations (and with `cosine_classifier` gradients) are logged."""
EPISODES = 100
"""Training episodes per epoch where `few_shot.episodes` is null."""
HEAD_SEED = 0x4EAD
"""Separates the random numbers of the head from those of the layers below it, which have the same seed."""
_SERIES = {"train": 0x7124A1, "validation": 0x7A11D, "test": 0x7E57}
_OTHER_SERIES = 0x07E12
"""Separate the episodes of the splits from each other and from those of training, which may have the same seed."""


def series_of(
    experiment: Experiment,
    split: str,
    images: ImageSet,
    size: EpisodeSize,
    count: int,
    class_names: Sequence[str] = (),
    fields: Sequence[str] = TEST_FIELDS,
) -> EpisodeSeries:
    """Create the episodes that evaluate a split; the same ones for all runs with the same `data.split_seed`.

    Args:
        experiment: a checked config.
        split: name of the images.
        images: to draw from.
        size: of an episode.
        count: number of episodes.
        class_names: by label, for the message about classes with too few images.
        fields: names of the fields or options for way, shot and query, for the same message.

    Raises:
        DataError: there are too few classes, or too few images of one.
    """
    seed = experiment.data.split_seed ^ _SERIES.get(split, _OTHER_SERIES)
    return EpisodeSeries(
        Episodes(images, size, split, fields, class_names),
        preparation(experiment.data, experiment.model.data_format),
        seed,
        count,
        experiment.train.batch_size,
    )


class _ByBatches:
    """Training on batches of images of all classes, for `cosine_classifier`.

    Attributes:
        examples: images per epoch.
        batch_size: images per step.
        words: description for the console.
    """

    words = "a cosine softmax over {classes}, then the nearest class mean"

    def __init__(self, experiment: Experiment, images: ImageSet) -> None:
        self._experiment = experiment
        self._images = images
        self.examples = len(images)
        self.batch_size = experiment.train.batch_size

    def batches(self, first_step: int) -> tf.data.Dataset:
        """Create the batches, from `first_step` on."""
        first_epoch, skip = divmod(first_step, steps_of(self.examples, self.batch_size))
        return training_batches(
            self._images,
            preparation(self._experiment.data, self._experiment.model.data_format),
            batch_size=self.batch_size,
            seed=self._experiment.seed,
            first_epoch=first_epoch,
            epochs=self._experiment.train.epochs,
            plain_from=self._experiment.plain_from,
            skip=skip,
        )

    def sample(self) -> tuple[Any, Any]:
        """Return the batch whose gradients are logged."""
        return _sample(self._experiment, self._images)


class _ByEpisodes:
    """Training on episodes, for `prototypical` and `maml`; attributes as in `_ByBatches`.

    Raises:
        DataError: there are too few classes or images for an episode.
    """

    def __init__(self, experiment: Experiment, images: ImageSet, name: str) -> None:
        assert experiment.few_shot
        self._experiment = experiment
        spec, size = experiment.few_shot, training_size_of(experiment.few_shot)
        self._per_epoch, self._at_once = spec.episodes or EPISODES, spec.episodes_per_step or 1
        self._episodes = Episodes(images, size, name, _fields(spec))
        self.examples = self._per_epoch * size.images
        self.batch_size = self._at_once * size.images
        self.words = f"episodes of {size.way} of {{classes}}, {size.shot} + {size.query} images each, {self._at_once} per step"

    def batches(self, first_step: int) -> tf.data.Dataset:
        """Create the batches of episodes, from `first_step` on."""
        first_epoch, skip = divmod(first_step, steps_of(self.examples, self.batch_size))
        return training_episodes(
            self._episodes,
            preparation(self._experiment.data, self._experiment.model.data_format),
            seed=self._experiment.seed,
            first=first_epoch * self._per_epoch,
            count=(self._experiment.train.epochs - first_epoch) * self._per_epoch,
            at_once=self._at_once,
            per_epoch=self._per_epoch,
            plain_from=self._experiment.plain_from * self._per_epoch,
            skip=skip,
        )

    def sample(self) -> tuple[Any, Any]:
        """Return the episode whose gradients are logged: the first."""
        with as_read_error():
            support, queries = first_of(self.batches(0))
        return support[:1], queries[:1]


def make_task(experiment: Experiment, replicas: Replicas | None = None) -> FewShot | Classification:
    """Read the data of a checked config, and make its task: the one place that chooses between classification and few-shot."""
    return FewShot(experiment) if experiment.few_shot else Classification(experiment, replicas)


class FewShot:
    """Training of an embedding, or of initial weights, evaluated on episodes of classes never trained on.

    Attributes: see `state.Task`.
    """

    def __init__(self, experiment: Experiment) -> None:
        assert experiment.few_shot
        self._experiment = experiment
        self._spec = experiment.few_shot
        self.splits = read_disjoint_splits(experiment.data)
        self._images = add_pose_classes(self.splits.train, self._spec.rotations, self._spec.mirrors)
        self._training = self._training_of()
        self.examples, self.batch_size = self._training.examples, self._training.batch_size
        self.steps_per_epoch = steps_of(self.examples, self.batch_size)
        self._series = self._validation_series()
        refuse_too_few(self.splits.test_class_sizes, size_of(self._spec), "test")  # before the training, not after it

    def _training_of(self) -> _ByBatches | _ByEpisodes:
        if isinstance(self._spec.method, CosineClassifier):
            return _ByBatches(self._experiment, self._images)
        return _ByEpisodes(self._experiment, self._images, f"'{self._experiment.data.train}'{self._turned}")

    @property
    def _turned(self) -> str:
        return " with rotated or mirrored ones" if self._spec.rotations or self._spec.mirrors else ""

    def _validation_series(self) -> EpisodeSeries | None:
        images = self.splits.validation
        if images is None:
            return None
        return series_of(
            self._experiment, "validation", images, size_of(self._spec), self._spec.validation_episodes, self.splits.class_names
        )

    def build(self) -> None:
        """Build the network and its learner."""
        method, train = self._spec.method, self._experiment.train
        optimizer = build_optimizer(train.optimizer, self.steps_per_epoch, train.epochs, train.precision)
        metrics = Metrics(keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy(name="accuracy"))
        self._moments = moments_of(self.splits.train, self._experiment.network)
        self.network = build_model(self._experiment, twice_differentiable=isinstance(method, Maml), moments=self._moments)
        self.learner: Trainable
        if isinstance(method, CosineClassifier):
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self.learner = CosineClassifierLearner(self._with_head(method), optimizer, loss, metrics, self.network, method)
        elif isinstance(method, Maml):
            self.learner = MamlLearner(self.network, optimizer, metrics, method)
        else:
            self.learner = PrototypicalLearner(self._fast, optimizer, metrics, method, self.network)

    def _with_head(self, method: CosineClassifier) -> keras.Model:
        head = CosineHead(self._classes, method.scale, self._experiment.seed ^ HEAD_SEED, name="cosine_head", dtype="float32")
        return keras.Sequential([keras.Input(self._experiment.network.image), self._fast, head])

    @property
    def _fast(self) -> keras.Model:
        """The network as it is trained; the plain one is evaluated, as other commands evaluate it."""
        return fast_network(self.network, self._experiment.network.nodes, self._experiment.train.precision)

    @property
    def _classes(self) -> int:
        """Count the classes that are trained on, rotated and mirrored ones included."""
        return int(self._images.labels.max()) + 1

    def introduction(self) -> list[tuple[str, str]]:
        """Describe the data, the method and the episodes, a line each."""
        pixels = [("pixels", described_moments(*each, len(self.splits.train))) for each in self._moments.items()]
        return [("data", self._data()), *pixels, ("method", self._method()), ("evaluated", self._evaluated())]

    def _data(self) -> str:
        splits = self.splits
        validation = f", {_images_and_classes(splits.validation)} validation" if splits.validation else ""
        return described(
            self._experiment.data, f"{_images_and_classes(splits.train)} train{validation}, {splits.test_size:,} test"
        )

    def _method(self) -> str:
        return f"{self._spec.method.kind}: {self._training.words.format(classes=f'{self._classes:,} classes{self._turned}')}"

    def _evaluated(self) -> str:
        size = size_of(self._spec)
        validation = f"{self._spec.validation_episodes:,} episodes after each epoch, " if self._series else ""
        test = f"{self._spec.test_episodes:,} in the test"
        return f"on {validation}{test}: {size.way}-way, {size.shot}-shot, {size.query} queries per class"

    def training(self, first_step: int) -> tf.data.Dataset:
        """Create the batches, or batches of episodes, from `first_step` on."""
        return self._training.batches(first_step)

    def whole_batch(self, step: int) -> Any:
        """Return the batch of a step."""
        return first_of(self.training(step))

    def validation(self) -> EpisodeSeries | None:
        """Return the episodes of validation; None without validation data."""
        return self._series

    def diagnostics(self) -> Diagnostics:
        """Create the diagnostics of the network, on a few training images or on the first training episode."""
        nodes = self._experiment.network.nodes
        images, _ = _sample(self._experiment, self._images)
        maml = isinstance(self._spec.method, Maml)
        return Diagnostics(self.learner, self.network, nodes, images, self._training.sample(), in_training=maml)

    def test(self, images: ImageSet) -> Score:
        """Evaluate the test episodes."""
        series = series_of(
            self._experiment, "test", images, size_of(self._spec), self._spec.test_episodes, self.splits.class_names
        )
        return self.learner.evaluation()(series)

    def rehearse(self) -> None:
        """Do nothing: the episodes of an evaluation take longer than its tracing."""

    def tested_on(self) -> str:
        """Describe the test."""
        size = size_of(self._spec)
        return f"{self._spec.test_episodes:,} episodes ({size.way}-way, {size.shot}-shot)"

    def result(self, score: Score) -> dict[str, Any]:
        """Return the test's entries of result.json."""
        return {
            "test_loss": score.loss,
            "test_accuracy": score.accuracy,
            "test_interval": score.interval,
            "test_episodes": self._spec.test_episodes,
        }

    def predictions(self) -> Predictions | None:
        """Return None: an embedding has no classes to confuse."""
        return None


def _sample(experiment: Experiment, images: ImageSet) -> tuple[Any, Any]:
    """Prepare a few training images for the network, with their labels."""
    return training_sample(
        images, preparation(experiment.data, experiment.model.data_format), count=DIAGNOSTIC_IMAGES, seed=experiment.seed
    )


def _fields(few_shot: FewShotSpec) -> list[str]:
    """Name the fields that set way, shot and query of training episodes."""
    own = (few_shot.train_way, few_shot.train_shot, few_shot.train_query)
    return [training if value else test for value, training, test in zip(own, TRAIN_FIELDS, TEST_FIELDS, strict=True)]


def _images_and_classes(images: ImageSet) -> str:
    return f"{len(images):,} ({counted(len(np.unique(images.labels)), 'class', 'classes')})"
