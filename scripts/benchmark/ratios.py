"""Figures of rounds → medians, spreads, and ratios within a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


SPEED, WHOLE, START, END, MEMORY = "images_per_second", "wall_seconds", "start_seconds", "end_seconds", "peak_bytes"
OWN = {"cnnctl-custom": "custom loop", "cnnctl-float32": "custom loop in float32", "cnnctl-fit": "fit loop"}
OTHERS = {
    "keras": "Keras",
    "keras-bfloat16": "Keras in bfloat16",
    "torch": "PyTorch",
    "torch-best": "PyTorch at its best",
    "lightning": "Lightning",
}
FASTER = (
    *(("cnnctl-custom", other) for other in OTHERS),
    ("cnnctl-float32", "keras"),
    ("cnnctl-float32", "torch"),
    ("cnnctl-fit", "keras"),
)
LESS = {WHOLE: "whole process", START: "until the first step", END: "after the last step", MEMORY: "peak memory"}
"""Figures of which less is better."""
RATIOS = (
    *(Ratio(f"images/s, {OWN[own]} to {OTHERS[other]}", SPEED, own, other) for own, other in FASTER),
    *(
        Ratio(f"{what}, {OTHERS[other]} to custom loop", figure, other, "cnnctl-custom")
        for figure, what in LESS.items()
        for other in ("keras", "torch", "torch-best")
    ),
    Ratio("summary, Keras to cnnctl", WHOLE, "keras-summary", "cnnctl-summary"),
)


def quotients(ratio: Ratio, rounds: Mapping[str, Rounds]) -> list[float]:
    """Compute the ratio per round that has both figures; empty if a contender did not take part."""
    pairs = zip(*(map(_figure(ratio.figure), rounds.get(name, ())) for name in (ratio.over, ratio.under)), strict=False)
    return [over / under for over, under in pairs if over is not None and under is not None]


def _figure(name: str) -> Callable[[dict[str, Any] | None], float | None]:
    return lambda figures: None if figures is None else figures.get(name)


def share_of_peak(images_per_second: float, macs: int, gflops: float) -> float:
    """Compute the fraction of the peak operations per second that a training reaches, from 0 to 1.

    Slightly too high: the gradient with respect to the images is counted too, and never computed.
    """
    operations = images_per_second * macs * OPERATIONS_PER_MAC * FORWARD_AND_BACKWARD
    return operations / (gflops * 1e9)
