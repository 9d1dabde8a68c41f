"""What the plain scripts share beside the network: their arguments, a stopwatch, and the line that they report."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any


def asked() -> argparse.Namespace:
    """Returns what the bench asks for: data (.npz), epochs, batch_size, filters (two), padding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--filters", type=int, nargs=2, required=True)
    parser.add_argument("--padding", choices=("valid", "same"), required=True)
    return parser.parse_args()


class Stopwatch:
    """Takes the time of the training steps, each epoch by itself.

    Attributes:
        start_seconds: from the start of the process to that of the first step.
        epoch_seconds: of the steps of each epoch so far.
    """

    def __init__(self) -> None:
        self.start_seconds = 0.0
        self.epoch_seconds: list[float] = []
        self._began = 0.0

    def begin(self) -> None:
        """Begins an epoch."""
        if not self.epoch_seconds:
            self.start_seconds = time.time() - float(os.environ["CNNCTL_BENCH_STARTED"])
        self.epoch_seconds.append(0.0)
        self._began = time.perf_counter()

    def lap(self) -> None:
        """Says that the epoch has come so far; its last lap is its end."""
        self.epoch_seconds[-1] = time.perf_counter() - self._began


def report(watch: Stopwatch, images: int, accuracy: float, device: str) -> None:
    """Prints the line that the bench reads."""
    seconds = sum(watch.epoch_seconds)
    told: Mapping[str, Any] = {
        "start_seconds": watch.start_seconds,
        "train_seconds": seconds,
        "epoch_seconds": watch.epoch_seconds,
        "images_per_second": len(watch.epoch_seconds) * images / seconds,
        "test_accuracy": accuracy,
        "device": device,
        "precision": "float32",
    }
    sys.stdout.write(f"\n{json.dumps(told)}\n")
