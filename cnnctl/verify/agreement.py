"""Build and train a config in every style and loop, and measure the differences."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.image_set import ImageSet
from cnnctl.data.moments import moments_of
from cnnctl.data.pipeline import preparation, steps_of, training_batches
from cnnctl.model import build_model
from cnnctl.model.adapted import Moments
from cnnctl.model.keras_optimizers import build_loss, build_optimizer
from cnnctl.model.shape_check import differences
from cnnctl.model.styles import STYLES, layers_by_name
from cnnctl.model.variables import named, names_of
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss
from cnnctl.spec.stack import nodes_of
from cnnctl.train.learner import Learner
from cnnctl.train.loops import LOOPS
from cnnctl.train.observers import EpochRecord, Observer, Observers, Plan
from cnnctl.train.steps import build_metrics
from cnnctl.train.stopping import StopWhenNotFinite

TINY = 1e-30
"""Least length in a ratio, in place of zero."""

Arrays = dict[str, NDArray[Any]]
"""Values by name; the same names in every style and loop."""


@dataclass(frozen=True)
class Difference:
    """Difference of arrays from their reference.

    Attributes:
        values: number of compared values.
        exact: whether all are equal to the bit.
        largest: absolute difference.
        relative: norm of the difference over the norm of the reference, with all values as one vector.
    """

    values: int
    exact: bool
    largest: float
    relative: float


@dataclass(frozen=True)
class Build:
    """The compared values of a build.

    Attributes:
        style: its name.
        misfits: lines about layers whose Keras shape or parameters differ from the arithmetic.
        weights: every variable of the model before training, with the seeds of dropout.
        outputs: of the untrained network for a batch.
    """

    style: str
    misfits: list[str]
    weights: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class Training:
    """The compared values of a short training.

    Attributes:
        style, loop: of the training.
        batches: a checksum for each batch that the loop used.
        losses, accuracies: of each step.
        weights: every variable of the model after the last step.
        optimizer: every variable of the optimizer after the last step.
    """

    style: str
    loop: str
    batches: Arrays
    losses: Arrays
    accuracies: Arrays
    weights: Arrays
    optimizer: Arrays


def in_style(experiment: Experiment, style: str) -> Experiment:
    """Return the experiment with another style."""
    return experiment.model_copy(update={"model": experiment.model.model_copy(update={"style": style})})


def possible_styles(experiment: Experiment) -> list[str]:
    """List the styles that can build the stack, the config's own first. A Sequential model cannot branch."""
    own = experiment.model.style
    fitting = [style for style in STYLES if not nodes_of(in_style(experiment, style).model)[1]]
    return [own, *(style for style in fitting if style != own)]


def possible_trainings(experiment: Experiment) -> list[tuple[str, str]]:
    """List the pairs of style and loop, the config's own first."""
    own = experiment.train.loop
    return list(product(possible_styles(experiment), sorted(LOOPS, key=lambda loop: loop != own)))


def build(experiment: Experiment, images: Any, moments: Moments | None = None) -> Build:
    """Build the experiment in its style, and compute its outputs for `images`; moments as in `build_model`."""
    model = build_model(experiment, moments=moments)
    weights = variables_of(model)
    outputs = tf.function(model, autograph=False)(images, training=False)  # compiled: channels_first needs it on a CPU
    return Build(experiment.model.style, differences(experiment), weights, {"outputs": outputs.numpy()})


