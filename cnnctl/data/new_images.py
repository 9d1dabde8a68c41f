"""Measure new images beside the training images of a run. NumPy alone; `findings` describes the differences.

Each threshold was measured with a network of configs/mnist.yaml and the test images of MNIST, Omniglot and scikit-learn's
digits. No subset of 1, 5, 20 or 100 of those images has a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.images import WHITE, Pixels
from cnnctl.data.inputs import InputBatch
from cnnctl.data.inspect.originals import Originals
from cnnctl.data.inspect.statistics import ImageMeasures, ImageStatistics, Measure, Values, evenly, measured
from cnnctl.spec.dataset import DataSpec

Flags = NDArray[np.bool_]

CONSISTENT = 0.95
"""Share of the training images that must agree on a property before new images can contradict it."""
CLEARLY = 0.35
"""Polarity of an image with clearly light or dark ink: 0.58 and more in MNIST, -0.1 to 0.1 in noise."""
NEARLY_EMPTY = 1 / 16
"""Share of the contrast in training. Accuracy on digits is 99 % with full or half contrast, 70 % with this share, and 15 %,
chance, with half of it."""
SMALL_PART = 1 / 4
"""Share of the range of values; images that use less are nearly black."""
MARGIN, INK_MARGIN = 0.375, 0.15
"""Margins of brightness, and of the share of ink, outside the range in training. Accuracy on digits is 96 % on a background
brighter by 0.31, 92 % by 0.39 and 86 % by 0.47."""


@dataclass(frozen=True)
class Beyond:
    """A property of new images far outside its range in training.

    Attributes:
        name: the property.
        unit: ` %` for shares, empty for brightness from 0 to 255.
        values: per image.
        trained_on: its distribution in training.
        flags: True for images outside.
    """

    name: str
    unit: str
    values: Values
    trained_on: Measure
    flags: Flags

    def __str__(self) -> str:
        scale = 100 if self.unit else WHITE
        low, high = round(self.trained_on.low * scale), round(self.trained_on.high * scale)
        trained = f"{low}" if low == high else f"{low} to {high}"
        return f"{self.name} {float(self.values[self.flags].mean()) * scale:.0f}{self.unit}, in training {trained}{self.unit}"


@dataclass(frozen=True)
class NewImages:
    """New images beside the training images.

    Attributes:
        trained_on: statistics of the training images.
        own: how the run reads its own images.
        data: how these images are read: `own` with the options of the command.
        each: measures of the fitted images.
        originals: properties of some or all images before fitting; None where unknown.
        names: names of the images; may be empty.
    """

    trained_on: ImageStatistics
    own: DataSpec
    data: DataSpec
    each: ImageMeasures
    originals: Originals | None = None
    names: Sequence[str] = ()

    @property
    def blank(self) -> Flags:
        """Images with hardly any contrast; none where such images occur in training."""
        least = self.trained_on.contrast.low
        return np.asarray((self.each.contrast <= NEARLY_EMPTY * least) & (least * WHITE >= 1))

    @property
    def inverted(self) -> Flags:
        """Images with dark ink where training images have light ink, or the other way round."""
        return ~self.blank & (self.each.polarity * self.ink_in_training < -CLEARLY)

    @property
    def ink_in_training(self) -> int:
        """1 where training images are light on dark, -1 where they are dark on light, 0 where they vary."""
        light = self.trained_on.light_ink
        return int(light >= CONSISTENT) - int(light <= 1 - CONSISTENT)

    @property
    def unlike(self) -> Flags:
        """Images that differ from the training images without another explanation."""
        return np.asarray(np.any([each.flags for each in self.beyond], axis=0))

    @property
    def beyond(self) -> tuple[Beyond, ...]:
        """The properties of images that are far outside their range in training."""
        each, on = self.each, self.trained_on
        unexplained = ~(self.blank | self.inverted)
        return (
            Beyond(
                "brightness of the border", "", each.border, on.border, unexplained & _outside(each.border, on.border, MARGIN)
            ),
            Beyond("mean brightness", "", each.mean, on.mean, unexplained & _outside(each.mean, on.mean, MARGIN)),
            Beyond("share of ink", " %", each.ink, on.ink, unexplained & _outside(each.ink, on.ink, INK_MARGIN)),
        )

    @property
    def dark(self) -> Flags:
        """Original images that use a small part of the range of values, smaller than in training."""
        if self.originals is None:
            return np.zeros(0, np.bool_)
        low, high = self.trained_on.range
        used = self.originals.highest / (self.data.pixel_max or self.originals.white)
        drawn = self.originals.highest > self.originals.lowest
        return np.asarray(drawn & (used < SMALL_PART * (1 - low if self.own.invert else high)))


class Sample:
    """Measures images as they are read: all of few, evenly spread ones of many, so that memory is bounded.

    Args:
        count: maximum number of images.
        values_each: pixel values per image.
        keep: number of images, evenly spread too, whose pixels are stored.

    Attributes:
        kept: the stored pixels (N, H, W, C), batch by batch.
    """

    def __init__(self, count: int, values_each: int, keep: int) -> None:
        self._measured = set(evenly(count, values_each).tolist())
        self._kept = set(evenly(count, values_each, keep).tolist())
        self._seen = 0
        self._batches: list[tuple[ImageMeasures, Originals, list[str]]] = []
        self.kept: list[Pixels] = []

    def add(self, batch: InputBatch) -> None:
        """Add the next images."""
        places = range(self._seen, self._seen + len(batch))
        self._seen += len(batch)
        if chosen := batch.take(np.array([place - places[0] for place in places if place in self._measured], np.int64)):
            self._batches.append((measured(chosen.images), chosen.originals, chosen.names))
        self.kept.append(batch.images[[place - places[0] for place in places if place in self._kept]])

    def compared(self, trained_on: ImageStatistics, own: DataSpec, data: DataSpec) -> NewImages | None:
        """Compare the measured images with the training images; None where there are none."""
        if not self._batches:
            return None
        measures, originals, names = zip(*self._batches, strict=True)
        every_name = [name for some in names for name in some]
        return NewImages(trained_on, own, data, ImageMeasures.joined(measures), Originals.joined(originals), every_name)


def _outside(values: Values, measure: Measure, margin: float) -> Flags:
    """Find values outside their range in training, by the margin and by the width of that range."""
    beyond = max(margin, measure.high - measure.low)
    return (values < measure.low - beyond) | (values > measure.high + beyond)
