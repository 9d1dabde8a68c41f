"""What a set of fitted images is like, in few numbers: kept with a run, so that new images can be compared. NumPy alone."""

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
"""Images that are measured, evenly chosen, and pixel values of all of them: MNIST's 60,000 and its 10,000 measure alike."""
TAIL = 0.005
"""Share of images below `Measure.low`, and as many above `Measure.high`: a few odd training images excuse no others."""
INK = 0.25
"""Pixels that are further from the border's level than this part of an image's own contrast are ink."""
COLOURED, COLOURED_PIXELS = 0.1, 0.01
"""An image has colour where channels differ by more than this in more than this share of its pixels; JPEG tints grey less."""


@dataclass(frozen=True)
class ImageMeasures:
    """One value per image (N,); brightness is from 0, black, to 1, white.

    Attributes:
        mean: of all pixels.
        border: the median of the outermost pixels. Not their mean: ink may reach the border.
        spread: the standard deviation of all pixels.
        darkest: of all pixels.
        brightest: of all pixels.
        ink: the share of pixels that are ink.
        extent: the root mean square distance of ink from its centre, in sides of the image.
        polarity: how much brighter ink is than the border, in parts of the contrast: 1 is light ink on dark, -1 dark on light.
        coloured: whether the image has colour.
        maps: (N, M), what `orientation` compares.
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
        """Return the measures of several sets, one after the other."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    @property
    def contrast(self) -> Values:
        """Return brightest - darkest (N,)."""
        return self.brightest - self.darkest


@dataclass(frozen=True)
class Measure:
    """How one of `ImageMeasures` is spread over images.

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
    """What a set of images is like, as the network sees them.

    Attributes:
        images: how many were measured.
        size: height and width.
        channels: 1 or 3.
        original_sizes: of the images before they were resized; None where that is not known.
        mean: see `ImageMeasures`, as are border, spread, ink and extent.
        contrast: brightest - darkest.
        range: the darkest and the brightest pixel value, without the tails.
        light_ink: the share of images whose ink is brighter than their border.
        coloured: the share of images that have colour.
        orientation: what transposition changes; None where nothing can be said of it.
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
        """Return it for JSON, numbers with six digits."""
        return {name: _rounded(value) for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: object) -> Self:
        """Return what `as_plain` gave.

        Raises:
            ValueError: it is something else, such as a damaged entry of a file.
        """
        return TypeAdapter(cls).validate_python(plain)


def statistics_of(images: ImageSet) -> ImageStatistics:
    """Measure a set of images that are fitted to a config, at most `MAX_IMAGES` of them, block by block."""
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
    """Return the images of a set that are measured, in order: all of few, and of many evenly chosen ones; none is read yet."""
    return images.take(evenly(len(images), prod(images.images.shape[1:])))


def evenly(count: int, values_each: int, max_images: int | None = None) -> NDArray[np.int64]:
    """Return the positions of the images that are measured of `count`, each of so many pixel values."""
    most = max(1, min(count, max_images or MAX_IMAGES, MAX_VALUES // values_each))
    return np.linspace(0, count - 1, most).round().astype(np.int64)


def measured(images: AnyImages) -> ImageMeasures:
    """Measure images (N, H, W, C) block by block, so that the memory for it does not grow with N."""
    return ImageMeasures.joined([_measured(np.asarray(block)) for block in in_blocks(images)])


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
    """Return the outermost pixels (N, P) of images (N, H, W)."""
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
    drawn = each.ink > 0  # of a blank image there is nothing to be seen
    return orientation_of(each.maps[drawn], labels[drawn])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
