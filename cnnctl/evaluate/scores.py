"""Labels and probabilities → scores: precision, recall and F1 a class, confusion matrix, calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

BINS = 15
"""Of the confidence; the number that Guo et al. 2017 use."""
LARGEST_MATRIX = 200
"""Of more classes programs get no confusion matrix, only its entries beside the diagonal that are not zero."""

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class ClassScore:
    """How well one class is recognized; None where a share has nothing to be taken of.

    Attributes:
        name: of the class.
        label: its number.
        precision: of the images taken for it, the share that is of it.
        recall: of its images, the share that is taken for it.
        f1: the harmonic mean of the two.
        images: how many there are of it.
    """

    name: str
    label: int
    precision: float | None
    recall: float | None
    f1: float | None
    images: int


@dataclass(frozen=True)
class Confusion:
    """So many images of one class were taken for another."""

    true: str
    predicted: str
    images: int


@dataclass(frozen=True)
class Scores:
    """How well a network recognizes the classes of a set of images.

    Attributes:
        loss: mean over the images.
        accuracy: share of the images whose class was named.
        calibration_error: how far the confidence is from the accuracy, on average; between 0 and 1.
        classes: in the order of the labels.
        matrix: (classes, classes), images; rows are true classes, columns predicted ones.
        regularized: whether the penalties of regularizers are in the loss.
    """

    loss: float
    accuracy: float
    calibration_error: float
    classes: list[ClassScore]
    matrix: Labels
    regularized: bool = False

    @property
    def images(self) -> int:
        """Returns how many images there were."""
        return int(self.matrix.sum())

    @property
    def bins(self) -> int:
        """Returns into how many bins the calibration error puts the confidence."""
        return BINS

    @property
    def occurring(self) -> list[ClassScore]:
        """Returns the classes that have images, or that an image was taken for."""
        return [each for each in self.classes if each.images or each.precision is not None]

    def matrix_of(self, classes: Sequence[ClassScore]) -> Labels:
        """Returns the rows and columns of some classes."""
        labels = [each.label for each in classes]
        return self.matrix[np.ix_(labels, labels)]

    @property
    def confusions(self) -> list[Confusion]:
        """Returns what was taken for what, the most frequent first."""
        beside = self.matrix * (1 - np.eye(len(self.matrix), dtype=np.int64))
        rows, columns = np.nonzero(beside)
        order = np.argsort(-beside[rows, columns], kind="stable")
        names = [each.name for each in self.classes]
        return [Confusion(names[rows[at]], names[columns[at]], int(beside[rows[at], columns[at]])) for at in order]

    def mean(self, field: str) -> float:
        """Returns the mean of `precision`, `recall` or `f1` over the classes that occur; what is undefined counts as 0.

        This is scikit-learn's macro average: a class without images that an image was taken for lowers it.
        """
        return float(np.mean([getattr(each, field) or 0.0 for each in self.occurring]))


def scores_of(labels: Labels, probabilities: Probabilities, class_names: Sequence[str], loss: float, accuracy: float) -> Scores:
    """Returns the scores of a set of images.

    Args:
        labels: (N,), the true classes.
        probabilities: (N, classes).
        class_names: in the order of the labels.
        loss: mean over the images.
        accuracy: as the training counts it.
    """
    predicted = probabilities.argmax(axis=1)
    every_label = np.arange(len(class_names))
    matrix = confusion_matrix(labels, predicted, labels=every_label)
    classes = _class_scores(labels, predicted, class_names)
    return Scores(loss, accuracy, calibration_error(labels, probabilities), classes, matrix)


def _class_scores(labels: Labels, predicted: Labels, class_names: Sequence[str]) -> list[ClassScore]:
    shares = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(class_names)), zero_division=np.nan)
    return [
        ClassScore(name, label, _number(precision), _number(recall), _number(f1), int(images))
        for label, (name, precision, recall, f1, images) in enumerate(zip(class_names, *shares, strict=True))
    ]


def calibration_error(labels: Labels, probabilities: Probabilities, bins: int = BINS) -> float:
    """Returns the expected calibration error, Guo, Pleiss, Sun, Weinberger 2017, equation 3.

    Images are put into `bins` equal intervals ((m - 1) / bins, m / bins] of their confidence, the probability
    of the predicted class. The error is the mean over the images of the distance between the accuracy and
    the mean confidence of their bin.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    surplus = np.bincount(bin_of, weights=right - confidence, minlength=bins)  # |bin| · (accuracy - confidence)
    return float(np.abs(surplus).sum() / len(labels))


def as_plain(scores: Scores) -> dict[str, Any]:
    """Returns the scores for JSON; `confusion_matrix` is null for more than `LARGEST_MATRIX` classes."""
    return {
        "images": scores.images,
        "loss": _number(scores.loss),
        "loss_includes_regularization": scores.regularized,
        "accuracy": scores.accuracy,
        "calibration_error": _number(scores.calibration_error),
        "calibration_bins": scores.bins,
        "mean": {field: scores.mean(field) for field in ("precision", "recall", "f1")},
        "mean_over": len(scores.occurring),
        "classes": [
            {
                "class": each.name,
                "label": each.label,
                "precision": each.precision,
                "recall": each.recall,
                "f1": each.f1,
                "images": each.images,
            }
            for each in scores.classes
        ],
        "confusion_matrix": scores.matrix.tolist() if len(scores.matrix) <= LARGEST_MATRIX else None,
        "confusions": [{"true": each.true, "predicted": each.predicted, "images": each.images} for each in scores.confusions],
    }


def _number(value: float) -> float | None:
    """Returns a number that JSON can say, or None."""
    return float(value) if np.isfinite(value) else None
