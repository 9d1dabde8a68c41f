"""Measure the speedup of several workers with one core each, which communicate over loopback."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnctl.report.tables import markdown_table, text_table

from .measure import variables_for
from .rounds import Say

CONFIG = Path(__file__).parents[2] / "configs" / "mnist.yaml"
BATCH_SIZES = (128, 512)
DIGITS = ("data.source=digits", "data.name=null", "data.test=0.2", "data.image_size=[28, 28]")


@dataclass(frozen=True)
class Setup:
    """The processes of a training.

    Attributes:
        name: its description.
        cores: of each worker.
        strategy: `train.strategy`; several workers require `multi_worker`.
    """

    name: str
    cores: tuple[frozenset[int], ...]
    strategy: str


@dataclass(frozen=True)
class Row:
    """One setup with one batch size.

    Attributes:
        speeds: images/s in the fastest epoch, per round.
        ratios: to the first setup in the same round.
    """

    setup: str
    batch_size: int
    speeds: tuple[float, ...]
    ratios: tuple[float, ...]


def setups() -> list[Setup]:
    """List the setups for this machine; the others are compared with the first."""
    first, *more = sorted(os.sched_getaffinity(0))
    alone = frozenset({first})
    listed = [Setup("1 process, 1 core", (alone,), "one_device"), Setup("1 worker, 1 core", (alone,), "multi_worker")]
    if more:
        listed.append(Setup("2 workers, 1 core each", (alone, frozenset(more[:1])), "multi_worker"))
        listed.append(Setup("1 process, 2 cores", (alone | frozenset(more[:1]),), "one_device"))
    return listed


def worker_rows(data: str, rounds: int, epochs: int, folder: Path, say: Say) -> list[Row]:
    """Measure a row per setup and batch size; in each round they run in turn.

    Raises:
        OSError: a training failed.
    """
    speeds: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for batch_size in BATCH_SIZES:
            for setup in setups():
                say(f"round {number + 1} of {rounds}: {setup.name}, batches of {batch_size}")
                speed = _speed(setup, batch_size, data, epochs, folder)
                speeds.setdefault((setup.name, batch_size), []).append(speed)
    base = setups()[0].name
    return [
        Row(name, size, tuple(each), tuple(own / its for own, its in zip(each, speeds[base, size], strict=True)))
        for (name, size), each in speeds.items()
    ]


def _speed(setup: Setup, batch_size: int, data: str, epochs: int, folder: Path) -> float:
    """Train, and return the images/s of the fastest epoch; TensorFlow compiles in the first."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    changes = [
        *(DIGITS if data == "digits" else ()), f"train.batch_size={batch_size}", f"train.epochs={epochs}",
        f"train.strategy={setup.strategy}", "train.precision=float32", "train.batch_parts=1", "log.tensorboard=false",
    ]  # fmt: skip
    command = [sys.executable, "-m", "cnnctl", "train", str(CONFIG), "--run-dir", "run", "--device", "cpu"]
    command += [word for change in changes for word in ("--set", change)]
    ports = free_ports(len(setup.cores))
    started = [_start(command, folder, cores, ports, index) for index, cores in enumerate(setup.cores)]
    printed = [process.communicate()[1].decode(errors="replace") for process in started]
    failed = next((text for process, text in zip(started, printed, strict=True) if process.returncode), None)
    if failed is not None:
        raise OSError(f"{setup.name}: the training failed: {failed}")
    with (folder / "run" / "metrics.csv").open() as opened:
        return max(float(row["images_per_second"]) for row in csv.DictReader(opened))


def _start(command: list[str], folder: Path, cores: frozenset[int], ports: list[int], index: int) -> subprocess.Popen[bytes]:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    variables = {
        **variables_for(sys.executable, folder / "cache"),
        "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
    }
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # child processes inherit the affinity
    try:
        return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    finally:
        os.sched_setaffinity(0, own)


def free_ports(count: int) -> list[int]:
    """Find free ports of this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def worker_table(rows: Sequence[Row], form: str) -> str:
    """Draw the rows as text or Markdown: medians, and the lowest and highest ratio."""
    columns = ["setup", "batch", "images/s", "ratio", "from", "to"]
    cells = [
        [
            row.setup,
            f"{row.batch_size}",
            f"{statistics.median(row.speeds):,.0f}",
            f"{statistics.median(row.ratios):.2f}",
            f"{min(row.ratios):.2f}",
            f"{max(row.ratios):.2f}",
        ]
        for row in rows
    ]
    return (markdown_table if form == "markdown" else text_table)(columns, cells, 1)
