"""Kills trainings at random moments until they are through."""

from __future__ import annotations

import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fork_server import ForkServer
from tests.reliability.endings import write_case

EXITS = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}
"""What a process may end with; a signal that comes before the command listens ends it as any other process."""


@dataclass
class Count:
    """What was done to the runs.

    Attributes:
        kills: by the name of the signal.
        latencies: seconds from a signal that may be heard to the end of the process.
    """

    kills: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)


class Victim:
    """One training that is killed and goes on, in a folder.

    Args:
        fork_server: starts the processes.
        case: which training, see `endings.CASES`.
        folder: where config and run lie.
    """

    def __init__(self, fork_server: ForkServer, case: str, folder: Path) -> None:
        self.config = write_case(case, folder)
        self.run = folder / "run"
        self._fork_server = fork_server
        self._output = folder / "output.txt"

    def words(self) -> list[object]:
        """Returns the command that goes on, or begins where nothing is there to go on with."""
        if (self.run / "config.yaml").exists():
            return ["train", "--resume", self.run, "--device", "cpu"]
        shutil.rmtree(self.run, ignore_errors=True)  # killed before it wrote its config: nothing was trained
        return ["train", self.config, "--run-dir", self.run, "--device", "cpu"]

    def is_through(self) -> bool:
        return (self.run / "result.json").exists()

    def finish(self) -> None:
        """Lets the training come to its end."""
        code = self._fork_server.run(*self.words(), cwd=self.run.parent, output=self._output)
        assert code == 0, self._output.read_text()

    def strike(self, number: signal.Signals, after: float, count: Count) -> None:
        """Starts the training or goes on with it, and sends a signal after so many seconds."""
        child = self._fork_server.start(*self.words(), cwd=self.run.parent, output=self._output)
        time.sleep(after)
        sent = time.monotonic()
        child.send(number)
        code = child.wait()
        assert code == 0 or code in EXITS[number], f"{number!r} after {after:.3f} s: exit code {code}\n{child.said()}"
        assert "Traceback" not in child.said(), child.said()
        if code != 0:
            count.kills[number.name] = count.kills.get(number.name, 0) + 1
            count.latencies += [time.monotonic() - sent] if number != signal.SIGKILL else []


def kill_until_through(
    fork_server: ForkServer, case: str, folder: Path, seconds: float, times: int, generator: random.Random, count: Count
) -> Path:
    """Kills a training so many times, then lets it come to its end; returns its run folder.

    Args:
        fork_server, case, folder: see `Victim`.
        seconds: that the training takes; the moments are spread evenly over the first half, since what goes on is shorter.
        times: how often at most; less if it comes to its end before.
        generator: of moments and signals, half of them SIGKILL.
        count: what was done is added.
    """
    victim = Victim(fork_server, case, folder)
    for _ in range(times):
        number = generator.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        victim.strike(number, generator.uniform(0, seconds / 2), count)
        if victim.is_through():
            break
    victim.finish()
    return victim.run
