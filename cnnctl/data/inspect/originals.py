"""Images as their files have them, before they are fitted: sizes, values, transparency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.images import DEEP_WHITE, SIXTEEN_BIT_COLOUR, WHITE, deepest, likely_white, scaled

THUMBNAIL = 256
"""Pixels of the longer side at most."""
CHECKS, LIGHT, DARK = 8, 255, 215
"""Squares of a thumbnail's longer side, and their greys, that show where an image is transparent."""


@dataclass(frozen=True)
class Originals:
    """What images are like before they are fitted, one value per image (N,).

    Attributes:
        heights: as the image is seen, turned as its EXIF data says.
        widths: as heights.
        lowest: the lowest pixel value, of the file's own range.
        highest: the highest one.
        white: the value that becomes white where `data.pixel_max` does not name another.
        transparent: whether it has transparent parts.
    """

    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    white: NDArray[np.float64]
    transparent: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.heights)

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return what the images at `indices` are like."""
        return type(self)(*(getattr(self, each.name)[indices] for each in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Originals]) -> Self:
        """Return what the images of several sets are like, one set after the other."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


def originals_of(images: Sequence[Image.Image]) -> Originals:
    """Look at decoded images, each turned as its EXIF data says."""
    lowest, highest, white = np.array([_values(image) for image in images], np.float64).reshape(-1, 3).T
    return Originals(
        np.array([image.height for image in images], np.int64),
        np.array([image.width for image in images], np.int64),
        lowest,
        highest,
        white,
        np.array([_has_alpha(image) for image in images], np.bool_),
    )


def originals_in(images: NDArray[Any]) -> Originals:
    """Look at the images (N, H, W, C) of an array; the last of 2 or 4 channels is alpha."""
    count, height, width, channels = images.shape
    values = images[..., :-1] if channels in (2, 4) else images
    scale = WHITE if images.dtype == np.bool_ else 1.0
    return Originals(
        np.full(count, height, np.int64),
        np.full(count, width, np.int64),
        values.min(axis=(1, 2, 3)) * scale,
        values.max(axis=(1, 2, 3)) * scale,
        np.full(count, WHITE, np.float64),
        np.full(count, channels in (2, 4)),
    )


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _values(image: Image.Image) -> tuple[float, float, float]:
    """Return the lowest and the highest value of an image, and the one that becomes white."""
    high = deepest(image)
    if high is None:
        grey = np.asarray(image.convert("L"))  # a palette has numbers of colours in place of values
        return float(grey.min()), float(grey.max()), WHITE
    low = 0.0 if image.info.get(SIXTEEN_BIT_COLOUR) else float(np.nan_to_num(np.asarray(image)).min())
    return low, high, WHITE if image.mode == "F" else DEEP_WHITE


@dataclass(frozen=True)
class Thumbnail:
    """An image as its file has it.

    Attributes:
        pixels: (H, W, 3), of at most `THUMBNAIL` pixels a side.
        height: of the image itself.
        width: as height.
    """

    pixels: NDArray[np.uint8]
    height: int
    width: int


def thumbnail(image: Image.Image) -> Thumbnail:
    """Return a decoded image as a viewer shows it; grey squares show through its transparent parts."""
    if _has_alpha(image):
        image = _on_squares(image.convert("RGBA"))
    elif image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, DEEP_WHITE) // (DEEP_WHITE // WHITE)).astype(np.uint8))
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return Thumbnail(np.asarray(small), image.height, image.width)


def _on_squares(image: Image.Image) -> Image.Image:
    side = max(1, -(-max(image.size) // CHECKS))
    rows, columns = np.indices((image.height, image.width)) // side
    squares = np.where((rows + columns) % 2, DARK, LIGHT).astype(np.uint8)
    return Image.alpha_composite(Image.fromarray(squares).convert("RGBA"), image)


def array_thumbnail(image: NDArray[Any]) -> Thumbnail:
    """Return an image (H, W, C) of an array as `thumbnail` does; white is the value that it most likely has."""
    highest = float(np.nan_to_num(image).max())
    fractions = image.dtype.kind == "f" and highest <= 1
    plain = scaled(image, 1 if image.dtype == np.bool_ else max(likely_white(highest, fractions), 1 if fractions else WHITE))
    return thumbnail(Image.fromarray(plain.squeeze(-1) if plain.shape[-1] == 1 else plain))
