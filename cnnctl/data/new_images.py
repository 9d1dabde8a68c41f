"""New images against the training images of a run: what makes them unlike, and the option that helps. NumPy alone.

Each threshold was measured with a network of configs/mnist.yaml and the test images of MNIST, Omniglot and the digits of
scikit-learn: on those no finding appears, in no subset of 1, 5, 20 or 100 images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import some_of
from cnnctl.data.images import WHITE, Pixels, fit_array, likely_white
from cnnctl.data.inputs import InputBatch
from cnnctl.data.inspect.originals import Originals
from cnnctl.data.inspect.statistics import ImageMeasures, ImageStatistics, Measure, Values, evenly, measured
from cnnctl.errors import counted
from cnnctl.spec.dataset import DataSpec

Flags = NDArray[np.bool_]

SHARE = 0.2
"""Of the images, at least one, that must look wrong before anything is said: a folder may be mixed."""
CONSISTENT = 0.95
"""Share of the training images that agree on something which new images can then contradict."""
CLEARLY = 0.35
"""Polarity of an image whose ink is on one side of its border's level: 0.58 and more in MNIST, -0.1 to 0.1 in noise."""
NEARLY_EMPTY = 1 / 16
"""Of the contrast in training. Digits with half the contrast are named right as often as with all of it (99 %), with this
part less often (70 %), with half of this part by chance (15 %)."""
SMALL_PART = 1 / 4
"""Of the range of values: images that use less of it are nearly black."""
FAR = 4
"""Times larger or smaller than the training images."""
DRAWN_MARGIN, DRAWN_SPREAD = 0.25, 0.6
"""Of the least or the largest extent of ink in training, and of its distance from the mean, whichever is more. Digits of half
their size are beyond it, and are named right in 36 % of the cases; those of 0.8 of it are not, and are in 96 %."""
MARGIN, INK_MARGIN = 0.375, 0.15
"""Of brightness, and of the share of ink, beyond those in training. On a background brighter by 0.31 digits are named right
in 96 % of the cases, by 0.39 in 92 %, by 0.47 in 86 %."""
MAX = 0.5
"""Share of the images that must be like training images, but for how they lie, before that is said of all."""
MAX_NAMED = 3
CONFIDENT = 4
"""Standard errors that a network must name more images right by."""
AS_IT_IS = ""
"""How images are given: nothing is turned."""
_OPTIONS = {"inverted": "--invert", "transposed": "--transpose"}
LOOK = "look at them with predict --show OUT.png"
CROP = f"crop them so that what is drawn fills the image as in training, and {LOOK}"


@dataclass(frozen=True)
class Finding:
    """What makes new images unlike the training images.

    Attributes:
        kind: `range`, `empty`, `inverted`, `transposed`, `size`, `drawn`, `colour` or `unlike`.
        message: what is wrong, and with how many images.
        remedy: what to do.
    """

    kind: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}"


@dataclass(frozen=True)
class Beyond:
    """Something that images have far more or less of than the training images.

    Attributes:
        name: what it is.
        unit: after its numbers: ` %` of shares, nothing after a brightness, from 0 to 255.
        values: of the images.
        trained_on: in training.
        flags: which images are beyond.
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
        trained_on: what the training images are like.
        own: how the run reads its own images.
        data: how these images are read: `own` with the options of the command.
        each: what each of them is like once it is fitted.
        originals: what they, or some of them, are like before; None where that is not known.
        names: what they are called; may be empty.
    """

    trained_on: ImageStatistics
    own: DataSpec
    data: DataSpec
    each: ImageMeasures
    originals: Originals | None = None
    names: Sequence[str] = ()

    @property
    def blank(self) -> Flags:
        """Which images have no contrast to speak of; none where that occurs in training."""
        least = self.trained_on.contrast.low
        return np.asarray((self.each.contrast <= NEARLY_EMPTY * least) & (least * WHITE >= 1))

    @property
    def inverted(self) -> Flags:
        """Which images have dark ink where training images have light ink, or the other way round."""
        return ~self.blank & (self.each.polarity * self.ink_in_training < -CLEARLY)

    @property
    def ink_in_training(self) -> int:
        """Return 1 where training images are light on dark, -1 where they are dark on light, 0 where they differ."""
        light = self.trained_on.light_ink
        return int(light >= CONSISTENT) - int(light <= 1 - CONSISTENT)

    @property
    def unlike(self) -> Flags:
        """Which images are unlike the training images in a way that nothing else explains."""
        return np.asarray(np.any([each.flags for each in self.beyond], axis=0))

    @property
    def beyond(self) -> tuple[Beyond, ...]:
        """Return what images have that is far beyond the training images."""
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
        """Which originals use a small part of the range of values, and a smaller one than the training images do."""
        if self.originals is None:
            return np.zeros(0, np.bool_)
        low, high = self.trained_on.range
        used = self.originals.highest / (self.data.pixel_max or self.originals.white)
        drawn = self.originals.highest > self.originals.lowest
        return np.asarray(drawn & (used < SMALL_PART * (1 - low if self.own.invert else high)))


