"""How time and memory grow with images, width and batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contenders import Contender
from .rounds import Failure, Say, compete
from .settings import Settings

IMAGES = (5_000, 15_000, 30_000, 60_000)
"""Of the split train, the validation part included."""
WIDTHS = (0.5, 1.0, 2.0)
BATCH_SIZES = (32, 128, 512)
GROWING = ("cnnctl-custom", "keras")
Size = tuple[int | None, float, int | None]
"""Images, width, batch size: the arguments of `Settings.make`."""


@dataclass(frozen=True)
class Point:
    """One value of a quantity that grows.

    Attributes:
        grows: `images`, `width` or `batch_size`.
        value: of that quantity.
        size: of the training, which may be a point of several curves.
    """

    grows: str
    value: float
    size: Size


def points(source: str) -> list[Point]:
    """List the points of a data source. The bundled digits are too few to take fewer."""
    images = [Point("images", count, (count, 1.0, 128)) for count in IMAGES] if source == "mnist" else []
    most = IMAGES[-1] if source == "mnist" else None
    widths = [Point("width", width, (most, width, 128)) for width in WIDTHS]
    return [*images, *widths, *(Point("batch_size", size, (most, 1.0, size)) for size in BATCH_SIZES)]


def grow(
    contenders: Sequence[Contender], settings: Settings, folder: Path, say: Say
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Measure a row of figures per point and contender; return them and the failures. Each training is done once."""
    growing = [each for each in contenders if each.name in GROWING]
    wanted = points(settings.source)
    outcomes = {
        size: compete(growing, settings.make(*size), 1, folder, say, _shown(size))
        for size in dict.fromkeys(point.size for point in wanted)
    }
    rows = [
        {"grows": point.grows, "value": point.value, "contender": name, **figures}
        for point in wanted
        for name, (figures,) in outcomes[point.size].rounds.items()
        if figures is not None
    ]
    return rows, [failure for outcome in outcomes.values() for failure in outcome.failures]


def _shown(size: Size) -> str:
    images, width, batch_size = size
    return f"{images or 'all'} images, width ×{width:g}, batches of {batch_size}"
