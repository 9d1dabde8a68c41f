"""The processes that train the trials of a sweep: started, listened to, and replaced where they end before their time."""

from __future__ import annotations

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
from cnnctl.sweep.results import FAILED, trial_line
from cnnctl.sweep.trial_process import REPLACE

if TYPE_CHECKING:
    from cnnctl.sweep.scheduler import Study

MAX_DEATHS = 2
"""So many processes may die of one trial before it counts as failed."""


@dataclass(frozen=True)
class Job:
    """What a worker is told, and how many of them there are.

    Attributes:
        config, overrides: the sweep's, as the user gave them.
        folder: of the sweep.
        device: `auto`, `cpu` or `gpu`.
        verbose: let TensorFlow's messages through.
        processes: that train at once.
    """

    config: Path
    overrides: Sequence[str]
    folder: Path
    device: str
    verbose: bool
    processes: int

    def line(self, deadline: float) -> str:
        """Returns it as the line that a worker reads."""
        content = {
            "config": str(self.config),
            "overrides": list(self.overrides),
            "folder": str(self.folder),
            "device": self.device,
            "verbose": self.verbose,
            "deadline": deadline,
            "command": sys.argv,
        }
        return json.dumps(content) + "\n"


@dataclass
class TrialProcess:
    """A process that trains.

    Attributes:
        process: as Python knows it; its stdin stays open as long as it is wanted.
        trial: what it trains now; None for nothing.
        error: what it said was wrong.
        told: how far its trial is.
        listener: reads what it tells.
    """

    process: subprocess.Popen[str]
    trial: int | None = None
    error: CnnctlError | None = None
    told: dict[str, Any] = field(default_factory=dict)
    listener: threading.Thread = field(default_factory=threading.Thread)

    def end(self) -> int:
        """Waits for the process, which is no longer wanted and saves what it trains; returns its exit code."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        code = self.process.wait()
        self.listener.join()
        self.process.stdout.close()
        return code


class TrialPool:
    """The processes that train for one `cnnctl sweep`, and what they tell.

    Args:
        study: whose trials they train.
        job: what they are told.
        deadline: by `time.time()`, when no more trials are begun.
        console: where to say what happens.
    """

    def __init__(self, study: Study, job: Job, deadline: float, console: Console) -> None:
        self._study = study
        self._job = job
        self._deadline = deadline
        self._console = console
        self._told: queue.Queue[tuple[TrialProcess, dict[str, Any] | None]] = queue.Queue()
        self._members: list[TrialProcess] = []
        self._deaths: Counter[int | None] = Counter()

    def work(self) -> None:
        """Trains until nothing is left.

        Raises:
            CnnctlError: what a process found wrong with more than one trial.
        """
        try:
            with self._shown() as show:
                for _ in range(self._job.processes):
                    self._start()
                while self._members:
                    member, event = self._told.get()
                    if event is None:
                        self._left(member)
                    else:
                        self._hear(member, event)
                    show()
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
            start_new_session=True,  # Ctrl-C is for this process, which ends the others
        )
        member = TrialProcess(process)
        self._members.append(member)
        assert process.stdin
        process.stdin.write(self._job.line(self._deadline))
        process.stdin.flush()
        member.listener = threading.Thread(target=self._listen, args=(member,), daemon=True)
        member.listener.start()

    def _listen(self, member: TrialProcess) -> None:
        assert member.process.stdout
        for line in member.process.stdout:
            self._told.put((member, json.loads(line)))
        self._told.put((member, None))

    def _hear(self, member: TrialProcess, event: dict[str, Any]) -> None:
        if "begin" in event:
            member.trial = event["begin"]
            member.told = {**event, "epoch": 0}
        elif "epoch" in event:
            member.told.update(event)
        elif "end" in event:
            member.trial, member.told = None, {}
            self._say_ended(event)
        elif "error" in event:
            kind = UsageError if event["exit_code"] == UsageError.exit_code else RunError
            where = "" if member.trial is None else f"trial {member.trial}: "
            member.error = kind(f"{where}{event['error']}")

    def _say_ended(self, event: dict[str, Any]) -> None:
        if event["seed"] is None:
            row = self._study.results().trials[event["end"]]
            self._say(trial_line(row, self._study.sweep.objective))
        else:
            ending = f"failed: {event['reason']}" if event["state"] == FAILED else "done"
            self._say(f"trial {event['end']:<4}again with seed {event['seed']}: {ending}")

    def _left(self, member: TrialProcess) -> None:
        """Takes note that a process has ended, and starts another where something is left to do."""
        self._members.remove(member)
        code = member.end()
        if member.error:
            raise member.error
        if code == REPLACE:
            self._start()
        elif code != 0:
            self._died(member, code)

    def _died(self, member: TrialProcess, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        hint = "; most often there is too little memory" if code == -9 else ""
        self._deaths[member.trial] += 1
        enough = self._deaths[member.trial] >= MAX_DEATHS
        if member.trial is None:
            if enough:
                raise RunError(f"a process that trains {how} before it began a trial, {MAX_DEATHS} times{hint}")
        else:
            self._say(f"trial {member.trial:<4}its process {how}{hint}")
            if enough:
                self._study.fail_abandoned(member.trial, f"its process {how}, {MAX_DEATHS} times{hint}")
        self._start()

    def _stop(self) -> None:
        """Has all processes end, each with what it trains saved."""
        for member in self._members:  # all at once, not one after the other
            with contextlib.suppress(OSError):
                assert member.process.stdin
                member.process.stdin.close()
        for member in self._members:
            member.end()

    # what is shown

    def _say(self, text: str) -> None:
        self._console.say(text)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[Any]:
        """Shows on a terminal what is trained now; gives what shows it anew."""
        if self._console.quiet or not self._console.live:
            yield lambda: None
            return
        with self._console.rich().status("starting TensorFlow") as status:
            yield lambda: status.update(self._now())

    def _now(self) -> str:
        return "; ".join(_where(member.told) for member in self._members if member.told) or "starting TensorFlow"


def _where(told: dict[str, Any]) -> str:
    seed = "" if told["seed"] is None else f" with seed {told['seed']}"
    if not told["epoch"]:
        return f"trial {told['begin']}{seed} begins"
    return f"trial {told['begin']}{seed}: {told['epoch']} of {counted(told['of'], 'epoch')}, {told['reached']}"
