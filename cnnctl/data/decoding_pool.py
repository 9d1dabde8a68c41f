"""Decode with all cores: blocks of images go to one process per core, and come back in their order.

Threads would wait for each other, since most of the work on a small image is Python's. A process takes 0.15 s to start, so few
images are decoded in this process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from cnnctl.data.store.cgroup import cpu_limit
from cnnctl.data.store.memory import machine_memory
from cnnctl.errors import DataError

Task = TypeVar("Task", bound=Sized)
Result = TypeVar("Result")
Item = TypeVar("Item")

MEASURED = 0.05
"""Seconds of work in this process before the rest is estimated."""
SHARE = 0.25
"""Seconds of work for which a process is started."""
PROCESS_BYTES = 2**30
"""Memory that a process may take for the largest images."""
MAX_ITEMS = 256
"""Maximum number of images of a block."""
FIRST, _LAST = 4, 16
"""Number of images of the first block, and the part of the remaining images that is at most a block."""
_START = "from cnnctl.data.decoding_process import main; main()"


@contextlib.contextmanager
def processes_kept() -> Iterator[None]:
    """Keep the processes that `in_order` starts to the end of the block, so that several calls share them."""
    with contextlib.ExitStack() as opened:
        before = _kept.set(_Kept(opened))
        try:
            yield
        finally:
            _kept.reset(before)


def in_order(function: Callable[[Task], Result], tasks: Iterator[Task], total: int) -> Iterator[Result]:
    """Call a function for each task; yield the results in order.

    What a few tasks take in this process decides whether the others go to other processes, and to how many.

    Args:
        function: can be pickled.
        tasks: blocks of images.
        total: number of images of all tasks.

    Raises:
        DataError: a process ended early.
        Exception: what the function or the iterator raises.
    """
    kept = _kept.get()
    if kept and kept.pool:
        yield from kept.pool.results(function, tasks)
        return
    seconds, done = 0.0, 0
    for task in tasks:
        start = time.perf_counter()
        result = function(task)
        seconds, done = seconds + time.perf_counter() - start, done + len(task)
        yield result
        if seconds >= MEASURED and (processes := _processes(seconds * (total - done) / max(done, 1))) > 1:
            break
    else:
        return
    with contextlib.ExitStack() as opened:
        try:
            pool = (kept.opened if kept else opened).enter_context(_Pool(processes))
        except OSError:  # the system allows no more processes
            yield from map(function, tasks)
            return
        if kept:
            kept.pool = pool
        yield from pool.results(function, tasks)


def blocks_of(items: Sequence[Item], at_once: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into blocks of at most `at_once` items.

    The first ones are small, since they are decoded in this process; the last ones too, so that all processes end together.
    """
    start, size = 0, FIRST
    while start < len(items):
        size = min(size, at_once, max((len(items) - start) // _LAST, FIRST))
        yield items[start : start + size]
        start, size = start + size, size * 2


def _processes(seconds: float) -> int:
    """Compute how many processes to start for an amount of work; 1 for none."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = machine_memory()
    return int(min(cores, cpu_limit() or cores, seconds // SHARE, cores if memory is None else max(memory // PROCESS_BYTES, 1)))


class _Process:
    """A decoding process, which has one task at a time."""

    def __init__(self) -> None:
        home = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},  # it multiplies no matrices
            start_new_session=True,  # Ctrl-C goes to this process only, which ends the others
        )

    def call(self, function: Callable[[Any], Any], task: Any) -> Any:
        """Run a task; raise its error, or DataError if the process has ended."""
        assert self._process.stdin and self._process.stdout
        try:
            pickle.dump((function, task), self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
            result, error = pickle.load(self._process.stdout)  # noqa: S301  # written by cnnctl itself
        except (EOFError, OSError, pickle.UnpicklingError) as failed:
            raise DataError(self._ending()) from failed
        if error:
            raise error
        return result

    def _ending(self) -> str:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"a process that decodes images {how}; free some memory, or run the command on one core: taskset -c 0 cnnctl ..."

    def kill(self) -> None:
        """End the process."""
        self._process.kill()

    def close(self) -> None:
        """Wait until the process has ended, and close its pipes."""
        assert self._process.stdin and self._process.stdout
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(OSError):  # what was not written yet
            self._process.stdin.close()


class _Pool:
    """Decoding processes, each with a thread of this process that passes tasks to it and waits for its results.

    Args:
        count: number of processes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[_Process] = []
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count)

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                self._processes.append(_Process())
                self._idle.put(self._processes[-1])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.close()

    def results(self, function: Callable[[Task], Result], tasks: Iterator[Task]) -> Iterator[Result]:
        """Yield the result of each task, in order. Few tasks and results are in memory."""
        running: deque[Future[Result]] = deque()
        for task in tasks:
            running.append(self._threads.submit(self._call, function, task))
            if len(running) > 2 * self._count:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    def _call(self, function: Callable[[Task], Result], task: Task) -> Result:
        process = self._idle.get()
        try:
            result: Result = process.call(function, task)
        finally:
            self._idle.put(process)
        return result


@dataclass
class _Kept:
    """What ends with a block of `processes_kept`.

    Attributes:
        opened: ends the pool.
        pool: None before it is started.
    """

    opened: contextlib.ExitStack
    pool: _Pool | None = None


_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)
