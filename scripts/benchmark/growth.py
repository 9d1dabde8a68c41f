"""How time and memory grow with images, width, depth and batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .contenders import Contender
from .ratios import spreads
from .rounds import Failure, Say, compete
from .settings import Settings, Size

MNIST = 60_000
"""Images of the split train, the validation part included."""
SHARES = (1 / 12, 1 / 4, 1 / 2, 1)
WIDTHS = (0.5, 1.0, 2.0)
DEPTHS = (2, 4, 8)
BATCH_SIZES = (32, 128, 512)
GROWING = ("cnnctl-custom", "keras", "torch-best")


@dataclass(frozen=True)
class Point:
    """One value of a quantity that grows.

    Attributes:
        grows: `images`, `width`, `depth` or `batch_size`.
        value: of that quantity.
        size: of the training, which may be a point of several curves.
    """

    grows: str
    value: float
    size: Size


def base(source: str, images: int | None) -> Size:
    """Choose the training around which the sizes vary. The bundled digits are too few to take fewer."""
    return Size(None if source == "digits" else images or MNIST)


def points(middle: Size) -> list[Point]:
    """List the points, each differing from the middle in one quantity."""
    images = [round(share * middle.images) for share in SHARES] if middle.images else []
    grown: dict[str, Sequence[float]] = {"images": images, "width": WIDTHS, "depth": DEPTHS, "batch_size": BATCH_SIZES}
    return [Point(grows, value, _varied(middle, grows, value)) for grows, values in grown.items() for value in values]


def _varied(size: Size, grows: str, value: Any) -> Size:
    return replace(size, **{grows: value})


def grow(
    contenders: Sequence[Contender], settings: Settings, wanted: Sequence[Point], rounds: int, folder: Path, say: Say
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Measure a row of figures per point and contender; return them and the failures. Each training is done once per round."""
    outcomes = {
        size: compete(contenders, settings.make(size=size), rounds, folder, say, str(size))
        for size in dict.fromkeys(point.size for point in wanted)
    }
    rows = [
        {"grows": point.grows, "value": point.value, "contender": name, **_middle(figures), "rounds": figures}
        for point in wanted
        for name, figures in outcomes[point.size].rounds.items()
        if any(figures)
    ]
    return rows, [failure for outcome in outcomes.values() for failure in outcome.failures]


def _middle(figures: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """Compute the median of each figure."""
    return {name: each.median for name, each in spreads(figures).items()}
