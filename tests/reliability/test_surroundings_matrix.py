"""Whatever a process finds around it: settings of other programs, streams, names, variables and limits of the system.

A row of a matrix is one surrounding. Those that must change nothing are tried together, since each training costs a start of TensorFlow;
`CNNCTL_SURROUNDINGS=each` tries one after the other, to find the row that broke.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from cnnctl import cli, surroundings
from tests.fork_server import ROOT, ForkServer

CONFIG = """
seed: 4
data: {source: digits, test: 0.8}
model: {layers: [conv2d: {filters: 2, kernel_size: 3}, flatten, batch_normalization, dense: {units: classes}]}
train: {epochs: 1}
"""
DIGITS = "9" * 5_000
KERAS_JSON = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "torch"}
HARMLESS: dict[str, tuple[dict[str, str | None], str]] = {
    "a notebook's matplotlib": ({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}, ""),
    "a matplotlibrc": ({"MATPLOTLIBRC": "theirs"}, ""),
    "keras.json": ({"KERAS_HOME": "theirs"}, ""),
    "variables of Keras": ({"KERAS_BACKEND": "torch", "KERAS_FLOATX": "float16", "KERAS_MAX_EPOCHS": "0"}, ""),
    "warnings as errors": ({"PYTHONWARNINGS": "error"}, ""),
    "a temporary folder that is not there": ({"TMPDIR": "/nowhere/at/all"}, ""),
    "numbers that are none": ({"COLUMNS": "x", "LINES": DIGITS, "OMP_NUM_THREADS": "-3"}, ""),
    "no HOME": ({"HOME": None, "USER": None, "LOGNAME": None, "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}, ""),
    "no language": ({"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, ""),
    "closed stdin": ({}, "<&-"),
    "closed stdout": ({}, ">&-"),
    "full stderr": ({}, "2>/dev/full"),
}
"""What is around, as variables (a value of None unsets one) and as a shell's words; none of it may reach a run."""
FATAL = {
    "a flag that XLA does not know": ("TF_XLA_FLAGS=--nonsense=1", "", ("nonsense", "TF_XLA_FLAGS", "unset")),
    "little address space": ("", "ulimit -v 600000", ("ulimit -v", "raise it")),
}
"""Where no run can be: variables, a command before it, and what must be said."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a config and with `theirs`, in which other programs are set up."""
    folder = tmp_path_factory.mktemp("surroundings")
    (folder / "digits.yaml").write_text(CONFIG)
    (folder / "theirs").mkdir()
    (folder / "theirs" / "keras.json").write_text(json.dumps(KERAS_JSON))
    (folder / "theirs" / "matplotlibrc").write_text("backend: nonsense\nfigure.dpi: 1\n")
    return folder


def shell(line: str, place: Path, variables: dict[str, str | None] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `cnnctl` is a process of its own."""
    words = f"{shlex.quote(sys.executable)} -m cnnctl"
    asked = {**os.environ, "PYTHONPATH": str(ROOT), **(variables or {})}
    around = {name: str(place / value) if value == "theirs" else value for name, value in asked.items() if value is not None}
    return subprocess.run(
        ["bash", "-c", line.replace("cnnctl", words, 1)],
        cwd=place, env=around, capture_output=True, text=True, errors="replace", timeout=120, check=False,
    )  # fmt: skip


def weights(run: Path) -> Any:
    import keras

    return [value.tobytes() for value in keras.models.load_model(run / "model.keras").get_weights()]


def rows() -> list[Any]:
    if os.environ.get("CNNCTL_SURROUNDINGS") == "each":
        return [pytest.param(*row, id=name) for name, row in HARMLESS.items()]
    variables = {name: value for row, _ in HARMLESS.values() for name, value in row.items()}
    return [pytest.param(variables, " ".join(words for _, words in HARMLESS.values()), id="all at once")]


@pytest.fixture(scope="module")
def usual(place: Path, fork_server: ForkServer) -> Path:
    """Return a run with nothing around it."""
    assert fork_server.run("train", "digits.yaml", "--run-dir", "usual", cwd=place, output=place / "said.txt") == 0
    return place / "usual"


@pytest.mark.parametrize(("variables", "words"), rows())
def test_what_is_around_changes_nothing_of_a_run(
    variables: dict[str, str | None], words: str, place: Path, usual: Path, tmp_path: Path
) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/a\xe9")  # a name that is not UTF-8
    done = shell(f"ulimit -n 40; cnnctl train digits.yaml --run-dir {shlex.quote(folder)} {words}", place, variables)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert weights(Path(folder)) == weights(usual)
    environment = json.loads(Path(folder, "environment.json").read_text())
    if "KERAS_HOME" in variables:
        assert environment["overridden"][str(place / "theirs" / "keras.json")] == KERAS_JSON
    if "MPLBACKEND" in variables:
        assert environment["overridden"]["MPLBACKEND"] == variables["MPLBACKEND"]


@pytest.mark.parametrize(
    ("content", "told"), [(json.dumps(KERAS_JSON), KERAS_JSON), ("[1]", None), ("{", "not JSON"), ("\xe9", "not JSON")]
)
def test_the_keras_json_of_a_home_is_looked_at_whatever_it_holds(
    content: str, told: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(content, encoding="latin-1")
    assert surroundings._of_keras_json() == ({str(tmp_path / ".keras" / "keras.json"): told} if told else {})


@pytest.mark.parametrize(("variables", "before", "told"), FATAL.values(), ids=FATAL)
def test_where_no_run_can_be_one_message_says_why(variables: str, before: str, told: tuple[str, ...], place: Path) -> None:
    done = shell(f"{before or 'true'}; {variables} cnnctl train digits.yaml --run-dir none", place)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (place / "none").exists()
    for each in told:
        assert each in done.stderr


@pytest.mark.parametrize(
    "words", ["code digits.yaml --output=~/made", "runs ~/made", "data digits.yaml --output=~/made", "evaluate ~/made"]
)
def test_no_path_of_the_command_line_makes_a_folder_of_the_name_tilde(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name, *rest = words.split()
    context = typer.main.get_command(cli.app).commands[name].make_context(name, list(rest))  # type: ignore[attr-defined]
    given = [each for value in context.params.values() for each in (value if isinstance(value, list | tuple) else [value])]
    assert tmp_path / "made" in given
