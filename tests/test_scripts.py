"""The scripts of the project, and the workflow that runs them, as far as they can be tried without an installation."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
SCRIPTS = ("coverage", "docs", "environment", "lint", "lint_javascript", "quickstart", "test")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
PYTHONS = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if each.startswith("Programming Language")]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_executable_and_has_no_syntax_error(name: str) -> None:
    script = ROOT / "scripts" / name
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=10)


@pytest.mark.skipif(not (ROOT / ".venv/bin/cnnctl").exists(), reason="scripts/environment has not made .venv here")
def test_quickstart_trains_for_real_and_says_where_to_look() -> None:
    words = [str(ROOT / "scripts/quickstart"), "--set", "train.epochs=20"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "test    accuracy 9" in done.stdout
    assert "tensorboard --logdir runs/quickstart/" in done.stdout


def test_a_soak_kills_a_training_and_finds_nothing_left(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "scripts/soak"), "--minutes", "0", "--kills", "1", "--format", "json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert done.returncode == 0
    assert sum(found["kills"].values()) >= 1
    assert found["trainings"] == {"killed and ended the same": 1, "short, from a shell": 1}
    assert list(tmp_path.iterdir()) == []


def test_a_python_that_is_too_old_gets_one_clear_message() -> None:
    done = subprocess.run(
        [ROOT / "scripts/environment"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "no-such-python"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "cnnctl needs Python 3.11, 3.12 or 3.13" in done.stderr


def test_an_environment_that_works_is_added_to_and_not_wiped(tmp_path: Path) -> None:
    """A training may be running in it. The Python here only writes down what it is asked."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/environment", tmp_path / "scripts/environment")
    (tmp_path / "pyproject.toml").write_text("")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    python.chmod(0o755)
    for _ in range(2):
        subprocess.run([tmp_path / "scripts/environment", "dev"], check=True, capture_output=True, timeout=20)
    asked = (tmp_path / "asked").read_text()
    assert asked.count("-m pip install") == 1
    assert "--editable .[dev]" in asked
    assert "venv" not in asked


def steps(job: dict[str, Any], action: str) -> list[dict[str, Any]]:
    return [step for step in job["steps"] if step.get("uses", "").startswith(action)]


def test_the_workflow_tests_every_python_that_the_project_allows() -> None:
    allowed = SpecifierSet(PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed] == PYTHONS
    assert WORKFLOW["test"]["strategy"]["matrix"]["python"] == PYTHONS
    assert [step["with"]["python-version"] for step in steps(WORKFLOW["lowest"], "actions/setup-python")] == PYTHONS[:1]


def test_every_job_of_the_workflow_runs_a_script_from_a_pinned_checkout_and_ends() -> None:
    for job in WORKFLOW.values():
        assert 0 < job["timeout-minutes"] <= 60
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
        assert [step["with"]["cache"] for step in steps(job, "actions/setup-python")] == ["pip"]
        for run in (step["run"] for step in job["steps"] if "run" in step):
            assert os.access(ROOT / run.split()[0], os.X_OK)


def test_lowest_prints_the_lower_bound_of_every_requirement() -> None:
    done = subprocess.run([ROOT / "scripts/lowest", "dev"], capture_output=True, text=True, timeout=20, check=True)
    printed = dict(line.split("==") for line in done.stdout.split())
    listed = [Requirement(each) for each in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])]
    bounds = {each.name: part.version for each in listed for part in each.specifier if part.operator == ">="}
    assert printed == bounds
    assert {each.name for each in listed} - set(printed) == {"types-PyYAML"}


def test_lowest_refuses_an_unknown_extra() -> None:
    done = subprocess.run([ROOT / "scripts/lowest", "devel"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    known = ", ".join(PROJECT["optional-dependencies"])
    assert done.stderr == f"scripts/lowest: unknown extra 'devel'; choose from {known}\n"
