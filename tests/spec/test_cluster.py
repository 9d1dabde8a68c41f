"""TF_CONFIG: who trains together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cnnctl.errors import UsageError
from cnnctl.spec.cluster import known_cluster

TWO = {"worker": ["host1:2222", "host2:2222"]}


def said(monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    monkeypatch.setenv("TF_CONFIG", content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize("text", ["", "  ", "{}", '{"task": {"type": "worker", "index": 0}}'])
def test_nobody_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    said(monkeypatch, text)
    assert known_cluster() is None


def test_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert known_cluster() is None


@pytest.mark.parametrize("index", [1, "1"])
def test_workers_are_numbered_and_the_first_is_the_chief(monkeypatch: pytest.MonkeyPatch, index: object) -> None:
    said(monkeypatch, {"cluster": TWO, "task": {"type": "worker", "index": index}})
    cluster = known_cluster()
    assert cluster is not None
    assert (len(cluster), cluster.index, cluster.port) == (2, 1, 2222)
    assert cluster.named(0) == "the chief, worker 0, host1:2222"


def test_a_task_of_type_chief_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, {"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 0}})
    cluster = known_cluster()
    assert cluster is not None
    assert (cluster.addresses, cluster.index) == (("a:1", "b:1", "c:1"), 1)


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (
            "{x",
            r"is not valid JSON \(Expecting property name .* at character 2\); expected an object such as \{\"cluster\".*received '\{x'",
        ),
        ("[" * 100_000, "is not valid JSON"),
        ("9" * 5000, r"is not valid JSON \(a number has thousands of digits\)"),
        ("[1]", r"is \[1\]; expected an object such as"),
        ({"cluster": ["a:1"]}, r"has cluster: \[\"a:1\"\]; expected an object such as"),
        ({"cluster": {"ps": ["a:1"]}}, "has tasks of type 'ps'; cnnctl takes tasks of type worker"),
        ({"cluster": {"worker": "a:1"}}, r"has cluster.worker: 'a:1', expected a list of addresses"),
        ({"cluster": {"worker": []}}, r"has cluster.worker: \[\], expected a list"),
        (
            {"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}},
            "has the address 'a', expected a host and a port",
        ),
        ({"cluster": {"worker": ["a:0"]}, "task": {"type": "worker", "index": 0}}, "has the address 'a:0'"),
        ({"cluster": {"worker": ["a:70000"]}, "task": {"type": "worker", "index": 0}}, "has the address 'a:70000'"),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}, "has the address 'a:1' twice"),
        ({"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}, "lists several chiefs"),
        ({"cluster": TWO}, "has task: null, expected which task this process is"),
        ({"cluster": TWO, "task": {"type": "worker"}}, "expected which task this process is"),
        (
            {"cluster": TWO, "task": {"type": "worker", "index": 2}},
            "makes this process 'worker' 2, which is not in its cluster; its tasks are worker 0, worker 1",
        ),
        ({"cluster": TWO, "task": {"type": "worker", "index": True}}, "which is not in its cluster"),
        ({"cluster": TWO, "task": {"type": ["worker"], "index": 0}}, "which is not in its cluster"),
    ],
)
def test_what_tensorflow_would_not_take_is_told(monkeypatch: pytest.MonkeyPatch, content: Any, reported: str) -> None:
    said(monkeypatch, content)
    with pytest.raises(UsageError, match=f"^the environment variable TF_CONFIG .*{reported}"):
        known_cluster()
