"""The observer that decides what is written for TensorBoard, and when."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.errors import counted
from cnnctl.report import tiles
from cnnctl.report.confusion import confusion_png, wrong_png
from cnnctl.report.tensorboard import summaries
from cnnctl.report.tensorboard.events import Events
from cnnctl.report.text import printable
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers import Conv2D
from cnnctl.spec.stack import Node
from cnnctl.train.observers import EpochRecord, Observer, Plan, SnapshotRecord, StepsRecord

SNAPSHOTS = 6
"""Default number of snapshots of the network per run, besides the one after the first epoch."""
MEANS = ("loss", "accuracy")
POINTS_TAGS = {f"steps/{name}" for name in MEANS}
"""Tags of the curves within epochs."""
POINTS = 50
"""Default number of points of the curves within epochs, per run."""
SHOWN = 25
"""Training images shown."""
WRONG = 10
"""Mistakes shown: more would be too small to read."""
COLOURS = "White is 0, red is positive, blue is negative, on the scale of this picture. Maps are of the image beside them."
CONFUSION, MISTAKES = "pictures/confusion_matrix", "pictures/worst_mistakes"
GRADIENT_NORM = "training/gradient_norm"
"""Tag of the norm of all gradients; with a slash and a layer's name, of its gradients."""
ENDING = {CONFUSION, MISTAKES, "test/loss", "test/accuracy", "test/accuracy_interval"}
"""Tags written once, after the last step."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of a trained network for labelled images.

    Attributes:
        split: the name of the split, such as `validation`.
        images: (N, H, W, C), uint8; read by index, since they may be on disk.
        labels: (N,), integers.
        probabilities: (N, classes).
        class_names: the classes in the order of the labels.
    """

    split: str
    images: Any
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: Sequence[str]


def report_every(experiment: Experiment, steps_per_epoch: int) -> int:
    """Return the number of steps between points of the curves within an epoch."""
    return experiment.log.every_steps or math.ceil(steps_per_epoch * experiment.train.epochs / POINTS)


def report_at(experiment: Experiment) -> tuple[int, ...]:
    """Return the step before the profile and its last step; empty without a profile."""
    return (experiment.log.profile[0] - 1, experiment.log.profile[1]) if experiment.log.profile else ()


