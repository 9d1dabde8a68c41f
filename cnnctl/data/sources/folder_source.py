"""Read the user's own images: one folder per class, or a labels file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from cnnctl.data.decoding import DecodedBlock, Decoder, decoded
from cnnctl.data.decoding_pool import MAX_ITEMS, blocks_of, in_order
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
from cnnctl.data.images import Fitting, Pixels, fit_image
from cnnctl.data.inspect.census import CENSUS, census_notes, joined_census
from cnnctl.data.store.cache import Arrays
from cnnctl.data.store.image_store import ImageStore
from cnnctl.data.store.stream import Blocks
from cnnctl.errors import DataError, counted, suggestions
from cnnctl.spec.dataset import DataSpec, NotUsable
from cnnctl.spec.folders import FolderSet
from cnnctl.spec.found_folder import folder_notes
from cnnctl.spec.image_files import KINDS, broken_image, opened_image


class FolderSource(Source):
    """The images of a folder, with classes from subfolders or from a labels file.

    Args:
        data: a checked config.

    Attributes:
        folder: the listed files.

    Raises:
        DataError: the folder does not exist, or contains no class.
    """

    def __init__(self, data: DataSpec) -> None:
        self._data = data
        try:
            with as_data_errors():
                self.folder = FolderSet(data)
                self.class_names = sorted(
                    {name for split in splits_with_classes(data) for name in self.folder.class_names(split)}
                )
                if not self.class_names:
                    raise DataError(
                        f"{self.folder.path} contains no class folders; put the images of each class into a folder of its own"
                    )
                self.notes = folder_notes(data, self.folder)
        except NotUsable as error:
            raise DataError(error.message) from error
        self._store = ImageStore(data, self._count, self.notes)
        self._read: dict[str, Arrays] = {}
        self._grey_too = False

    def read(self, split: str) -> ImageSet:
        files, labels = self._files(split)
        options = {"source": "folder", **image_options(self._data)}
        with as_data_errors():
            images, arrays = self._store.images(
                split, options, files, lambda: self._decoded(files), lambda: len(files), others=[CENSUS]
            )
        self._read[split] = arrays
        self._grey_too = self._grey_too or int(arrays["counts"][0]) < len(files)
        self.notes += census_notes(arrays, split, self._data, self._grey_too)
        return ImageSet(images, labels, range_of(arrays["sizes"]))

    def _decoded(self, files: list[Path]) -> Blocks:
        blocks = blocks_of([(str(file), self.folder.within) for file in files], min(MAX_ITEMS, decoded_at_once(self._data)))
        decoded = in_order(Decoder(Fitting.of(self._data)).files, blocks, len(files))
        return joined_blocks(decoded, lambda place: str(files[place]))

    def _count(self, split: str) -> int:
        with as_data_errors():
            return len(self.folder.labelled(split))

    def labels(self, split: str) -> Labels:
        return self._files(split)[1]

    def groups(self, split: str) -> list[str]:
        if self._data.class_folders != "leaf" or self.folder.labels:
            raise DataError(
                "the groups of a folder are the parent folders of its classes; write class_folders: leaf, or hold_out: class"
            )
        return self.folder.groups(split)

    def _files(self, split: str) -> tuple[list[Path], Labels]:
        with as_data_errors():
            names, found = self.folder.class_names(split), self.folder.labelled(split)
        self._refuse_unknown(split, names)
        if not found:
            raise DataError(f"{self.folder.path}: split '{split}' has no images ({KINDS}, in one folder per class)")
        numbers = {name: label for label, name in enumerate(self.class_names)}
        files = [self.folder.path.joinpath(*each.place) for each in found]
        return files, np.array([numbers[each.class_name] for each in found], np.int64)

    def _refuse_unknown(self, split: str, names: list[str]) -> None:
        """Raise DataError where a split does not exist, or has classes without training images."""
        place = self.folder.path / split
        if not names:
            raise DataError(
                f"{self.folder.path}: there is no split '{split}'; expected a folder {place} with one folder per class"
            )
        unknown = [name for name in names if name not in self.class_names]
        if unknown:
            raise DataError(
                f"{place}: {some_of(unknown)} {are_no_classes(len(unknown))} of '{self._data.train}'"
                f"{suggestions(unknown, self.class_names, of_data=True)}; use the same class folders in both splits"
            )


def splits_with_classes(data: DataSpec) -> list[str]:
    """List the splits whose classes count: train, and for few-shot tasks, which evaluate on other classes, all."""
    others = [data.validation, data.test] if data.holds_out_classes else []
    return [data.train, *(part for part in others if isinstance(part, str))]


def open_image(file: Path, inside: Path | None = None) -> Image.Image:
    """Decode an image and apply its EXIF orientation.

    Args:
        file: the image.
        inside: the folder that links must stay inside of; None allows any link.

    Raises:
        DataError: the file is not an image, is truncated, links out of `inside`, or has more pixels than Pillow allows.
    """
    try:
        with opened_image(file, inside) as image:
            return decoded(image)
    except Exception as error:  # Pillow's plugins raise errors of any type
        raise DataError(broken_image(file, error)) from error


def joined_blocks(decoded: Iterable[DecodedBlock], name_of: Callable[[int], str]) -> Blocks:
    """Yield the images of decoded blocks. After a broken image none follow, but every broken image is named.

    Args:
        decoded: in their order.
        name_of: names an image by its position.

    Raises:
        BrokenImages: some images cannot be read.
    """
    broken, censuses, count = list[tuple[str, str]](), [], 0
    for block in decoded:
        broken += [(name_of(count + place), why) for place, why in block.broken]
        censuses.append(block.census)
        count += len(block)
        if not broken:
            yield block.images
    if broken:
        raise BrokenImages(broken, counted(count, "image"))
    return joined_census(censuses)


def fit_opened(image: Image.Image, file: Path, data: DataSpec) -> Pixels:
    """Fit the image of a file with `fit_image`.

    Raises:
        DataError: Pillow cannot convert its mode, or there is not enough memory.
    """
    try:
        return fit_image(image, data)
    except (ValueError, OSError, MemoryError) as error:
        raise DataError(broken_image(file, error)) from error
