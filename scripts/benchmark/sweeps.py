"""Measure `cnnctl sweep` from outside: the time of 16 short trials in one and in several processes, and the memory of one."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .measure import measure, variables_for
from .ratios import spread

TRIALS = 16
CONFIG = f"""
data: {{source: digits, validation: 0.2}}
model:
  layers:
    - conv2d: {{filters: 16, kernel_size: 3, padding: same, activation: relu}}
    - max_pooling2d
    - flatten
    - dense: {{units: classes}}
train: {{epochs: 6, batch_size: 32}}
sweep:
  method: random
  trials: {TRIALS}
  repeat_best: 0
  parameters: {{train.optimizer.adam.learning_rate: {{low: 1e-4, high: 1e-2, log: true}}}}
"""
AT = (1, TRIALS)
"""Numbers of trials after which the memory of a process is read."""


def compare_sweeps(processes: Sequence[int], rounds: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure the seconds of whole sweeps in turn, and the memory of a process that trains alone.

    Args:
        processes: the numbers of processes to compare.
        rounds: measurements of each.
        folder: for temporary files.
        say: prints a line after each sweep.

    Raises:
        OSError: a sweep failed.
    """
    config = folder / "sweep.yaml"
    config.write_text(CONFIG)
    taken: dict[int, list[dict[str, Any]]] = {count: [] for count in processes}
    for number in range(rounds):
        for count in processes:
            taken[count].append(_sweep(config, count, folder / f"{count}-{number}", folder))
            say(f"round {number + 1}: {count} processes, {taken[count][-1]['wall_seconds']:.1f} s")
    rows = [{"processes": count, **_summary(figures), "rounds": figures} for count, figures in taken.items()]
    return {"trials": TRIALS, "sweeps": rows}


def _summary(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = {name: spread([each[name] for each in figures if each[name] is not None]) for name in figures[0]}
    return {name: each.as_plain() for name, each in found.items() if each}


def _sweep(config: Path, processes: int, to: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "cnnctl", "sweep", str(config), "--dir", str(to), "--processes", str(processes), "--quiet"]
    with _Memory(to) as memory:
        done = measure([*command, "--format", "json"], folder, variables_for(sys.executable, folder / "cache"))
    if done.exit_code:
        raise OSError(1, "\n".join(["a sweep failed:", *done.last_lines()]))
    results = json.loads(done.stdout)
    return {
        "wall_seconds": done.wall_seconds,
        "train_seconds": sum(trial["seconds"] for trial in results["trials"]),
        "others_cores": done.others_cores,
        **{f"bytes_after_{count}": memory.bytes.get(count) if processes == 1 else None for count in AT},
    }


class _Memory:
    """Read from /proc (Linux) the memory of the training process after each number of trials in `AT`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes: dict[int, int] = {}

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        seen = 0
        over = False
        while not over:
            over = self._stop.wait(0.05)  # and reads once more: the process ends right after its last trial
            seen = _resident(self._folder) or seen
            done = len(list(self._folder.glob("trial_*/result.json")))
            if done in AT and done not in self.bytes and seen:
                self.bytes[done] = seen


def _resident(folder: Path) -> int | None:
    """Read the resident memory of the process that a trial's lock names; None if no trial is locked."""
    for file in sorted(folder.glob("trial_*/.lock")):
        words = file.read_text().split()
        try:
            status = Path(f"/proc/{words[1]}/status").read_text()
        except (OSError, IndexError):
            continue
        return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), None)
    return None


def as_table(results: dict[str, Any]) -> str:
    """Draw the results as text."""
    lines = []
    for row in results["sweeps"]:
        wall, training = row["wall_seconds"], row["train_seconds"]
        spread_of = f"{wall['median']:.1f} s ({wall['min']:.1f}-{wall['max']:.1f})"
        busy = f"; other processes kept {row['others_cores']['median']:.2f} cores busy" if "others_cores" in row else ""
        lines.append(
            f"{results['trials']} trials, {row['processes']} at once: {spread_of}, {training['median']:.1f} s of it training steps{busy}"
        )
        if "bytes_after_1" in row and f"bytes_after_{TRIALS}" in row:
            first, last = (row[f"bytes_after_{count}"]["median"] / 1e6 for count in AT)
            lines.append(f"  memory of its process: {first:.0f} MB after 1 trial, {last:.0f} MB after {TRIALS}")
    return "\n".join(lines)
