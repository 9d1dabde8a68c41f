"""Count properties of image files while they are decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.images import DEEP_WHITE, SEVERAL_FRAMES, WHITE, deepest, likely_white
from cnnctl.spec.image_files import GREY_MODES

if TYPE_CHECKING:
    from cnnctl.data.store.cache import Arrays
    from cnnctl.spec.dataset import DataSpec

SMALL_PART = 4
"""Images with more than 8 bits that use less than a quarter of the range are nearly black."""


CENSUS = "sizes counts highest"
"""The arrays of a census."""
FRAMES = 1
"""Position in `counts` of the number of files with several images."""


class Census:
    """Counts over the images of a split, stored with the decoded images."""

    def __init__(self) -> None:
        self._sizes: list[tuple[int, int]] = []
        self._colour = self._frames = 0
        self._sixteen: list[float] = []
        self._floats: list[float] = []
        self._below = 0

    def add(self, image: Image.Image) -> None:
        """Count a decoded image with its EXIF orientation applied."""
        self._sizes.append((image.height, image.width))
        self._colour += image.mode not in GREY_MODES
        self._frames += bool(image.info.get(SEVERAL_FRAMES))
        highest = deepest(image)
        if highest is not None:
            self._below += not float(np.asarray(image).min()) >= 0  # true for NaN
            (self._floats if image.mode == "F" else self._sixteen).append(highest)

    def arrays(self) -> Arrays:
        """Convert the counts to arrays: `sizes` (N, 2), heights and widths; `counts` (5,); `highest` (2,)."""
        counts = [self._colour, self._frames, len(self._sixteen), len(self._floats), self._below]
        return {
            "sizes": np.array(self._sizes, np.int32).reshape(-1, 2),
            "counts": np.array(counts, np.int64),
            "highest": np.array([max(self._sixteen, default=0), max(self._floats, default=0)], np.float64),
        }


def joined_census(parts: Sequence[Mapping[str, NDArray[Any]]]) -> Arrays:
    """Add up the arrays of several censuses."""
    parts = [*parts, Census().arrays()]
    return {
        "sizes": np.concatenate([part["sizes"] for part in parts]),
        "counts": np.sum([part["counts"] for part in parts], axis=0),
        "highest": np.max([part["highest"] for part in parts], axis=0),
    }


def resized_note(sizes: NDArray[Any], split: str, data: DataSpec) -> list[str]:
    """Describe how many images of a split, with heights and widths (N, 2), were resized."""
    assert data.image_size
    own = data.image_size[::-1] if data.transpose else data.image_size
    resized = int((sizes != np.array(own)).any(axis=1).sum())
    size = "×".join(map(str, data.image_size))
    if not resized:
        return []
    return [
        f"{resized:,} of {len(sizes):,} images of '{split}' {_were(resized)} resized to {size}{_proportions(sizes, own, data)}"
    ]


def _proportions(sizes: NDArray[Any], own: tuple[int, int], data: DataSpec) -> str:
    """Describe what happened to images of other proportions; a difference of one pixel does not count."""
    height, width = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    scale = np.maximum(own[0] / height, own[1] / width)
    other = int(((scale * height >= own[0] + 1) | (scale * width >= own[1] + 1)).sum())
    if not other:
        return ""
    changed = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[data.fit]
    remedy = "; data.fit: crop or data.fit: pad keeps their proportions" if data.fit == "stretch" else ""
    return f", {other:,} of them {changed} from other proportions{remedy}"


def census_notes(arrays: Arrays, split: str, data: DataSpec, grey_too: bool) -> list[str]:
    """Describe the images of a split.

    Args:
        arrays: from a `Census`.
        split: its name in the source.
        data: a checked config.
        grey_too: True where some images of the set are grey, so that conversion of the others was not asked for.
    """
    colour, frames, *deep, below = (int(count) for count in arrays["counts"])
    of = f"of {len(arrays['sizes']):,} images of '{split}'"
    notes = resized_note(arrays["sizes"], split, data)
    if colour and data.channels == 1 and grey_too:
        notes.append(f"{colour:,} {of} {_were(colour)} converted to grey; write channels: 3 to keep colour")
    if frames:
        notes.append(f"{frames:,} {of} {_have(frames)} several frames; the first is read")
    if below:
        notes.append(
            f"warning: {below:,} {of} {_have(below)} values below 0 or NaN, which become black; rescale them to 0 or more"
        )
    kinds = zip(deep, ("16-bit", "float"), (DEEP_WHITE, WHITE), arrays["highest"], strict=True)
    for count, kind, white, highest in kinds:
        images = f"{count:,} {of} {'is a' if count == 1 else 'are'} {kind} {'image' if count == 1 else 'images'}"
        notes += _range_notes(images, white, float(highest), data) if count else []
    return notes


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _range_notes(images: str, usual: int, highest: float, data: DataSpec) -> list[str]:
    """Warn where values use a small part of the range, or exceed it; `usual` is white without `pixel_max`."""
    white = data.pixel_max or usual
    if highest > white:
        seen = f"up to {highest:g}, and values above {white:g} become white"
    elif data.pixel_max is None and 0 < highest * SMALL_PART <= white:
        seen = f"of at most {highest:g}, which is nearly black"
    else:
        return []
    fitting = likely_white(highest, usual == WHITE and highest <= 1)
    return [f"warning: {images} with values {seen}; write data.pixel_max: {fitting}, the value of white"]
