"""Collect the figures of all rounds into the results, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .ratios import RATIOS, Rounds, quotients, share_of_peak, spread, spreads
from .rounds import Failure

Results = dict[str, Any]
"""The content of the file of `--output`."""


def contender_rows(rounds: Mapping[str, Rounds], macs: int | None, gflops: Mapping[str, float]) -> list[dict[str, Any]]:
    """Build a row per contender: medians, spreads, share of the peak, and every round.

    Args:
        rounds: the figures of each contender.
        macs: multiply-accumulates (MACs) per image; None if unknown.
        gflops: the measured peak, by precision.
    """
    rows = []
    for name, figures in rounds.items():
        found = {figure: each.as_plain() for figure, each in spreads(figures).items()}
        texts = _texts(figures)
        rows.append({"name": name, **texts, **found, **_share(found, texts, macs, gflops), "rounds": list(figures)})
    return rows


def _texts(figures: Rounds) -> dict[str, str]:
    """Read device and precision from the first round that succeeded."""
    first: dict[str, Any] = next((each for each in figures if each is not None), None) or {}
    return {key: str(first[key]) for key in ("device", "precision") if key in first}


def _share(found: dict[str, Any], texts: dict[str, str], macs: int | None, gflops: Mapping[str, float]) -> dict[str, Any]:
    """Compute the share of the peak at the precision of the matrix products."""
    precision = texts.get("precision", "")
    if macs is None or precision not in gflops or "images_per_second" not in found:
        return {}
    speed = found["images_per_second"]["median"]
    return {"share_of_peak": share_of_peak(speed, macs, gflops[precision])}


def ratio_rows(rounds: dict[str, Rounds]) -> list[dict[str, Any]]:
    """Build a row per ratio whose contenders took part; above 1, cnnctl is better."""
    rows = []
    for ratio in RATIOS:
        found = quotients(ratio, rounds)
        middle = spread(found)
        if middle:
            rows.append({**asdict(ratio), **middle.as_plain(), "rounds": found})
    return rows


def failure_rows(failures: list[Failure]) -> list[dict[str, Any]]:
    """Build a row per failure."""
    return [asdict(failure) for failure in failures]
