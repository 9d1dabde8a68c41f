"""Describe how new images differ from the training images of a run, with the option that helps. NumPy alone.

The thresholds were measured as those of `new_images`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnctl.data.image_set import some_of
from cnnctl.data.images import WHITE, Pixels, fit_array, likely_white
from cnnctl.data.new_images import CONSISTENT, SMALL_PART, Flags, NewImages
from cnnctl.errors import counted
from cnnctl.spec.dataset import DataSpec

SHARE = 0.2
"""Share of the images, at least one, that must differ for a finding: a folder may be mixed."""
FAR = 4
"""Factor of size compared with the training images."""
DRAWN_MARGIN, DRAWN_SPREAD = 0.25, 0.6
"""Margin of the extent of ink: the larger of a share of the limit in training and of its distance from the mean. Digits of half
the size are outside, with an accuracy of 36 %; those of 0.8 of the size are inside, with 96 %."""
MIN_ORIENTED = 0.5
"""Share of the images that must resemble training images in everything but orientation for a finding on all."""
MAX_NAMED = 3
CONFIDENT = 4
"""Standard errors by which a network must classify more images correctly."""
AS_IT_IS = ""
"""The variant of images without any change."""
_OPTIONS = {"inverted": "--invert", "transposed": "--transpose"}
LOOK = "look at them with predict --show OUT.png"
CROP = f"crop them so that the drawing fills the image as in training, and {LOOK}"


@dataclass(frozen=True)
class Finding:
    """A difference between new images and the training images, with a remedy.

    Attributes:
        kind: `range`, `empty`, `inverted`, `transposed`, `size`, `drawn`, `colour` or `unlike`.
        message: the difference, and the number of images.
        remedy: what to try.
    """

    kind: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}"


def findings(new: NewImages) -> list[Finding]:
    """List the differences between new images and the training images, causes before consequences."""
    checks: tuple[Callable[[NewImages], Finding | None], ...] = (
        _range, _cut_off, _empty, _inverted, _transposed, _larger, _smaller, _drawn_smaller, _drawn_larger, _coloured, _unlike,
    )  # fmt: skip
    found = [check(new) for check in checks]
    return [each for each in found if each]


def _many(flags: Flags) -> bool:
    return int(flags.sum()) >= max(1.0, SHARE * len(flags))


def _images(flags: Flags, one: str, several: str) -> str:
    """Start a sentence with a count of images, such as `3 of 5 images look`, with the verb in singular or plural."""
    count = int(flags.sum())
    if len(flags) == 1:
        return f"the image {one}"
    return f"{count:,} of {counted(len(flags), 'image')} {one if count == 1 else several}"


def _option(name: str, used: bool) -> str:
    return f"remove {name}" if used else f"try {name}"


# values


def _range(new: NewImages) -> Finding | None:
    if new.originals is None or not _many(new.dark):
        return None
    highest = float(new.originals.highest[new.dark].max())
    whole = new.data.pixel_max or float(new.originals.white[new.dark].max())
    subject = _images(new.dark, "uses", "use")
    message = f"{subject} values up to {highest:,g} of {whole:,g}, which is nearly black"
    return Finding("range", message, _pixel_max(new, highest, highest <= 1))


def _cut_off(new: NewImages) -> Finding | None:
    if new.originals is None:
        return None
    # a config may clip a little on purpose; without pixel_max only floats, of any range, are clipped
    white = np.broadcast_to(new.data.pixel_max or new.originals.white, len(new.originals))
    beyond = new.originals.highest > white / (SMALL_PART if new.data.pixel_max else 1)
    if not _many(beyond):
        return None
    highest = float(new.originals.highest.max())
    message = f"{_images(beyond, 'has', 'have')} values up to {highest:,g}, but all above {white[beyond].min():,g} become white"
    return Finding("range", message, _pixel_max(new, highest, fractions=False))


def _pixel_max(new: NewImages, highest: float, fractions: bool) -> str:
    """Suggest the option with the value of white, or its removal where the run's own setting is that value."""
    is_power = highest > 1 and math.log2(highest).is_integer()  # the digits of scikit-learn go from 0 to 16
    white = int(highest) if is_power else likely_white(highest, fractions)
    as_own = new.own.pixel_max or (float(new.originals.white.max()) if new.originals is not None else WHITE)
    used = new.data.pixel_max != new.own.pixel_max
    return "remove --pixel-max" if used and white == as_own else f"try --pixel-max {white}"


def _empty(new: NewImages) -> Finding | None:
    # nearly black images are blank after fitting, and reported by _range
    if not _many(new.blank) or (_many(new.dark) and not _flat(new)):
        return None
    message = _images(new.blank, "has a single colour, or nearly", "have a single colour, or nearly")
    if new.originals is not None and new.originals.transparent.any():
        remedy = "transparent parts become white, which hides white ink; save the images on a dark background"
        return Finding("empty", message, remedy)
    return Finding("empty", message, LOOK)


