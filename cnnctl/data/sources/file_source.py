"""Read the splits of data files: IDX, npz, CSV, Matlab or parquet, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.decoding import Decoder
from cnnctl.data.decoding_pool import MAX_ITEMS, in_order
from cnnctl.data.image_set import (
    ImageSet,
    Labels,
    Source,
    are_no_classes,
    as_data_errors,
    at_once_of,
    decoded_at_once,
    image_options,
    range_of,
    some_of,
)
from cnnctl.data.images import WHITE, Fitting, Pixels, fit_array, likely_white
from cnnctl.data.inspect.census import CENSUS, SMALL_PART, census_notes, resized_note
from cnnctl.data.sources.folder_source import joined_blocks, splits_with_classes
from cnnctl.data.store.image_store import ImageStore
from cnnctl.data.store.stream import Blocks
from cnnctl.errors import DataError, counted, suggestions
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.found_files import open_originals
from cnnctl.spec.section import MAX
from cnnctl.surroundings import shell_word

if TYPE_CHECKING:
    from cnnctl.formats import Part


FEW = 8
"""Maximum number of names in a note."""
LARGEST_VALUE = 8
"""Maximum bytes of one pixel value."""


class FileSource(Source):
    """The splits of data files, with labels as numbered or named in the files.

    With `data.remap_labels`, the labels that occur in train are numbered from 0. A label that occurs only in another split gets
    a higher number of its own.

    Args:
        data: a checked config.

    Raises:
        DataError: files are missing, or differ from what the config describes.
    """

    def __init__(self, data: DataSpec) -> None:
        self._data = data
        with as_data_errors():
            self._parts = open_originals(data)
        self._numbers: dict[str, Labels] = {}
        self._raw = {split: self._raw_labels(split) for split in splits_with_classes(data)}
        self.class_names = self._names()
        self.notes = [*self._unlabelled_notes(), *self._unread_notes()]
        self._store = ImageStore(data, lambda split: self._part(split).count, self.notes)

    # labels

    def labels(self, split: str) -> Labels:
        if split not in self._numbers:
            self._numbers[split] = self._numbered(split, self._raw_labels(split))
        return self._numbers[split]

    def _part(self, split: str) -> Part:
        if split not in self._parts:
            raise DataError(f"{self._data.path}: there is no split '{split}'; expected one of {', '.join(self._parts)}")
        return self._parts[split]

    def _raw_labels(self, split: str) -> NDArray[np.int64] | list[str]:
        part = self._part(split)
        if part.labels is None:
            raise DataError(
                f"{part.files[0]}: '{split}' has images but no labels, so it cannot be used for training or evaluation"
            )
        with as_data_errors():
            labels = part.labels()
        if isinstance(labels, np.ndarray) and len(labels) and not 0 <= labels.min() <= labels.max() <= MAX:
            self._refuse_odd(labels, split)
        return labels

    def _refuse_odd(self, labels: NDArray[np.int64], split: str) -> None:
        """Raise DataError for labels that are not indices of outputs, unless they are to be remapped."""
        if not self._data.remap_labels:
            hint = "; -1 marks images without a label in many sets" if labels.min() == -1 else ""
            raise DataError(
                f"{self._data.path}: the labels of '{split}' are {labels.min():,} to {labels.max():,}, expected 0 or more{hint}; "
                "data.remap_labels: true numbers the labels that occur from 0"
            )

    def _names(self) -> list[str]:
        listed = self._part(self._data.train).class_names
        named = [name or str(label) for label, name in enumerate(listed)]
        raw = list(self._raw.values())
        if isinstance(raw[0], list):
            return sorted({name for names in raw for name in names})
        highest = max((int(labels.max(initial=0)) for labels in raw if isinstance(labels, np.ndarray)), default=0)
        if self._data.remap_labels:
            return [named[label] if 0 <= label < len(named) else str(label) for label in np.unique(raw[0]).tolist()]
        return [*named, *(str(label) for label in range(len(named), highest + 1))]

    def _numbered(self, split: str, raw: NDArray[np.int64] | list[str]) -> Labels:
        """Convert labels to indices of `class_names`."""
        if isinstance(raw, list):
            numbers = {name: label for label, name in enumerate(self.class_names)}
            if unknown := sorted(set(raw) - set(numbers)):
                raise DataError(
                    f"{self._data.path}: {some_of(unknown)} of '{split}' {are_no_classes(len(unknown))} of '{self._data.train}'"
                    f"{suggestions(unknown, numbers, of_data=True)}; use the same labels in both splits"
                )
            return np.array([numbers[name] for name in raw], np.int64)
        if not self._data.remap_labels:
            return raw
        known, numbers_ = np.unique(self._raw[self._data.train]), np.unique(raw)
        beyond = {label: len(known) + place for place, label in enumerate(np.setdiff1d(numbers_, known).tolist())}
        places = {label: place for place, label in enumerate(known.tolist())} | beyond
        return np.array([places[label] for label in numbers_.tolist()], np.int64)[np.searchsorted(numbers_, raw)]

    def _unlabelled_notes(self) -> Iterator[str]:
        files = [file for part in self._parts.values() for file in set(part.files)]
        for name, part in self._parts.items():
            if part.labels is None:
                alone = files.count(part.files[0]) == 1
                predict = f"; cnnctl predict RUN {shell_word(part.files[0])} classifies them" if alone else ""
                yield f"'{name}' has {counted(part.count, 'image')} without labels, so it is not a split{predict}"
        if self._data.remap_labels:
            yield f"the {len(self.class_names):,} labels in '{self._data.train}' are numbered from 0"

    def _unread_notes(self) -> Iterator[str]:
        unread = list(dict.fromkeys(name for part in self._parts.values() for name in part.unread))
        if unread:
            choose = "; data.keys chooses others" if self._data.source in ("npz", "mat", "parquet") else ""
            yield f"not read: {', '.join(unread[:FEW])}{f' and {len(unread) - FEW:,} more' if len(unread) > FEW else ''}{choose}"

    # images

    def read(self, split: str) -> ImageSet:
        data, part = self._data, self._part(split)
        options = {"source": data.source, "split": split, "keys": _plain(data.keys), **image_options(data)}
        with as_data_errors():
            images, arrays = self._store.images(
                split,
                options,
                list(part.files),
                lambda: self._decoded(part),
                lambda: part.count,
                self._is_quick(part),
                [CENSUS, "sizes largest"],
            )
        self.notes += self._notes(split, dict(arrays), len(images))
        return ImageSet(images, self.labels(split), range_of(arrays["sizes"]))

    def _is_quick(self, part: Part) -> bool:
        """Return True where the file stores images in the shape of the network, so that a cache would save no time."""
        data = self._data
        size = (part.width, part.height) if data.transpose else (part.height, part.width)
        return data.source in ("idx", "npz") and data.image_size == size and data.channels == part.channels

    def _decoded(self, part: Part) -> Blocks:
        if part.height is None:
            return self._decoded_files(part)
        return self._fitted_arrays(part)

    def _decoded_files(self, part: Part) -> Blocks:
        """Decode image files stored in data files."""
        contents = cast("Iterator[list[bytes]]", part.blocks(min(MAX_ITEMS, decoded_at_once(self._data))))
        decoded, file = in_order(Decoder(Fitting.of(self._data)).contents, contents, part.count), part.files[0]
        return joined_blocks(decoded, lambda place: f"{file}: image {place + 1:,}")

    def _fitted_arrays(self, part: Part) -> Blocks:
        assert part.height and part.width and part.channels
        at_once = min(decoded_at_once(self._data), at_once_of(part.height * part.width * part.channels * LARGEST_VALUE))
        highest = 0.0
        for block in cast("Iterator[NDArray[Any]]", part.blocks(at_once)):
            highest = max(highest, float(block.max(initial=0)))
            yield self._fitted_array(block, part.files[0])
        return {"sizes": np.array([[part.height, part.width]], np.int32), "largest": np.array([highest])}

    def _fitted_array(self, block: NDArray[Any], file: Path) -> Pixels:
        try:
            return fit_array(block, self._data)
        except DataError as error:
            raise DataError(f"{file}: {error}") from error

    def _notes(self, split: str, arrays: dict[str, NDArray[Any]], count: int) -> list[str]:
        if "counts" in arrays:
            return census_notes(arrays, split, self._data, grey_too=int(arrays["counts"][0]) < count)
        notes = resized_note(arrays["sizes"].repeat(count, axis=0), split, self._data)
        highest, white = float(arrays["largest"][0]), self._data.pixel_max
        if white is not None and highest > white:
            notes.append(
                f"warning: the pixels of '{split}' are up to {highest:g}, and values above {white:g} become white; "
                f"write data.pixel_max: {likely_white(highest, fractions=False)}, the value of white"
            )
        if white is None and 0 < highest * 2 * SMALL_PART <= WHITE:
            notes.append(
                f"warning: the pixels of '{split}' are at most {highest:g}, which is nearly black; "
                f"write data.pixel_max: {likely_white(highest, fractions=False)}, the value of white"
            )
        return notes


def _plain(keys: object) -> object:
    return {split: list(pair) for split, pair in keys.items()} if isinstance(keys, dict) else keys
