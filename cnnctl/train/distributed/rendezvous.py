"""Workers find each other before TensorFlow starts, which would wait forever, without a message, for those that never come.

Each worker other than the chief connects to the chief's address in `TF_CONFIG`, and sends one line of JSON with its number and
what it is about to train. The chief answers all at once when all are connected, or sends the reason why they cannot train
together. After that TensorFlow's own servers use the addresses.
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
"""How long workers wait for each other unless the variable is set."""
_MAX_SECONDS = 31_536_000
"""A year."""
_PAUSE = 0.2
"""Seconds between two attempts to connect to the chief."""
_MAX_BYTES = 2**20
"""Largest message that is read."""
_GREETING_SECONDS = 2.0
"""Seconds within which a connection must send its greeting."""
Greeting = Mapping[str, Any]
"""What all workers must have in common, by the name that messages use."""
Arrived = Callable[[int], None]
"""Called with the number of connected workers whenever it changes."""


def timeout_seconds() -> float:
    """Read for how many seconds workers wait for each other; raise UsageError if the limit is not a number."""
    what = f"a number of seconds such as {SECONDS}, at most {_MAX_SECONDS:,}"
    return float(number_from(LIMIT, SECONDS, 1, _MAX_SECONDS, what))


def unknown_hosts(cluster: Cluster) -> list[str]:
    """Return a warning for each host of `TF_CONFIG` that cannot be resolved, before all wait for it.

    It is not an error, since the name of a Kubernetes Pod resolves only once the Pod has started.
    """
    warnings = []
    for index, address in enumerate(cluster.addresses):
        host, port = address_of(address)
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a host name"
            warnings.append(
                f"warning: the host of {cluster.named(index)}, cannot be resolved ({reason}); check TF_CONFIG, unless the host is still starting"
            )
    return warnings


def meet(cluster: Cluster, greeting: Greeting, arrived: Arrived) -> None:
    """Wait until all workers are connected.

    Raises:
        UsageError: this worker's port is in use, or the workers are about to train different things.
        RunError: a worker is missing after the time limit.
    """
    until = time.monotonic() + timeout_seconds()
    with _listening(cluster) as server:
        if cluster.index == 0:
            _await_all(cluster, server, greeting, until, arrived)
            return
    _call_chief(cluster, greeting, until)


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[socket.socket]:
    """Bind the worker's own port, which also checks that it is free."""
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
                _remove_closed(callers)
                _receive(caller, cluster, greeting, callers)
        except CnnctlError as error:
            for caller in callers.values():
                _send(caller, {"refused": str(error), "late": isinstance(error, RunError)})
            raise
        arrived(len(cluster))
        for caller in callers.values():
            _send(caller, {"go": True})


def _receive(caller: socket.socket, cluster: Cluster, greeting: Greeting, callers: dict[int, socket.socket]) -> None:
    """Add a worker to the callers; ignore any other connection."""
    received = _message(caller) or {}
    worker = received.get("worker")
    if type(worker) is not int or worker not in range(1, len(cluster)):
        return
    if worker in callers:
        _send(caller, {"refused": f"another process is already {cluster.named(worker)}; give each worker its own task index"})
        return
    callers[worker] = caller
    _refuse_other(greeting, received.get("greeting"), cluster.named(worker))


def _remove_closed(callers: dict[int, socket.socket]) -> None:
    """Remove closed connections, whose workers have ended and may connect again."""
    for worker, caller in list(callers.items()):
        caller.settimeout(0)
        try:
            closed = caller.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            closed = False  # still connected, waiting for the answer
        except OSError:
            closed = True
        caller.settimeout(_GREETING_SECONDS)
        if closed:
            del callers[worker]


def _next_caller(server: socket.socket, cluster: Cluster, callers: dict[int, socket.socket], until: float) -> socket.socket:
    server.settimeout(max(until - time.monotonic(), 0.001))
    try:
        caller, _ = server.accept()
    except TimeoutError as error:
        _remove_closed(callers)
        missing = [cluster.named(index) for index in range(1, len(cluster)) if index not in callers]
        raise RunError(_timed_out(missing)) from error
    caller.settimeout(_GREETING_SECONDS)
    return caller


def _timed_out(missing: list[str]) -> str:
    verb, who = ("has", "it is") if len(missing) == 1 else ("have", "they are")
    return (
        f"{' and '.join(missing)} {verb} not connected within {timeout_seconds():g} s; check that {who} started, with the same "
        f"TF_CONFIG except for the task index, and can be reached. To wait longer set {LIMIT}"
    )


def _refuse_other(own: Greeting, other: object, name: str) -> None:
    received = other if isinstance(other, dict) else {}
    for what, value in own.items():
        if received.get(what) != value:
            raise UsageError(f"{name}, differs from the chief: {what} is {show(received.get(what))}, expected {show(value)}")


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
            raise kind(f"the chief reports: {answer['refused']}")
        time.sleep(_PAUSE)
    raise RunError(_timed_out([f"{cluster.named(0)}{reason}"]))


def _answer(cluster: Cluster, greeting: Greeting, until: float) -> dict[str, Any] | None:
    """Wait for the chief's answer; None if it closes the connection."""
    with socket.create_connection(address_of(cluster.addresses[0]), timeout=_GREETING_SECONDS) as chief:
        _send(chief, {"worker": cluster.index, "greeting": greeting})
        chief.settimeout(
            max(until - time.monotonic(), 0.001) + _GREETING_SECONDS
        )  # the chief's own limit comes first, with its reason
        return _message(chief)


def _send(other: socket.socket, content: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a worker whose connection closed connects again
        other.sendall(json.dumps(content).encode() + b"\n")


def _message(other: socket.socket) -> dict[str, Any] | None:
    """Receive one line of JSON; None for anything else."""
    try:
        with other.makefile("rb") as stream:
            content = json.loads(stream.readline(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
