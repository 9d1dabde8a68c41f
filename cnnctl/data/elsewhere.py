"""Images that no config names: folders to evaluate on, files to predict; each fitted as in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cnnctl.data.folder_source import FolderSource, fit_opened, open_image
from cnnctl.data.image_set import ImageSet, some_of
from cnnctl.data.images import Pixels
from cnnctl.errors import DataError, UsageError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.folders import IMAGE_SUFFIXES, class_folders, image_files


def classes_root(folder: Path, split: str | None) -> Path:
    """Returns the folder that has a folder a class: `folder/split`, or `folder` itself.

    Args:
        folder: what the user named.
        split: what the user asked for; None takes `folder/test` where it has folders of classes, else `folder`.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"--data {folder}: there is no such folder; give one that has a folder of images for each class")
    below = folder.resolve() / (split or "test")
    if below.is_dir() and _class_folders(below):
        return below
    if split:
        raise UsageError(
            f"--split {split}: there is no folder {folder / split} with a folder for each class; "
            f"leave --split out to take the classes of {folder} itself"
        )
    return folder.resolve()


def read_classes(root: Path, data: DataSpec, class_names: Sequence[str]) -> tuple[ImageSet, list[str]]:
    """Returns the images below `root` with the labels that their folders' names have among `class_names`, and notes.

    Args:
        root: has a folder a class; some may be missing, and their order is of no account.
        data: a checked config, which says the size and the channels.
        class_names: in the order of the labels.

    Raises:
        DataError: a folder is no class, there are no images, or one cannot be read.
        OSError: a link leads out of `root`.
    """
    folders = _class_folders(root)
    strange = [folder.name for folder in folders if folder.name not in class_names]
    if strange:
        raise DataError(
            f"{root}: the network knows no class {some_of(strange)}; expected folders named {some_of(list(class_names), 10)}"
        )
    if not any(image_files(folder, root) for folder in folders):
        suffixes = ", ".join(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)
        raise DataError(f"{root}: there are no images in folders of classes; put {suffixes} files into one for each class")
    as_source = {"source": "folder", "path": str(root.parent), "train": root.name, "name": None, "data_dir": None}
    as_source |= {"validation": None, "test": None}  # what lies beside `root` is no split of it
    source = FolderSource(data.model_copy(update=as_source), within=root)
    images = source.read(root.name)
    label_of = np.array([class_names.index(name) for name in source.class_names], np.int64)
    return ImageSet(images.images, label_of[images.labels]), source.notes


def _class_folders(root: Path) -> list[Path]:
    return class_folders(root.parent, root.name, within=root)


def fitted_batches(
    files: Sequence[Path], data: DataSpec, batch_size: int, broken: list[str]
) -> Iterator[tuple[list[Path], Pixels]]:
    """Yields files and their images (B, H, W, C), a batch at a time, so that any number of files fits into memory.

    Args:
        files: in the order of the batches.
        data: a checked config.
        batch_size: images at most in a batch.
        broken: gets a message for each file that cannot be read; such a file is in no batch.
    """
    for start in range(0, len(files), batch_size):
        readable, images = [], []
        for file in files[start : start + batch_size]:
            try:
                images.append(_fitted(file, data))
                readable.append(file)
            except DataError as error:
                broken.append(str(error))
        if readable:
            yield readable, np.stack(images)


def _fitted(file: Path, data: DataSpec) -> Pixels:
    return fit_opened(open_image(file), file, data)
