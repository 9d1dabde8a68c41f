"""Read any set of TensorFlow Datasets with an image and a label."""

from __future__ import annotations

import contextlib
import json
from array import array
from collections.abc import Callable, Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from cnnctl.data.image_set import (
    READ_AT_ONCE,
    ImageSet,
    Labels,
    Source,
    as_data_errors,
    at_once_of,
    decoded_at_once,
    image_options,
    range_of,
    some_of,
)
from cnnctl.data.images import fit_array
from cnnctl.data.sources.tfds_builders import count_of, first_line, image_and_label, prepared_builder
from cnnctl.data.store.cache import Arrays, Layout, cached
from cnnctl.data.store.image_store import ImageStore
from cnnctl.data.store.stream import Blocks
from cnnctl.errors import DataError
from cnnctl.reading import read_bounded
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.tfds_images import MAX_DESCRIBED, prepared_dir

DESCRIPTIONS = ("features.json", "dataset_info.json")
"""The files that TFDS writes beside the examples of a set."""


class TfdsSource(Source):
    """A builder of TensorFlow Datasets with an image and a label."""

    def __init__(self, data: DataSpec) -> None:
        self._data = data
        self.notes = []
        self._store = ImageStore(data, self._count, self.notes)
        self._read: dict[str, Arrays] = {}
        if self._folder is None:
            self._opened  # noqa: B018  # downloads the set, or fails, before anything else happens

    @cached_property
    def _folder(self) -> Path | None:
        with as_data_errors():
            return prepared_dir(self._data)

    @cached_property
    def _opened(self) -> tuple[Any, str, str]:
        """The builder, and the names of its image and label; not needed for a cached set."""
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
        with as_data_errors():
            images, self._read[split] = self._store.images(
                split,
                options,
                files,
                lambda: self._decoded(split),
                lambda: self._examples(split),
                others=["labels class_names sizes"],
            )
        return ImageSet(images, self._read[split]["labels"], range_of(self._read[split]["sizes"]))

    def _decoded(self, split: str) -> Blocks:
        builder, image, label = self._opened
        dataset = self._dataset(split, None).map(lambda example: (example[image], example[label]))
        sizes = builder.info.features[image].shape
        at_once = min(decoded_at_once(self._data), at_once_of(prod(sizes))) if None not in sizes else 1
        labels, seen = array("q"), set[tuple[int, ...]]()
        for batch_images, batch_labels in self._batches(split, dataset, at_once):
            labels.extend(batch_labels.tolist())
            seen.add(batch_images.shape[1:3])
            yield fit_array(batch_images, self._data)
        known = {"labels": np.array(labels, np.int64), "class_names": np.array(self._known_names())}
        return {**known, "sizes": np.array(sorted(seen), np.int32).reshape(-1, 2)}

    def _count(self, split: str) -> int:
        """Count the examples of a split from the descriptions on disk, within one; 0 where they do not say."""
        lengths = {}
        for name, each in self._described().items():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                lengths[name] = sum(int(length) for length in each["shardLengths"])
        return count_of(split, lengths)

    def _examples(self, split: str) -> int:
        """Count the examples of a split with TFDS, exactly."""
        with self._as_split_error(split):
            return max(int(self._builder.info.splits[split].num_examples), 0)

    def labels(self, split: str) -> Labels:
        def read(split: str) -> Arrays:
            return {"labels": self._only(split, self._opened[2]), "class_names": np.array(self._known_names())}

        if split not in self._read:
            self._read[split] = self._cached({"split": split, "only": "labels"}, split, read, "labels class_names")
        labels: Labels = self._read[split]["labels"]
        return labels

    def _files(self, split: str) -> list[Path]:
        """List the files of a split's examples, and their descriptions."""
        folder = self._place
        parts = dict.fromkeys(part.strip().partition("[")[0] for part in split.split("+"))
        known = self._described()
        for part in parts:
            if part not in known:
                raise DataError(f"{self._data.name} has no split '{part}'; expected one of {', '.join(known)}")
        shards = [file for part in parts for file in sorted(folder.glob(f"*-{part}.*"))]
        if not shards:
            return sorted(folder.iterdir())  # a set may name its files in another way
        return [*(folder / name for name in DESCRIPTIONS), *shards]

    @property
    def _place(self) -> Path:
        return self._folder or Path(self._builder.data_dir)

    def _described(self) -> dict[str, dict[str, Any]]:
        """Read the description of each split that TFDS wrote."""
        folder = self._place
        try:
            _, described = (read_bounded(folder / name, MAX_DESCRIBED, folder) for name in DESCRIPTIONS)
            return {str(each["name"]): each for each in json.loads(described)["splits"]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{folder} cannot be opened: {first_line(error)}; prepare it again") from error

    def groups(self, split: str) -> list[str]:
        name = self._data.group or ""
        only: dict[str, object] = {"split": split, "only": f"groups {name}"}
        groups = self._cached(only, split, lambda split: self._groups(split, name), "groups")
        return [str(group) for group in groups["groups"]]

    def _groups(self, split: str, name: str) -> Arrays:
        builder, _, label = self._opened
        known = {key: each for key, each in builder.info.features.items() if hasattr(each, "int2str") and key != label}
        if name not in known:
            remedy = f"expected one of {some_of(list(known))}" if known else "write hold_out: class"
            raise DataError(f"data.group: {self._data.name} has no label feature '{name}' for groups of classes; {remedy}")
        return {"groups": np.array([known[name].int2str(int(group)) for group in self._only(split, name)])}

    def _only(self, split: str, feature: str) -> Labels:
        """Read one feature of all examples. Decodes no image."""
        import tensorflow_datasets as tfds

        dataset = self._dataset(split, {self._opened[1]: tfds.decode.SkipDecoding()})
        only = dataset.map(lambda example: example[feature])
        return np.concatenate(list(self._batches(split, only, READ_AT_ONCE)))

    def _cached(self, options: dict[str, object], split: str, make: Callable[[str], Arrays], names: str) -> Arrays:
        files = self._files(split)
        with as_data_errors():
            layout = Layout([frozenset(names.split())])
            return cached({"source": "tfds", **options}, files, lambda: make(split), layout, self.notes)

    def _batches(self, split: str, dataset: Any, at_once: int) -> Iterator[Any]:
        import tensorflow as tf

        try:
            yield from dataset.batch(at_once).prefetch(2).as_numpy_iterator()
        except tf.errors.OpError as error:
            raise DataError(
                f"{self._data.name}: split '{split}' in {self._builder.data_dir} is damaged: "
                f"{error.message.splitlines()[0]}; prepare it again"
            ) from error

    def _dataset(self, split: str, decoders: Any) -> Any:
        """Build the dataset of a split without autocache and prefetch, so that few examples are in memory."""
        import tensorflow_datasets as tfds

        reading = tfds.ReadConfig(try_autocache=False, skip_prefetch=True)
        with self._as_split_error(split):
            return self._builder.as_dataset(split=split, shuffle_files=False, decoders=decoders, read_config=reading)

    @contextlib.contextmanager
    def _as_split_error(self, split: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, AssertionError) as error:
            raise DataError(f"{self._data.name}: split '{split}' cannot be read: {first_line(error)}") from error
