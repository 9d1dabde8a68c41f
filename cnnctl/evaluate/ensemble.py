"""The heavy half of `evaluate` for several runs, whose networks are judged as one; imported after TensorFlow is."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.findings import Finding, findings
from cnnctl.data.image_set import ImageSet, Labels
from cnnctl.data.pipeline import as_read_error
from cnnctl.errors import DataError, RunError
from cnnctl.evaluate.ensemble_tables import Member, ensemble_markdown, ensemble_text, members_as_plain
from cnnctl.evaluate.evaluation import (
    NOT_ENOUGH_MEMORY,
    Subject,
    beside_training,
    evaluated_on,
    how_read,
    images_to_evaluate,
    without_range,
)
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.same_images import apart
from cnnctl.evaluate.scores import Scores, as_plain, scores_of
from cnnctl.report.console import Console
from cnnctl.session.trained_run import EndedRun, Values, open_ended, with_network
from cnnctl.train.inference import cross_entropy


@dataclass(frozen=True)
class EnsembleEvaluation:
    """The scores of several networks as one, and what they are of.

    Attributes:
        split: as in `Evaluation`.
        root: as in `Evaluation`.
        members: what each network reached alone, in the order in which the runs were given.
        scores: of the mean of their probabilities; the loss is cross-entropy alone.
        notes: what a person should know about the images.
        options: how other data was read.
        warnings: what makes it unlike the training images of a run.
    """

    split: str | None
    root: Path | None
    members: list[Member]
    scores: Scores
    notes: list[str]
    options: ImageOptions = AS_TRAINED
    warnings: list[str] = field(default_factory=list)

    def as_plain(self) -> dict[str, Any]:
        """Returns it for JSON."""
        about = {"split": self.split, "data": str(self.root) if self.root else None}
        how = how_read(self.root, self.options, self.warnings)
        return {**members_as_plain(self.members), **about, **how, **as_plain(self.scores)}

    def text(self, form: str) -> str:
        """Returns it for people, as `table` or `markdown`."""
        draw = ensemble_markdown if form == "markdown" else ensemble_text
        return draw(self.scores, self.split or "images", self.members)

    def keep(self, console: Console) -> list[str]:
        """Writes nothing: it is of no one run."""
        return []


def evaluated_together(
    folders: Sequence[Path], split: str | None, data: str | None, console: Console, options: ImageOptions = AS_TRAINED
) -> EnsembleEvaluation:
    """Returns the scores of the mean of the networks' probabilities; arguments as those of `evaluate`.

    Runs whose configs read the images alike share them, and one network at a time is in memory.

    Raises:
        UsageError: there is no such split or folder, or the networks do not tell the same classes apart.
        DataError: the images cannot be read, or have other classes.
        RunError: a run was cut short or is damaged, or there is not enough memory.
    """
    runs = [open_ended(folder) for folder in folders]
    refuse_other_names(runs)
    try:
        return _judged_together(runs, split, data, console, options)
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise RunError(NOT_ENOUGH_MEMORY) from error


def refuse_other_names(runs: Sequence[EndedRun]) -> None:
    """Raise UsageError where runs have not the same classes in the same order."""
    first, *others = runs
    for run in others:
        for output, (name, expected) in enumerate(zip(run.class_names, first.class_names, strict=True)):
            if name != expected:
                reason = f"its output {output} is class '{name}', expected '{expected}'; leave it out"
                raise apart(run.run.path, first.run.path, reason)


def _judged_together(
    runs: Sequence[EndedRun], split: str | None, data: str | None, console: Console, options: ImageOptions
) -> EnsembleEvaluation:
    together = _Together()
    for group in _that_read_alike(runs, other_images=data is not None):
        with console.working("reading the data"):
            subject = images_to_evaluate(group[0], split, data, options)
        for run in group:
            with console.working(f"evaluating {run.run.path}"), as_read_error():
                together.add(run, subject)
                found = beside_training(run, subject.root, subject.images, options, console)
                together.warn(findings(found) if found else [])
    members = [together.members[run.run.path] for run in runs]
    return EnsembleEvaluation(
        subject.split, subject.root, members, together.scores(runs[0].class_names), together.notes, options, together.warnings
    )


def _that_read_alike(runs: Sequence[EndedRun], other_images: bool) -> Iterable[list[EndedRun]]:
    """Returns the runs, put together where their configs read the same images in the same way."""
    groups: dict[Hashable, list[EndedRun]] = {}
    for run in runs:
        section = run.experiment.data
        fitted = (section.image_size, section.channels, section.fit, section.pixel_max, section.transpose, section.invert)
        reading = (
            fitted if other_images else section.model_copy(update={"labels": "integer", "memory": "auto", "augment": None})
        )
        groups.setdefault(reading, []).append(run)
    return groups.values()


class _Together:
    """What networks say of the same images, one network after the other; only the sum of their probabilities is held.

    Attributes:
        members: what each network reached alone, by the folder of its run.
        notes: what a person should know about the images.
        warnings: what makes them unlike the training images of a run.
    """

    def __init__(self) -> None:
        self.members: dict[Path, Member] = {}
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._labels: Labels = np.array([], np.int64)
        self._sum: NDArray[np.float64] = np.zeros(())  # (N, classes) once there is a network

    def add(self, run: EndedRun, subject: Subject) -> None:
        """Loads the network of a run and asks it about the images."""
        member, probabilities = _asked(run, subject.images)
        if self.members and not np.array_equal(subject.images.labels, self._labels):
            raise DataError(f"{run.run.path}: the images changed while they were read; run the command again")
        self.members[run.run.path] = member
        self._labels = subject.images.labels
        self._sum = self._sum + probabilities.astype(np.float64)
        changed = [f"{run.run.path}: {change}" for change in subject.changes_since(run)]
        self.notes = list(dict.fromkeys([*self.notes, *subject.notes, *changed]))

    def warn(self, found: Sequence[Finding]) -> None:
        """Add what makes the images unlike the training images of a run; what is true of several runs is said once."""
        self.warnings = list(dict.fromkeys([*self.warnings, *map(str, found)]))
        self.notes = without_range(self.notes, found)

    def scores(self, class_names: Sequence[str]) -> Scores:
        """Returns the scores of the mean of the probabilities."""
        mean = (self._sum / len(self.members)).astype(np.float32)  # (N, classes)
        accuracy = float(np.mean(mean.argmax(axis=1) == self._labels))
        return scores_of(self._labels, mean, class_names, cross_entropy(self._labels, mean), accuracy)


def _asked(run: EndedRun, images: ImageSet) -> tuple[Member, Values]:
    """Returns what a network reaches alone, and its probabilities (N, classes)."""
    judged, probabilities = evaluated_on(images, with_network(run))
    alone = cross_entropy(images.labels, probabilities)
    return Member(str(run.run.path), judged.accuracy, judged.loss, alone), probabilities
