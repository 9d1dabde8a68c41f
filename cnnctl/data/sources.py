"""Where images come from: TFDS, a folder, the bundled digits. Each gives uint8 images and integer labels."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cnnctl.data.images import Pixels, fit_array, fit_image
from cnnctl.errors import DataError
from cnnctl.spec.experiment import DataSpec
from cnnctl.spec.images import class_folders, image_files, prepared_dir, tfds_dir

Labels = NDArray[np.int64]
_READ_AT_ONCE = 1024


@dataclass(frozen=True)
class ImageSet:
    """Images (N, H, W, C) as uint8 and their labels (N,)."""

    images: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """Returns the images at `indices`, in that order."""
        return ImageSet(self.images[indices], self.labels[indices])


class Source:
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
        raise NotImplementedError

    def labels(self, split: str) -> Labels:
        """Returns the labels of a split alone; no image is decoded."""
        raise NotImplementedError


def open_source(data: DataSpec) -> Source:
    """Returns the source of a checked config.

    Raises:
        DataError: it is not there and cannot be had.
    """
    return {"tfds": TfdsSource, "folder": FolderSource, "digits": DigitsSource}[data.source](data)


class DigitsSource(Source):
    """The 1,797 digits of 8×8 pixels that come with scikit-learn; no download."""

    def __init__(self, data: DataSpec) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
        self._set = ImageSet(fit_array(pixels[..., np.newaxis], data), digits.target.astype(np.int64))
        self.class_names = [str(name) for name in digits.target_names]
        self.notes = []

    def read(self, split: str) -> ImageSet:
        return self._set

    def labels(self, split: str) -> Labels:
        return self._set.labels


class FolderSource(Source):
    """One folder a class, in `path/SPLIT/` or, where there is no such folder, in `path/` itself."""

    def __init__(self, data: DataSpec) -> None:
        self._data = data
        self._path = Path(data.path or "").expanduser()
        self.class_names = [folder.name for folder in class_folders(self._path, data.train)]
        self.notes = []
        if not self.class_names:
            raise DataError(
                f"{self._path}: there are no folders of classes; put the images of each class into a folder of its own"
            )

    def read(self, split: str) -> ImageSet:
        files, labels = self._files(split)
        images = np.empty((len(files), *(self._data.image_size or ()), self._data.channels or 0), np.uint8)
        resized = 0
        for index, file in enumerate(files):
            image = _open_image(file)
            resized += (image.height, image.width) != self._data.image_size
            images[index] = fit_image(image, self._data)
        if resized:
            size = "×".join(map(str, self._data.image_size or ()))
            self.notes.append(f"{resized:,} of {len(files):,} images of '{split}' were resized to {size}")
        empty = [name for label, name in enumerate(self.class_names) if label not in labels]
        if empty and split == self._data.train:
            self.notes.append(f"no images in '{split}' of the {_classes(len(empty))} {_some(empty)}")
        return ImageSet(images, labels)

    def labels(self, split: str) -> Labels:
        return self._files(split)[1]

    def _files(self, split: str) -> tuple[list[Path], Labels]:
        if split != self._data.train and not (self._path / split).is_dir():
            raise DataError(
                f"{self._path}: there is no split '{split}', a folder {self._path / split} with a folder for each class"
            )
        folders = class_folders(self._path, split)
        strange = [folder.name for folder in folders if folder.name not in self.class_names]
        if strange:
            raise DataError(
                f"{self._path / split}: {_some(strange)} are no classes of '{self._data.train}', so nothing learns them; "
                "give both splits the same folders"
            )
        found = [(file, self.class_names.index(folder.name)) for folder in folders for file in image_files(folder)]
        if not found:
            raise DataError(f"{self._path}: split '{split}' has no images (png, jpg, jpeg or bmp in a folder for each class)")
        return [file for file, _ in found], np.array([label for _, label in found], np.int64)


def _open_image(file: Path) -> Image.Image:
    try:
        with Image.open(file) as image:
            image.load()
            return image
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{file}: cannot be read as an image ({reason}); replace or remove it") from None


class TfdsSource(Source):
    """Any builder of TensorFlow Datasets with an image and a label."""

    def __init__(self, data: DataSpec) -> None:
        self._data = data
        self._builder = _prepared_builder(data)
        self._image, self._label = _features(self._builder.info.features, data.name or "")
        self.class_names = list(self._builder.info.features[self._label].names)
        self.notes = []

    def read(self, split: str) -> ImageSet:
        dataset = self._dataset(split, None).map(lambda example: (example[self._image], example[self._label]))
        sizes = self._builder.info.features[self._image].shape
        at_once = _READ_AT_ONCE if None not in sizes else 1
        images, labels = [], []
        for batch_images, batch_labels in self._batches(split, dataset, at_once):
            images.append(fit_array(batch_images, self._data))
            labels.append(batch_labels)
        return ImageSet(np.concatenate(images), np.concatenate(labels))

    def labels(self, split: str) -> Labels:
        import tensorflow_datasets as tfds

        dataset = self._dataset(split, {self._image: tfds.decode.SkipDecoding()})
        labels = dataset.map(lambda example: example[self._label])
        return np.concatenate(list(self._batches(split, labels, _READ_AT_ONCE)))

    def _batches(self, split: str, dataset: Any, at_once: int) -> Iterator[Any]:
        import tensorflow as tf

        try:
            yield from dataset.batch(at_once).prefetch(2).as_numpy_iterator()
        except tf.errors.OpError as error:
            raise DataError(
                f"{self._data.name}: split '{split}' in {self._builder.data_dir} is damaged: "
                f"{error.message.splitlines()[0]}; prepare it anew"
            ) from None

    def _dataset(self, split: str, decoders: Any) -> Any:
        known = list(self._builder.info.splits)
        if split.partition("[")[0] not in known:
            raise DataError(f"{self._data.name} has no split '{split}'; it has {', '.join(known)}")
        try:
            return self._builder.as_dataset(split=split, shuffle_files=False, decoders=decoders)
        except (ValueError, AssertionError) as error:
            raise DataError(f"{self._data.name}: split '{split}' cannot be read: {_first_line(error)}") from None


def _features(features: Any, name: str) -> tuple[str, str]:
    """Returns the names of the image and of the label among a builder's features."""
    kinds = {key: type(feature).__name__ for key, feature in features.items()} if hasattr(features, "items") else {}
    images = [key for key, kind in kinds.items() if kind == "Image"]
    labels = [key for key, kind in kinds.items() if kind == "ClassLabel"]
    image = "image" if "image" in images else next(iter(images), None)
    label = "label" if "label" in labels else next(iter(labels), None)
    if image is None or label is None:
        has = ", ".join(f"{key} ({kind})" for key, kind in kinds.items())
        raise DataError(f"{name} is no set of images with a class each; its features are {has or features}")
    return image, label


