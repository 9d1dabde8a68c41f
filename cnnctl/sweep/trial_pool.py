"""The trial processes of a sweep: start them, receive their events, and replace those that end early."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cnnctl
from cnnctl.errors import CnnctlError, RunError, UsageError, counted
from cnnctl.report.console import Console
from cnnctl.spec.layers.custom import loaded
from cnnctl.sweep.results import FAILED, trial_line
from cnnctl.sweep.trial_process import REPLACE

if TYPE_CHECKING:
    from cnnctl.sweep.scheduler import Study

MAX_DEATHS = 2
"""Processes that may die on one trial before it counts as failed."""


@dataclass(frozen=True)
class Job:
    """What the trial processes get, and how many there are.

    Attributes:
        config, overrides: of the sweep, as on the command line.
        folder: of the sweep.
        device: `auto`, `cpu` or `gpu`.
        verbose: show TensorFlow's log and tracebacks.
        processes: number of trial processes.
    """

    config: Path
    overrides: Sequence[str]
    folder: Path
    device: str
    verbose: bool
    processes: int

    def line(self, deadline: float) -> str:
        """Format the line of JSON that a trial process reads."""
        file = loaded()  # the bytes that ran here, whatever is on the disk by now
        content = {
            "config": str(self.config),
            "overrides": list(self.overrides),
            "folder": str(self.folder),
            "device": self.device,
            "verbose": self.verbose,
            "deadline": deadline,
            "command": sys.argv,
            "custom_layers": {"path": file.path, "source": base64.b64encode(file.source).decode()} if file else None,
        }
        return json.dumps(content) + "\n"


@dataclass
class TrialProcess:
    """A trial process.

    Attributes:
        process: its stdin is closed to stop it.
        trial: number of the trial that it trains now; None for none.
        error: that it reported.
        progress: of its trial, by its events.
        reader: thread that reads its events.
    """

    process: subprocess.Popen[str]
    trial: int | None = None
    error: CnnctlError | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    reader: threading.Thread = field(default_factory=threading.Thread)

    def end(self) -> int:
        """Stop the process, wait until it has saved its trial, and return its exit code."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        code = self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        return code


class TrialPool:
    """The trial processes of one `cnnctl sweep`, and their events.

    Args:
        study: of the trials.
        job: what the processes get.
        deadline: by `time.time()`, after which no trial starts.
        console: for the progress.
    """

    def __init__(self, study: Study, job: Job, deadline: float, console: Console) -> None:
        self._study = study
        self._job = job
        self._deadline = deadline
        self._console = console
        self._events: queue.Queue[tuple[TrialProcess, dict[str, Any] | None]] = queue.Queue()
        self._processes: list[TrialProcess] = []
        self._deaths: Counter[int | None] = Counter()

    def work(self) -> None:
        """Train until nothing is left.

        Raises:
            CnnctlError: an error of more than one trial, reported by a process.
        """
        try:
            with self._status() as refresh:
                for _ in range(self._job.processes):
                    self._start()
                while self._processes:
                    child, event = self._events.get()
                    if event is None:
                        self._replace_ended(child)
                    else:
                        self._handle(child, event)
                    refresh()
        finally:
            self._stop()

    def _start(self) -> None:
        home = str(Path(cnnctl.__file__).parents[1])
        path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cnnctl.sweep.trial_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C goes to this process only, which stops the others
        )
        child = TrialProcess(process)
        self._processes.append(child)
        assert process.stdin
        process.stdin.write(self._job.line(self._deadline))
        process.stdin.flush()
        child.reader = threading.Thread(target=self._read_events, args=(child,), daemon=True)
        child.reader.start()

    def _read_events(self, child: TrialProcess) -> None:
        assert child.process.stdout
        for line in child.process.stdout:
            self._events.put((child, json.loads(line)))
        self._events.put((child, None))

    def _handle(self, child: TrialProcess, event: dict[str, Any]) -> None:
        if "begin" in event:
            child.trial = event["begin"]
            child.progress = {**event, "epoch": 0}
        elif "epoch" in event:
            child.progress.update(event)
        elif "end" in event:
            child.trial, child.progress = None, {}
            self._report_end(event)
        elif "error" in event:
            kind = UsageError if event["exit_code"] == UsageError.exit_code else RunError
            where = "" if child.trial is None else f"trial {child.trial}: "
            child.error = kind(f"{where}{event['error']}")

    def _report_end(self, event: dict[str, Any]) -> None:
        if event["seed"] is None:
            row = self._study.results().trials[event["end"]]
            self._say(trial_line(row, self._study.sweep.objective))
        else:
            ending = f"failed: {event['reason']}" if event["state"] == FAILED else "done"
            self._say(f"trial {event['end']:<4}repeated with seed {event['seed']}: {ending}")

    def _replace_ended(self, child: TrialProcess) -> None:
        """Remove a process that has ended, and start another where something is left to train."""
        self._processes.remove(child)
        code = child.end()
        if child.error:
            raise child.error
        if code == REPLACE:
            self._start()
        elif code != 0:
            self._died(child, code)

    def _died(self, child: TrialProcess, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = "; the most frequent cause is too little memory" if code == -9 else ""
        self._deaths[child.trial] += 1
        is_last = self._deaths[child.trial] >= MAX_DEATHS
        if child.trial is None:
            if is_last:
                raise RunError(f"a trial process {how} before it started a trial, {MAX_DEATHS} times{hint}")
        else:
            self._say(f"trial {child.trial:<4}its process {how}{hint}")
            if is_last:
                self._study.fail_abandoned(child.trial, f"its process {how}, {MAX_DEATHS} times{hint}")
        self._start()

    def _stop(self) -> None:
        """Stop all processes; each saves its trial."""
        for child in self._processes:  # so that they save at the same time
            with contextlib.suppress(OSError):
                assert child.process.stdin
                child.process.stdin.close()
        for child in self._processes:
            child.end()

    # console

    def _say(self, text: str) -> None:
        self._console.say(text)

    @contextlib.contextmanager
    def _status(self) -> Iterator[Any]:
        """Show the running trials on a terminal; yield the function that refreshes them."""
        if self._console.quiet or not self._console.live:
            yield lambda: None
            return
        with self._console.rich().status("starting TensorFlow") as status:
            yield lambda: status.update(self._running())

    def _running(self) -> str:
        return "; ".join(_progress_text(child.progress) for child in self._processes if child.progress) or "starting TensorFlow"


def _progress_text(progress: dict[str, Any]) -> str:
    seed = "" if progress["seed"] is None else f" with seed {progress['seed']}"
    if not progress["epoch"]:
        return f"trial {progress['begin']}{seed} starts"
    return f"trial {progress['begin']}{seed}: {progress['epoch']} of {counted(progress['of'], 'epoch')}, {progress['reached']}"
