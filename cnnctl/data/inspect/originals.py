"""Measure image files before they are fitted: sizes, values, transparency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.images import DEEP_WHITE, SIXTEEN_BIT_COLOUR, WHITE, deepest, likely_white, scaled

THUMBNAIL = 256
"""Maximum pixels of the longer side."""
CHECKS, LIGHT, DARK = 8, 255, 215
"""Number of squares along the longer side, and their greys, behind transparent parts."""


@dataclass(frozen=True)
class Originals:
    """Properties of images before fitting, one value per image (N,).

    Attributes:
        heights: in pixels, after the EXIF orientation.
        widths: the same.
        lowest: the lowest pixel value, in the range of the file.
        highest: the highest pixel value.
        white: the value of white, unless `data.pixel_max` sets another.
        transparent: True where an image has transparent parts.
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
        """Select the images at `indices`."""
        return type(self)(*(getattr(self, each.name)[indices] for each in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Originals]) -> Self:
        """Concatenate the properties of several sets."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


def originals_of(images: Sequence[Image.Image]) -> Originals:
    """Measure decoded images with their EXIF orientation applied."""
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
    """Measure the images (N, H, W, C) of an array. The last of 2 or 4 channels is alpha."""
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
    """Find the lowest and the highest value of an image, and its value of white."""
    high = deepest(image)
    if high is None:
        grey = np.asarray(image.convert("L"))  # a palette has indices in place of values
        return float(grey.min()), float(grey.max()), WHITE
    low = 0.0 if image.info.get(SIXTEEN_BIT_COLOUR) else float(np.nan_to_num(np.asarray(image)).min())
    return low, high, WHITE if image.mode == "F" else DEEP_WHITE


@dataclass(frozen=True)
class Thumbnail:
    """A small version of an image file.

    Attributes:
        pixels: (H, W, 3), at most `THUMBNAIL` pixels per side.
        height: of the original image.
        width: of the original image.
    """

    pixels: NDArray[np.uint8]
    height: int
    width: int


def thumbnail(image: Image.Image) -> Thumbnail:
    """Draw a decoded image as a viewer shows it, with grey squares behind transparent parts."""
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
    """Draw an image (H, W, C) of an array as `thumbnail` does, with the most likely value of white."""
    highest = float(np.nan_to_num(image).max())
    fractions = image.dtype.kind == "f" and highest <= 1
    plain = scaled(image, 1 if image.dtype == np.bool_ else max(likely_white(highest, fractions), 1 if fractions else WHITE))
    return thumbnail(Image.fromarray(plain.squeeze(-1) if plain.shape[-1] == 1 else plain))
