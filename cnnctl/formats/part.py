"""Define one split of the data files of an image set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Keys: TypeAlias = Mapping[str, tuple[str, str]] | tuple[str, str] | None
"""Names of images and labels in a file: one pair for all splits, or one per split; None finds them."""
Size: TypeAlias = tuple[int, int] | None
"""Height and width of images stored as rows of pixels; None for squares."""
Labels: TypeAlias = "NDArray[np.int64] | list[str]"
Block: TypeAlias = "NDArray[Any] | list[bytes]"


@dataclass(frozen=True)
class Part:
    """One split of a data file or folder.

    Attributes:
        name: name in the files, such as 'train', 'val' or 'emnist-letters-train'; 't10k' becomes 'test'. A file without
            splits has one part with the name of the file.
        files: all files of the split.
        count: number of images.
        height: in pixels; None where images differ, or where it is unknown before decoding.
        width: the same.
        channels: the same.
        labels: reads the labels (N,), integers or class names; None where the file has no labels.
        blocks: reads the images from the start, at most n at a time: arrays (B, H, W, C) in the dtype of the file, or a
            list of encoded image files. A block may be smaller than n, since its bytes are limited too.
        unread: arrays or columns of the files that no split uses.
        class_names: name of label i at index i, where the files list names; '' for labels without a name.
    """

    name: str
    files: tuple[Path, ...]
    count: int
    height: int | None
    width: int | None
    channels: int | None
    labels: Callable[[], Labels] | None
    blocks: Callable[[int], Iterator[Block]]
    class_names: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
