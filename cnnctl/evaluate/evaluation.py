"""Evaluate the network of a classification run. Imported after TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.findings import AS_IT_IS, Finding, confirmed, findings, transposed
from cnnctl.data.image_set import ImageSet
from cnnctl.data.images import WHITE, Pixels
from cnnctl.data.inspect.statistics import evenly
from cnnctl.data.new_images import NewImages
from cnnctl.data.pipeline import as_read_error, ordered_batches, preparation
from cnnctl.data.store.memory import bytes_of_image
from cnnctl.evaluate.class_tables import evaluation_markdown, evaluation_text
from cnnctl.evaluate.evaluated_images import compare_with_training, read_evaluated, without_range
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.result_files import about_images, images_name, result_file, write_result
from cnnctl.evaluate.scores import Scores, as_plain, scores_of
from cnnctl.model.keras_optimizers import build_loss
from cnnctl.report.confusion import confusion_png
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.report.text import printable
from cnnctl.run_folder import RunFolder
from cnnctl.session.trained_run import Trained, Values
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.head import chosen_loss, has_penalties
from cnnctl.train.inference import Scored, evaluate_batches
from cnnctl.train.memory_check import FEWER_IMAGES, as_memory_error, refuse_too_large
from cnnctl.train.steps import build_metrics

MAX_TRIED = 1_000
"""Images, evenly chosen, that are evaluated inverted and transposed."""
FAR_BELOW = 0.1
"""Accuracy below that on the run's own test images from which on the images may be read in the wrong way."""


@dataclass(frozen=True)
class Evaluation:
    """Scores, and the images that they are of.

    Attributes:
        run: of the network.
        split: as in `EvaluatedImages`.
        root: as in `EvaluatedImages`.
        scores: over all images.
        notes: how the images were read, and what has changed since the training.
        options: how other data was read.
        warnings: differences of other data from the training images.
    """

    run: RunFolder
    split: str | None
    root: Path | None
    scores: Scores
    notes: list[str]
    options: ImageOptions = AS_TRAINED
    warnings: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """One word for the images."""
        return self.split or "images"

    def as_plain(self) -> dict[str, Any]:
        """Return the evaluation as plain data for JSON."""
        about = about_images(self.split, self.root, self.options, self.warnings)
        return {"run": str(self.run.path), **about, **as_plain(self.scores)}

    def text(self, form: str) -> str:
        """Format the scores as `table` or `markdown`."""
        return (evaluation_markdown if form == "markdown" else evaluation_text)(self.scores, self.subject)

    def keep(self, console: Console) -> list[str]:
        """Write the scores and a picture of the confusion matrix into the run folder. Return a line per file.

        Raises:
            RunError: the run folder cannot be written to.
        """
        with console.working("drawing the confusion matrix"):
            classes = self.scores.occurring
            title = f"{self.subject}: accuracy {self.scores.accuracy:.2%}"
            picture = confusion_png(self.scores.matrix_of(classes), [printable(each.name) for each in classes], title)
        file = result_file(self.run, images_name(self.split, self.root), self.as_plain())
        contents = {file: (as_json(self.as_plain()) + "\n").encode(), file.with_suffix(".png"): picture}
        return [write_result(each, content) for each, content in contents.items()]


def evaluated(
    trained: Trained, split: str | None, data: str | None, console: Console, options: ImageOptions = AS_TRAINED
) -> Evaluation:
    """Evaluate a network; arguments as in `commands.evaluate`.

    Raises:
        UsageError: there is no such split or folder.
        DataError: the images cannot be read, or have other classes.
        RunError: there is not enough memory.
    """
    with as_memory_error(FEWER_IMAGES):
        with console.working("reading the data"):
            subject = read_evaluated(trained, split, data, options)
        with console.working("evaluating"), as_read_error():
            scores = _scores(trained, subject.images)
            new = compare_with_training(trained, subject, options, console)
            found = _confirmed_findings(trained, new, subject.images, scores.accuracy) if new else []
    notes = [*without_range(subject.notes, found), *subject.changes_since(trained)]
    return Evaluation(trained.run, subject.split, subject.root, scores, notes, options, list(map(str, found)))


def _scores(trained: Trained, images: ImageSet) -> Scores:
    scored, probabilities = evaluate_images(images, trained)
    scores = scores_of(images.labels, probabilities, trained.class_names, scored.loss, scored.accuracy)
    return replace(scores, regularized=has_penalties(trained.experiment))


def evaluate_images(images: ImageSet, trained: Trained) -> tuple[Scored, Values]:
    """Compute loss, accuracy and outputs as the evaluation in training does, and the probabilities (N, classes)."""
    experiment = trained.experiment
    refuse_too_large(experiment, min(experiment.train.batch_size, len(images)), training=False)
    batches = ordered_batches(images, preparation(experiment.data, experiment.model.data_format), experiment.train.batch_size)
    scored = evaluate_batches(trained.fast, build_loss(chosen_loss(experiment)), build_metrics(experiment.data.labels), batches)
    return scored, trained.probabilities(scored.outputs)


def _confirmed_findings(trained: Trained, new: NewImages, images: ImageSet, accuracy: float) -> list[Finding]:
    """Find the differences of other data from the training images, with options that were confirmed by the network.

    The labels are known. So where the images differ, or the accuracy is far below that on the run's own test images, some of
    the images are also evaluated inverted, transposed and both.
    """
    found = findings(new)
    noted = (trained.run.read_result() or {}).get("test_accuracy")
    if not found and not (isinstance(noted, float) and accuracy < noted - FAR_BELOW):
        return found
    some = images.take(evenly(len(images), bytes_of_image(new.data), MAX_TRIED))
    right = {name: _is_right(trained, some, pixels) for name, pixels in _variants(some.images[:], new.data).items()}
    best = max(right, key=lambda name: int(right[name].sum()))
    return confirmed(new, found, right[AS_IT_IS], right[best], best.split())


def _variants(images: Pixels, data: DataSpec) -> dict[str, Pixels]:
    """Return the images as they are, inverted, transposed and both; by the kinds of findings, separated by a space."""
    other = transposed(images, data)
    return {AS_IT_IS: images, "inverted": WHITE - images, "transposed": other, "inverted transposed": WHITE - other}


def _is_right(trained: Trained, some: ImageSet, pixels: Pixels) -> NDArray[np.bool_]:
    """Classify pixels and mark the images whose class is correct, (N,)."""
    _, probabilities = evaluate_images(ImageSet(pixels, some.labels), trained)
    return np.asarray(probabilities.argmax(axis=1) == some.labels)