def _flat(new: NewImages) -> bool:
    """Return True where many originals have a single colour."""
    return new.originals is not None and _many(new.originals.highest == new.originals.lowest)


# how the image lies and is drawn


def _inverted(new: NewImages) -> Finding | None:
    if not _many(new.inverted):
        return None
    ours, theirs = ("dark on light", "light on dark")[:: new.ink_in_training]
    seen = f"{ours} in the network's input, {theirs} in training"
    remedy = _option("--invert", new.data.invert != new.own.invert)
    if new.inverted.mean() < 1 - SHARE:
        names = [name for name, flag in zip(new.names, new.inverted, strict=False) if flag]
        remedy += " for these only" + (f", {some_of(names, MAX_NAMED)}" if names else "")
    return Finding("inverted", f"{_images(new.inverted, 'looks', 'look')} inverted ({seen})", remedy)


def _transposed(new: NewImages) -> Finding | None:
    orientation, drawn = new.trained_on.orientation, ~(new.blank | new.unlike)
    if orientation is None or drawn.mean() < MIN_ORIENTED:  # else a few images of another kind would decide for all
        return None
    score = float(orientation.scores(new.each.maps[drawn]).mean())
    count = int(drawn.sum())
    return transposed_finding(new, count, "look transposed") if orientation.looks_transposed(score, count) else None


def transposed_finding(new: NewImages, count: int, look: str) -> Finding:
    """Build the finding on a number of transposed images; `look` is the verb phrase, such as `look transposed`."""
    subject = f"the image {look.replace('look', 'looks')}" if count == 1 else f"the {count:,} images {look}"
    remedy = _option("--transpose", new.data.transpose != new.own.transpose)
    return Finding("transposed", f"{subject} (rows and columns swapped), or rotated by 90 degrees", remedy)


def transposed(images: Pixels, data: DataSpec) -> Pixels:
    """Swap rows and columns of fitted images (N, H, W, C), resized to the same shape."""
    return fit_array(images, data.model_copy(update={"transpose": True, "invert": False, "pixel_max": None, "fit": "stretch"}))


def _larger(new: NewImages) -> Finding | None:
    return _far(new, "larger", lambda sides, _, most: sides >= FAR * most)


def _smaller(new: NewImages) -> Finding | None:
    return _far(new, "smaller", lambda sides, least, _: sides * FAR <= least)


def _far(new: NewImages, how: str, is_far: Callable[[NDArray[np.int64], int, int], Flags]) -> Finding | None:
    """Build a finding on originals whose longer sides are far outside their range in training."""
    sizes = new.trained_on.original_sizes
    if new.originals is None or sizes is None:
        return None
    far = is_far(np.maximum(new.originals.heights, new.originals.widths), max(sizes[0]), max(sizes[1]))
    if not _many(far):
        return None
    theirs = f"up to {new.originals.heights[far].max()}×{new.originals.widths[far].max()} pixels"
    trained = f"{sizes[1][0]}×{sizes[1][1]}" if how == "larger" else f"{sizes[0][0]}×{sizes[0][1]}"
    message = f"{_images(far, 'is', 'are')} far {how} than the training images ({theirs}, in training {trained})"
    lost = "thin or small details may be lost" if how == "larger" else "they have less detail"
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
    return Finding("drawn", f"{subject} drawings {times(mean)} than in training", remedy)


# confirmed by a network on labelled images


def confirmed(new: NewImages, found: Sequence[Finding], as_it_is: Flags, best: Flags, turned: Sequence[str]) -> list[Finding]:
    """Replace findings on orientation and polarity by those that a network confirms.

    Args:
        new: the images beside the training images.
        found: from `findings`.
        as_it_is: True for labelled images that the network classifies correctly (N,).
        best: the same after the change with the highest accuracy.
        turned: the kinds of findings of that change: `inverted`, `transposed`.
    """
    suspected = [each for each in found if each.kind in _OPTIONS]
    gained, lost = int((best & ~as_it_is).sum()), int((as_it_is & ~best).sum())
    # McNemar's test (Psychometrika 12, 1947) on the images that are correct in only one of the two variants
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
        "colour",
        f"{_images(new.each.coloured, 'has', 'have')} colour, but the training images are grey",
        "convert them to grey",
    )


def _unlike(new: NewImages) -> Finding | None:
    """Build a finding on images that nothing else explains, such as noise."""
    if not _many(new.unlike) or _many(new.dark):
        return None
    parts = "; ".join(str(each) for each in new.beyond if each.flags.any())
    return Finding("unlike", f"{_images(new.unlike, 'is', 'are')} unlike the training images ({parts})", LOOK)
