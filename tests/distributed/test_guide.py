"""What docs/guide/distributed.md shows of several devices and workers: run for real, or with stand-ins for what no test has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.benchmark.workers import free_ports

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/guide/distributed.md").read_text()
TELL = 'echo "$TF_CONFIG $*" >> reported\n'


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the configs, and a folder `bin` for stand-ins."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path, "cnnctl", f'exec {sys.executable} -m cnnctl "$@" --set train.epochs=1')
    return tmp_path


def stand_in(place: Path, name: str, script: str) -> None:
    file = place / "bin" / name
    file.write_text(f"#!/bin/bash\n{script}\n")
    file.chmod(0o755)


def start(script: str, place: Path, **variables: str) -> subprocess.Popen[str]:
    surroundings = {**os.environ, "PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        ["bash", "-c", script], cwd=place, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended_well(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def test_the_command_for_a_machine_without_gpus_trains_on_logical_devices(place: Path) -> None:
    (command,) = [block for block in blocks("bash") if block.startswith("CNNCTL_CPU_REPLICAS")]
    assert "2 replicas share each batch of" in ended_well(start(command, place))


def test_the_commands_for_two_terminals_train_together(place: Path) -> None:
    commands = [block for block in blocks("bash") if block.startswith("TF_CONFIG")]
    assert len(commands) == 2
    ports = dict(zip(("2222", "2223"), map(str, free_ports(2)), strict=True))
    started = [start(re.sub("222[23]", lambda found: ports[found[0]], command), place) for command in commands]
    chief, other = (ended_well(process) for process in started)
    assert "0 of 2 is the chief" in chief
    assert "1 of 2; the chief, " in other


def reported(place: Path) -> list[tuple[dict[str, Any], str]]:
    """Returns TF_CONFIG and words of each stand-in for cnnctl that was called."""
    decoder, found = json.JSONDecoder(), []
    for line in (place / "reported").read_text().splitlines():
        content, end = decoder.raw_decode(line)
        found.append((content, line[end:].strip()))
    return found


def test_the_lines_for_slurm_give_each_task_its_tf_config(place: Path) -> None:
    (script,) = [block for block in blocks("bash") if "#SBATCH" in block]
    stand_in(place, "cnnctl", TELL)
    stand_in(place, "scontrol", '[ "$*" = "show hostnames node[1-2]" ] && printf "node1\\nnode2\\n"')
    stand_in(place, "srun", 'for each in 0 1; do SLURM_PROCID=$each "$@"; done')
    ended_well(start(script, place, SLURM_JOB_NODELIST="node[1-2]", SLURM_JOB_ID="77"))
    for index, (content, words) in enumerate(reported(place)):
        assert content == {
            "cluster": {"worker": ["node1:2222", "node2:2222"]}, "task": {"type": "worker", "index": index}
        }  # fmt: skip
        assert words == "train config.yaml --run-dir runs/job-77"
    assert len(reported(place)) == 2


def test_the_lines_for_kubernetes_give_each_pod_its_tf_config(place: Path) -> None:
    (block,) = blocks("yaml")
    service, job = yaml.safe_load_all(block)
    spec = job["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 2, 2)
    pod = spec["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    (container,) = pod["containers"]
    assert container["command"] == ["bash", "-c"]
    stand_in(place, "cnnctl", TELL)
    for index in range(spec["completions"]):
        ended_well(start(container["args"][0], place, JOB_COMPLETION_INDEX=str(index)))
    names = [f"{job['metadata']['name']}-{index}.{pod['subdomain']}:2222" for index in range(2)]
    assert reported(place) == [
        ({"cluster": {"worker": names}, "task": {"type": "worker", "index": index}}, "train config.yaml --run-dir runs/digits")
        for index in range(2)
    ]