class TensorBoardObserver(Observer):
    """Writes the event file of a run.

    All files are directly in the run's `tensorboard/`, so the run is one entry in TensorBoard's list. Tags distinguish the
    splits: `loss/train`, `loss/validation`, `test/loss`; the Custom Scalars tab draws them in one chart. The first tab sorts
    tags by their first part and expands two of them, so `accuracy` and `loss` are the first in the alphabet. Steps are
    optimizer steps.

    Args:
        folder: the run's `tensorboard/`.
        experiment: its config.
        nodes: its stack.
        diagnostics: has `snapshot()` for a snapshot of the network on its `images` (B, H, W, C), and `step_graph()`.
        name: the name of the run in the HParams tab.
        compared_by: further values in the HParams tab, by config path.
        written: the config as the user wrote it; empty if unknown.
    """

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        nodes: Sequence[Node],
        diagnostics: Any,
        name: str,
        compared_by: Mapping[str, Any] | None = None,
        written: str = "",
    ) -> None:
        self._folder = folder
        self._experiment = experiment
        self._nodes = nodes
        self._diagnostics = diagnostics
        self._name = printable(name)
        self._compared_by = compared_by or {}
        self._written = written
        self._events = Events(folder)
        self._plan = Plan(0, 0, 0, 0, 0)
        self._before = _nothing_yet(0)

    def on_start(self, plan: Plan) -> None:
        """Remove the events of an interrupted run after its checkpoint, or describe a new run."""
        self._plan = plan
        step = plan.first_step
        self._events.remove_unless(self._is_valid, from_start=not step)
        if not step:
            self._describe()
        if plan.first_epoch < plan.epochs:
            self._profile(step)

    def _is_valid(self, step: int, tags: set[str]) -> bool:
        """Return True if an event is of saved steps; the events of a finished epoch follow those of its last step."""
        if tags & ENDING or step > self._plan.first_step:
            return False
        return step < self._plan.first_step or not self._plan.partial_epoch or tags <= POINTS_TAGS

    def state(self) -> dict[str, Any]:
        """Return the last point of the curves, which the next one continues from."""
        return {"before": np.frombuffer(json.dumps(asdict(self._before)).encode(), np.uint8)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state`."""
        self._before = StepsRecord(**json.loads(state["before"].tobytes()))

    def _describe(self) -> None:
        write = self._events.write
        write(summaries.charts(), 0)
        write(summaries.texts(self._experiment, self._written), 0)
        write(summaries.hyperparameters(self._experiment, self._name, self._compared_by), 0)
        self._events.write_graph(summaries.network_graph(self._experiment, self._nodes).SerializeToString())
        write(summaries.second_graph("training_step", self._diagnostics.step_graph()), 0)
        sheet = tiles.png(tiles.images_picture(self._shown_images(SHOWN)))
        write(summaries.picture("pictures/training_images", sheet, "As the network sees them."), 0)

    def _shown_images(self, count: int) -> NDArray[Any]:
        """Return the first training images of the snapshots, (N, H, W, C)."""
        return self._channels_last(np.asarray(self._diagnostics.images[:count]))

    def on_steps(self, record: StepsRecord) -> None:
        """Write the means since the last point."""
        self._profile(record.step)
        if record.steps_in_epoch in self._plan.points(record.epoch - 1):
            before = self._before if self._before.epoch == record.epoch else _nothing_yet(record.epoch)
            self._events.write(summaries.scalars(_since(before, record)), record.step)
            self._events.flush()  # an epoch may be long
            self._before = record

    def _profile(self, step: int) -> None:
        asked = self._experiment.log.profile
        if asked and step == asked[0] - 1:
            self._events.start_profile()
        elif asked and step >= asked[1]:
            self._events.end_profile()

    def on_epoch(self, record: EpochRecord) -> None:
        """Write the scalars of the epoch and, in some epochs, a snapshot of the network."""
        values = {
            "loss/train": record.train_loss,
            "accuracy/train": record.train_accuracy,
            "loss/validation": record.validation_loss,
            "accuracy/validation": record.validation_accuracy,
            "validation/accuracy_interval": record.validation_interval,
            "training/learning_rate": record.learning_rate,
            "training/images_per_second": record.images_per_second,
        }
        self._events.write(summaries.scalars(values), record.step)
        if self._has_snapshot(record.epoch):
            self._write_snapshot(self._diagnostics.snapshot(), record.step)
        self._events.flush()

    def rehearse(self) -> None:
        """Compute a little of what a snapshot computes; called from another thread."""
        if self._has_snapshot(1):
            self._diagnostics.rehearse()

    def _has_snapshot(self, epoch: int) -> bool:
        every = self._experiment.log.every_epochs
        if every is None:
            every = math.ceil(self._plan.epochs / SNAPSHOTS)
        return every > 0 and (epoch == 1 or epoch % every == 0 or epoch == self._plan.epochs)

    def _write_snapshot(self, seen: SnapshotRecord, step: int) -> None:
        norms = {f"{GRADIENT_NORM}/{layer}": norm for layer, norm in seen.gradient_norms().items()}
        self._events.write(summaries.scalars({GRADIENT_NORM: seen.gradient_norm, **norms}), step)
        groups = {"weights": seen.weights, "weight_gradients": seen.gradients, "outputs": seen.activations}
        for group, arrays in groups.items():
            self._events.write(summaries.histograms(group, arrays), step)
        for tag, sheet in self._inner_pictures(seen):
            self._events.write(summaries.picture(tag, tiles.png(sheet), COLOURS), step)

    def _inner_pictures(self, seen: SnapshotRecord) -> Iterator[tuple[str, tiles.Picture]]:
        """Yield the filters of the first convolution and, for one image, the feature maps of each layer with maps."""
        first = next((node for node in self._nodes if isinstance(node.layer, Conv2D)), None)
        if first and seen.weights[f"{first.name}/kernel"].shape[2] in (1, 3):
            kernel = seen.weights[f"{first.name}/kernel"]
            title = f"{first.name}: {kernel.shape[3]} filters of {kernel.shape[0]}x{kernel.shape[1]}"
            yield f"pictures/filters/{first.name}", tiles.filters_picture(kernel, title)
        image = self._shown_images(1)[0]
        for node in self._nodes:
            if seen.activations[node.name].ndim == 4:
                maps = self._channels_last(seen.activations[node.name])[0]
                title = f"{node.name}: {maps.shape[2]} maps of {maps.shape[0]}x{maps.shape[1]}"
                yield f"maps/{node.name}", tiles.maps_picture(maps, image, title)

    def _channels_last(self, images: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(images, 1, -1) if self._experiment.model.data_format == "channels_first" else images

    def finish(self, step: int, test: Mapping[str, float | None], answers: Predictions | None, weights: str) -> None:
        """Write the results of the training.

        Args:
            step: the step of the final weights, which are tested.
            test: scalars; empty if the test split was not read.
            answers: predictions for the confusion matrix and the worst mistakes.
            weights: the epoch of the final weights and the reason, in words.
        """
        scalars = summaries.scalars({f"test/{name}": value for name, value in test.items()})
        self._events.write(summaries.joined([scalars, summaries.text("weights", weights)]) if test else scalars, step)
        if answers:
            for tag, png in _endings(answers):
                self._events.write(summaries.picture(tag, png, f"Of the {answers.split} images."), step)
        self._events.write(summaries.hyperparameters_end(), step)

    def close(self) -> None:
        """Close the files, also after an error."""
        self._events.close()


def _nothing_yet(epoch: int) -> StepsRecord:
    return StepsRecord(epoch, 0, 0, 0, 0.0, 0.0, 0.0)


def _since(before: StepsRecord, now: StepsRecord) -> dict[str, float]:
    """Compute loss and accuracy of the images between two records, which hold means since the start of the epoch."""
    images = now.images - before.images
    return {
        f"steps/{name}": (getattr(now, name) * now.images - getattr(before, name) * before.images) / images for name in MEANS
    }


def _endings(answers: Predictions) -> Iterator[tuple[str, bytes]]:
    """Yield the confusion matrix and, if there are any, the most confident mistakes, as PNG."""
    predicted = answers.probabilities.argmax(axis=1)
    classes = len(answers.class_names)
    pairs = answers.labels * classes + predicted
    matrix = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    yield CONFUSION, confusion_png(matrix, answers.class_names, counted(len(answers.labels), f"{answers.split} image"), True)
    wrong = np.flatnonzero(predicted != answers.labels)
    worst = wrong[np.argsort(-answers.probabilities[wrong, predicted[wrong]], kind="stable")][:WRONG]
    if len(worst):
        names, sure = answers.class_names, answers.probabilities[worst, predicted[worst]]
        answers_shown = [names[at] for at in predicted[worst]]
        truth = [names[at] for at in answers.labels[worst]]
        total = f"{len(wrong):,} of {len(answers.labels):,} {answers.split} images are wrong; the most confident:"
        yield MISTAKES, wrong_png(answers.images[worst], truth, answers_shown, sure, total)
