"""One process, measured from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .others import busy_seconds, cores_of_others

STARTED = "CNNCTL_BENCH_STARTED"
"""The environment variable with the start of the process, in seconds since 1970."""
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
OTHER_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME")
LAST_LINES = 8


@dataclass(frozen=True)
class Measured:
    """A process that has ended.

    Attributes:
        exit_code: 0 for success; negative for a signal.
        wall_seconds: from just before it was started to its end.
        cpu_seconds: user and system, all threads.
        peak_bytes: peak resident memory.
        others_cores: the mean number of cores that other processes kept busy; None if unknown.
        stdout: its output.
        stderr: its lines, each with the seconds after the start at which it came.
    """

    exit_code: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    others_cores: float | None
    stdout: str
    stderr: Sequence[tuple[float, str]]

    def last_lines(self) -> list[str]:
        """Return the last lines of stderr, which explain a failure."""
        return [line for _, line in self.stderr if line.strip()][-LAST_LINES:]


def measure(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Measured:
    """Run a command in a folder to its end.

    The peak is never below the memory of this process at that moment: Linux counts it for the child until the child has
    become the command (exec_mmap in fs/exec.c). So this process must stay small: whatever needs NumPy or TensorFlow has
    a process of its own.
    """
    busy, start = busy_seconds(), time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**variables, STARTED: repr(time.time())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stdout and process.stderr
    try:
        stdout, stderr = _Listener(process.stdout, start), _Listener(process.stderr, start)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:  # Ctrl-C or SIGTERM here
            process.kill()
            process.wait()
    cpu = usage.ru_utime + usage.ru_stime
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Measured(
        process.returncode,
        wall,
        cpu,
        usage.ru_maxrss * unit,
        cores_of_others(busy, busy_seconds(), cpu, wall),
        "".join(line for _, line in stdout.lines()),
        [(seconds, line.rstrip("\n")) for seconds, line in stderr.lines()],
    )


class _Listener:
    """Read a stream to its end in a thread, so that the process never waits for a full pipe."""

    def __init__(self, stream: IO[str], start: float) -> None:
        self._stream = stream
        self._start = start
        self._lines: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with self._stream:
            for line in self._stream:
                self._lines.append((time.perf_counter() - self._start, line))

    def lines(self) -> list[tuple[float, str]]:
        """Wait for the end of the stream, and return its lines, each with its seconds."""
        self._thread.join()
        return self._lines


def variables_for(python: str, cache: Path) -> dict[str, str]:
    """Build the environment of a contender: each library chooses its number of threads.

    Args:
        python: the interpreter; another interpreter does not get the search paths of this one.
        cache: the folder of decoded images, unless the environment sets one.
    """
    unwanted = (*THREAD_VARIABLES, *(OTHER_PYTHON_VARIABLES if python != sys.executable else ()))
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {"CNNCTL_CACHE_DIR": str(cache), **kept, "KERAS_BACKEND": "tensorflow"}
