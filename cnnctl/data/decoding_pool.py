"""Decode with all cores: blocks of images go to up to one process per core, and come back in their order.

Threads would wait for each other, since most of the work on a small image is Python's. A process takes 0.15 s to start, so few
images are decoded in this process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from cnnctl.data.decoding_process import READY
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
MIN_ITEMS = 4
"""Minimum number of images of a block, except for the first and the last ones."""
PARTS = 16
"""A block is at most this part of the remaining images."""
_START = "import sys; sys.path[:] = {path}; from cnnctl.data.decoding_process import main; main()"
_OPTIONS = {"isolated": "-I", "ignore_environment": "-E", "no_user_site": "-s"}
"""Options of Python, by their `sys.flags`, that decide from where a process imports while it starts."""


@contextlib.contextmanager
def processes_kept() -> Iterator[None]:
    """Keep the processes that `in_order` starts to the end of the block, so that several calls share them."""
    with _Pool() as pool:
        before = _kept.set(pool)
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
    with _Pool() if kept is None else contextlib.nullcontext(kept) as pool:
        yield from _first_results(function, tasks, total, pool)
        yield from pool.results(function, tasks) if pool.size > 1 else map(function, tasks)


def _first_results(function: Callable[[Task], Result], tasks: Iterator[Task], total: int, pool: _Pool) -> Iterator[Result]:
    """Call the function in this process until it is known that more pay off for the other tasks, and start those."""
    seconds, measured, done = 0.0, 0, 0
    for task in tasks:
        start = time.perf_counter()
        result = function(task)
        took = time.perf_counter() - start
        if done or took > SHARE:  # Pillow loads its plugins in the first block, which takes long on a slow disk
            seconds, measured = seconds + took, measured + len(task)
        done += len(task)
        yield result
        if seconds >= MEASURED:
            count = _processes(seconds * (total - done) / max(measured, 1))
            if max(count, pool.size) > 1:
                pool.enlarge(count)
                return


def blocks_of(items: Sequence[Item], at_once: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into blocks of at most `at_once` items.

    The first ones are small, since they are decoded in this process; the last ones too, so that all processes end together.
    """
    start, size = 0, 1
    while start < len(items):
        size = min(size, at_once, max((len(items) - start) // PARTS, MIN_ITEMS))
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
        options = [option for flag, option in _OPTIONS.items() if getattr(sys.flags, flag)]
        self._process = subprocess.Popen(
            [sys.executable, *options, "-c", _START.format(path=ascii(list(map(str, sys.path))))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # it multiplies no matrices
            start_new_session=True,  # Ctrl-C goes to this process only, which ends the others
        )

    def wait_until_ready(self) -> None:
        """Wait until it can receive tasks; raise OSError if it ends before."""
        assert self._process.stdout
        if not any(line.endswith(READY) for line in self._process.stdout):
            raise OSError(errno.EAGAIN, "a process ended while it started")

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
        """End the process if it has not ended; describe what happened, and what helps."""
        try:
            code = self._process.wait(1)  # it closes its pipe a little before its end
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            remedy = "free some memory, or run"
        except subprocess.TimeoutExpired:
            self.kill()
            how, remedy = "wrote something that is not a result", "run"
        return f"a process that decodes images {how}; {remedy} the command on one core: taskset -c 0 cnnctl ..."

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


@dataclass(frozen=True)
class _Call:
    """A task of a process, and its result to come."""

    function: Callable[[Any], Any]
    task: Any
    future: Future[Any] = field(default_factory=Future)

    def run(self, process: _Process) -> None:
        """Run the task in a process, unless it was cancelled."""
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(process.call(self.function, self.task))
            except BaseException as error:
                self.future.set_exception(error)


class _Pool:
    """Decoding processes, each with a thread of this process that passes tasks to it and waits for its results."""

    def __init__(self) -> None:
        self._processes: list[_Process] = []
        self._threads: list[threading.Thread] = []
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()

    @property
    def size(self) -> int:
        """Number of processes that run tasks."""
        return len(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        self._calls.put(None)
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.close()

    def enlarge(self, count: int) -> None:
        """Start processes until there are `count`, or until the system allows no more processes or threads."""
        try:
            for _ in range(count - self.size):
                self._processes.append(_Process())
            for process in self._processes[self.size :]:
                process.wait_until_ready()
                thread = threading.Thread(target=self._serve, args=(process,), daemon=True)
                thread.start()
                self._threads.append(thread)
        except (OSError, RuntimeError):
            while len(self._processes) > self.size:
                process = self._processes.pop()
                process.kill()
                process.close()

    def _serve(self, process: _Process) -> None:
        while call := self._calls.get():
            call.run(process)
            del call  # its images are not needed while this thread waits
        self._calls.put(None)  # for the next thread

    def results(self, function: Callable[[Task], Result], tasks: Iterator[Task]) -> Iterator[Result]:
        """Yield the result of each task, in order. Few tasks and results are in memory."""
        running: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                call = _Call(function, task)
                self._calls.put(call)
                running.append(call.future)
                if len(running) > 2 * self.size:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


_kept: ContextVar[_Pool | None] = ContextVar("kept", default=None)
