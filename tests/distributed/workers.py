"""Real processes that train together on loopback, or a process with several logical devices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.benchmark.workers import free_ports
from tests.fork_server import Child, ForkServer

SEVERAL_DEVICES = "CNNCTL_CPU_REPLICAS"


def environment(**variables: str) -> str:
    """Returns Python that sets variables."""
    return f"import os; os.environ.update({variables!r})"


def cluster_config(ports: Sequence[int], index: int, kind: str = "worker") -> str:
    """Returns a TF_CONFIG."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": kind, "index": index}})


def start_workers(
    fork_servers: Sequence[ForkServer],
    *words: object,
    folder: Path,
    limit: int = 60,
    others: Sequence[object] | None = None,
    hindered: Mapping[int, str] | None = None,
    ports: Sequence[int] = (),
) -> list[Child]:
    """Starts `cnnctl WORDS` as one worker a fork_server, the chief first.

    Args:
        fork_servers: start one each.
        words: of the command.
        folder: where it runs, and where `output_0.txt` and so on go.
        limit: seconds that workers wait for each other.
        others: the command of those that are not the chief, if it is another.
        hindered: by a worker's number, Python that it runs first.
        ports: of the workers; free ones where none are given.
    """
    ports = ports or free_ports(len(fork_servers))
    children = []
    for index, fork_server in enumerate(fork_servers):
        said = environment(TF_CONFIG=cluster_config(ports, index), CNNCTL_WORKERS_TIMEOUT=str(limit))
        said += "\n" + (hindered or {}).get(index, "")
        command = words if index == 0 or others is None else others
        children.append(fork_server.start(*command, cwd=folder, output=folder / f"output_{index}.txt", before=said))
    return children


def signal_at(step: int, number: int) -> str:
    """Returns Python that sends a signal to its process after a step that all workers stop at."""
    return f"""
import os
from cnnctl.train.signals import Interruption
original = Interruption.on_steps
def on_steps(self, record):
    if record.step == {step}:
        os.kill(os.getpid(), {int(number)})
    original(self, record)
Interruption.on_steps = on_steps
"""
