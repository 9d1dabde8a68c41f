"""One evaluation from images to files; imported after TensorFlow is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.data.findings import AS_IT_IS, Finding, confirmed, findings, transposed
from cnnctl.data.image_set import ImageSet, some_of
from cnnctl.data.images import WHITE, Pixels
from cnnctl.data.inspect.statistics import evenly, measured
from cnnctl.data.new_images import NewImages
from cnnctl.data.pipeline import as_read_error, ordered_batches, preparation
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import Splits, fingerprint, read_splits
from cnnctl.data.store.memory import bytes_of_image
from cnnctl.data.user_images import classes_root, files_in, read_classes, some_originals
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.evaluate.class_tables import evaluation_markdown, evaluation_text
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.evaluate.scores import Scores, as_plain, scores_of
from cnnctl.files import write_whole
from cnnctl.model.keras_optimizers import build_loss
from cnnctl.reading import read_bounded
from cnnctl.report.console import Console
from cnnctl.report.tables import as_json
from cnnctl.report.text import printable
from cnnctl.run_folder import MAX_BYTES, RunFolder
from cnnctl.session.environment import training_images
from cnnctl.session.trained_run import EndedRun, Trained, Values, data_changes
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.head import chosen_loss, has_penalties
from cnnctl.spec.load import facts_of
from cnnctl.train.inference import Scored, judge
from cnnctl.train.memory_check import refuse_too_large
from cnnctl.train.steps import build_metrics

NOT_ENOUGH_MEMORY = "there is not enough memory for these images and this network; evaluate fewer images, or with --device cpu"
OWN_SPLITS = ("train", "validation", "test")
MAX_LETTERS = 50
"""Of a folder's name in that of a file: a name has at most 255 bytes, and a letter up to four."""
MAX_TRIED = 1_000
"""Images, evenly chosen, on which other ways to read them are tried."""
FAR_BELOW = 0.1
"""Accuracy below that of the run's own test images from which on something may be wrong with how images are read."""
PIXEL_MAX_IN_CONFIG = "write data.pixel_max:"
"""What notes say that are true of training too."""


@dataclass(frozen=True)
class Evaluation:
    """Scores, and what they are of.

    Attributes:
        run: whose network was judged.
        split: `train`, `validation` or `test`, or with other data the folder's name below it, else None.
        root: the folder of the other data; None for the run's own.
        scores: of all its images.
        notes: what a person should know about the images.
        options: how other data was read.
        warnings: what makes it unlike the training images.
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
        """Returns one word for what was judged."""
        return self.split or "images"

    def as_plain(self) -> dict[str, Any]:
        """Returns it for JSON."""
        about = {"run": str(self.run.path), "split": self.split, "data": str(self.root) if self.root else None}
        return {**about, **how_read(self.root, self.options, self.warnings), **as_plain(self.scores)}

    def text(self, form: str) -> str:
        """Returns it for people, as `table` or `markdown`."""
        return (evaluation_markdown if form == "markdown" else evaluation_text)(self.scores, self.subject)

    def keep(self, console: Console) -> list[str]:
        """Writes the scores and a picture of the confusion matrix into the run; returns a line a file.

        Raises:
            RunError: the run cannot be written to.
        """
        from cnnctl.report.figures import confusion_png

        with console.working("drawing the confusion matrix"):
            classes = self.scores.occurring
            title = f"{self.subject}: accuracy {self.scores.accuracy:.2%}"
            picture = confusion_png(self.scores.matrix_of(classes), [printable(each.name) for each in classes], title)
        name = self.subject if self.root is None else images_name(self.root, self.split)
        file = evaluation_file(self.run, name, self.as_plain())
        contents = {file: (as_json(self.as_plain()) + "\n").encode(), file.with_suffix(".png"): picture}
        return [written(each, content) for each, content in contents.items()]


@dataclass(frozen=True)
class Subject:
    """Images to judge a network on.

    Attributes:
        split: as in `Evaluation`.
        root: as in `Evaluation`.
        images: fitted to the config of the run.
        notes: what a person should know about how they were read.
        training: the fingerprint of the training images as they are now; None for other data.
        test: that of the test images, where it is they that are judged.
    """

    split: str | None
    root: Path | None
    images: ImageSet
    notes: list[str]
    training: str | None
    test: str | None = None

    def changes_since(self, run: EndedRun) -> list[str]:
        """Returns what to say where the run saw other images than there are now."""
        return [] if self.training is None else data_changes(run, self.training, self.test)


def how_read(root: Path | None, options: ImageOptions, warnings: Sequence[str]) -> dict[str, Any]:
    """Return for JSON how other data was read, and the warnings about it; nothing of the run's own data."""
    return {} if root is None else {"options": options.as_plain(), "warnings": list(warnings)}


