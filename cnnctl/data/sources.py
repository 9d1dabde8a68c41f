"""Where images come from: TFDS, a folder, the bundled digits. Each gives uint8 images and integer labels."""

from __future__ import annotations

import contextlib
import hashlib
import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cnnctl.data.builders import count_of, first_line, image_and_label, prepared_builder
from cnnctl.data.cache import Arrays, remembered
from cnnctl.data.held import Held
from cnnctl.data.images import Pixels, fit_array, fit_image
from cnnctl.data.lazy import AnyImages, LazyImages
from cnnctl.data.memory import bytes_of_image, refuse_too_many_classes
from cnnctl.data.stream import Blocks
from cnnctl.errors import DataError
from cnnctl.spec.experiment import DataSpec
from cnnctl.spec.folders import GREY_MODES, broken_image, class_folders, folder_path, image_files, opened_image
from cnnctl.spec.images import MOST_DESCRIBED, prepared_dir
from cnnctl.spec.reading import read_bounded

Labels = NDArray[np.int64]
_READ_AT_ONCE, _BYTES_AT_ONCE = 1024, 2**24
"""Images that are decoded at a time, and bytes of them."""
DESCRIPTIONS = ("features.json", "dataset_info.json")
"""What TFDS writes beside the examples of a set."""
FEW_NAMES = 5
"""So many names are listed in a message; of more, the first ones."""


@dataclass(frozen=True)
class ImageSet:
    """Images (N, H, W, C) as uint8, in memory or read when they are asked for, and their labels (N,)."""

    images: AnyImages
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """Returns the images at `indices`, in that order; of images that are not in memory none is read."""
        images = self.images.take(indices) if isinstance(self.images, LazyImages) else self.images[indices]
        return ImageSet(images, self.labels[indices])


class Source(Protocol):
    """A set with named splits.

    Attributes:
        class_names: in the order of the labels.
        notes: what a person should know about how the images were read.
    """

    class_names: list[str]
    notes: list[str]

    def read(self, split: str) -> ImageSet:
        """Returns a split, every image fitted to the config.

        Raises:
            DataError: there is no such split, or an image cannot be read.
        """
        ...

    def labels(self, split: str) -> Labels:
        """Returns the labels of a split alone; no image is decoded."""
        ...

    def groups(self, split: str) -> list[str]:
        """Returns the group of each image of a split, such as its alphabet; no image is decoded.

        Raises:
            DataError: the set does not say groups.
        """
        raise DataError("only a set of TensorFlow Datasets says groups of classes; take hold_out: class")


def open_source(data: DataSpec) -> Source:
    """Returns the source of a checked config.

    Raises:
        DataError: it is not there and cannot be had.
    """
    sources: dict[str, Callable[[DataSpec], Source]] = {"tfds": TfdsSource, "folder": FolderSource, "digits": DigitsSource}
    source = sources[data.source](data)
    return RenumberedSource(source, data) if data.renumber else source


def named_outputs(known: list[str], data: DataSpec) -> list[str]:
    """Returns a name for each output of a network; `data.classes` may be more than the data has.

    Raises:
        DataError: it is so many more that this machine has not the memory for their names.
    """
    refuse_too_many_classes(data)
    return [*known, *(f"class {label}" for label in range(len(known), data.classes or 0))]


class DigitsSource(Source):
    """The 1,797 digits of 8×8 pixels that come with scikit-learn; no download."""

    def __init__(self, data: DataSpec) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        self._data = data
        self._pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
        self._labels: Labels = digits.target.astype(np.int64)
        self.class_names = [str(name) for name in digits.target_names]
        self.notes = []
        self._held = Held(data, lambda _: len(self._labels), self.notes)

    @cached_property
    def _set(self) -> ImageSet:
        options = {"source": "digits", "content": hashlib.sha256(self._pixels.data).hexdigest(), **image_options(self._data)}
        images, _ = self._held.images(self._data.train, options, None, self._decoded)
        return ImageSet(images, self._labels)

    def _decoded(self) -> Blocks:
        at_once = _at_once(self._data)
        for start in range(0, len(self._pixels), at_once):
            yield fit_array(self._pixels[start : start + at_once], self._data)
        return {}

    def read(self, split: str) -> ImageSet:
        return self._set

    def labels(self, split: str) -> Labels:
        return self._labels


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
        with _told_as_data_errors():
            images, others = self._held.images(split, options, files, lambda: self._decoded(files), lambda: len(files))
        self._note_changes(split, len(files), *(int(count) for count in others["resized_and_colour"]))
        return ImageSet(images, labels)

    def _decoded(self, files: list[Path]) -> Blocks:
        resized = colour = 0
        at_once = _at_once(self._data)
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
        with _told_as_data_errors():
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
        with _told_as_data_errors():
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
        with _told_as_data_errors():
            found = [(file, labels[folder.name]) for folder in folders for file in image_files(folder, self._within)]
        if not found:
            raise DataError(f"{self._path}: split '{split}' has no images (png, jpg, jpeg or bmp in a folder for each class)")
        return [file for file, _ in found], np.array([label for _, label in found], np.int64)


