"""Find the source files of images in a split, so that messages can name them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from cnnctl.data.class_splits import disjoint_positions
from cnnctl.data.image_set import Labels
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import hold_out
from cnnctl.data.store.lazy import Indices
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.folders import FolderSet


@dataclass(frozen=True)
class Origin:
    """One image of a split.

    Attributes:
        split: `train`, `validation` or `test`.
        read_from: name in the source of the split that the image was read from.
        index: its position there, counted from 0.
        file: its path below `data.path`; None where the source has no image files.
        class_name: the class of its label.
    """

    split: str
    read_from: str
    index: int
    file: str | None
    class_name: str


class Origins:
    """Finds the origins of images. Opens the source again only when needed, for its labels.

    Args:
        data: a checked config.
        labels: per split, in the order of `read_splits`, or of `read_disjoint_splits` where `data` holds out classes or
            groups.
        class_names: in the order of the labels.
    """

    def __init__(self, data: DataSpec, labels: dict[str, Labels], class_names: list[str]) -> None:
        self._data = data
        self._labels = labels
        self._class_names = class_names
        self._files = cache(self._files_of)

    def of(self, split: str, index: int) -> Origin:
        """Find the origin of the image at `index` of a split."""
        read_from = self._read_from(split)
        position = index if self._is_whole(split) else int(self._positions[split][index])
        files = self._files(read_from) if self._data.source == "folder" else None
        class_name = self._class_names[self._labels[split][index]]
        return Origin(split, read_from, position, files[position] if files else None, class_name)

    def _read_from(self, split: str) -> str:
        part = getattr(self._data, split)
        return part if isinstance(part, str) else self._data.train

    def _is_whole(self, split: str) -> bool:
        part = getattr(self._data, split)
        return not self._data.holds_out_classes and isinstance(part, str) and not (split == "train" and self._fractions)

    @property
    def _fractions(self) -> dict[str, float]:
        """The fractions in the order in which `read_splits` draws them."""
        parts = {role: getattr(self._data, role) for role in ("test", "validation")}
        return {role: part for role, part in parts.items() if isinstance(part, float)}

    @cached_property
    def _positions(self) -> dict[str, Indices]:
        """The positions of the images of each split in the split they were read from, where it is a part of that."""
        if self._data.holds_out_classes:
            return disjoint_positions(self._data)
        labels = open_source(self._data).labels(self._data.train)
        held_out = hold_out(labels, self._fractions, self._data.split_seed)
        rest = np.setdiff1d(np.arange(len(labels)), np.concatenate(list(held_out.values())))
        return {**held_out, "train": rest}

    def _files_of(self, read_from: str) -> list[str]:
        return ["/".join(each.place) for each in FolderSet(self._data).labelled(read_from)]
