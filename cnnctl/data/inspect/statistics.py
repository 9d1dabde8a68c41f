"""Compute statistics of fitted images, stored with a run for comparison with new images. NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter

from cnnctl.data.image_set import ImageSet, Labels, Sizes
from cnnctl.data.images import WHITE, Pixels
from cnnctl.data.inspect.orientation import Orientation, orientation_maps, orientation_of
from cnnctl.data.store.lazy import AnyImages, in_blocks

Values = NDArray[np.float32]

MAX_IMAGES, MAX_VALUES = 10_000, 2**26
"""Maximum number of measured images, evenly spread, and of their pixel values. 10,000 images of MNIST measure like all 60,000."""
MEASURED_AT_ONCE = 2**17
"""Pixel values measured at a time. Arrays of floats of this size stay in the caches of a processor, 32 times as large ones do not."""
TAIL = 0.005
"""Share of images below `Measure.low`, and above `Measure.high`, so that a few outliers in training do not widen the range."""
INK = 0.25
"""A pixel is ink where it differs from the border by more than this part of the contrast of the image."""
COLOURED, COLOURED_PIXELS = 0.1, 0.01
"""An image has colour where channels differ by more than the first in more than the second share of pixels, beyond JPEG noise."""


@dataclass(frozen=True)
class ImageMeasures:
    """One value per image (N,). Brightness is from 0, black, to 1, white.

    Attributes:
        mean: of all pixels.
        border: the median of the outermost pixels, which ignores ink that reaches the border.
        spread: the standard deviation of all pixels.
        darkest: of all pixels.
        brightest: of all pixels.
        ink: the share of pixels that are ink.
        extent: the root mean square distance of ink from its centre, as a fraction of the side of the image.
        polarity: brightness of ink minus border, divided by the contrast: 1 is light ink on dark, -1 dark on light.
        coloured: True where the image has colour.
        maps: (N, M), for `orientation`.
    """

    mean: Values
    border: Values
    spread: Values
    darkest: Values
    brightest: Values
    ink: Values
    extent: Values
    polarity: Values
    coloured: NDArray[np.bool_]
    maps: Values

    @classmethod
    def joined(cls, parts: Sequence[ImageMeasures]) -> Self:
        """Concatenate the measures of several sets."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    @property
    def contrast(self) -> Values:
        """The contrast, brightest - darkest (N,)."""
        return self.brightest - self.darkest


@dataclass(frozen=True)
class Measure:
    """The distribution of one of `ImageMeasures` over images.

    Attributes:
        mean: of all images.
        deviation: the standard deviation over images.
        low: `TAIL` of the images are below it.
        high: `TAIL` of the images are above it.
    """

    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True)
class ImageStatistics:
    """Statistics of a set of images, as the network receives them.

    Attributes:
        images: number of measured images.
        size: height and width.
        channels: 1 or 3.
        original_sizes: sizes before resizing; None where unknown.
        mean: see `ImageMeasures`, as are border, spread, ink and extent.
        contrast: brightest - darkest.
        range: the darkest and the brightest pixel value, without the tails.
        light_ink: the share of images whose ink is brighter than their border.
        coloured: the share of images that have colour.
        orientation: detects transposed images; None where it cannot be estimated.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    images: int
    size: tuple[int, int]
    channels: int
    original_sizes: Sizes | None
    mean: Measure
    border: Measure
    spread: Measure
    ink: Measure
    extent: Measure
    contrast: Measure
    range: tuple[float, float]
    light_ink: float
    coloured: float
    orientation: Orientation | None

    def as_plain(self) -> dict[str, Any]:
        """Convert to JSON types, with numbers of six digits."""
        return {name: _rounded(value) for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: object) -> Self:
        """Restore the statistics from the output of `as_plain`.

        Raises:
            ValueError: the data is something else, such as a damaged file.
        """
        return TypeAdapter(cls).validate_python(plain)


def statistics_of(images: ImageSet) -> ImageStatistics:
    """Compute the statistics of a set of fitted images, of at most `MAX_IMAGES` of them, block by block."""
    chosen = evenly_chosen(images)
    each = measured(chosen.images)
    _, height, width, channels = images.images.shape
    return ImageStatistics(
        images=len(chosen),
        size=(height, width),
        channels=channels,
        original_sizes=images.original_sizes,
        **{name: _measure(getattr(each, name)) for name in ("mean", "border", "spread", "ink", "extent", "contrast")},
        range=(float(np.quantile(each.darkest, TAIL)), float(np.quantile(each.brightest, 1 - TAIL))),
        light_ink=float(np.mean(each.polarity > 0)),
        coloured=float(np.mean(each.coloured)),
        orientation=_orientation(each, chosen.labels),
    )


def evenly_chosen(images: ImageSet) -> ImageSet:
    """Select the images of a set to measure, in order: all of few, evenly spread ones of many. None is read yet."""
    return images.take(evenly(len(images), prod(images.images.shape[1:])))


def evenly(count: int, values_each: int, max_images: int | None = None) -> NDArray[np.int64]:
    """Choose evenly spread positions among `count` images of `values_each` pixel values."""
    chosen = max(1, min(count, max_images or MAX_IMAGES, MAX_VALUES // values_each))
    return np.linspace(0, count - 1, chosen).round().astype(np.int64)


def measured(images: AnyImages) -> ImageMeasures:
    """Measure images (N, H, W, C) block by block, so that memory does not grow with N."""
    return ImageMeasures.joined([_measured(np.asarray(block)) for block in in_blocks(images, MEASURED_AT_ONCE)])


def _measured(images: Pixels) -> ImageMeasures:
    grey = images.mean(axis=3, dtype=np.float32) / WHITE  # (N, H, W)
    border = np.median(_outermost(grey), axis=1)
    darkest, brightest = grey.min(axis=(1, 2)), grey.max(axis=(1, 2))
    contrast = np.maximum(brightest - darkest, 1e-6)[:, None, None]
    from_border = (grey - border[:, None, None]) / contrast
    is_ink = np.abs(from_border) > INK
    strength = np.where(is_ink, np.abs(from_border), 0)
    count = np.maximum(is_ink.sum(axis=(1, 2)), 1)
    maps, extent = orientation_maps(strength)
    return ImageMeasures(
        mean=grey.mean(axis=(1, 2)),
        border=border,
        spread=grey.std(axis=(1, 2)),
        darkest=darkest,
        brightest=brightest,
        ink=is_ink.mean(axis=(1, 2), dtype=np.float32),
        extent=extent,
        polarity=np.where(is_ink, from_border, 0).sum(axis=(1, 2)) / count,
        coloured=_coloured(images),
        maps=maps,
    )


def _outermost(grey: Values) -> Values:
    """Extract the outermost pixels (N, P) of images (N, H, W)."""
    return np.concatenate([grey[:, 0], grey[:, -1], grey[:, 1:-1, 0], grey[:, 1:-1, -1]], axis=1)


def _coloured(images: Pixels) -> NDArray[np.bool_]:
    if images.shape[-1] == 1:
        return np.zeros(len(images), np.bool_)
    differing: NDArray[np.bool_] = images.max(axis=3) - images.min(axis=3) > COLOURED * WHITE
    return np.asarray(differing.mean(axis=(1, 2)) > COLOURED_PIXELS)


def _measure(values: Values) -> Measure:
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    return Measure(float(values.mean()), float(values.std()), float(low), float(high))


def _orientation(each: ImageMeasures, labels: Labels) -> Orientation | None:
    drawn = each.ink > 0  # a blank image has no orientation
    return orientation_of(each.maps[drawn], labels[drawn])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