def first_batches(experiment: Experiment, images: ImageSet, steps: int) -> tf.data.Dataset:
    """Create the first `steps` batches of the training of a config, over as many epochs as needed."""
    batch_size = experiment.train.batch_size
    epochs = -(-steps // steps_of(len(images), batch_size))
    prepare = preparation(experiment.data, experiment.model.data_format)
    batches = training_batches(
        images,
        prepare,
        batch_size=batch_size,
        seed=experiment.seed,
        first_epoch=0,
        epochs=epochs,
        plain_from=experiment.plain_from,
    )
    return batches.take(steps)


def train(experiment: Experiment, loop: str, images: ImageSet, steps: int) -> Training:
    """Train the first steps in the experiment's style; nothing is written.

    Each step is an epoch for the loop, so the loop reports the loss of each step.

    Raises:
        RunError: the loss is not finite.
    """
    learner = _learner(experiment, images)
    checksums: list[int] = []
    rows = _Rows()
    plan = Plan(steps, 0, 1, experiment.train.batch_size, experiment.train.batch_size)
    batches = _with_checksums(first_batches(experiment, images, steps), checksums)
    LOOPS[loop](learner, lambda _: batches, None, plan, Observers([StopWhenNotFinite(), rows]))
    return Training(
        style=experiment.model.style,
        loop=loop,
        batches={"checksums": np.array(checksums, np.int64)},
        losses={"losses": np.array([row.train_loss for row in rows.rows])},
        accuracies={"accuracies": np.array([row.train_accuracy for row in rows.rows])},
        weights=variables_of(learner.model),
        optimizer=optimizer_variables_of(learner),
    )


class _Rows(Observer):
    def __init__(self) -> None:
        self.rows: list[EpochRecord] = []

    def on_epoch(self, record: EpochRecord) -> None:
        self.rows.append(record)


def _learner(experiment: Experiment, images: ImageSet) -> Learner:
    spec = experiment.train
    model = build_model(experiment, moments=moments_of(images, experiment.network))
    optimizer = build_optimizer(spec.optimizer, steps_of(len(images), spec.batch_size), spec.epochs, spec.precision)
    return Learner(model, optimizer, build_loss(chosen_loss(experiment)), build_metrics(experiment.data.labels))


def _with_checksums(batches: tf.data.Dataset, checksums: list[int]) -> tf.data.Dataset:
    """Return the same batches, with the checksum of each appended to `checksums` when it is read."""

    def note(images: NDArray[Any], labels: NDArray[Any]) -> None:
        checksums.append(zlib.crc32(labels.tobytes(), zlib.crc32(images.tobytes())))

    def pass_on(images: Any, labels: Any) -> tuple[Any, Any]:
        tf.numpy_function(note, [images, labels], [])
        return images, labels

    return batches.map(pass_on)


def variables_of(model: keras.Model) -> Arrays:
    """Collect every variable of a model by `layer/variable`."""
    return {name: each.numpy() for name, each in named(layers_by_name(model))}


def optimizer_variables_of(learner: Learner) -> Arrays:
    """Collect every variable of an optimizer by name.

    An optimizer has lists of variables with one per weight. The order of the weights differs between styles where a stack
    branches.
    """
    names_of_weights = names_of(layers_by_name(learner.model))
    owners = [names_of_weights[id(weight)] for weight in learner.model.trainable_variables]
    plain = getattr(learner.optimizer, "inner_optimizer", learner.optimizer)
    lists = {slot: each for slot, each in vars(plain).items() if isinstance(each, list) and len(each) == len(owners)}
    names = {id(each): f"{slot}/{owner}" for slot, those in lists.items() for owner, each in zip(owners, those, strict=True)}
    return {names.get(id(each), f"{index}"): each.numpy() for index, each in enumerate(learner.optimizer.variables)}


def tolerance(device: str, precision: str) -> float:
    """Return the largest relative difference that agrees, where equal bits are not promised.

    A sum in another order rounds differently, and later steps enlarge that. On a CPU in float32 few stacks have any
    difference at all. On a GPU even two runs of the same training may differ. Half precision rounds at 1e-2.

    Args:
        device: `cpu` or `gpu`.
        precision: a Keras dtype policy.
    """
    if precision != "float32":
        return 5e-2
    return 1e-4 if device == "cpu" else 1e-3


def difference(mine: Arrays, reference: Arrays, start: Mapping[str, NDArray[Any]] | None = None) -> Difference:
    """Measure the difference of `mine` from `reference`, both with the same names.

    Args:
        mine: arrays.
        reference: arrays to compare with.
        start: values of `reference` before the training; the difference is then relative to their change.
    """
    pairs = [(mine[name], reference[name]) for name in sorted(mine.keys() | reference.keys())]
    floats = [name for name, values in reference.items() if np.issubdtype(values.dtype, np.floating)]
    deviation = _vector({name: mine[name].astype(np.float64) - reference[name] for name in floats})
    change = _vector({name: reference[name] - (start[name].astype(np.float64) if start else 0.0) for name in floats})
    integers_equal = all(np.array_equal(mine[name], reference[name]) for name in reference.keys() - set(floats))
    return Difference(
        values=sum(values.size for values in reference.values()),
        exact=all(one.dtype == other.dtype and one.tobytes() == other.tobytes() for one, other in pairs),
        largest=float(np.max(np.abs(deviation), initial=0.0)),
        relative=_ratio(deviation, change) if integers_equal else np.inf,
    )


def _vector(arrays: Arrays) -> NDArray[np.float64]:
    return np.concatenate([np.zeros(0), *(values.ravel() for values in arrays.values())])


def _ratio(deviation: NDArray[np.float64], change: NDArray[np.float64]) -> float:
    """Compute the norm of one vector over that of another, which counts as `TINY` at least."""
    return float(np.linalg.norm(deviation)) / max(float(np.linalg.norm(change)), TINY)
