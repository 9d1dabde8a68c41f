"""The images that a run is evaluated on: a split of its own data, or a folder of other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnctl.data.class_splits import read_disjoint_splits
from cnnctl.data.findings import Finding
from cnnctl.data.image_set import ImageSet, some_of
from cnnctl.data.inspect.statistics import evenly, measured
from cnnctl.data.new_images import NewImages
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import fingerprint, read_splits
from cnnctl.data.store.memory import bytes_of_image
from cnnctl.data.user_images import class_names_in, classes_root, files_in, read_classes, some_originals
from cnnctl.errors import DataError, UsageError
from cnnctl.evaluate.image_options import AS_TRAINED, ImageOptions
from cnnctl.report.console import Console
from cnnctl.session.environment import training_images
from cnnctl.session.trained_run import EndedRun, data_changes

OPTION_KINDS = ("range", "inverted", "transposed")
"""Kinds of findings whose remedy is an option."""
PIXEL_MAX_IN_CONFIG = "write data.pixel_max:"
"""Advice in notes on how images were read; of other images than the run's own, the option --pixel-max is meant."""


@dataclass(frozen=True)
class EvaluatedImages:
    """Images to evaluate a run on.

    Attributes:
        split: `train`, `validation` or `test`; with other data the name of the folder below it, None for the folder itself.
        root: the folder of other data; None for the run's own.
        images: prepared as the run's config says.
        class_names: by label.
        notes: how the images were read.
        training: fingerprint of the training images as they are now; None for other data.
        test: fingerprint of the test images; None for another split and for other data.
    """

    split: str | None
    root: Path | None
    images: ImageSet
    class_names: Sequence[str]
    notes: list[str]
    training: str | None = None
    test: str | None = None

    def changes_since(self, run: EndedRun) -> list[str]:
        """Describe where the run's data has changed since its training."""
        return [] if self.training is None else data_changes(run, self.training, self.test)


def read_evaluated(run: EndedRun, split: str | None, data: str | None, options: ImageOptions = AS_TRAINED) -> EvaluatedImages:
    """Read the images that a run is evaluated on; arguments as in `commands.evaluate`.

    A classification run needs the classes that it was trained on, a few-shot run any classes.

    Raises:
        UsageError: there is no such split or folder.
        DataError: the images cannot be read, or have other classes.
    """
    return _read_split(run, split or "test") if data is None else _read_folder(run, split, Path(data), options)


def _read_split(run: EndedRun, split: str) -> EvaluatedImages:
    data, few_shot = run.experiment.data, run.experiment.few_shot
    if split == "validation" and data.validation is None:
        raise UsageError("--split validation: the run has no validation data (data.validation is null); remove the option")
    try:
        if not few_shot:
            _refuse_other_classes(open_source(data).class_names, run.class_names)
        splits = (read_disjoint_splits if few_shot else read_splits)(data)
        images = {"train": lambda: splits.train, "validation": lambda: splits.validation, "test": splits.read_test}[split]()
    except DataError as error:
        raise DataError(f"{error}. To evaluate other images: --data FOLDER, with one folder per class") from error
    assert images is not None
    test = fingerprint(images) if split == "test" else None
    return EvaluatedImages(split, None, images, splits.class_names, splits.notes, fingerprint(splits.train), test)


def _read_folder(run: EndedRun, split: str | None, folder: Path, options: ImageOptions) -> EvaluatedImages:
    root, data = classes_root(folder, split), options.applied(run.experiment.data)
    names = class_names_in(root, data) if run.experiment.few_shot else run.class_names
    images, notes = read_classes(root, data, names)
    if run.experiment.few_shot:
        notes = [*notes, *_empty_classes(images, names)]
    return EvaluatedImages(split or (root.name if root != folder.resolve() else None), root, images, names, notes)


def _empty_classes(images: ImageSet, names: Sequence[str]) -> list[str]:
    empty = [name for label, name in enumerate(names) if not (images.labels == label).any()]
    return [f"no image in {'class' if len(empty) == 1 else 'classes'} {some_of(empty)}; left out"] if empty else []


def _refuse_other_classes(found: list[str], expected: list[str]) -> None:
    if found != expected[: len(found)]:
        odd = [name for name in found if name not in expected] or [name for name in expected if name not in found]
        raise DataError(
            f"the data has other classes than the network was trained on: {some_of(odd or found)} of "
            f"{some_of(found)}, expected {some_of(expected)}"
        )


def compare_with_training(run: EndedRun, subject: EvaluatedImages, options: ImageOptions, console: Console) -> NewImages | None:
    """Compare other images with a run's training images. None for its own data, and for a run without their statistics.

    Raises:
        DataError: an image cannot be read.
    """
    root, images = subject.root, subject.images
    trained_on = training_images(run.run, console) if root else None
    if root is None or trained_on is None:
        return None
    own, data = run.experiment.data, options.applied(run.experiment.data)
    files = files_in(root, data)
    chosen = evenly(len(images), bytes_of_image(data))
    names = [str(files[position].relative_to(root)) for position in chosen]
    originals = some_originals(files, None if data.follow_links else root)
    return NewImages(trained_on, own, data, measured(images.take(chosen).images), originals, names)


def without_range(notes: Sequence[str], found: Sequence[Finding]) -> list[str]:
    """Remove the notes on the range of pixel values that a finding repeats with its option."""
    as_option = [(note, note.replace(PIXEL_MAX_IN_CONFIG, "add --pixel-max")) for note in notes]
    has_finding = any(each.kind == "range" for each in found)
    return [option for note, option in as_option if option == note or not has_finding]


def merge_findings(found: Mapping[Path, Sequence[Finding]]) -> list[Finding]:
    """Merge the findings of several runs, by run folder.

    An option applies to all runs, so it is advised only where every run has the finding.
    """
    kinds = [{each.kind for each in own} for own in found.values()]
    merged: dict[str, Finding] = {}
    for run, own in found.items():
        for each in own:
            fits_all = each.kind not in OPTION_KINDS or all(each.kind in other for other in kinds)
            remedy = "other runs read the images correctly, and an option applies to all runs; use this run alone"
            finding = each if fits_all else Finding(each.kind, f"{run}: {each.message}", remedy)
            merged[str(finding)] = finding
    return list(merged.values())
