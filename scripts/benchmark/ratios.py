"""Figures of rounds → medians, spreads, and ratios within a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

OPERATIONS_PER_MAC = 2
FORWARD_AND_BACKWARD = 3
"""The cost of a training step in forward passes: the gradients of inputs and of weights cost one each."""

Rounds = Sequence[dict[str, Any] | None]


@dataclass(frozen=True)
class Spread:
    """The median, minimum and maximum over rounds."""

    median: float
    least: float
    most: float

    def as_plain(self) -> dict[str, float]:
        """Return the values by name, for JSON."""
        return {"median": self.median, "min": self.least, "max": self.most}


def spread(values: Sequence[float]) -> Spread | None:
    """Compute the spread of values; None if there are none."""
    return Spread(median(values), min(values), max(values)) if values else None


def spreads(rounds: Rounds) -> dict[str, Spread]:
    """Compute the spread of each numeric figure over the rounds that have it."""
    done = [figures for figures in rounds if figures is not None]
    names = dict.fromkeys(name for figures in done for name, value in figures.items() if isinstance(value, int | float))
    return {name: Spread(median(values), min(values), max(values)) for name in names if (values := _values(done, name))}


def _values(done: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [figures[name] for figures in done if figures.get(name) is not None]


@dataclass(frozen=True)
class Ratio:
    """A comparison of two contenders; above 1, cnnctl is better.

    Attributes:
        meaning: its description.
        figure: the figure compared.
        over, under: names of contenders; `over` is divided by `under`.
    """

    meaning: str
    figure: str
    over: str
    under: str


SPEED, WHOLE, MEMORY = "images_per_second", "wall_seconds", "peak_bytes"
RATIOS = (
    Ratio("images/s, custom loop to Keras", SPEED, "cnnctl-custom", "keras"),
    Ratio("images/s, custom loop to PyTorch", SPEED, "cnnctl-custom", "torch"),
    Ratio("images/s, custom loop to Lightning", SPEED, "cnnctl-custom", "lightning"),
    Ratio("images/s, custom loop in float32 to Keras", SPEED, "cnnctl-float32", "keras"),
    Ratio("images/s, custom loop in float32 to PyTorch", SPEED, "cnnctl-float32", "torch"),
    Ratio("images/s, fit loop to Keras", SPEED, "cnnctl-fit", "keras"),
    Ratio("whole process, Keras to custom loop", WHOLE, "keras", "cnnctl-custom"),
    Ratio("whole process, PyTorch to custom loop", WHOLE, "torch", "cnnctl-custom"),
    Ratio("peak memory, Keras to custom loop", MEMORY, "keras", "cnnctl-custom"),
    Ratio("peak memory, PyTorch to custom loop", MEMORY, "torch", "cnnctl-custom"),
    Ratio("summary, Keras to cnnctl", WHOLE, "keras-summary", "cnnctl-summary"),
)


def quotients(ratio: Ratio, rounds: Mapping[str, Rounds]) -> list[float]:
    """Compute the ratio per round that has both figures; empty if a contender did not take part."""
    pairs = zip(rounds.get(ratio.over, ()), rounds.get(ratio.under, ()), strict=False)
    return [over[ratio.figure] / under[ratio.figure] for over, under in pairs if over is not None and under is not None]


def share_of_peak(images_per_second: float, macs: int, gflops: float) -> float:
    """Compute the fraction of the peak operations per second that a training reaches, from 0 to 1.

    Slightly too high: the gradient with respect to the images is counted too, and never computed.
    """
    operations = images_per_second * macs * OPERATIONS_PER_MAC * FORWARD_AND_BACKWARD
    return operations / (gflops * 1e9)
