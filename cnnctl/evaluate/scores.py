"""Scores of labels and probabilities: precision, recall and F1 per class, confusion matrix, calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

BINS = 15
"""Bins of the confidence, as in Guo et al. 2017."""
LARGEST_MATRIX = 200
"""Classes of a confusion matrix in JSON; of more, only its nonzero entries off the diagonal."""

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class; None where a fraction is undefined.

    Attributes:
        name: of the class.
        label: of the class.
        precision: fraction of the images predicted as this class that are of it.
        recall: fraction of the images of this class that are predicted as it.
        f1: harmonic mean of the two.
        images: number of images of this class.
    """

    name: str
    label: int
    precision: float | None
    recall: float | None
    f1: float | None
    images: int


@dataclass(frozen=True)
class Confusion:
    """Number of images of one class that were predicted as another."""

    true: str
    predicted: str
    images: int


@dataclass(frozen=True)
class Scores:
    """Scores of a network on a set of images.

    Attributes:
        loss: mean over the images.
        accuracy: fraction of the images that are classified correctly.
        calibration_error: expected calibration error, between 0 and 1.
        classes: in the order of the labels.
        matrix: (classes, classes), images; rows are true classes, columns predicted ones.
        regularized: whether the loss includes the penalties of regularizers.
    """

    loss: float
    accuracy: float
    calibration_error: float
    classes: list[ClassScore]
    matrix: Labels
    regularized: bool = False

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.matrix.sum())

    @property
    def bins(self) -> int:
        """Bins of the calibration error."""
        return BINS

    @property
    def occurring(self) -> list[ClassScore]:
        """The classes that have images, or that an image was predicted as."""
        return [each for each in self.classes if each.images or each.precision is not None]

    def matrix_of(self, classes: Sequence[ClassScore]) -> Labels:
        """Select the rows and columns of some classes."""
        labels = [each.label for each in classes]
        return self.matrix[np.ix_(labels, labels)]

    @property
    def confusions(self) -> list[Confusion]:
        """Which classes are confused, the most frequent first."""
        beside = self.matrix * (1 - np.eye(len(self.matrix), dtype=np.int64))
        rows, columns = np.nonzero(beside)
        order = np.argsort(-beside[rows, columns], kind="stable")
        names = [each.name for each in self.classes]
        return [Confusion(names[rows[n]], names[columns[n]], int(beside[rows[n], columns[n]])) for n in order]

    def mean(self, field: str) -> float:
        """Compute the mean of `precision`, `recall` or `f1` over the classes that occur; undefined values count as 0.

        This is scikit-learn's macro average: a class without images that an image was predicted as lowers it.
        """
        return float(np.mean([getattr(each, field) or 0.0 for each in self.occurring]))


def scores_of(labels: Labels, probabilities: Probabilities, class_names: Sequence[str], loss: float, accuracy: float) -> Scores:
    """Compute the scores of a set of images.

    Args:
        labels: (N,), the true classes.
        probabilities: (N, classes).
        class_names: in the order of the labels.
        loss: mean over the images.
        accuracy: as computed in training.
    """
    predicted = probabilities.argmax(axis=1)
    every_label = np.arange(len(class_names))
    matrix = confusion_matrix(labels, predicted, labels=every_label)
    classes = _class_scores(labels, predicted, class_names)
    return Scores(loss, accuracy, calibration_error(labels, probabilities), classes, matrix)


def _class_scores(labels: Labels, predicted: Labels, class_names: Sequence[str]) -> list[ClassScore]:
    fractions = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(class_names)), zero_division=np.nan)
    return [
        ClassScore(name, label, _number(precision), _number(recall), _number(f1), int(images))
        for label, (name, precision, recall, f1, images) in enumerate(zip(class_names, *fractions, strict=True))
    ]


def calibration_error(labels: Labels, probabilities: Probabilities, bins: int = BINS) -> float:
    """Compute the expected calibration error, Guo, Pleiss, Sun, Weinberger 2017, equation 3.

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
    """Return the scores as plain data for JSON; `confusion_matrix` is null for more than `LARGEST_MATRIX` classes."""
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
    """Convert a number for JSON; None if it is not finite."""
    return float(value) if np.isfinite(value) else None
