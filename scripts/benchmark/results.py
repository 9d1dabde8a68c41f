"""Figures of all rounds → the results as programs read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .ratios import RATIOS, Rounds, quotients, share_of_peak, spread, spreads
from .rounds import Failure

Results = dict[str, Any]
"""What `--output` writes; plain values."""


def contender_rows(rounds: Mapping[str, Rounds], macs: int | None, gflops: Mapping[str, float]) -> list[dict[str, Any]]:
    """Returns a row for each contender that took part: medians, spreads, share of the peak, and every round.

    Args:
        rounds: the figures of each contender.
        macs: multiply-accumulates for one image; None where they are not known.
        gflops: the measured peak, by precision.
    """
    rows = []
    for name, figures in rounds.items():
        found = {figure: each.as_plain() for figure, each in spreads(figures).items()}
        texts = _texts(figures)
        rows.append({"name": name, **texts, **found, **_share(found, texts, macs, gflops), "rounds": list(figures)})
    return rows


def _texts(figures: Rounds) -> dict[str, str]:
    """Returns what the first round that went well says of device and precision."""
    said = next((each for each in figures if each is not None), None) or {}
    return {key: str(said[key]) for key in ("device", "precision") if key in said}


def _share(found: dict[str, Any], texts: dict[str, str], macs: int | None, gflops: Mapping[str, float]) -> dict[str, Any]:
    """Returns the share of the peak of the precision that the products are computed in."""
    precision = texts.get("precision", "").removeprefix("mixed_")
    if macs is None or precision not in gflops or "images_per_second" not in found:
        return {}
    speed = found["images_per_second"]["median"]
    return {"share_of_peak": share_of_peak(speed, macs, gflops[precision]), "peak_precision": precision}


def ratio_rows(rounds: dict[str, Rounds]) -> list[dict[str, Any]]:
    """Returns a row for each ratio whose contenders took part; above 1, cnnctl is better."""
    rows = []
    for ratio in RATIOS:
        found = quotients(ratio, rounds)
        middle = spread(found)
        if middle:
            rows.append({**asdict(ratio), **middle.as_plain(), "rounds": found})
    return rows


def failure_rows(failures: list[Failure]) -> list[dict[str, Any]]:
    """Returns who failed, and how."""
    return [asdict(failure) for failure in failures]