def _named_splits(data: DataSpec) -> list[str]:
    """Returns the splits that may have classes: train, and for few-shot tasks, which are judged on other classes, all."""
    others = [data.validation, data.test] if data.holds_out_classes else []
    return [data.train, *(part for part in others if isinstance(part, str))]


class RenumberedSource(Source):
    """Another source whose classes are numbered from 0, in their order, as far as they occur in train.

    A class that occurs in another split alone keeps a number beyond them, so that it is told from all others.

    Raises:
        DataError: there are other than `data.classes` classes.
    """

    def __init__(self, source: Source, data: DataSpec) -> None:
        self._source = source
        self._known = np.unique(source.labels(data.train))
        if len(self._known) != data.classes:
            raise DataError(f"data.classes is {data.classes}, but {len(self._known)} classes occur in '{data.train}'; say so")
        self.class_names = [source.class_names[label] for label in self._known]
        self.notes = source.notes
        self.notes.append(f"the {len(self._known):,} classes of '{data.train}' are numbered anew")

    def read(self, split: str) -> ImageSet:
        images = self._source.read(split)
        return ImageSet(images.images, self._renumbered(images.labels))

    def labels(self, split: str) -> Labels:
        return self._renumbered(self._source.labels(split))

    def _renumbered(self, labels: Labels) -> Labels:
        places = np.searchsorted(self._known, labels).clip(max=len(self._known) - 1)
        return np.where(self._known[places] == labels, places, len(self._known) + labels).astype(np.int64)


@contextlib.contextmanager
def _told_as_data_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"'{error.filename or 'the data'}' cannot be read: {error.strerror}") from error


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