def evaluated(
    trained: Trained, split: str | None, data: str | None, console: Console, options: ImageOptions = AS_TRAINED
) -> Evaluation:
    """Returns the scores of a network; arguments as those of `evaluate`.

    Raises:
        UsageError: there is no such split or folder.
        DataError: the images cannot be read, or have other classes.
        RunError: there is not enough memory.
    """
    try:
        with console.working("reading the data"):
            subject = images_to_evaluate(trained, split, data, options)
        with console.working("evaluating"), as_read_error():
            scores = _scores(trained, subject.images)
            new = beside_training(trained, subject.root, subject.images, options, console)
            found = _verified(trained, new, subject.images, scores.accuracy) if new else []
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise RunError(NOT_ENOUGH_MEMORY) from error
    notes = [*without_range(subject.notes, found), *subject.changes_since(trained)]
    return Evaluation(trained.run, subject.split, subject.root, scores, notes, options, list(map(str, found)))


def _scores(trained: Trained, images: ImageSet) -> Scores:
    judged, probabilities = evaluated_on(images, trained)
    scores = scores_of(images.labels, probabilities, trained.class_names, judged.loss, judged.accuracy)
    return replace(scores, regularized=has_penalties(trained.experiment))


def evaluated_on(images: ImageSet, trained: Trained) -> tuple[Scored, Values]:
    """Returns what a network gives for images, as evaluation in training computes it, and the probabilities (N, classes)."""
    experiment = trained.experiment
    nodes, _ = facts_of(experiment)
    refuse_too_large(experiment, min(experiment.train.batch_size, len(images)), training=False)
    batches = ordered_batches(images, preparation(experiment), experiment.train.batch_size)
    judged = judge(trained.model, build_loss(chosen_loss(experiment, nodes)), build_metrics(experiment), batches)
    return judged, trained.probabilities(judged.outputs)


def beside_training(
    run: EndedRun, root: Path | None, images: ImageSet, options: ImageOptions, console: Console
) -> NewImages | None:
    """Return other data beside the training images of a run; None for the run's own, and for a run that did not note them.

    Raises:
        DataError: an image cannot be read.
    """
    trained_on = training_images(run.run, console) if root else None
    if root is None or trained_on is None:
        return None
    own, data = run.experiment.data, options.applied(run.experiment.data)
    files = files_in(root, data)
    chosen = evenly(len(images), bytes_of_image(data))
    names = [str(files[position].relative_to(root)) for position in chosen]
    return NewImages(
        trained_on,
        own,
        data,
        measured(images.take(chosen).images),
        some_originals(files, None if data.follow_links else root),
        names,
    )


def without_range(notes: Sequence[str], found: Sequence[Finding]) -> list[str]:
    """Return notes on how images were read, without those on their range of values that a finding tells with its option."""
    as_option = [(note, note.replace(PIXEL_MAX_IN_CONFIG, "add --pixel-max")) for note in notes]
    told = any(each.kind == "range" for each in found)
    return [option for note, option in as_option if option == note or not told]


def _verified(trained: Trained, new: NewImages, images: ImageSet, accuracy: float) -> list[Finding]:
    """Return what makes other data unlike the training images, with the options that the network confirms.

    The labels are known, so where something looks wrong the network is asked about some of the images, inverted, transposed
    and both: also where it only names fewer of them right than of its own test images.
    """
    found = findings(new)
    noted = (trained.run.read_result() or {}).get("test_accuracy")
    if not found and not (isinstance(noted, float) and accuracy < noted - FAR_BELOW):
        return found
    some = images.take(evenly(len(images), bytes_of_image(new.data), MAX_TRIED))
    right = {name: _right(trained, some, pixels) for name, pixels in _turned(some.images[:], new.data).items()}
    best = max(right, key=lambda name: int(right[name].sum()))
    return confirmed(new, found, right[AS_IT_IS], right[best], best.split())


