"""Read images that the config does not name: folders to evaluate on and files to predict, fitted as in training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnnctl.data.image_set import ImageSet, some_of
from cnnctl.data.images import Pixels
from cnnctl.data.inspect.originals import Originals, originals_of
from cnnctl.data.inspect.statistics import evenly
from cnnctl.data.sources.folder_source import FolderSource, fit_opened, open_image
from cnnctl.errors import DataError, UsageError, suggestions
from cnnctl.formats.names import ROLES
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.folders import HERE, FolderSet
from cnnctl.spec.image_files import KINDS
from cnnctl.surroundings import is_utf8

MAX_INSPECTED = 100
"""Files decoded once more for pixel statistics; photos take 20 ms each."""


NAMES_OF_SPLITS = (*ROLES["validation"], *ROLES["test"])


def classes_root(folder: Path, split: str | None) -> Path:
    """Find the folder that contains the class folders: a split folder in `folder`, or `folder` itself.

    Args:
        folder: what the user named.
        split: the requested split; None for a single `test` or `testing` folder with class folders, else `folder` itself.

    Raises:
        UsageError: the folder does not exist, or several match.
    """
    if not folder.is_dir():
        raise UsageError(f"--data {folder}: no such folder; expected a folder with one folder of images per class")
    root = folder.resolve()
    if not is_utf8(str(root)):
        raise UsageError(f"--data {folder}: the name of {root} is not UTF-8; rename it")
    found = _listed(root).with_classes(split or "test")
    if len(found) > 1:
        raise UsageError(
            f"--data {folder}: '{found[0]}' and '{found[1]}' both match; choose one, such as --data {folder / found[0]}"
        )
    if found:
        return root / found[0]
    if split:
        raise UsageError(
            f"--split {split}: there is no folder {folder / split} with one folder per class; "
            f"remove --split to use the classes in {folder} itself"
        )
    return root


def read_classes(root: Path, data: DataSpec, class_names: Sequence[str]) -> tuple[ImageSet, list[str]]:
    """Read the images below `root`, labelled by the position of their folder in `class_names`; return them with notes.

    Args:
        root: has one folder per class, in any order; classes may be missing.
        data: a checked config, which defines size and channels.
        class_names: in the order of the labels.

    Raises:
        DataError: a folder is not a class, there are no images, or an image cannot be read.
        OSError: a link leads out of `root`.
    """
    data = _as_folder(root, data, class_names)
    folder = FolderSet(data)
    names = folder.class_names(HERE)
    unknown = [name for name in names if name not in class_names]
    if unknown:
        raise DataError(
            f"{root}: the network has no class {some_of(unknown)}{suggestions(unknown, class_names, of_data=True)}; "
            f"expected folders named {some_of(list(class_names), 10)}"
        )
    if not folder.labelled(HERE):
        raise DataError(f"{root}: no images ({KINDS}) in class folders; {folder.account()}")
    source = FolderSource(data)
    images = source.read(HERE)
    label_of = np.array([class_names.index(name) for name in source.class_names], np.int64)
    return replace(images, labels=label_of[images.labels]), source.notes


def class_names_in(root: Path, data: DataSpec) -> list[str]:
    """List the classes below `root`, as `read_classes` finds them."""
    return _listed(root, data).class_names(HERE)


def _listed(root: Path, data: DataSpec | None = None) -> FolderSet:
    return FolderSet(_as_folder(root, data) if data else DataSpec(source="folder", path=str(root), train=HERE))


def _as_folder(root: Path, data: DataSpec, class_names: Sequence[str] = ()) -> DataSpec:
    """Build a config that reads a folder as the run reads its images. Folders beside `root` are not its splits.

    Folders named like splits that are not classes of the run, such as `test/` with loose images, are skipped.
    """
    where: dict[str, object] = {"source": "folder", "path": str(root), "train": HERE, "validation": None, "test": None}
    split_like = (name for name in sorted(os.listdir(root)) if name.lower() in NAMES_OF_SPLITS and name not in class_names)
    where |= dict(zip(("validation", "test"), split_like, strict=False)) if class_names else {}
    if data.labels_file and (root / data.labels_file).is_file():
        return data.model_copy(update=where | dict.fromkeys(("name", "data_dir")) | {"remap_labels": False})
    return data.model_copy(update=where | dict.fromkeys(("name", "data_dir", "labels_file", "keys")) | {"remap_labels": False})


def files_in(root: Path, data: DataSpec) -> list[Path]:
    """List the image files that `read_classes` reads, in its order."""
    return [root.joinpath(*each.place) for each in _listed(root, data).labelled(HERE)]


def some_originals(files: Sequence[Path], inside: Path | None) -> Originals:
    """Inspect at most `MAX_INSPECTED` images before fitting, evenly spread.

    Args:
        files: the images.
        inside: the folder that links must not lead out of; None lets them lead anywhere.

    Raises:
        DataError: one cannot be read.
    """
    chosen = evenly(len(files), 1, MAX_INSPECTED)
    return Originals.joined([originals_of([open_image(files[position], inside)]) for position in chosen])


def fitted_batches(
    files: Sequence[Path], data: DataSpec, batch_size: int, broken: list[str], inside: Path | None = None
) -> Iterator[tuple[list[Path], Pixels]]:
    """Yield files and their images (B, H, W, C) in batches, so that any number of files fits into memory.

    Args:
        files: in the order of the batches.
        data: a checked config.
        batch_size: maximum images per batch.
        broken: receives one message per file that cannot be read. No batch contains such a file.
        inside: the folder that links must not lead out of; None lets them lead anywhere.
    """
    for start in range(0, len(files), batch_size):
        readable, images = [], []
        for file in files[start : start + batch_size]:
            try:
                images.append(fit_opened(open_image(file, inside), file, data))
                readable.append(file)
            except DataError as error:
                broken.append(str(error))
        if readable:
            yield readable, np.stack(images)
