"""Measure how the memory of a training grows with its images, kept in memory and streamed from disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnctl.report.tables import markdown_table, show_bytes, text_table

from .measure import variables_for
from .rounds import Say

SIDE, CHANNELS, CLASSES = 64, 3, 16
IMAGES = (8_192, 40_960, 163_840)
"""0.1, 0.5 and 2 GB, decoded."""
MODES = ("keep", "stream")
PROCESSES = Path(__file__).parent / "processes"
OFTEN = 0.01
"""Seconds between two measurements of a process."""
CONFIG = """
data: {{source: folder, path: {path}, validation: 0.1, test: 0.1, memory: {mode}}}
model: {{layers: [{{average_pooling2d: {{pool_size: 8}}}}, flatten, {{dense: {{units: classes}}}}]}}
train: {{epochs: 1, batch_size: 128}}
log: {{tensorboard: false}}
"""


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        images: of the whole set.
        mode: `keep` or `stream`.
        decoded_bytes: of all images.
        peak_bytes: peak anonymous memory: RssAnon of /proc/PID/status.
        wall_seconds: of the whole process, decoding included.
    """

    images: int
    mode: str
    decoded_bytes: int
    peak_bytes: int
    wall_seconds: float


def memory_rows(folder: Path, say: Say, counts: Sequence[int] = IMAGES) -> list[Row]:
    """Measure a row per number of images and mode; each training decodes the images itself.

    Raises:
        OSError: this system has no /proc, or a training failed.
    """
    rows = []
    for count in counts:
        images = folder / str(count)
        subprocess.run([sys.executable, PROCESSES / "images.py", images, str(count), str(CLASSES), str(SIDE)], check=True)
        for mode in MODES:
            say(f"{count:,} images of {SIDE}×{SIDE}×{CHANNELS}, memory: {mode}")
            rows.append(_trained(folder, images, count, mode))
        shutil.rmtree(images)
    return rows


def _trained(folder: Path, images: Path, count: int, mode: str) -> Row:
    (folder / "memory.yaml").write_text(CONFIG.format(path=images, mode=mode))
    cache = folder / "decoded"
    command = [sys.executable, "-m", "cnnctl", "train", "memory.yaml", "--quiet", "--device", "cpu"]
    variables = {**variables_for(sys.executable, cache), "CNNCTL_CACHE_DIR": str(cache)}
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(OFTEN)
        printed = process.stderr.read().decode(errors="replace") if process.stderr else ""
    if process.returncode:
        raise OSError(f"the training failed: {printed}")
    shutil.rmtree(cache)
    return Row(count, mode, count * SIDE * SIDE * CHANNELS, peak, time.perf_counter() - start)


def anonymous_bytes(process: int) -> int:
    """Read the anonymous memory of a process; 0 if it has just ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = (line.split() for line in status.splitlines())
    return next((int(words[1]) * 1024 for words in lines if words and words[0] == "RssAnon:"), 0)


def memory_table(rows: Sequence[Row], form: str) -> str:
    """Draw the rows as text or Markdown."""
    columns = ["memory", "images", "decoded", "peak, anonymous", "whole"]
    cells = [
        [row.mode, f"{row.images:,}", show_bytes(row.decoded_bytes), show_bytes(row.peak_bytes), f"{row.wall_seconds:.1f} s"]
        for row in rows
    ]
    return (markdown_table if form == "markdown" else text_table)(columns, cells, 1)