class Sample:
    """Measures images as they are read: all of few, and of many evenly chosen ones, so that it keeps no more of more.

    Args:
        count: how many images will come at most.
        values_each: pixel values of an image.
        keep: of how many images, evenly chosen too, the pixels are kept.

    Attributes:
        kept: their pixels (N, H, W, C), batch by batch.
    """

    def __init__(self, count: int, values_each: int, keep: int) -> None:
        self._measured = set(evenly(count, values_each).tolist())
        self._kept = set(evenly(count, values_each, keep).tolist())
        self._seen = 0
        self._batches: list[tuple[ImageMeasures, Originals, list[str]]] = []
        self.kept: list[Pixels] = []

    def add(self, batch: InputBatch) -> None:
        """Add the images that come next."""
        places = range(self._seen, self._seen + len(batch))
        self._seen += len(batch)
        if chosen := batch.take(np.array([place - places[0] for place in places if place in self._measured], np.int64)):
            self._batches.append((measured(chosen.images), chosen.originals, chosen.names))
        self.kept.append(batch.images[[place - places[0] for place in places if place in self._kept]])

    def compared(self, trained_on: ImageStatistics, own: DataSpec, data: DataSpec) -> NewImages | None:
        """Return the measured images beside the training images, see `NewImages`; None where no image came."""
        if not self._batches:
            return None
        measures, originals, names = zip(*self._batches, strict=True)
        every_name = [name for some in names for name in some]
        return NewImages(trained_on, own, data, ImageMeasures.joined(measures), Originals.joined(originals), every_name)


def findings(new: NewImages) -> list[Finding]:
    """Return what makes new images unlike the training images, the cause before what follows from it."""
    checks: tuple[Callable[[NewImages], Finding | None], ...] = (
        _range, _cut_off, _empty, _inverted, _transposed, _larger, _smaller, _drawn_smaller, _drawn_larger, _coloured, _unlike,
    )  # fmt: skip
    found = [check(new) for check in checks]
    return [each for each in found if each]


def _many(flags: Flags) -> bool:
    return int(flags.sum()) >= max(1.0, SHARE * len(flags))


def _images(flags: Flags, one: str, several: str) -> str:
    """Return how many images it is said of what follows, such as `3 of 5 images look`; the verb as `one` or `several`."""
    count = int(flags.sum())
    if len(flags) == 1:
        return f"the image {one}"
    return f"{count:,} of {counted(len(flags), 'image')} {one if count == 1 else several}"


def _option(name: str, used: bool) -> str:
    return f"leave {name} out" if used else f"try {name}"


# values


def _range(new: NewImages) -> Finding | None:
    if new.originals is None or not _many(new.dark):
        return None
    highest = float(new.originals.highest[new.dark].max())
    whole = new.data.pixel_max or float(new.originals.white[new.dark].max())
    subject = _images(new.dark, "uses", "use")
    message = f"{subject} values up to {highest:,g} of {whole:,g} only, which is nearly black"
    return Finding("range", message, _pixel_max(new, highest, highest <= 1))


def _cut_off(new: NewImages) -> Finding | None:
    if new.originals is None:
        return None
    # a config may cut off a little on purpose; without its word nothing is cut off but floats, which may be anything
    white = np.broadcast_to(new.data.pixel_max or new.originals.white, len(new.originals))
    beyond = new.originals.highest > white / (SMALL_PART if new.data.pixel_max else 1)
    if not _many(beyond):
        return None
    highest = float(new.originals.highest.max())
    message = f"{_images(beyond, 'has', 'have')} values up to {highest:,g}, and all from {white[beyond].min():,g} on are white"
    return Finding("range", message, _pixel_max(new, highest, fractions=False))


