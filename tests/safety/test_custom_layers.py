"""No code of a config, a run folder or a model file runs: only that of the file after `--custom-layers`."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.safety.conftest import SMALL, Command

ROOT = Path(__file__).parents[2]
TRAP = """
import pathlib

import keras

pathlib.Path({marker!r}).write_text("it ran")


@keras.saving.register_keras_serializable()
class Trap(keras.layers.Layer):
    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape
"""


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """What the trap writes when it runs."""
    return tmp_path / "ran"


@pytest.fixture
def hostile(run: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a run whose config, environment and model name the layers of a file that lies everywhere."""
    monkeypatch.chdir(run.parent)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["layers"].insert(0, {"trap": {}})
    Path("trap.yaml").write_text(
        yaml.safe_dump({"data": {"source": "digits"}, "model": {"layers": ["trap", *SMALL]}, "train": {"epochs": 1}})
    )
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for file in (run / "custom_layers.py", run / "custom_layer.py", run.parent / "custom_layers.py", run.parent / "trap.py"):
        file.write_text(TRAP.format(marker=str(marker)))
    with zipfile.ZipFile(run / "model.keras") as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    trap = b'"module": "custom_layers", "class_name": "Trap", "registered_name": "Custom>Trap"'
    members["config.json"] = members["config.json"].replace(b'"module": "keras.layers", "class_name": "Flatten"', trap)
    with zipfile.ZipFile(run / "model.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return run


COMMANDS = [
    ("summary", "trap.yaml"), ("summary", "trap.yaml", "--check"), ("train", "trap.yaml", "--run-dir", "new"), ("draw", "trap.yaml"),
    ("code", "trap.yaml"), ("verify", "trap.yaml"), ("data", "trap.yaml"), ("sweep", "trap.yaml"), ("explore", "trap.yaml", "--output", "p.html"),
    ("evaluate", "run"), ("predict", "run", "in_order"), ("train", "--resume", "run"), ("export", "run", "--to", "keras"),
    ("explore", "run", "--output", "p.html"), ("one-shot", "run", "."), ("train", "run/config.yaml", "--run-dir", "new"),
    ("schema", "model.layers.trap"),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_without_the_flag_no_code_runs(words: tuple[str, ...], hostile: Path, marker: Path, command: Command) -> None:
    command(*words).refusal()
    assert not marker.exists()
    assert not Path("new").exists()


def test_runs_are_listed_without_running_code(hostile: Path, marker: Path, command: Command) -> None:
    environment = hostile / "environment.json"
    environment.write_text(environment.read_text().replace("{", '{"custom_layers": {"file": "trap.py", "sha256": "0"},', 1))
    assert command("runs", "run").code == 0
    assert not marker.exists()


def test_a_run_cannot_name_the_file_that_runs(hostile: Path, marker: Path, command: Command) -> None:
    environment = hostile / "environment.json"
    environment.write_text(environment.read_text().replace("{", '{"custom_layers": {"file": "trap.py", "sha256": "0"},', 1))
    assert "code runs only if the command line names it" in command("evaluate", "run").refusal()
    assert not marker.exists()


def test_with_the_flag_the_code_runs(hostile: Path, marker: Path, command: Command) -> None:
    """Else the tests above would hold of a trap that cannot run."""
    assert command("summary", "trap.yaml", "--custom-layers", "trap.py").code == 0
    assert marker.read_text() == "it ran"


@pytest.mark.parametrize("words", [("summary", "--custom-layers", "trap.py", "--help"), ("help", "summary")])
def test_help_runs_no_code(words: tuple[str, ...], hostile: Path, marker: Path, command: Command) -> None:
    assert command(*words).code == 0
    assert not marker.exists()


def test_completion_runs_no_code(hostile: Path, marker: Path) -> None:
    line = "cnnctl summary --custom-layers trap.py --set "
    done = subprocess.run(
        [sys.executable, "-m", "cnnctl"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "_CNNCTL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "5"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "train" in done.stdout
    assert not marker.exists()
