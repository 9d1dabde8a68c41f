"""The heavy half of `evaluate` for few-shot tasks; imported after TensorFlow is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.findings import findings
from cnnctl.data.image_set import ImageSet, some_of
from cnnctl.data.pipeline import as_read_error
from cnnctl.data.splits import fingerprint
from cnnctl.data.user_images import class_names_in, classes_root, read_classes
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.evaluate.evaluation import (
    NOT_ENOUGH_MEMORY,
    beside_training,
    evaluation_file,
    how_read,
    images_name,
    without_range,
    written,
)
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.few_shot.episode_tables import EpisodeResult, episodes_markdown, episodes_text
from cnnctl.few_shot.episodes import AS_OPTIONS
from cnnctl.few_shot.options import EpisodeOptions
from cnnctl.few_shot.scoring import evaluation_of
from cnnctl.few_shot.task import series_of
from cnnctl.few_shot.views import Views
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.run_folder import RunFolder
from cnnctl.session.trained_run import Trained, data_changes
from cnnctl.spec.few_shot import compared_by, size_of


@dataclass(frozen=True)
class EpisodeEvaluation:
    """A result, and what it is of.

    Attributes:
        run: whose network was judged.
        split: `train`, `validation` or `test`; None for other data.
        root: the folder of the other data; None for the run's own.
        result: over all episodes.
        notes: what a person should know about the images.
        options: how other data was read.
        warnings: what makes it unlike the training images.
    """

    run: RunFolder
    split: str | None
    root: Path | None
    result: EpisodeResult
    notes: list[str]
    options: ImageOptions = AS_TRAINED
    warnings: list[str] = field(default_factory=list)

    def as_plain(self) -> dict[str, Any]:
        """Returns it for JSON."""
        about = {"run": str(self.run.path), "split": self.split, "data": str(self.root) if self.root else None}
        return {**about, **how_read(self.root, self.options, self.warnings), **self.result.as_plain()}

    def text(self, form: str) -> str:
        """Returns it for people, as `table` or `markdown`."""
        return (episodes_markdown if form == "markdown" else episodes_text)(self.result)

    def keep(self, console: Console) -> list[str]:
        """Writes it into the run, in place of an earlier one of the same kind; returns a line for people.

        Raises:
            RunError: the run cannot be written to.
        """
        name = images_name(self.root, None) if self.root else self.split
        file = evaluation_file(self.run, f"{name}-{self.result.series}", self.as_plain())
        return [written(file, (as_json(self.as_plain()) + "\n").encode())]


def evaluated_episodes(
    trained: Trained,
    wish: EpisodeOptions,
    split: str | None,
    data: str | None,
    console: Console,
    options: ImageOptions = AS_TRAINED,
) -> EpisodeEvaluation:
    """Returns how a learner does on episodes; arguments as those of `evaluate`.

    Raises:
        UsageError: there is no such split or folder.
        DataError: the images cannot be read, or episodes of that size cannot be drawn.
        RunError: there is not enough memory.
    """
    try:
        with console.working("reading the data"):
            root = None if data is None else classes_root(Path(data), split)
            read = _own_images(trained, split or "test") if root is None else _other_images(trained, root, options)
            images, notes, class_names = read
        with console.working("evaluating"), as_read_error():
            subject = (split or "test") if root is None else str(root)
            result = _result(trained, wish, subject, images, class_names)
            new = beside_training(trained, root, images, options, console)
            found = findings(new) if new else []
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise RunError(NOT_ENOUGH_MEMORY) from error
    own = (split or "test") if root is None else None
    return EpisodeEvaluation(trained.run, own, root, result, without_range(notes, found), options, list(map(str, found)))


def _result(
    trained: Trained, wish: EpisodeOptions, subject: str, images: ImageSet, class_names: Sequence[str]
) -> EpisodeResult:
    assert trained.experiment.few_shot
    few_shot = wish.applied(trained.experiment.few_shot)
    views = Views(wish.copies or 0, few_shot.rotations and wish.turns, few_shot.mirrors and wish.turns)
    size = size_of(few_shot)
    series = series_of(trained.experiment, subject, images, size, few_shot.test_episodes, class_names, AS_OPTIONS)
    series = replace(series, views=views)
    return EpisodeResult(
        subject=subject,
        images=len(images),
        classes=len(np.unique(images.labels)),
        way=size.way,
        shot=size.shot,
        query=size.query,
        episodes=series.count,
        compared=compared_by(few_shot.learner),
        copies=series.views.copies,
        turns=series.views.turns,
        score=evaluation_of(trained.model, few_shot.learner)(series).score,
    )


def _own_images(trained: Trained, split: str) -> tuple[ImageSet, list[str], Sequence[str]]:
    """Returns a split of the data that the run was trained on, read again, notes, and the names of its labels."""
    data = trained.experiment.data
    if split == "validation" and data.validation is None:
        raise UsageError("--split validation: the run has no validation data (data.validation is null); leave --split out")
    try:
        splits = read_disjoint_splits(data)
        images = splits.read_test() if split == "test" else splits.train if split == "train" else splits.validation
    except DataError as error:
        raise DataError(f"{error}. Images elsewhere: --data FOLDER, with one folder a class") from error
    assert images is not None
    tested = fingerprint(images) if split == "test" else None
    return images, [*splits.notes, *data_changes(trained, fingerprint(splits.train), tested)], splits.class_names


def _other_images(trained: Trained, root: Path, options: ImageOptions) -> tuple[ImageSet, list[str], Sequence[str]]:
    data = options.applied(trained.experiment.data)
    names = class_names_in(root, data)
    images, notes = read_classes(root, data, names)
    empty = [name for label, name in enumerate(names) if not (images.labels == label).any()]
    without = [f"no image in {'class' if len(empty) == 1 else 'classes'} {some_of(empty)}; left out"] if empty else []
    return images, [*notes, *without], names
