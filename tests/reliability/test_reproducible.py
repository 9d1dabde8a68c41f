"""The same config gives the same weights: in another process, and from the copy that a run leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fork_server import ForkServer
from tests.reliability.endings import assert_same_ending, ending, write_case


@pytest.mark.parametrize("case", ["custom-subclass", "fit-functional", "maml"])
def test_another_process_trains_the_run_s_own_config_to_the_same_weights(
    case: str, fork_server: ForkServer, tmp_path: Path
) -> None:
    config, output = write_case(case, tmp_path), tmp_path / "output.txt"
    tensorboard = str(case == "fit-functional").lower()  # once
    for source, run in ((config, "first"), (tmp_path / "first/config.yaml", "second")):
        words = ["train", source, "--run-dir", tmp_path / run, "--device", "cpu", "--set", f"log.tensorboard={tensorboard}"]
        assert fork_server.run(*words, cwd=tmp_path, output=output) == 0, output.read_text()
    assert_same_ending(tmp_path / "second", tmp_path / "first")


def test_another_seed_trains_to_other_weights(fork_server: ForkServer, tmp_path: Path) -> None:
    config, output = write_case("custom-sequential", tmp_path), tmp_path / "output.txt"
    changes = ["--set", "train.epochs=1", "--set", "log={tensorboard: false}", "--device", "cpu"]
    for seed in (3, 4):
        words = ["train", config, "--run-dir", tmp_path / str(seed), "--set", f"seed={seed}", *changes]
        assert fork_server.run(*words, cwd=tmp_path, output=output) == 0, output.read_text()
    assert ending(tmp_path / "3")["metrics"] != ending(tmp_path / "4")["metrics"]


def test_a_process_started_by_itself_ends_as_one_of_the_fork_server(fork_server: ForkServer, tmp_path: Path) -> None:
    """So that what is found with forked processes holds for those that users start."""
    config, output = write_case("fit-subclass", tmp_path), tmp_path / "output.txt"
    words = ["train", config, "--device", "cpu", "--set", "log.tensorboard=false", "--run-dir"]
    assert fork_server.run(*words, tmp_path / "forked", cwd=tmp_path, output=output) == 0, output.read_text()
    command = [sys.executable, "-m", "cnnctl", *map(str, words), str(tmp_path / "started")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert_same_ending(tmp_path / "started", tmp_path / "forked")
    environments = [json.loads((tmp_path / run / "environment.json").read_text()) for run in ("started", "forked")]
    for name in ("processor", "instruction_sets", "cores", "versions"):
        assert environments[0][name] == environments[1][name]