def _pixel_max(new: NewImages, highest: float, fractions: bool) -> str:
    """Return the option with the value of white; without it where the run's own reading has that value."""
    is_power = highest > 1 and math.log2(highest).is_integer()  # the digits of scikit-learn go from 0 to 16
    white = int(highest) if is_power else likely_white(highest, fractions)
    as_own = new.own.pixel_max or (float(new.originals.white.max()) if new.originals is not None else WHITE)
    used = new.data.pixel_max != new.own.pixel_max
    return "leave --pixel-max out" if used and white == as_own else f"try --pixel-max {white}"


def _empty(new: NewImages) -> Finding | None:
    # nearly black ones are blank once they are fitted, and are said already
    if not _many(new.blank) or (_many(new.dark) and not _flat(new)):
        return None
    message = _images(new.blank, "is of one colour, or nearly", "are of one colour, or nearly")
    if new.originals is not None and new.originals.transparent.any():
        remedy = "transparent parts become white and hide white ink; save them on a dark background"
        return Finding("empty", message, remedy)
    return Finding("empty", message, LOOK)


def _flat(new: NewImages) -> bool:
    """Return whether many originals are of one colour."""
    return new.originals is not None and _many(new.originals.highest == new.originals.lowest)


# how the image lies and is drawn


def _inverted(new: NewImages) -> Finding | None:
    if not _many(new.inverted):
        return None
    ours, theirs = ("dark on light", "light on dark")[:: new.ink_in_training]
    seen = f"{ours} as the network sees them, the training images {theirs}"
    remedy = _option("--invert", new.data.invert != new.own.invert)
    if new.inverted.mean() < 1 - SHARE:
        names = [name for name, flag in zip(new.names, new.inverted, strict=False) if flag]
        remedy += " for these alone" + (f", {some_of(names, MAX_NAMED)}" if names else "")
    return Finding("inverted", f"{_images(new.inverted, 'looks', 'look')} inverted ({seen})", remedy)


def _transposed(new: NewImages) -> Finding | None:
    orientation, drawn = new.trained_on.orientation, ~(new.blank | new.unlike)
    if orientation is None or drawn.mean() < MAX:  # a few images of another kind would decide for the others
        return None
    score = float(orientation.scores(new.each.maps[drawn]).mean())
    count = int(drawn.sum())
    return transposed_finding(new, count, "look transposed") if orientation.looks_transposed(score, count) else None


def transposed_finding(new: NewImages, count: int, look: str) -> Finding:
    """Return the finding on so many images whose rows and columns are swapped, in words such as `look transposed`."""
    subject = f"the image {look.replace('look', 'looks')}" if count == 1 else f"the {count:,} images {look}"
    remedy = _option("--transpose", new.data.transpose != new.own.transpose)
    return Finding("transposed", f"{subject} (rows and columns swapped), or turned by a quarter", remedy)


def transposed(images: Pixels, data: DataSpec) -> Pixels:
    """Return fitted images (N, H, W, C) as they are with rows and columns swapped, of the same shape."""
    return fit_array(images, data.model_copy(update={"transpose": True, "invert": False, "pixel_max": None, "fit": "stretch"}))


def _larger(new: NewImages) -> Finding | None:
    return _far(new, "larger", lambda sides, _, most: sides >= FAR * most)


def _smaller(new: NewImages) -> Finding | None:
    return _far(new, "smaller", lambda sides, least, _: sides * FAR <= least)


def _far(new: NewImages, how: str, is_far: Callable[[NDArray[np.int64], int, int], Flags]) -> Finding | None:
    """Return a finding on originals whose longer sides are far from those in training."""
    sizes = new.trained_on.original_sizes
    if new.originals is None or sizes is None:
        return None
    far = is_far(np.maximum(new.originals.heights, new.originals.widths), max(sizes[0]), max(sizes[1]))
    if not _many(far):
        return None
    theirs = f"up to {new.originals.heights[far].max()}×{new.originals.widths[far].max()} pixels"
    trained = f"{sizes[1][0]}×{sizes[1][1]}" if how == "larger" else f"{sizes[0][0]}×{sizes[0][1]}"
    message = f"{_images(far, 'is', 'are')} far {how} than the training images ({theirs}, in training {trained})"
    lost = "what is thin or small in them may be lost" if how == "larger" else "they have less detail"
    return Finding("size", message, f"{lost}; {LOOK}")


