"""Workers find each other, or are given the missing ones by name, before TensorFlow starts; and what ends a start that hangs."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnctl.errors import RunError, UsageError
from cnnctl.spec.cluster import Cluster
from cnnctl.train.distributed.rendezvous import meet, timeout_seconds, unknown_hosts
from scripts.benchmark.workers import free_ports

GREETING = {"train.batch_size": 64}


def clusters(count: int) -> list[Cluster]:
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(count))
    return [Cluster(addresses, index) for index in range(count)]


def in_thread(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def call(chief: Cluster, content: object) -> socket.socket:
    """Says something to the chief as soon as it listens."""
    end = time.monotonic() + 20
    while True:
        try:
            caller = socket.create_connection(("127.0.0.1", chief.port), timeout=20)
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.01)
    caller.sendall(json.dumps(content).encode() + b"\n")
    return caller


def test_a_worker_that_ends_while_it_waits_does_not_count_and_may_come_again() -> None:
    chief, first, second = clusters(3)
    counts: list[int] = []
    waiting = in_thread(lambda: meet(chief, GREETING, counts.append))
    gone = call(chief, {"worker": 1, "greeting": GREETING})
    while 2 not in counts:
        time.sleep(0.01)
    gone.close()
    others = [in_thread(lambda cluster=cluster: meet(cluster, GREETING, counts.append)) for cluster in (second, first)]  # type: ignore[misc]
    for thread in (waiting, *others):
        thread.join(timeout=20)
        assert not thread.is_alive()
    assert counts.count(3) == 1


def test_an_unknown_host_is_told_before_anyone_waits_for_it() -> None:
    reported = unknown_hosts(Cluster(("127.0.0.1:2222", "nobody.invalid:2222", "localhost:2223", f"{'a' * 70}:1"), 0))
    assert [line.partition(", cannot be resolved (")[0] for line in reported] == [
        "warning: the host of worker 1, nobody.invalid:2222",
        f"warning: the host of worker 3, {'a' * 70}:1",
    ]
    assert all(line.endswith("check TF_CONFIG, unless the host is still starting") for line in reported)


def test_two_processes_with_one_index_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_WORKERS_TIMEOUT", "3")  # the third never comes
    chief, first, _ = clusters(3)
    counts: list[int] = []

    def wait_in_vain() -> None:
        with contextlib.suppress(RunError):
            meet(chief, GREETING, counts.append)

    waiting = in_thread(wait_in_vain)
    with call(chief, {"worker": 1, "greeting": GREETING}):
        while 2 not in counts:
            time.sleep(0.01)
        with pytest.raises(
            UsageError, match=r"another process is already worker 1, 127\.0\.0\.1:\d+; give each worker its own task index"
        ):
            meet(first, GREETING, counts.append)
    waiting.join(timeout=20)
    assert not waiting.is_alive()  # else its error would fail a later test


@pytest.mark.parametrize("said", ["0", "-3", "soon", "1.5"])
def test_a_limit_that_is_no_number_of_seconds_is_told(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_WORKERS_TIMEOUT", said)
    with pytest.raises(UsageError, match=f"CNNCTL_WORKERS_TIMEOUT is '{said}', expected a number of seconds such as 300"):
        timeout_seconds()


def test_a_start_that_lets_python_do_nothing_is_ended_with_a_message() -> None:
    code = "import ctypes\nfrom cnnctl.train.distributed.strategy import _ended_after\nwith _ended_after(1):\n    ctypes.PyDLL(None).sleep(60)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == -9
    assert "the workers lost each other as they started: not connected within 1 s; start all of them again" in done.stderr


def test_a_start_in_time_goes_on() -> None:
    code = "from cnnctl.train.distributed.strategy import _ended_after\nwith _ended_after(30):\n    pass\nprint('on')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout == "on\n"