class TfdsSource(Source):
    """Any builder of TensorFlow Datasets with an image and a label."""

    def __init__(self, data: DataSpec) -> None:
        self._data = data
        self.notes = []
        self._held = Held(data, self._count, self.notes)
        self._read: dict[str, Arrays] = {}
        if self._folder is None:
            self._opened  # noqa: B018  # downloads it, or says what is wrong, before anything else happens

    @cached_property
    def _folder(self) -> Path | None:
        with _told_as_data_errors():
            return prepared_dir(self._data)

    @cached_property
    def _opened(self) -> tuple[Any, str, str]:
        """The builder, and the names of its image and label; not needed for what is in the cache."""
        builder = prepared_builder(self._data)
        return (builder, *image_and_label(builder.info.features, self._data.name or ""))

    @property
    def _builder(self) -> Any:
        return self._opened[0]

    @property
    def class_names(self) -> list[str]:  # type: ignore[override]  # a plain attribute elsewhere
        for arrays in self._read.values():
            return [str(name) for name in arrays["class_names"]]
        return self._known_names()

    def _known_names(self) -> list[str]:
        builder, _, label = self._opened
        return list(builder.info.features[label].names)

    def read(self, split: str) -> ImageSet:
        options = {"source": "tfds", "split": split, **image_options(self._data)}
        files = self._files(split)
        with _told_as_data_errors():
            images, self._read[split] = self._held.images(
                split, options, files, lambda: self._decoded(split), lambda: self._examples(split)
            )
        return ImageSet(images, self._read[split]["labels"])

    def _decoded(self, split: str) -> Blocks:
        builder, image, label = self._opened
        dataset = self._dataset(split, None).map(lambda example: (example[image], example[label]))
        sizes = builder.info.features[image].shape
        at_once = min(_at_once(self._data), _at_once_of(prod(sizes))) if None not in sizes else 1
        labels = array("q")
        for batch_images, batch_labels in self._batches(split, dataset, at_once):
            labels.extend(batch_labels.tolist())
            yield fit_array(batch_images, self._data)
        return {"labels": np.array(labels, np.int64), "class_names": np.array(self._known_names())}

    def _count(self, split: str) -> int:
        """Returns the examples of a split as what TFDS wrote beside them says it, give or take one; 0 where it does not."""
        lengths = {}
        for name, each in self._described().items():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                lengths[name] = sum(int(length) for length in each["shardLengths"])
        return count_of(split, lengths)

    def _examples(self, split: str) -> int:
        """Returns the examples of a split, counted by TFDS."""
        with self._split_told(split):
            return max(int(self._builder.info.splits[split].num_examples), 0)

    def labels(self, split: str) -> Labels:
        def read(split: str) -> Arrays:
            return {"labels": self._only(split, self._opened[2]), "class_names": np.array(self._known_names())}

        if split not in self._read:
            self._read[split] = self._remembered({"split": split, "only": "labels"}, split, read)
        labels: Labels = self._read[split]["labels"]
        return labels

    def _files(self, split: str) -> list[Path]:
        """Returns the files that a split's examples are in, and what describes them, by what TFDS wrote beside them."""
        folder = self._place
        parts = dict.fromkeys(part.strip().partition("[")[0] for part in split.split("+"))
        known = self._described()
        for part in parts:
            if part not in known:
                raise DataError(f"{self._data.name} has no split '{part}'; it has {', '.join(known)}")
        shards = [file for part in parts for file in sorted(folder.glob(f"*-{part}.*"))]
        if not shards:
            return sorted(folder.iterdir())  # a set may name its files otherwise
        return [*(folder / name for name in DESCRIPTIONS), *shards]

    @property
    def _place(self) -> Path:
        return self._folder or Path(self._builder.data_dir)

    def _described(self) -> dict[str, dict[str, Any]]:
        """Returns what TFDS wrote of each split."""
        folder = self._place
        try:
            _, described = (read_bounded(folder / name, MOST_DESCRIBED, folder) for name in DESCRIPTIONS)
            return {str(each["name"]): each for each in json.loads(described)["splits"]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{folder} cannot be opened: {first_line(error)}; prepare it anew") from error

    def groups(self, split: str) -> list[str]:
        name = self._data.group or ""
        groups = self._remembered({"split": split, "only": f"groups {name}"}, split, lambda split: self._groups(split, name))
        return [str(group) for group in groups["groups"]]

    def _groups(self, split: str, name: str) -> Arrays:
        builder, _, label = self._opened
        known = {key: each for key, each in builder.info.features.items() if hasattr(each, "int2str") and key != label}
        if name not in known:
            remedy = f"it has {some_of(list(known))}" if known else "it has none; take hold_out: class"
            raise DataError(f"data.group: {self._data.name} has no feature '{name}' that says groups of classes; {remedy}")
        return {"groups": np.array([known[name].int2str(int(group)) for group in self._only(split, name)])}

    def _only(self, split: str, feature: str) -> Labels:
        """Returns one feature of all examples; no image is decoded."""
        import tensorflow_datasets as tfds

        dataset = self._dataset(split, {self._opened[1]: tfds.decode.SkipDecoding()})
        only = dataset.map(lambda example: example[feature])
        return np.concatenate(list(self._batches(split, only, _READ_AT_ONCE)))

    def _remembered(self, options: dict[str, object], split: str, make: Callable[[str], Arrays]) -> Arrays:
        files = self._files(split)
        with _told_as_data_errors():
            return remembered({"source": "tfds", **options}, files, lambda: make(split))

    def _batches(self, split: str, dataset: Any, at_once: int) -> Iterator[Any]:
        import tensorflow as tf

        try:
            yield from dataset.batch(at_once).prefetch(2).as_numpy_iterator()
        except tf.errors.OpError as error:
            raise DataError(
                f"{self._data.name}: split '{split}' in {self._builder.data_dir} is damaged: "
                f"{error.message.splitlines()[0]}; prepare it anew"
            ) from error

    def _dataset(self, split: str, decoders: Any) -> Any:
        """Returns the examples of a split; of those read ahead and those decoded already few are in memory."""
        import tensorflow_datasets as tfds

        reading = tfds.ReadConfig(try_autocache=False, skip_prefetch=True)
        with self._split_told(split):
            return self._builder.as_dataset(split=split, shuffle_files=False, decoders=decoders, read_config=reading)

    @contextlib.contextmanager
    def _split_told(self, split: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, AssertionError) as error:
            raise DataError(f"{self._data.name}: split '{split}' cannot be read: {first_line(error)}") from error


def _at_once(data: DataSpec) -> int:
    """Returns how many images are decoded at a time."""
    return _at_once_of(bytes_of_image(data))


def _at_once_of(count: int) -> int:
    """Returns how many things of so many bytes are read at a time."""
    return max(1, min(_READ_AT_ONCE, _BYTES_AT_ONCE // count))


def image_options(data: DataSpec) -> dict[str, object]:
    """Returns what decides how `fit_image` makes an image."""
    return {"image_size": data.image_size, "channels": data.channels, "invert": data.invert}


def some_of(names: list[str], most: int = FEW_NAMES) -> str:
    """Returns names for a message, the first few of them."""
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
