"""Figures of rounds → medians, spreads, and ratios within a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

OPERATIONS_PER_MAC = 2
FORWARD_AND_BACKWARD = 3
"""Passes that a training step costs, in forward passes: the gradients of inputs and of weights are one each."""

Rounds = Sequence[dict[str, Any] | None]


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and how far they lie apart."""

    median: float
    least: float
    most: float

    def as_plain(self) -> dict[str, float]:
        """Returns it as programs read it."""
        return {"median": self.median, "min": self.least, "max": self.most}


def spread(values: Sequence[float]) -> Spread | None:
    """Returns the spread of values; None for none."""
    return Spread(median(values), min(values), max(values)) if values else None


def spreads(rounds: Rounds) -> dict[str, Spread]:
    """Returns the spread of each figure that is a number, over the rounds that have it."""
    done = [figures for figures in rounds if figures is not None]
    names = dict.fromkeys(name for figures in done for name, value in figures.items() if isinstance(value, int | float))
    return {name: Spread(median(values), min(values), max(values)) for name in names if (values := _values(done, name))}


def _values(done: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [figures[name] for figures in done if figures.get(name) is not None]


@dataclass(frozen=True)
class Ratio:
    """A comparison; above 1, cnnctl is the better of the two.

    Attributes:
        meaning: for people.
        figure: that is compared.
        over, under: names of contenders; `over` is divided by `under`.
    """

    meaning: str
    figure: str
    over: str
    under: str


SPEED, WHOLE, MEMORY = "images_per_second", "wall_seconds", "peak_bytes"
RATIOS = (
    Ratio("images a second, custom loop to Keras", SPEED, "cnnctl-custom", "keras"),
    Ratio("images a second, custom loop to PyTorch", SPEED, "cnnctl-custom", "torch"),
    Ratio("images a second, custom loop to Lightning", SPEED, "cnnctl-custom", "lightning"),
    Ratio("images a second, custom loop in float32 to Keras", SPEED, "cnnctl-float32", "keras"),
    Ratio("images a second, custom loop in float32 to PyTorch", SPEED, "cnnctl-float32", "torch"),
    Ratio("images a second, fit loop to Keras", SPEED, "cnnctl-fit", "keras"),
    Ratio("whole process, Keras to custom loop", WHOLE, "keras", "cnnctl-custom"),
    Ratio("whole process, PyTorch to custom loop", WHOLE, "torch", "cnnctl-custom"),
    Ratio("peak memory, Keras to custom loop", MEMORY, "keras", "cnnctl-custom"),
    Ratio("peak memory, PyTorch to custom loop", MEMORY, "torch", "cnnctl-custom"),
    Ratio("summary, Keras to cnnctl", WHOLE, "keras-summary", "cnnctl-summary"),
)


def quotients(ratio: Ratio, rounds: Mapping[str, Rounds]) -> list[float]:
    """Returns the ratio in each round that has both figures; none where a contender did not take part."""
    pairs = zip(rounds.get(ratio.over, ()), rounds.get(ratio.under, ()), strict=False)
    return [over[ratio.figure] / under[ratio.figure] for over, under in pairs if over is not None and under is not None]


def share_of_peak(images_per_second: float, macs: int, gflops: float) -> float:
    """Returns which share of the operations that the machine can do a training does, from 0 to 1.

    A little high: the gradient of the images themselves, which nobody needs, is counted too.
    """
    operations = images_per_second * macs * OPERATIONS_PER_MAC * FORWARD_AND_BACKWARD
    return operations / (gflops * 1e9)
