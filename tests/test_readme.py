"""Every command that the README shows is run, and its reference is the one that the models make."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ELSEWHERE = {
    "scripts/quickstart": "tests/test_scripts.py",
    "scripts/test": ".ci/run",
    ".venv/bin/python scripts/bench --epochs 1": "tests/test_bench.py",
    ".venv/bin/python scripts/bench --workers": "tests/test_bench.py",
    ".venv/bin/python scripts/bench --sweep": "tests/test_bench.py",
    ".venv/bin/python scripts/soak --minutes 120": "tests/test_scripts.py",
    "cnnctl sweep configs/digits-sweep.yaml --processes 2": "tests/sweep/test_sweep.py",
    "tensorboard --logdir runs": "test_tensorboard_shows_the_scalars_of_a_run",
    "cnnctl train --resume runs/quickstart/2026-11-24_21-19-03": "tests/test_run_folder.py",
}


def shown_commands() -> list[str]:
    """Returns the commands in the README's sh blocks, in their order."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


def inline_commands() -> list[str]:
    """Returns whole commands in the running text, such as `cnnctl summary --format json configs/mnist.yaml`."""
    return sorted(set(re.findall(r"`(cnnctl [^`\n]*configs/[^`\n]*|cnnctl schema)`", README)))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configs, where commands are run one after the other."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "my-digits").mkdir()
    Image.new("L", (20, 30), 128).save(folder / "my-digits" / "one.png")
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = command.split()
    assert words[0] == "cnnctl", command
    done = subprocess.run(
        [sys.executable, "-m", "cnnctl", *words[1:]], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    if "is not prepared" in done.stderr and "there is no network" in done.stderr:
        pytest.skip("the data is not here and there is no network to fetch it")
    return done


def option_for_one_epoch(command: str) -> str:
    """Returns what makes a training short: only that it works is looked at here."""
    return " --set train.epochs=1" if command.startswith("cnnctl train") else ""


@pytest.mark.parametrize("command", [line for line in shown_commands() if line not in ELSEWHERE])
def test_a_shown_command_works(command: str, workplace: Path) -> None:
    if "runs" in command and "--run-dir" not in command and not (workplace / "runs/first").exists():
        run("cnnctl train configs/quickstart.yaml --set train.epochs=1 --run-dir runs/first", workplace)
    done = run(command + option_for_one_epoch(command), workplace)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", inline_commands())
def test_a_command_in_the_text_works(command: str, workplace: Path) -> None:
    done = run(command + option_for_one_epoch(command), workplace)
    assert done.returncode == 0, done.stderr
    if "json" in command or "schema" in command:
        json.loads(done.stdout)


def test_every_command_run_elsewhere_is_still_shown() -> None:
    assert set(ELSEWHERE) <= set(shown_commands())


def test_the_shown_summary_is_what_is_printed(workplace: Path) -> None:
    printed = run("cnnctl summary configs/mnist.yaml", workplace).stdout.strip()
    assert printed in README


def test_the_shown_explanation_is_what_is_printed(workplace: Path) -> None:
    printed = run("cnnctl summary --explain configs/complete-cnn.yaml", workplace).stdout
    shown = re.search(r"--explain configs/complete-cnn.yaml\n```\n\n```\n(.*?)\n\.\.\.\n", README, re.DOTALL)
    assert shown
    assert shown[1] in printed


def test_the_shown_errors_are_what_is_printed(workplace: Path) -> None:
    (workplace / "wrong.yaml").write_text((ROOT / "tests" / "readme_wrong.yaml").read_text())
    done = run("cnnctl summary wrong.yaml", workplace)
    assert done.returncode == 2
    assert done.stderr.strip() in README


def test_the_reference_is_made_from_the_models() -> None:
    made = subprocess.run(
        [sys.executable, "scripts/reference"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert made.stdout.strip() in README, "run .venv/bin/python scripts/reference --write"


def test_every_verb_is_in_the_table_of_commands() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "cnnctl", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    verbs = re.findall(r"^  ([a-z-]+)  ", help_text.partition("Train:")[2], re.MULTILINE)
    assert verbs
    assert [verb for verb in verbs if f"| `cnnctl {verb}" not in README] == []


def test_tensorboard_shows_the_scalars_of_a_run(workplace: Path) -> None:
    """TensorBoard itself is started on the runs that the commands above left, and asked for what it shows."""
    if not list(workplace.glob("runs/*/*/tensorboard")):
        run("cnnctl train configs/quickstart.yaml --set train.epochs=1", workplace)
    port = 16006 + os.getpid() % 1000
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "runs", "--port", str(port), "--load_fast", "false"]
    with subprocess.Popen(command, cwd=workplace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            tags = asked(f"http://127.0.0.1:{port}/data/plugin/scalars/tags")
        finally:
            server.terminate()
    assert all(name.endswith("/tensorboard") for name in tags)
    of_run = next(iter(tags.values()))
    assert {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation", "training/learning_rate"} <= set(of_run)


def asked(address: str) -> dict[str, dict[str, object]]:
    """Returns TensorBoard's answer once it has read the runs."""
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
