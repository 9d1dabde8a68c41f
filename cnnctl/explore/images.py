"""Choose the images of a page: some right, the worst mistakes, one of each class, and partners for batch statistics."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnctl.data.image_set import ImageSet
from cnnctl.data.images import WHITE, Pixels
from cnnctl.data.inspect.statistics import INK

Probabilities = NDArray[np.floating[Any]]
Positions = NDArray[np.int64]
BATCH = 127
"""Partners of an image in the largest batch of the page, 128."""
MAX_SCORED = 10_000
"""Images of a split that are classified to find mistakes: all of MNIST's."""
_SEED = 0
"""Of the order of partners, so that a page written twice is the same."""
_LEAST_STROKE = 0.5


@dataclass(frozen=True)
class Entry:
    """An image of a page.

    Attributes:
        pixels: (H, W, C), prepared as for the network.
        label: its class, an index into the page's class names; None if unknown.
        name: such as `test 17`, its split and its position there, from 0.
        tags: `right`, `worst`, `class`, `support` or `query`.
    """

    pixels: Pixels
    label: int | None
    name: str
    tags: tuple[str, ...] = ()

    def as_plain(self) -> dict[str, Any]:
        """Convert to JSON types, the pixels in base64."""
        text = base64.b64encode(np.ascontiguousarray(self.pixels).tobytes()).decode()
        return {"pixels": text, "label": self.label, "tags": list(self.tags), "name": self.name}


@dataclass(frozen=True)
class PageImages:
    """The images of a page, and others of the same split as partners in batches."""

    images: list[Entry]
    batch: list[Entry]

    @property
    def size(self) -> int:
        """Bytes of the pixels."""
        return sum(entry.pixels.nbytes for entry in (*self.images, *self.batch))


def entries_of(images: ImageSet, positions: Sequence[int], split: str, tags: dict[int, tuple[str, ...]]) -> list[Entry]:
    """Read images of a split.

    Args:
        images: the split.
        positions: of the images to read, in the order of the entries.
        split: its name.
        tags: by position; none where missing.
    """
    chosen = images.take(np.asarray(positions, np.int64))
    pixels = np.asarray(chosen.images[:])
    return [
        Entry(pixels[row], int(chosen.labels[row]), f"{split} {position}", tags.get(position, ()))
        for row, position in enumerate(positions)
    ]


