"""Measure how fast this machine multiplies large matrices; print the device and GFLOP/s per precision as JSON."""

from __future__ import annotations

import json
import os
import time
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # not TensorFlow's default on every processor

import tensorflow as tf

LONG_ENOUGH = 0.05
"""Seconds per product, long enough to neglect its start."""
LARGEST = 16384
TIMES = 10


def gflops(precision: str) -> float:
    """Measure the best of several products of square matrices, of 2·n³ operations each."""
    size = 1024
    while size < LARGEST and seconds_of(size, precision, 2) < LONG_ENOUGH:
        size *= 2
    return 2 * size**3 / seconds_of(size, precision, TIMES) / 1e9


def seconds_of(size: int, precision: str, times: int) -> float:
    """Measure the seconds of the fastest product."""
    matrix = tf.cast(tf.random.uniform((size, size)), precision)
    product(matrix)  # the first also selects the algorithm
    return min(product(matrix) for _ in range(times))


def product(matrix: Any) -> float:
    start = time.perf_counter()
    tf.linalg.matmul(matrix, matrix)[0, 0].numpy()  # reading one number waits for the device
    return time.perf_counter() - start


def main() -> None:
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    precisions = ("float32", "bfloat16", "float16") if gpus else ("float32", "bfloat16")
    speeds = {precision: gflops(precision) for precision in precisions}
    print(json.dumps({"gpu": names[0] if names else None, "gflops": speeds}))


main()
