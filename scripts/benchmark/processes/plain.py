"""Arguments, stopwatch and report of the plain scripts."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any


def arguments() -> argparse.Namespace:
    """Parse the arguments of the benchmark: data (.npz), epochs, batch_size, filters (two), padding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--filters", type=int, nargs=2, required=True)
    parser.add_argument("--padding", choices=("valid", "same"), required=True)
    return parser.parse_args()


class Stopwatch:
    """Measure the time of the training steps per epoch.

    Attributes:
        start_seconds: from the start of the process to the first step.
        epoch_seconds: of the steps of each epoch so far.
    """

    def __init__(self) -> None:
        self.start_seconds = 0.0
        self.epoch_seconds: list[float] = []
        self._began = 0.0

    def begin(self) -> None:
        """Start an epoch."""
        if not self.epoch_seconds:
            self.start_seconds = time.time() - float(os.environ["CNNCTL_BENCH_STARTED"])
        self.epoch_seconds.append(0.0)
        self._began = time.perf_counter()

    def lap(self) -> None:
        """Take the time of the epoch so far; its last lap is its end."""
        self.epoch_seconds[-1] = time.perf_counter() - self._began


def report(watch: Stopwatch, images: int, accuracy: float, device: str) -> None:
    """Print the line that the benchmark reads."""
    seconds = sum(watch.epoch_seconds)
    figures: Mapping[str, Any] = {
        "start_seconds": watch.start_seconds,
        "train_seconds": seconds,
        "epoch_seconds": watch.epoch_seconds,
        "images_per_second": len(watch.epoch_seconds) * images / seconds,
        "test_accuracy": accuracy,
        "device": device,
        "precision": "float32",
    }
    sys.stdout.write(f"\n{json.dumps(figures)}\n")
