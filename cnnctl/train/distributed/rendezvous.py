"""Workers find each other before TensorFlow starts: it would wait for those that never come without end or message.

Each worker other than the chief calls the chief at its address of `TF_CONFIG`, and says in one line of JSON who it is and what
it is about to train. The chief answers all at once when all have come, or says why they cannot train together. After
that TensorFlow's own servers take over the addresses.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cnnctl.errors import CnnctlError, RunError, UsageError
from cnnctl.spec.cluster import Cluster, address_of
from cnnctl.spec.section import show
from cnnctl.surroundings import number_from

LIMIT = "CNNCTL_WORKERS_TIMEOUT"
SECONDS = 300
"""How long workers wait for each other where the variable does not say."""
_MAX_SECONDS = 31_536_000
"""A year."""
_PAUSE = 0.2
"""Seconds between two calls to a chief that is not there yet."""
_MAX_BYTES = 2**20
"""Of a message; whatever else calls a port says more, or something else."""
_TO_SAY = 2.0
"""Seconds that a caller has to say who it is."""
Greeting = Mapping[str, Any]
"""What all workers must agree on, by its name for people."""
Arrived = Callable[[int], None]
"""Told how many workers have come, each time another has."""


def patience() -> float:
    """Returns for how many seconds workers wait for each other; raises UsageError for a limit that is no number."""
    what = f"a number of seconds such as {SECONDS}, at most {_MAX_SECONDS:,}"
    return float(number_from(LIMIT, SECONDS, 1, _MAX_SECONDS, what))


def unknown_hosts(cluster: Cluster) -> list[str]:
    """Return a warning for each host of `TF_CONFIG` that no name server knows, before all wait for it.

    It is no error: the name of a Pod of Kubernetes is known only once the Pod has started.
    """
    warnings = []
    for index, address in enumerate(cluster.addresses):
        host, port = address_of(address)
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "no name of a host"
            warnings.append(
                f"warning: the host of {cluster.named(index)}, is unknown here ({reason}); check TF_CONFIG, unless it is still starting"
            )
    return warnings


def meet(cluster: Cluster, greeting: Greeting, arrived: Arrived) -> None:
    """Returns as soon as all workers are there.

    Raises:
        UsageError: this worker's port is in use, or the workers are about to train different things.
        RunError: somebody has not come in time.
    """
    until = time.monotonic() + patience()
    with _listening(cluster) as server:
        if cluster.index == 0:
            _await_all(cluster, server, greeting, until, arrived)
            return
    _call_chief(cluster, greeting, until)


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[socket.socket]:
    """Takes the worker's own port, which is also how it is found to be free."""
    server = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET)
    with server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if server.family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            server.bind(("", cluster.port))
            server.listen()
        except OSError as error:
            reason = "is in use by another process" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
            raise UsageError(
                f"port {cluster.port} of this machine {reason}; TF_CONFIG gives it to {cluster.named(cluster.index)}. "
                "End that process, or give another port to all workers"
            ) from error
        yield server


# The chief


def _await_all(cluster: Cluster, server: socket.socket, greeting: Greeting, until: float, arrived: Arrived) -> None:
    callers: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as closing:
        try:
            while len(callers) + 1 < len(cluster):
                arrived(len(callers) + 1)
                caller = closing.enter_context(_next_caller(server, cluster, callers, until))
                _forget_gone(callers)
                _receive(caller, cluster, greeting, callers)
        except CnnctlError as error:
            for caller in callers.values():
                _say(caller, {"refused": str(error), "late": isinstance(error, RunError)})
            raise
        arrived(len(cluster))
        for caller in callers.values():
            _say(caller, {"go": True})


def _receive(caller: socket.socket, cluster: Cluster, greeting: Greeting, callers: dict[int, socket.socket]) -> None:
    """Takes a worker among the callers; whoever else calls is left alone."""
    said = _message(caller) or {}
    worker = said.get("worker")
    if type(worker) is not int or worker not in range(1, len(cluster)):
        return
    if worker in callers:
        _say(caller, {"refused": f"another process is {cluster.named(worker)}, already; give each its own task index"})
        return
    callers[worker] = caller
    _refuse_other(greeting, said.get("greeting"), cluster.named(worker))


def _forget_gone(callers: dict[int, socket.socket]) -> None:
    """Takes out who has hung up: it has ended, and may call again."""
    for worker, caller in list(callers.items()):
        caller.settimeout(0)
        try:
            gone = caller.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            gone = False  # it waits for the answer
        except OSError:
            gone = True
        caller.settimeout(_TO_SAY)
        if gone:
            del callers[worker]


def _next_caller(server: socket.socket, cluster: Cluster, callers: dict[int, socket.socket], until: float) -> socket.socket:
    server.settimeout(max(until - time.monotonic(), 0.001))
    try:
        caller, _ = server.accept()
    except TimeoutError as error:
        _forget_gone(callers)
        absent = [cluster.named(index) for index in range(1, len(cluster)) if index not in callers]
        raise RunError(_not_come(absent, "they are")) from error
    caller.settimeout(_TO_SAY)
    return caller


def _not_come(absent: list[str], who: str) -> str:
    verb = "has" if len(absent) == 1 else "have"
    who = "it is" if len(absent) == 1 else who
    return (
        f"{' and '.join(absent)} {verb} not come within {patience():g} s; see whether {who} started, with the same TF_CONFIG "
        f"but for the task index, and can be reached. To wait longer set {LIMIT}"
    )


def _refuse_other(own: Greeting, other: object, name: str) -> None:
    said = other if isinstance(other, dict) else {}
    for what, value in own.items():
        if said.get(what) != value:
            raise UsageError(f"{name}, has another {what} than the chief: {show(said.get(what))}, not {show(value)}")


# The others


def _call_chief(cluster: Cluster, greeting: Greeting, until: float) -> None:
    reason = ""
    while time.monotonic() < until:
        try:
            answer = _answer(cluster, greeting, until)
        except OSError as error:
            reason = f" ({error.strerror or error})"
            answer = None
        if answer and answer.get("go") is True:
            return
        if answer and "refused" in answer:
            kind = RunError if answer.get("late") else UsageError
            raise kind(f"the chief says: {answer['refused']}")
        time.sleep(_PAUSE)
    raise RunError(_not_come([f"{cluster.named(0)}{reason}"], ""))


def _answer(cluster: Cluster, greeting: Greeting, until: float) -> dict[str, Any] | None:
    """Returns what the chief answers as soon as it knows; None where it hangs up."""
    with socket.create_connection(address_of(cluster.addresses[0]), timeout=_TO_SAY) as chief:
        _say(chief, {"worker": cluster.index, "greeting": greeting})
        chief.settimeout(max(until - time.monotonic(), 0.001) + _TO_SAY)  # the chief's own limit comes first, with its reason
        return _message(chief)


def _say(other: socket.socket, content: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # who has hung up calls again
        other.sendall(json.dumps(content).encode() + b"\n")


def _message(other: socket.socket) -> dict[str, Any] | None:
    """Returns one line of JSON; None for anything else."""
    try:
        with other.makefile("rb") as stream:
            content = json.loads(stream.readline(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