def _turned(images: Pixels, data: DataSpec) -> dict[str, Pixels]:
    """Return images by the kinds of findings that would be true of them, in words with a space between."""
    other = transposed(images, data)
    return {AS_IT_IS: images, "inverted": WHITE - images, "transposed": other, "inverted transposed": WHITE - other}


def _right(trained: Trained, some: ImageSet, pixels: Pixels) -> NDArray[np.bool_]:
    """Return which images the network names right, as it would see them."""
    _, probabilities = evaluated_on(ImageSet(pixels, some.labels), trained)
    return np.asarray(probabilities.argmax(axis=1) == some.labels)


def images_to_evaluate(run: EndedRun, split: str | None, data: str | None, options: ImageOptions = AS_TRAINED) -> Subject:
    """Returns the images that a run is judged on; arguments as those of `evaluate`.

    Raises:
        UsageError: there is no such split or folder.
        DataError: the images cannot be read, or have other classes.
    """
    return _own_images(run, split or "test") if data is None else _other_images(run, split, Path(data), options)


def _other_images(run: EndedRun, split: str | None, folder: Path, options: ImageOptions) -> Subject:
    root = classes_root(folder, split)
    images, notes = read_classes(root, options.applied(run.experiment.data), run.class_names)
    return Subject(split or (root.name if root != folder.resolve() else None), root, images, notes, None)


def _own_images(run: EndedRun, split: str) -> Subject:
    """Returns a split of the data that the run was trained on, read again."""
    data = run.experiment.data
    if split == "validation" and data.validation is None:
        raise UsageError("--split validation: the run has no validation data (data.validation is null); leave --split out")
    try:
        _refuse_other_classes(open_source(data).class_names, run.class_names)
        splits = read_splits(data)
        images = _part(splits, split)
    except DataError as error:
        raise DataError(f"{error}. Images elsewhere: --data FOLDER, with one folder a class of the same name") from error
    tested = fingerprint(images) if split == "test" else None
    return Subject(split, None, images, splits.notes, fingerprint(splits.train), tested)


def _part(splits: Splits, split: str) -> ImageSet:
    if split == "test":
        return splits.read_test()
    images = splits.train if split == "train" else splits.validation
    assert images is not None
    return images


def _refuse_other_classes(found: list[str], expected: list[str]) -> None:
    if found != expected[: len(found)]:
        odd = [name for name in found if name not in expected] or [name for name in expected if name not in found]
        raise DataError(
            f"the data has other classes than the network was trained on: {some_of(odd or found)} of "
            f"{some_of(found)}, expected {some_of(expected)}"
        )


def written(file: Path, content: bytes) -> str:
    """Writes a file of an evaluation; returns a line for people."""
    verb = "replaced" if file.exists() else "written"
    write_whole(file, content)
    return f"{verb:<12}{printable(str(file))}"


def evaluation_file(run: RunFolder, name: str, plain: Mapping[str, Any]) -> Path:
    """Returns the JSON file of an evaluation, in a folder that is made where it is not there.

    Only an earlier evaluation of the same images is replaced.

    Args:
        run: whose network was judged.
        name: of the file, unless it holds an evaluation of other images.
        plain: the evaluation for JSON; `split` and `data` say which images, and `options` how they were read.

    Raises:
        RunError: the folder cannot be made.
    """
    folder = run.path / "evaluation"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {error.strerror}") from error
    number = 1
    while True:
        file = folder / f"{name if number == 1 else f'{name}_{number}'}.json"
        if not file.exists() or _is_of(file, plain):
            return file
        number += 1


def images_name(root: Path, split: str | None) -> str:
    """Returns what a folder of other data is called: `photos`, or `photos-test` for photos/test.

    The name of a split alone is that of the run's own.
    """
    name = f"{root.parent.name}-{root.name}" if split or root.name in OWN_SPLITS else root.name or "root"
    return name[:MAX_LETTERS]


def _is_of(file: Path, plain: Mapping[str, Any]) -> bool:
    """Returns whether a file holds an earlier evaluation of the same images, read in the same way."""
    try:
        before = json.loads(read_bounded(file, MAX_BYTES, file.parent))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(before, dict) and _which(before) == _which(plain)


def _which(plain: Mapping[str, Any]) -> tuple[Any, ...]:
    return plain.get("split"), plain.get("data"), plain.get("options", AS_TRAINED.as_plain())