def _prepared_builder(data: DataSpec) -> Any:
    """Returns the builder of a set on this disk, prepared first where it is not."""
    import tensorflow_datasets as tfds

    folder = prepared_dir(data)
    if folder is not None:  # opened by its folder alone: no registry and no network is asked
        try:
            return tfds.builder_from_directory(folder)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder} cannot be opened: {_first_line(error)}; prepare it anew") from None
    try:
        builder = tfds.builder(data.name, data_dir=tfds_dir(data))
    except tfds.core.DatasetNotFoundError:
        raise DataError(f"TensorFlow Datasets has no set '{data.name}', and none is prepared in {tfds_dir(data)}") from None
    except (ImportError, TypeError, ValueError, AssertionError) as error:
        raise DataError(f"TensorFlow Datasets cannot open '{data.name}': {_first_line(error)}") from None
    _features(builder.info.features, data.name or "")  # before a download that would be in vain
    if not _network():
        raise DataError(_how_to_prepare(data, "there is no network"))
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        builder.download_and_prepare()
    except Exception as error:  # TFDS passes on what its many download and parsing libraries raise
        raise DataError(_how_to_prepare(data, _first_line(error))) from error
    return builder


def _network() -> bool:
    """Returns whether names resolve; TFDS would retry for minutes before it says no."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")):
        return True
    try:
        socket.getaddrinfo("storage.googleapis.com", 443)
    except OSError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _how_to_prepare(data: DataSpec, reason: str) -> str:
    return (
        f"'{data.name}' is not prepared in {tfds_dir(data)} and cannot be downloaded: {reason}. "
        f"Run 'tfds build {data.name}' on a machine with network and copy its {data.name} folder to {tfds_dir(data)}, "
        "or set TFDS_DATA_DIR to a folder that has it"
    )


def _classes(count: int) -> str:
    return "class" if count == 1 else "classes"


def _some(names: list[str], most: int = 5) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
