"""Images that no config names: folders to evaluate on, files to predict; each fitted as in training."""

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

MAX_LOOKED_AT = 100
"""Files that are decoded once more for what their pixels are like: photos take 20 ms each."""


NAMES_OF_SPLITS = (*ROLES["validation"], *ROLES["test"])


def classes_root(folder: Path, split: str | None) -> Path:
    """Return the folder that has the folders of classes: that of a split in `folder`, or `folder` itself.

    Args:
        folder: what the user named.
        split: what the user asked for; None takes the one folder called `test` or `testing` that has folders of classes, else
            `folder`.

    Raises:
        UsageError: there is no such folder, or there are several.
    """
    if not folder.is_dir():
        raise UsageError(f"--data {folder}: there is no such folder; give one that has a folder of images for each class")
    root = folder.resolve()
    if not is_utf8(str(root)):
        raise UsageError(f"--data {folder}: {root} has bytes in its name that are not UTF-8; rename it")
    found = _listed(root).with_classes(split or "test")
    if len(found) > 1:
        raise UsageError(f"--data {folder}: '{found[0]}' and '{found[1]}' may both be meant; give --data {folder / found[0]}")
    if found:
        return root / found[0]
    if split:
        raise UsageError(
            f"--split {split}: there is no folder {folder / split} with a folder for each class; "
            f"leave --split out to take the classes of {folder} itself"
        )
    return root


def read_classes(root: Path, data: DataSpec, class_names: Sequence[str]) -> tuple[ImageSet, list[str]]:
    """Return the images below `root` with the labels that their folders' names have among `class_names`, and notes.

    Args:
        root: has a folder for each class; some may be missing, and their order is of no account.
        data: a checked config, which says the size and the channels.
        class_names: in the order of the labels.

    Raises:
        DataError: a folder is no class, there are no images, or one cannot be read.
        OSError: a link leads out of `root`.
    """
    data = _as_folder(root, data, class_names)
    folder = FolderSet(data)
    names = folder.class_names(HERE)
    strange = [name for name in names if name not in class_names]
    if strange:
        raise DataError(
            f"{root}: the network knows no class {some_of(strange)}{suggestions(strange, class_names, of_data=True)}; "
            f"expected folders named {some_of(list(class_names), 10)}"
        )
    if not folder.labelled(HERE):
        raise DataError(f"{root}: there are no images in folders of classes ({KINDS}); {folder.account()}")
    source = FolderSource(data)
    images = source.read(HERE)
    label_of = np.array([class_names.index(name) for name in source.class_names], np.int64)
    return replace(images, labels=label_of[images.labels]), source.notes


def class_names_in(root: Path, data: DataSpec) -> list[str]:
    """Return the classes below `root`, as `read_classes` finds them."""
    return _listed(root, data).class_names(HERE)


def _listed(root: Path, data: DataSpec | None = None) -> FolderSet:
    return FolderSet(_as_folder(root, data) if data else DataSpec(source="folder", path=str(root), train=HERE))


def _as_folder(root: Path, data: DataSpec, class_names: Sequence[str] = ()) -> DataSpec:
    """Return a config that reads a folder as a run reads its images; what lies beside `root` is no split of it.

    Folders called as splits that are no classes of the run, such as `test/` with loose images, are left out.
    """
    where: dict[str, object] = {"source": "folder", "path": str(root), "train": HERE, "validation": None, "test": None}
    called = (name for name in sorted(os.listdir(root)) if name.lower() in NAMES_OF_SPLITS and name not in class_names)
    where |= dict(zip(("validation", "test"), called, strict=False)) if class_names else {}
    if data.labels_file and (root / data.labels_file).is_file():
        return data.model_copy(update=where | dict.fromkeys(("name", "data_dir")) | {"remap_labels": False})
    return data.model_copy(update=where | dict.fromkeys(("name", "data_dir", "labels_file", "keys")) | {"remap_labels": False})


def files_in(root: Path, data: DataSpec) -> list[Path]:
    """Return the files of the images that `read_classes` reads, in its order."""
    return [root.joinpath(*each.place) for each in _listed(root, data).labelled(HERE)]


def some_originals(files: Sequence[Path], inside: Path | None) -> Originals:
    """Look at images before they are fitted: at most `MAX_LOOKED_AT` of them, evenly chosen.

    Args:
        files: the images.
        inside: the folder that links must not lead out of; None lets them lead anywhere.

    Raises:
        DataError: one cannot be read.
    """
    chosen = evenly(len(files), 1, MAX_LOOKED_AT)
    return Originals.joined([originals_of([open_image(files[position], inside)]) for position in chosen])


def fitted_batches(
    files: Sequence[Path], data: DataSpec, batch_size: int, broken: list[str], inside: Path | None = None
) -> Iterator[tuple[list[Path], Pixels]]:
    """Yields files and their images (B, H, W, C), a batch at a time, so that any number of files fits into memory.

    Args:
        files: in the order of the batches.
        data: a checked config.
        batch_size: images at most in a batch.
        broken: gets a message for each file that cannot be read; such a file is in no batch.
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
