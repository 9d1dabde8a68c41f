"""Evaluate the network of a few-shot run on episodes. Imported after TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cnnctl.data.findings import findings
from cnnctl.data.pipeline import as_read_error
from cnnctl.evaluate.evaluated_images import EvaluatedImages, compare_with_training, read_evaluated, without_range
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.result_files import about_images, images_name, result_file, write_result
from cnnctl.few_shot.episode_tables import EpisodeResult, episodes_markdown, episodes_text
from cnnctl.few_shot.episodes import OPTION_NAMES
from cnnctl.few_shot.options import EpisodeOptions
from cnnctl.few_shot.scoring import episode_evaluator
from cnnctl.few_shot.task import series_of
from cnnctl.few_shot.views import Views
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.run_folder import RunFolder
from cnnctl.session.trained_run import Trained
from cnnctl.spec.few_shot import compared_by, size_of
from cnnctl.train.memory_check import FEWER_IMAGES, as_memory_error


@dataclass(frozen=True)
class EpisodeEvaluation:
    """A result over episodes, and the images that it is of.

    Attributes:
        run: of the network.
        split: as in `EvaluatedImages`.
        root: as in `EvaluatedImages`.
        result: over all episodes.
        notes: how the images were read, and what has changed since the training.
        options: how other data was read.
        warnings: differences of other data from the training images.
    """

    run: RunFolder
    split: str | None
    root: Path | None
    result: EpisodeResult
    notes: list[str]
    options: ImageOptions = AS_TRAINED
    warnings: list[str] = field(default_factory=list)

    def as_plain(self) -> dict[str, Any]:
        """Return the evaluation as plain data for JSON."""
        about = about_images(self.split, self.root, self.options, self.warnings)
        return {"run": str(self.run.path), **about, **self.result.as_plain()}

    def text(self, form: str) -> str:
        """Format the result as `table` or `markdown`."""
        return (episodes_markdown if form == "markdown" else episodes_text)(self.result)

    def keep(self, console: Console) -> list[str]:
        """Write the result into the run folder, in place of an earlier one of the same images. Return a line for the console.

        Raises:
            RunError: the run folder cannot be written to.
        """
        name = f"{images_name(self.split, self.root)}-{self.result.series}"
        file = result_file(self.run, name, self.as_plain())
        return [write_result(file, (as_json(self.as_plain()) + "\n").encode())]


def evaluated_episodes(
    trained: Trained,
    episodes: EpisodeOptions,
    split: str | None,
    data: str | None,
    console: Console,
    options: ImageOptions = AS_TRAINED,
) -> EpisodeEvaluation:
    """Evaluate a network on episodes; arguments as in `commands.evaluate`.

    Raises:
        UsageError: there is no such split or folder.
        DataError: the images cannot be read, or are too few for the episodes.
        RunError: there is not enough memory.
    """
    with as_memory_error(FEWER_IMAGES):
        with console.working("reading the data"):
            subject = read_evaluated(trained, split, data, options)
        with console.working("evaluating"), as_read_error():
            result = _result(trained, episodes, subject)
            new = compare_with_training(trained, subject, options, console)
            found = findings(new) if new else []
    notes = [*without_range(subject.notes, found), *subject.changes_since(trained)]
    return EpisodeEvaluation(trained.run, subject.split, subject.root, result, notes, options, list(map(str, found)))


def _result(trained: Trained, episodes: EpisodeOptions, subject: EvaluatedImages) -> EpisodeResult:
    assert trained.experiment.few_shot
    few_shot = episodes.applied(trained.experiment.few_shot)
    views = Views(episodes.tta or 0, few_shot.rotations and episodes.tta_poses, few_shot.mirrors and episodes.tta_poses)
    size, count, images = size_of(few_shot), few_shot.test_episodes, subject.images
    name = str(subject.root or subject.split)
    series = series_of(trained.experiment, name, images, size, count, subject.class_names, OPTION_NAMES)
    series = replace(series, views=views)
    return EpisodeResult(
        subject=name,
        images=len(images),
        classes=len(np.unique(images.labels)),
        way=size.way,
        shot=size.shot,
        query=size.query,
        episodes=series.count,
        compared=compared_by(few_shot.method),
        tta=series.views.augmented,
        tta_poses=series.views.poses,
        score=episode_evaluator(trained.model, few_shot.method)(series).score,
    )
