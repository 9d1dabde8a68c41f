"""Evaluate several runs as an ensemble, by the mean of their probabilities. Imported after TensorFlow."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.findings import Finding, findings
from cnnctl.data.image_set import ImageSet, Labels
from cnnctl.data.pipeline import as_read_error
from cnnctl.errors import DataError
from cnnctl.evaluate.ensemble_tables import Member, ensemble_markdown, ensemble_text, members_as_plain
from cnnctl.evaluate.evaluated_images import (
    EvaluatedImages,
    compare_with_training,
    merge_findings,
    read_evaluated,
    without_range,
)
from cnnctl.evaluate.evaluation import evaluate_images
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.result_files import about_images
from cnnctl.evaluate.same_images import incompatible
from cnnctl.evaluate.scores import Scores, as_plain, scores_of
from cnnctl.report.console import Console
from cnnctl.session.trained_run import EndedRun, Values, open_ended, with_network
from cnnctl.train.inference import cross_entropy
from cnnctl.train.memory_check import FEWER_IMAGES, as_memory_error


@dataclass(frozen=True)
class EnsembleEvaluation:
    """The scores of an ensemble, and the images that they are of.

    Attributes:
        split: as in `EvaluatedImages`.
        root: as in `EvaluatedImages`.
        members: each network alone, in the order of the command line.
        scores: of the mean of the probabilities; the loss is cross-entropy alone.
        notes: how the images were read, and what has changed since the training.
        options: how other data was read.
        warnings: differences of other data from the training images of a run.
    """

    split: str | None
    root: Path | None
    members: list[Member]
    scores: Scores
    notes: list[str]
    options: ImageOptions = AS_TRAINED
    warnings: list[str] = field(default_factory=list)

    def as_plain(self) -> dict[str, Any]:
        """Return the evaluation as plain data for JSON."""
        about = about_images(self.split, self.root, self.options, self.warnings)
        return {**members_as_plain(self.members), **about, **as_plain(self.scores)}

    def text(self, form: str) -> str:
        """Format the scores as `table` or `markdown`."""
        draw = ensemble_markdown if form == "markdown" else ensemble_text
        return draw(self.scores, self.split or "images", self.members)

    def keep(self, console: Console) -> list[str]:
        """Write nothing: an ensemble has no run folder."""
        return []


def evaluated_together(
    folders: Sequence[Path], split: str | None, data: str | None, console: Console, options: ImageOptions = AS_TRAINED
) -> EnsembleEvaluation:
    """Evaluate the mean of the networks' probabilities; arguments as in `commands.evaluate`.

    Runs whose configs read the images in the same way share them, and one network at a time is in memory.

    Raises:
        UsageError: there is no such split or folder, or the networks have other classes.
        DataError: the images cannot be read, or have other classes.
        RunError: a run was cut short or is damaged, or there is not enough memory.
    """
    runs = [open_ended(folder) for folder in folders]
    refuse_other_names(runs)
    with as_memory_error(FEWER_IMAGES):
        return _evaluate_runs(runs, split, data, console, options)


def refuse_other_names(runs: Sequence[EndedRun]) -> None:
    """Raise UsageError unless all runs have the same classes in the same order."""
    first, *others = runs
    for run in others:
        for output, (name, expected) in enumerate(zip(run.class_names, first.class_names, strict=True)):
            if name != expected:
                reason = f"its output {output} is class '{name}', expected '{expected}'; remove it"
                raise incompatible(run.run.path, first.run.path, reason)


def _evaluate_runs(
    runs: Sequence[EndedRun], split: str | None, data: str | None, console: Console, options: ImageOptions
) -> EnsembleEvaluation:
    ensemble = _Ensemble()
    found: dict[Path, list[Finding]] = {}
    for group in _by_reading(runs, other_images=data is not None):
        with console.working("reading the data"):
            subject = read_evaluated(group[0], split, data, options)
        for run in group:
            with console.working(f"evaluating {run.run.path}"), as_read_error():
                ensemble.add(run, subject)
                new = compare_with_training(run, subject, options, console)
                if new:
                    found[run.run.path] = findings(new)
    merged = merge_findings(found)
    return EnsembleEvaluation(
        split=subject.split,
        root=subject.root,
        members=[ensemble.members[run.run.path] for run in runs],
        scores=ensemble.scores(runs[0].class_names),
        notes=without_range(ensemble.notes, merged),
        options=options,
        warnings=list(map(str, merged)),
    )


def _by_reading(runs: Sequence[EndedRun], other_images: bool) -> Iterable[list[EndedRun]]:
    """Group the runs whose configs read the same images in the same way."""
    groups: dict[Hashable, list[EndedRun]] = {}
    for run in runs:
        section = run.experiment.data
        fitted = (section.image_size, section.channels, section.fit, section.pixel_max, section.transpose, section.invert)
        reading = (
            fitted if other_images else section.model_copy(update={"labels": "integer", "memory": "auto", "augment": None})
        )
        groups.setdefault(reading, []).append(run)
    return groups.values()


class _Ensemble:
    """Networks evaluated on the same images one after the other. Only the sum of the probabilities is in memory.

    Attributes:
        members: each network alone, by its run folder.
        notes: how the images were read, and what has changed since the trainings.
    """

    def __init__(self) -> None:
        self.members: dict[Path, Member] = {}
        self.notes: list[str] = []
        self._labels: Labels = np.array([], np.int64)
        self._sum: NDArray[np.float64] = np.zeros(())  # (N, classes) once there is a network

    def add(self, run: EndedRun, subject: EvaluatedImages) -> None:
        """Load the network of a run and evaluate it on the images."""
        member, probabilities = _evaluate_member(run, subject.images)
        if self.members and not np.array_equal(subject.images.labels, self._labels):
            raise DataError(f"{run.run.path}: the images changed while they were read; run the command again")
        self.members[run.run.path] = member
        self._labels = subject.images.labels
        self._sum = self._sum + probabilities.astype(np.float64)
        changed = [f"{run.run.path}: {change}" for change in subject.changes_since(run)]
        self.notes = list(dict.fromkeys([*self.notes, *subject.notes, *changed]))

    def scores(self, class_names: Sequence[str]) -> Scores:
        """Compute the scores of the mean of the probabilities."""
        mean = (self._sum / len(self.members)).astype(np.float32)  # (N, classes)
        accuracy = float(np.mean(mean.argmax(axis=1) == self._labels))
        return scores_of(self._labels, mean, class_names, cross_entropy(self._labels, mean), accuracy)


def _evaluate_member(run: EndedRun, images: ImageSet) -> tuple[Member, Values]:
    """Evaluate a network alone, and return its probabilities (N, classes) too."""
    scored, probabilities = evaluate_images(images, with_network(run))
    alone = cross_entropy(images.labels, probabilities)
    return Member(str(run.run.path), scored.accuracy, scored.loss, alone), probabilities
