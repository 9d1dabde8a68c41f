"""Measure the load of other processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ALONE = 0.1
"""Cores that other processes may keep busy without a warning."""
IDLE_FIELDS = (3, 4)
"""Of /proc/stat's first line, counted from 0: idle, and waiting for a disk."""
FIELDS = 8
"""The number of fields that count: user, nice, system, idle, iowait, irq, softirq, steal; user includes guests."""


def busy_seconds() -> float | None:
    """Read the CPU seconds of all processes since the start of the machine; None without /proc/stat.

    Time stolen by other virtual machines is counted (proc_stat(5)).
    """
    try:
        numbers = Path("/proc/stat").read_text().splitlines()[0].split()[1:][:FIELDS]
    except OSError:
        return None
    ticks = sum(int(number) for place, number in enumerate(numbers) if place not in IDLE_FIELDS)
    return ticks / os.sysconf("SC_CLK_TCK")


def cores_of_others(before: float | None, after: float | None, own: float, wall: float) -> float | None:
    """Compute the mean number of cores that others kept busy during `wall` seconds, of which this process took `own`."""
    if before is None or after is None:
        return None
    return max(0.0, after - before - own) / wall


def company(rows: Sequence[dict[str, Any]], cores: int) -> list[str]:
    """Warn if a contender was not alone on the machine in one of its rounds."""
    rounds = (figures for row in rows for figures in row["rounds"] if figures)
    most = max((figures["others_cores"] or 0.0 for figures in rounds), default=0.0)
    if most <= ALONE:
        return []
    return [
        f"not alone: other processes kept up to {most:.1f} of {cores} cores busy; measure again on an idle machine. "
        "Threads that wait for each other by spinning, as in PyTorch, slow down most"
    ]