def chosen_tags(labels: Positions, probabilities: Probabilities | None, count: int) -> dict[int, tuple[str, ...]]:
    """Choose images by position, each with the reasons why.

    A third are one of each class (evenly chosen classes where they are more), a third the worst mistakes, with the highest
    loss first, and the rest images that are classified correctly, evenly spread. Without probabilities, as before training,
    the rest are evenly spread over all images.

    Args:
        labels: (N,), of the images.
        probabilities: (N, classes), of a trained network; None before training.
        count: the number of images to choose; fewer if there are fewer.
    """
    right = _right(labels, probabilities)
    tags: dict[int, list[str]] = {}

    def choose(positions: Positions, tag: str, most: int) -> None:
        for position in positions[: max(most, 0)].tolist():
            tags.setdefault(position, []).extend([tag] if tag else [])

    choose(_one_of_each(labels, right, max(count // 3, 1)), "class", count)
    if probabilities is not None:
        choose(_worst(labels, probabilities), "worst", min(count // 3, count - len(tags)))
    rest = np.setdiff1d(np.flatnonzero(right), list(tags))
    choose(_spread(rest, count - len(tags)), "right" if probabilities is not None else "", count - len(tags))
    if probabilities is not None:
        for position in np.flatnonzero(right[list(tags)]).tolist():
            reasons = tags[list(tags)[position]]
            reasons += [] if "right" in reasons else ["right"]
    return {position: tuple(reasons) for position, reasons in tags.items()}


def _right(labels: Positions, probabilities: Probabilities | None) -> NDArray[np.bool_]:
    """Find the images that are classified correctly; all before training, where it means nothing."""
    return np.ones(len(labels), np.bool_) if probabilities is None else np.asarray(probabilities.argmax(axis=1) == labels)


def _one_of_each(labels: Positions, right: NDArray[np.bool_], most: int) -> Positions:
    """Find the first image of each class, a correctly classified one if there is any; of at most `most` classes."""
    classes = _spread(np.unique(labels), most)
    order = np.argsort(~right, kind="stable")  # right ones first, in the order of the split
    known, first = np.unique(labels[order], return_index=True)
    return np.asarray(order[first[np.searchsorted(known, classes)]], np.int64)


def _worst(labels: Positions, probabilities: Probabilities) -> Positions:
    """Find the images that are classified wrongly, those with the highest loss first."""
    of_label = probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return np.asarray(wrong[np.argsort(of_label[wrong], kind="stable")], np.int64)


def _spread(positions: Positions, most: int) -> Positions:
    """Choose at most `most` positions, evenly spread."""
    if len(positions) <= most or most <= 0:
        return positions[: max(most, 0)]
    return positions[np.linspace(0, len(positions) - 1, most).round().astype(np.int64)]


def partners(count: int, taken: Sequence[int], most: int) -> list[int]:
    """Draw positions of other images for batches, in random order, which mixes their classes.

    Args:
        count: the number of images of the split.
        taken: positions of the images that are shown, which come last.
        most: the number to draw; fewer if there are fewer images.
    """
    order = np.random.default_rng(_SEED).permutation(count)
    shown = np.isin(order, np.asarray(taken, np.int64))
    return [int(position) for position in np.concatenate([order[~shown], order[shown]])[:most]]


@dataclass(frozen=True)
class Look:
    """How the prepared images look, for a drawing pad.

    Attributes:
        paper: the median of the outermost pixels, 0 to 255.
        ink: the value farthest from it that occurs.
        stroke: the typical width of a line, in pixels of the network's input.
    """

    paper: int
    ink: int
    stroke: float

    def as_plain(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return {"paper": self.paper, "ink": self.ink, "stroke": round(self.stroke, 2)}


def look_of(pixels: Pixels) -> Look:
    """Measure how images (N, H, W, C) look; white ink on black where there are none.

    A line of length L and width w has an area of L·w and two edges of length L. Counted as steps between pixels along both
    axes, the edges of lines in all directions are 4/π times as long, the mean of |cos| + |sin|. So the width is 8/π times
    the area divided by the steps.
    """
    if not pixels.size:
        return Look(0, WHITE, 2.0)
    grey = pixels.mean(axis=3, dtype=np.float32)  # (N, H, W)
    border = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], axis=1)
    paper = float(np.median(border))
    low, high = float(np.quantile(grey, 0.001)), float(np.quantile(grey, 0.999))
    ink = high if high - paper >= paper - low else low
    is_ink = np.abs(grey - paper) > INK * max(abs(ink - paper), 1)
    edges = (is_ink[:, 1:] != is_ink[:, :-1]).sum(axis=(1, 2)) + (is_ink[:, :, 1:] != is_ink[:, :, :-1]).sum(axis=(1, 2))
    widths = 8 / np.pi * is_ink.sum(axis=(1, 2)) / np.maximum(edges, 1)
    drawn = widths[(edges > 0) & (widths > 0)]
    limit = max(min(pixels.shape[1:3]) / 4, 1.0)
    stroke = float(np.clip(np.median(drawn), _LEAST_STROKE, limit)) if len(drawn) else limit / 3
    return Look(round(paper), round(ink), stroke)


def tall_first() -> bool:
    """Find out whether Pillow resizes the columns of tall images before their rows, as it does from version 13 on.

    Each pass rounds to integers, so the page must know the order to get the same pixels.
    """
    image = Image.fromarray((np.arange(60 * 9).reshape(60, 9) ** 2 % 251).astype(np.uint8))
    rows_first = image.resize((5, 60), Image.Resampling.BILINEAR).resize((5, 7), Image.Resampling.BILINEAR)
    return image.resize((5, 7), Image.Resampling.BILINEAR).tobytes() != rows_first.tobytes()
