"""Open the source of a config: TFDS, a folder, data files or the bundled digits, with original or remapped labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cnnctl.data.image_set import ImageSet, Labels, Source
from cnnctl.data.sources.digits_source import DigitsSource
from cnnctl.data.sources.file_source import FileSource
from cnnctl.data.sources.folder_source import FolderSource
from cnnctl.data.sources.tfds_source import TfdsSource
from cnnctl.data.store.memory import refuse_too_many_classes
from cnnctl.errors import DataError, counted
from cnnctl.spec.dataset import DataSpec


def open_source(data: DataSpec) -> Source:
    """Open the source of a checked config.

    Raises:
        DataError: the data is missing and cannot be downloaded.
    """
    sources: dict[str, Callable[[DataSpec], Source]] = {"tfds": TfdsSource, "folder": FolderSource, "digits": DigitsSource}
    source = sources.get(data.source, FileSource)(data)
    by_files = isinstance(source, FileSource)  # its labels may be any integers, which it remaps itself
    return RemappedSource(source, data) if data.remap_labels and not by_files else source


def named_outputs(known: list[str], data: DataSpec) -> list[str]:
    """Name each output of a network; `data.classes` may be larger than the number of classes in the data.

    Raises:
        DataError: there are too many classes for the memory of this machine.
    """
    refuse_too_many_classes(data)
    return [*known, *(f"class {label}" for label in range(len(known), data.classes or 0))]


class RemappedSource(Source):
    """Another source with the classes that occur in train numbered from 0, in their order.

    A class that occurs only in another split gets a higher number of its own.

    Raises:
        DataError: the number of classes differs from `data.classes`.
    """

    def __init__(self, source: Source, data: DataSpec) -> None:
        self._source = source
        self._known = np.unique(source.labels(data.train))
        if len(self._known) != data.classes:
            raise DataError(
                f"data.classes is {data.classes}, but {counted(len(self._known), 'class', 'classes')} {'occurs' if len(self._known) == 1 else 'occur'} in '{data.train}'; write data.classes: {len(self._known)}"
            )
        self.class_names = [source.class_names[label] for label in self._known]
        self.notes = source.notes
        self.notes.append(f"the {len(self._known):,} classes of '{data.train}' are numbered from 0")

    def read(self, split: str) -> ImageSet:
        images = self._source.read(split)
        return replace(images, labels=self._remapped(images.labels))

    def labels(self, split: str) -> Labels:
        return self._remapped(self._source.labels(split))

    def _remapped(self, labels: Labels) -> Labels:
        places = np.searchsorted(self._known, labels).clip(max=len(self._known) - 1)
        return np.where(self._known[places] == labels, places, len(self._known) + labels).astype(np.int64)
