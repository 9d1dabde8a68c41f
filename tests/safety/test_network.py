"""Training, evaluation and prediction on prepared data in a process that cannot reach a network, and is watched for trying."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.safety.conftest import config_of
from tests.safety.hostile import digits_in_folders

ROOT = Path(__file__).parents[2]
PREPARED = Path(os.environ.get("TFDS_DATA_DIR", "")) / "mnist" / "3.0.1"
WATCH = """
import json, os, socket, sys

def note(event, arguments):
    internet = event == "socket.__new__" and arguments[1] in (socket.AF_INET, socket.AF_INET6)
    if internet or event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(os.environ["NOTED"], "a") as out:
            out.write(f"{event} {arguments[1:]}\\n")

sys.addaudithook(note)
"""
RUN = """
import os, sys
from pathlib import Path
from cnnctl import cli

for line in Path("commands.txt").read_text().splitlines():
    sys.argv = ["cnnctl", *line.split()]
    try:
        cli.main()
    except SystemExit as left:
        assert not left.code, (line, left.code)
"""
INTERNET = re.compile(r"AF_INET6?\\b")


def available(*command: str) -> bool:
    """Returns whether a command is there and may be used."""
    return shutil.which(command[0]) is not None and not subprocess.run(command, capture_output=True, check=False).returncode


def without_network() -> list[str]:
    """Returns what begins a command whose process has no network at all; nothing where the system does not allow it."""
    return ["unshare", "-rn"] if available("unshare", "-rn", "true") else []


def watched(log: Path) -> list[str]:
    """Returns what begins a command whose system calls are noted: C++ opens sockets too, which Python does not hear of."""
    before = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=socket,connect", "-o"]
    return [*before, str(log)] if available(*before, os.devnull, "true") else []


def all_alone(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "watch").mkdir(exist_ok=True)
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    usual = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    return subprocess.run(
        [*without_network(), *watched(folder / "calls.txt"), sys.executable, "-c", script],
        cwd=folder,
        env={**usual, "PYTHONPATH": f"{folder / 'watch'}:{ROOT}", "NOTED": str(folder / "noted.txt")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def noted(folder: Path) -> list[str]:
    """Returns what Python noted, and the system calls for sockets of the internet."""
    lines = (folder / "noted.txt").read_text().splitlines() if (folder / "noted.txt").exists() else []
    calls = (folder / "calls.txt").read_text().splitlines() if (folder / "calls.txt").exists() else []
    return [*lines, *(line for line in calls if INTERNET.search(line))]


def sources(folder: Path) -> dict[str, str]:
    """Returns a config for each kind of prepared data that is here."""
    digits_in_folders(folder / "images", ["a", "b"], 5)
    found = {
        "digits": config_of({"source": "digits"}, log={"tensorboard": True}),
        "folder": config_of({"source": "folder", "path": "images"}),
    }
    if PREPARED.is_dir():
        parts = {"train": "train[:300]", "validation": "train[300:400]", "test": "test[:100]"}
        found["tfds"] = config_of({"source": "tfds", "name": "mnist", "data_dir": str(PREPARED.parents[1]), **parts})
    return found


def test_no_socket_is_opened(tmp_path: Path) -> None:
    lines = []
    found = sources(tmp_path)
    for name, text in found.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        lines += [
            f"data {name}.yaml --no-cache",
            f"train {name}.yaml --run-dir {name} --no-cache --device cpu",
            f"evaluate {name} --no-cache --format json",
            f"predict {name} images --format json",
        ]
    (tmp_path / "commands.txt").write_text("\n".join([*lines, "runs . --format json"]))
    done = all_alone(RUN, tmp_path)
    assert done.returncode == 0, done.stderr
    assert noted(tmp_path) == []
    assert [each["run"] for each in json.loads(done.stdout[done.stdout.rindex("\n[") :])] == sorted(found)


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 80), 0.1)",
        "socket.getaddrinfo('storage.googleapis.com', 443)",
        "urllib.request.urlopen('http://192.0.2.1/', timeout=0.1)",
        "socket.socket(socket.AF_INET6)",
    ],
)
def test_an_attempt_would_be_noticed(attempt: str, tmp_path: Path) -> None:
    script = f"import contextlib, socket, urllib.request\nwith contextlib.suppress(OSError):\n    {attempt}"
    assert all_alone(script, tmp_path).returncode == 0
    assert noted(tmp_path)
