"""The environment variable `TF_CONFIG`, in which Kubernetes, cloud services and Slurm wrappers list the workers of a training.

    {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}

This is TensorFlow's convention. The task of type `chief` is the chief, or worker 0 if there is none.
"""

import json
import os
from dataclasses import dataclass
from typing import Any, NoReturn

from cnnctl.errors import UsageError
from cnnctl.spec.section import show

VARIABLE = "TF_CONFIG"
JOBS = ("chief", "worker")
_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
_MAX_PORTS = 65_535


@dataclass(frozen=True)
class Cluster:
    """Processes that train together.

    Attributes:
        addresses: `host:port` of each, the chief first.
        index: of this process; 0 is the chief.
    """

    addresses: tuple[str, ...]
    index: int

    def __len__(self) -> int:
        return len(self.addresses)

    @property
    def port(self) -> int:
        """Return the port that this process listens on."""
        return address_of(self.addresses[self.index])[1]

    def named(self, index: int) -> str:
        """Return the name of a worker in messages."""
        return f"{'the chief, worker 0' if index == 0 else f'worker {index}'}, {self.addresses[index]}"


def known_cluster() -> Cluster | None:
    """Read the cluster from `TF_CONFIG`; return None where it is not set or has no cluster.

    Raises:
        UsageError: the variable is not in the form that TensorFlow reads.
    """
    text = os.environ.get(VARIABLE, "").strip()
    content = _content(text) if text else {}
    if not content.get("cluster"):
        return None
    jobs = _jobs(content["cluster"])
    addresses = tuple(address for job in JOBS for address in jobs.get(job, ()))
    for address in addresses:
        address_of(address)
        if addresses.count(address) > 1:
            _refuse(f"has the address {show(address)} twice; each process needs its own address")
    return Cluster(addresses, _index(content.get("task"), jobs))


def address_of(address: str) -> tuple[str, int]:
    """Split `host:port` into host and port; raise UsageError for any other text."""
    host, colon, port = address.rpartition(":")
    if not (host and colon and _small_number(port) and 0 < int(port) <= _MAX_PORTS):
        _refuse(f"has the address {show(address)}, expected a host and a port such as host1:2222")
    return host.strip("[]"), int(port)


def _small_number(text: str) -> bool:
    """Return True if a text may be a port or an index; Python refuses to convert thousands of digits."""
    return text.isdecimal() and len(text) < 10


def _refuse(what: str) -> NoReturn:
    raise UsageError(f"the environment variable {VARIABLE} {what}")


def _content(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        reason = where or ("nested too deeply" if isinstance(error, RecursionError) else "a number has thousands of digits")
        _refuse(f"is not valid JSON ({reason}); expected an object such as {_EXAMPLE}, received {show(text)}")
    if not isinstance(content, dict):
        _refuse(f"is {show(content)}; expected an object such as {_EXAMPLE}")
    return content


def _jobs(cluster: object) -> dict[str, list[str]]:
    if not isinstance(cluster, dict):
        _refuse(f"has cluster: {show(cluster)}; expected an object such as {_EXAMPLE}")
    for job, addresses in cluster.items():
        if job not in JOBS:
            _refuse(f"has tasks of type '{job}'; cnnctl takes tasks of type worker and at most one of type chief")
        if not (isinstance(addresses, list) and addresses and all(isinstance(address, str) for address in addresses)):
            _refuse(f'has cluster.{job}: {show(addresses)}, expected a list of addresses such as ["host1:2222"]')
    if len(cluster.get("chief", ["one"])) > 1:
        _refuse("lists several chiefs; keep one")
    return cluster


def _index(task: object, jobs: dict[str, list[str]]) -> int:
    """Return the index of a task among all tasks, the chief first."""
    if not isinstance(task, dict) or not {"type", "index"} <= task.keys():
        _refuse(f'has task: {show(task)}, expected which task this process is, such as {{"type": "worker", "index": 0}}')
    job, given = task["type"], task["index"]
    number = int(given) if isinstance(given, str) and _small_number(given) else given  # shells put quotes around numbers
    known = [f"{each} {index}" for each in JOBS for index in range(len(jobs.get(each, ())))]
    if type(number) is not int or f"{job} {number}" not in known:
        _refuse(f"makes this process {show(job)} {show(given)}, which is not in its cluster; its tasks are {', '.join(known)}")
    return known.index(f"{job} {number}")
