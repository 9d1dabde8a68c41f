"""The README fits one screen, names every command, and TensorBoard shows what a training writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cnnctl.cli import app
from tests.pages import ROOT, Commands

README = (ROOT / "README.md").read_text()


def test_the_readme_has_at_most_200_lines_of_100_columns() -> None:
    lines = README.splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 100] == []


def test_every_command_is_in_the_readme_and_in_the_reference() -> None:
    names = [verb.name or getattr(verb.callback, "__name__", "") for verb in app.registered_commands if not verb.hidden]
    reference = (ROOT / "docs/reference/cli.md").read_text()
    assert len(names) > 10
    assert [name for name in names if f"`cnnctl {name}" not in README] == []
    assert [name for name in names if f"\n## cnnctl {name}\n" not in reference] == []


def test_tensorboard_shows_the_scalars_of_a_run(tmp_path: Path) -> None:
    """TensorBoard itself is started on a run, and asked for what it shows."""
    with Commands() as commands:
        code, printed = commands.run(f"cnnctl train {ROOT}/configs/quickstart.yaml --set train.epochs=1", tmp_path)
    assert code == 0, printed
    port = 16006 + os.getpid() % 1000
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "runs", "--port", str(port), "--load_fast", "false"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            tags = asked(f"http://127.0.0.1:{port}/data/plugin/scalars/tags")
        finally:
            server.terminate()
    assert all(name.endswith("/tensorboard") for name in tags)
    of_run = next(iter(tags.values()))
    assert {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation", "training/learning_rate"} <= set(of_run)


def asked(address: str) -> dict[str, dict[str, object]]:
    """Return TensorBoard's answer once it has read the runs."""
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                content: dict[str, dict[str, object]] = json.loads(answer.read())
        except OSError:
            content = {}
        if content:
            return content
        time.sleep(0.5)
    raise AssertionError(f"TensorBoard did not show a run at {address}")