def _drawn_smaller(new: NewImages) -> Finding | None:
    extent = new.trained_on.extent
    least = extent.low - max(DRAWN_MARGIN * extent.low, DRAWN_SPREAD * (extent.mean - extent.low))
    small = ~(new.blank | new.unlike) & (new.each.extent < least)
    return _drawn(new, small, lambda mean: f"{extent.mean / mean:.1f} times smaller", CROP) if _many(small) else None


def _drawn_larger(new: NewImages) -> Finding | None:
    extent = new.trained_on.extent
    most = extent.high + max(DRAWN_MARGIN * extent.high, DRAWN_SPREAD * (extent.high - extent.mean))
    large = ~(new.blank | new.unlike) & (new.each.extent > most)
    remedy = f"leave a margin as in training, and {LOOK}"
    return _drawn(new, large, lambda mean: f"{mean / extent.mean:.1f} times larger", remedy) if _many(large) else None


def _drawn(new: NewImages, flags: Flags, times: Callable[[float], str], remedy: str) -> Finding:
    subject = _images(flags, "shows", "show")
    mean = max(float(new.each.extent[flags].mean()), 1e-3)
    return Finding("drawn", f"{subject} what is drawn {times(mean)} than the training images do", remedy)


# what a network says of labelled images


def confirmed(new: NewImages, found: Sequence[Finding], as_it_is: Flags, best: Flags, turned: Sequence[str]) -> list[Finding]:
    """Return findings of which those on how images lie are what a network confirms, where it does.

    Args:
        new: the images beside the training images.
        found: of `findings`.
        as_it_is: which of some labelled images the network names right (N,).
        best: the same for these images as it names most of them right.
        turned: the kinds of findings that are then true of all images: `inverted`, `transposed`.
    """
    suspected = [each for each in found if each.kind in _OPTIONS]
    gained, lost = int((best & ~as_it_is).sum()), int((as_it_is & ~best).sum())
    # McNemar's test (Psychometrika 12, 1947): how many of the images that are right in one way alone are so by chance
    if gained - lost <= CONFIDENT * math.sqrt(gained + lost):
        return list(found)
    used = {"inverted": new.data.invert != new.own.invert, "transposed": new.data.transpose != new.own.transpose}
    message = "; ".join(each.message for each in suspected if each.kind in turned) or f"the images look {' and '.join(turned)}"
    remedy = " and ".join(_option(_OPTIONS[kind], used[kind]) for kind in turned)
    accuracy = f"accuracy {best.mean():.2%} instead of {as_it_is.mean():.2%} on {_count(best)}"
    others = [each for each in found if each.kind not in _OPTIONS]
    return [Finding(" ".join(turned), message, f"{remedy} ({accuracy})"), *others]


def _count(flags: Flags) -> str:
    return counted(len(flags), "image")


# all else


def _coloured(new: NewImages) -> Finding | None:
    if new.trained_on.channels == 1 or new.trained_on.coloured > 1 - CONSISTENT or not _many(new.each.coloured):
        return None
    return Finding(
        "colour", f"{_images(new.each.coloured, 'has', 'have')} colour, the training images are grey", "convert them to grey"
    )


def _unlike(new: NewImages) -> Finding | None:
    """Return a finding on images that nothing else explains, such as noise."""
    if not _many(new.unlike) or _many(new.dark):
        return None
    parts = "; ".join(str(each) for each in new.beyond if each.flags.any())
    return Finding("unlike", f"{_images(new.unlike, 'is', 'are')} unlike the training images ({parts})", LOOK)


def _outside(values: Values, measure: Measure, margin: float) -> Flags:
    """Return which values are beyond those in training, by a margin and by as much as those differ from each other."""
    beyond = max(margin, measure.high - measure.low)
    return (values < measure.low - beyond) | (values > measure.high + beyond)
