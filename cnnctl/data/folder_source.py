"""One's own images: a folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cnnctl.data.held import Held
from cnnctl.data.image_set import ImageSet, Labels, Source, decoded_at_once, image_options, some_of, told_as_data_errors
from cnnctl.data.images import Pixels, fit_image
from cnnctl.data.stream import Blocks
from cnnctl.errors import DataError
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.folders import GREY_MODES, broken_image, class_folders, folder_path, image_files, opened_image


class FolderSource(Source):
    """One folder a class, in `path/SPLIT/` or, where there is no such folder, in `path/` itself.

    Args:
        data: a checked config.
        within: the folder that no link may lead out of; None for `path`.
    """

    def __init__(self, data: DataSpec, within: Path | None = None) -> None:
        self._data = data
        self._path = folder_path(data)
        self._within = within or self._path
        if not self._path.is_dir():
            raise DataError(f"there is no folder '{self._path}'")
        self.class_names = sorted({folder.name for split in _named_splits(data) for folder in self._class_folders(split)})
        self.notes = []
        self._held = Held(data, self._count, self.notes)
        self._grey_too = False
        if not self.class_names:
            raise DataError(
                f"{self._path}: there are no folders of classes; put the images of each class into a folder of its own"
            )

    def read(self, split: str) -> ImageSet:
        files, labels = self._files(split)
        options = {"source": "folder", **image_options(self._data)}
        with told_as_data_errors():
            images, others = self._held.images(split, options, files, lambda: self._decoded(files), lambda: len(files))
        self._note_changes(split, len(files), *(int(count) for count in others["resized_and_colour"]))
        return ImageSet(images, labels)

    def _decoded(self, files: list[Path]) -> Blocks:
        resized = colour = 0
        at_once = decoded_at_once(self._data)
        for start in range(0, len(files), at_once):
            fitted = []
            for file in files[start : start + at_once]:
                image = open_image(file)
                resized += (image.height, image.width) != self._data.image_size
                colour += image.mode not in GREY_MODES
                fitted.append(fit_opened(image, file, self._data))
            yield np.stack(fitted)
        return {"resized_and_colour": np.array([resized, colour])}

    def _count(self, split: str) -> int:
        with told_as_data_errors():
            return sum(len(image_files(folder, self._within)) for folder in self._class_folders(split))

    def _note_changes(self, split: str, count: int, resized: int, colour: int) -> None:
        of = f"of {count:,} images of '{split}' were"
        if resized:
            self.notes.append(f"{resized:,} {of} resized to {'×'.join(map(str, self._data.image_size or ()))}")
        self._grey_too = self._grey_too or colour < count  # a set all of colour is grey only by the config's own word
        if colour and self._data.channels == 1 and self._grey_too:
            self.notes.append(f"{colour:,} {of} converted to grey; give channels: 3 to keep colour")

    def labels(self, split: str) -> Labels:
        return self._files(split)[1]

    def _class_folders(self, split: str) -> list[Path]:
        with told_as_data_errors():
            return class_folders(self._path, split, self._within)

    def _files(self, split: str) -> tuple[list[Path], Labels]:
        folders = self._class_folders(split)
        if not folders:
            raise DataError(
                f"{self._path}: there is no split '{split}', a folder {self._path / split} with a folder for each class"
            )
        strange = [folder.name for folder in folders if folder.name not in self.class_names]
        if strange:
            raise DataError(
                f"{self._path / split}: {some_of(strange)} are no classes of '{self._data.train}', so nothing learns them; "
                "give both splits the same folders"
            )
        labels = {name: label for label, name in enumerate(self.class_names)}
        with told_as_data_errors():
            found = [(file, labels[folder.name]) for folder in folders for file in image_files(folder, self._within)]
        if not found:
            raise DataError(f"{self._path}: split '{split}' has no images (png, jpg, jpeg or bmp in a folder for each class)")
        return [file for file, _ in found], np.array([label for _, label in found], np.int64)


def _named_splits(data: DataSpec) -> list[str]:
    """Returns the splits that may have classes: train, and for few-shot tasks, which are judged on other classes, all."""
    others = [data.validation, data.test] if data.holds_out_classes else []
    return [data.train, *(part for part in others if isinstance(part, str))]


def open_image(file: Path) -> Image.Image:
    """Returns an image as it is seen, turned as its EXIF data says.

    Raises:
        DataError: the file is no image, is cut off, or has so many pixels that Pillow takes it for an attack.
    """
    try:
        with opened_image(file) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except Exception as error:  # Pillow passes on whatever its many readers stumble over
        raise DataError(broken_image(file, error)) from error


def fit_opened(image: Image.Image, file: Path, data: DataSpec) -> Pixels:
    """Returns the image of a file as `fit_image` does.

    Raises:
        DataError: it has a mode that Pillow cannot convert, or there is not enough memory.
    """
    try:
        return fit_image(image, data)
    except (ValueError, OSError, MemoryError) as error:
        raise DataError(broken_image(file, error)) from error
