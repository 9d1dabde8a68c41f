"""How long it takes to read a set from each source, with a cold and with a warm cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cnnctl.report.tables import markdown_table, show_bytes, text_table

from .growth import MNIST
from .measure import variables_for
from .rounds import Say

PROCESSES = Path(__file__).parent / "processes"
PLACES = {
    "idx": ("idx", "idx"),
    "idx .gz": ("idx", "idx_gz"),
    "npz": ("npz", "plain.npz"),
    "npz, compressed": ("npz", "compressed.npz"),
    "csv": ("csv", "train.csv"),
    "mat": ("mat", "set.mat"),
    "parquet": ("parquet", "train.parquet"),
    "folder of PNGs": ("folder", "folder"),
}
"""Source and path of each row."""
CONFIG = """
data: {{{where}, validation: 0.1, test: 0.1, image_size: [28, 28], channels: 1, classes: 10}}
model: {{layers: [flatten, {{dense: {{units: classes}}}}]}}
"""


@dataclass(frozen=True)
class Row:
    """The time to read one source: the median of the rounds, each in a process of its own.

    Attributes:
        source: the source and its format.
        images: the number of images read.
        bytes: the size of the files.
        cold_seconds: to check the config and read all images with an empty cache, without the start of Python and TensorFlow.
        warm_seconds: the same with a filled cache.
    """

    source: str
    images: int
    bytes: int
    cold_seconds: float
    warm_seconds: float


def source_rows(folder: Path, say: Say, rounds: int, count: int) -> list[Row]:
    """Measure a row per source.

    Raises:
        OSError: a file cannot be read or written.
    """
    mnist = _prepared_mnist()
    made = [sys.executable, PROCESSES / "originals.py", folder, str(count), *([mnist] if mnist else [])]
    say(f"writing {count:,} images in {len(PLACES)} kinds of files")
    subprocess.run(made, check=True, capture_output=True)
    wheres = {name: f"source: {source}, path: {folder / place}" for name, (source, place) in PLACES.items()}
    if mnist and count == MNIST:
        wheres["tfds"] = f"source: tfds, name: mnist, data_dir: {mnist}"
    return [_row(folder, name, where, rounds, count, say) for name, where in wheres.items()]


def _prepared_mnist() -> str | None:
    folder = os.environ.get("TFDS_DATA_DIR")
    return folder if folder and (Path(folder) / "mnist").is_dir() else None


def _row(folder: Path, name: str, where: str, rounds: int, count: int, say: Say) -> Row:
    say(name)
    (folder / "read.yaml").write_text(CONFIG.format(where=where))
    cache, cold, warm = folder / "decoded", list[float](), list[float]()
    for _ in range(rounds):
        shutil.rmtree(cache, ignore_errors=True)
        for times in (cold, warm):
            found = _read(folder, cache)
            times.append(found["load_seconds"] + found["read_seconds"])
    place = folder / PLACES[name][1] if name in PLACES else Path(os.environ["TFDS_DATA_DIR"]) / "mnist"
    files = [place] if place.is_file() else [each for each in place.rglob("*") if each.is_file()]
    return Row(name, count, sum(file.stat().st_size for file in files), median(cold), median(warm))


def _read(folder: Path, cache: Path) -> dict[str, float]:
    variables = {**variables_for(sys.executable, cache), "CNNCTL_CACHE_DIR": str(cache)}
    command = [sys.executable, PROCESSES / "read.py", "read.yaml"]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"reading failed: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def source_table(rows: Sequence[Row], form: str) -> str:
    """Draw the rows as text or Markdown."""
    columns = ["source", "images", "files", "cold", "warm"]
    cells = [
        [row.source, f"{row.images:,}", show_bytes(row.bytes), f"{row.cold_seconds:.2f} s", f"{row.warm_seconds:.2f} s"]
        for row in rows
    ]
    return (markdown_table if form == "markdown" else text_table)(columns, cells, 1)
