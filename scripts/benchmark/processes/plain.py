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
    """Parse the arguments of a plain training.

    data: the images (.npz); width and depth: of the network of configs/mnist.yaml, for --growth; padding: of the convolutions
    that have `valid` in the config; precision and compiled: of the contenders that are not at their defaults; trial: see
    plain_torch_best.py.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, required=True)
    add_network(parser)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--trial", action="store_true")
    return parser.parse_args()


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that describe the network and how it is computed."""
    parser.add_argument("--network", required=True)
    parser.add_argument("--width", type=float, required=True)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--padding", choices=("valid", "same"), required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--precision", default="float32")


def since_start() -> float:
    """Return the seconds since the start of the process."""
    return time.time() - float(os.environ["CNNCTL_BENCH_STARTED"])


class Stopwatch:
    """Measure the time of the training steps per epoch.

    Attributes:
        start_seconds: from the start of the process to the first step.
        last_step_seconds: from the start of the process to the end of the last step so far.
        epoch_seconds: of the steps of each epoch so far.
    """

    def __init__(self) -> None:
        self.start_seconds = 0.0
        self.last_step_seconds = 0.0
        self.epoch_seconds: list[float] = []
        self._began = 0.0

    def begin(self) -> None:
        """Start an epoch."""
        if not self.epoch_seconds:
            self.start_seconds = since_start()
        self.epoch_seconds.append(0.0)
        self._began = time.perf_counter()

    def lap(self) -> None:
        """Take the time of the epoch so far; its last lap is its end."""
        self.epoch_seconds[-1] = time.perf_counter() - self._began
        self.last_step_seconds = since_start()


def report(watch: Stopwatch, images: int, accuracy: float, device: str, precision: str = "float32") -> None:
    """Print the line that the benchmark reads."""
    seconds = sum(watch.epoch_seconds)
    figures: Mapping[str, Any] = {
        "start_seconds": watch.start_seconds,
        "last_step_seconds": watch.last_step_seconds,
        "train_seconds": seconds,
        "epoch_seconds": watch.epoch_seconds,
        "images_per_second": len(watch.epoch_seconds) * images / seconds,
        "test_accuracy": accuracy,
        "device": device,
        "precision": precision,
    }
    sys.stdout.write(f"\n{json.dumps(figures)}\n")
