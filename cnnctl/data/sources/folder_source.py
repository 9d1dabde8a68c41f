"""One's own images: a folder for each class, or a file of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cnnctl.data.image_set import (
    BrokenImages,
    ImageSet,
    Labels,
    Source,
    are_no_classes,
    as_data_errors,
    decoded_at_once,
    image_options,
    range_of,
    some_of,
)
from cnnctl.data.images import SEVERAL_FRAMES, SIXTEEN_BIT_COLOUR, Pixels, fit_image
from cnnctl.data.inspect.census import CENSUS, Census, census_notes
from cnnctl.data.store.cache import Arrays
from cnnctl.data.store.image_store import ImageStore
from cnnctl.data.store.stream import Blocks
from cnnctl.errors import DataError, counted, suggestions
from cnnctl.spec.dataset import DataSpec, NotUsable
from cnnctl.spec.folders import FolderSet
from cnnctl.spec.found_folder import folder_notes
from cnnctl.spec.image_files import KINDS, broken_image, opened_image, reason


class FolderSource(Source):
    """The images of a folder with the classes that their folders or a labels file give them.

    Args:
        data: a checked config.

    Attributes:
        folder: what lies in it.

    Raises:
        DataError: there is no such folder, or no class in it.
    """

    def __init__(self, data: DataSpec) -> None:
        self._data = data
        try:
            with as_data_errors():
                self.folder = FolderSet(data)
                self.class_names = sorted({name for split in _named_splits(data) for name in self.folder.class_names(split)})
                if not self.class_names:
                    raise DataError(
                        f"{self.folder.path}: there are no folders of classes; put the images of each class into a folder of its own"
                    )
                self.notes = folder_notes(data, self.folder)
        except NotUsable as error:
            raise DataError(error.message) from error
        self._held = ImageStore(data, self._count, self.notes)
        self._read: dict[str, Arrays] = {}
        self._grey_too = False

    def read(self, split: str) -> ImageSet:
        files, labels = self._files(split)
        options = {"source": "folder", **image_options(self._data)}
        with as_data_errors():
            images, arrays = self._held.images(
                split, options, files, lambda: self._decoded(files), lambda: len(files), others=[CENSUS]
            )
        self._read[split] = arrays
        self._grey_too = self._grey_too or int(arrays["counts"][0]) < len(files)
        self.notes += census_notes(arrays, split, self._data, self._grey_too)
        return ImageSet(images, labels, range_of(arrays["sizes"]))

    def _decoded(self, files: list[Path]) -> Blocks:
        """Decode images block by block; once one is broken the others are only looked through, so that all are named."""
        broken: list[tuple[str, str]] = []
        census, at_once = Census(), decoded_at_once(self._data)
        for start in range(0, len(files), at_once):
            fitted = []
            for file in files[start : start + at_once]:
                try:
                    image = _opened(file, self.folder.within)
                    census.add(image)
                    fitted.append(fit_image(image, self._data))
                except Exception as error:  # Pillow passes on whatever its many readers stumble over
                    broken.append((str(file), reason(error)))
            if not broken:
                yield np.stack(fitted)
        if broken:
            raise BrokenImages(broken, counted(len(files), "image"))
        return census.arrays()

    def _count(self, split: str) -> int:
        with as_data_errors():
            return len(self.folder.labelled(split))

    def labels(self, split: str) -> Labels:
        return self._files(split)[1]

    def groups(self, split: str) -> list[str]:
        if self._data.class_folders != "leaf" or self.folder.labels:
            raise DataError("groups of a folder are the folders of its classes; write class_folders: leaf, or hold_out: class")
        return self.folder.groups(split)

    def _files(self, split: str) -> tuple[list[Path], Labels]:
        with as_data_errors():
            names, found = self.folder.class_names(split), self.folder.labelled(split)
        self._refuse_strange(split, names)
        if not found:
            raise DataError(f"{self.folder.path}: split '{split}' has no images ({KINDS} in a folder for each class)")
        numbers = {name: label for label, name in enumerate(self.class_names)}
        files = [self.folder.path.joinpath(*each.place) for each in found]
        return files, np.array([numbers[each.class_name] for each in found], np.int64)

    def _refuse_strange(self, split: str, names: list[str]) -> None:
        """Raise where a split is not there, or has classes that nothing learns."""
        place = self.folder.path / split
        if not names:
            raise DataError(f"{self.folder.path}: there is no split '{split}', a folder {place} with a folder for each class")
        strange = [name for name in names if name not in self.class_names]
        if strange:
            raise DataError(
                f"{place}: {some_of(strange)} {are_no_classes(len(strange))} of '{self._data.train}', so nothing learns them"
                f"{suggestions(strange, self.class_names, of_data=True)}; give both splits the same folders"
            )


def _named_splits(data: DataSpec) -> list[str]:
    """Return the splits that may have classes: train, and for few-shot tasks, which are evaluated on other classes, all."""
    others = [data.validation, data.test] if data.holds_out_classes else []
    return [data.train, *(part for part in others if isinstance(part, str))]


def open_image(file: Path, inside: Path | None = None) -> Image.Image:
    """Return an image as it is seen, turned as its EXIF data says.

    Args:
        file: the image.
        inside: the folder that a link must not lead out of; None lets it lead anywhere.

    Raises:
        DataError: the file is no image, leads away, is cut off, or has so many pixels that Pillow takes it for an attack.
    """
    try:
        return _opened(file, inside)
    except Exception as error:  # Pillow passes on whatever its many readers stumble over
        raise DataError(broken_image(file, error)) from error


def _opened(file: Path, inside: Path | None) -> Image.Image:
    with opened_image(file, inside) as image:
        return decoded(image)


def decoded(image: Image.Image) -> Image.Image:
    """Decode an opened image, turned as its EXIF data says; raises whatever Pillow raises."""
    deep = image.mode in ("RGB", "RGBA", "LA") and ";16" in str(getattr(image, "tile", ""))
    several = getattr(image, "is_animated", False)  # known while the file is open, which is closed later
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image.info.update({SIXTEEN_BIT_COLOUR: deep, SEVERAL_FRAMES: several})
    return image


def fit_opened(image: Image.Image, file: Path, data: DataSpec) -> Pixels:
    """Return the image of a file as `fit_image` does.

    Raises:
        DataError: it has a mode that Pillow cannot convert, or there is not enough memory.
    """
    try:
        return fit_image(image, data)
    except (ValueError, OSError, MemoryError) as error:
        raise DataError(broken_image(file, error)) from error
