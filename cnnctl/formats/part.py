"""One split of the original files of an image set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Keys: TypeAlias = Mapping[str, tuple[str, str]] | tuple[str, str] | None
"""The names of images and labels in a file: one pair for all splits, or one for each split; None finds them."""
Size: TypeAlias = tuple[int, int] | None
"""Height and width of images that are stored as one row of pixels each; None where that row is a square."""
Labels: TypeAlias = "NDArray[np.int64] | list[str]"
Block: TypeAlias = "NDArray[Any] | list[bytes]"


@dataclass(frozen=True)
class Part:
    """One split of an original file or folder.

    Attributes:
        name: as the files name it, such as 'train', 'val' or 'emnist-letters-train'; 't10k' is 'test'. A file without
            splits has one part with the name of the file.
        files: everything it is read from.
        count: how many images it has.
        height: pixels; None where images differ, or where that is not known without decoding.
        width: as height.
        channels: as height.
        labels: reads (N,) integers as the file has them, or class names; None where the file has no labels.
        blocks: reads at most n images at a time, each time from the start: arrays (B, H, W, C) of the file's own dtype, or
            a list of encoded image files. There may be fewer than n, since a block has a limit in bytes too.
        unread: arrays or columns of its files that no split is read from.
        class_names: the name of label i at place i, where the files list them; '' for a label that they do not list.
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
