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
import threading
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from cnnctl import cli, surroundings
from cnnctl.data.cgroup import memory_limits
from cnnctl.errors import RunError, UsageError
from cnnctl.surroundings import number_from
from cnnctl.train.quiet import import_tensorflow
from tests.reliability.nursery import ROOT, Nursery

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
    given = {name: str(place / value) if value == "theirs" else value for name, value in (variables or {}).items()}
    around = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    command = f"{shlex.quote(sys.executable)} -m cnnctl"
    return subprocess.run(
        ["bash", "-c", line.replace("cnnctl", command, 1)],
        cwd=place,
        env={name: value for name, value in around.items() if value is not None},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def weights(run: Path) -> Any:
    import keras

    return [value.tobytes() for value in keras.models.load_model(run / "model.keras").get_weights()]


def rows() -> list[Any]:
    if os.environ.get("CNNCTL_SURROUNDINGS") == "each":
        return [pytest.param(*row, id=name) for name, row in HARMLESS.items()]
    variables = {name: value for row, _ in HARMLESS.values() for name, value in row.items()}
    return [pytest.param(variables, " ".join(words for _, words in HARMLESS.values()), id="all at once")]


@pytest.fixture(scope="module")
def usual(place: Path, nursery: Nursery) -> Path:
    """Return a run with nothing around it."""
    assert nursery.run("train", "digits.yaml", "--run-dir", "usual", cwd=place, output=place / "said.txt") == 0
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


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_command(streams: str, place: Path) -> None:
    done = shell(f"cnnctl summary digits.yaml {streams}", place)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_printed_is_said_in_one_line_and_a_refusal_stays_one(place: Path) -> None:
    done = shell("cnnctl summary digits.yaml >/dev/full", place)
    assert (done.returncode, done.stderr) == (1, "output: No space left on device\n")
    assert shell("cnnctl summary nothing.yaml 2>/dev/full", place).returncode == 2


def test_a_system_that_starts_no_more_threads_is_told_before_tensorflow_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `ulimit -u 5`, which does not count for root."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("cnnctl.train.quiet.small_limits", lambda: "this process has a limit; raise it")
    with pytest.raises(RunError, match=r"starts no more threads and processes.*; this process has a limit; raise it"):
        import_tensorflow()


# Numbers and names of the command line


def types_in(annotation: Any) -> list[Any]:
    return [each for part in get_args(annotation) for each in (part, *types_in(part))]


def test_every_whole_number_of_the_command_line_has_an_upper_bound() -> None:
    verbs = [verb.callback for verb in cli.app.registered_commands if verb.callback]
    options = [
        (verb.__name__, name, hint) for verb in verbs for name, hint in get_type_hints(verb, include_extras=True).items()
    ]
    numbers = {(verb, name): get_args(hint)[1] for verb, name, hint in options if int in types_in(hint)}
    assert len(numbers) > 10
    assert [where for where, option in numbers.items() if option.max is None] == []


@pytest.mark.parametrize("number", [DIGITS, "-1", "x", "", "²", str(2**63)])
def test_a_variable_that_is_no_such_number_is_told_in_one_short_line(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_SIZE", number)
    with pytest.raises(UsageError, match=r"^CNNCTL_CACHE_SIZE is '.{0,60}', expected a number$"):
        number_from("CNNCTL_CACHE_SIZE", 1, 0, 2**63 - 1, "a number")


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


# Memory of a group of processes


def process_in(groups: str, mounts: str, folder: Path) -> Path:
    folder.mkdir()
    (folder / "cgroup").write_text(groups)
    (folder / "mountinfo").write_text(mounts)
    return folder


def limit_at(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def test_limits_of_version_2_are_those_of_the_own_group_and_of_all_above(tmp_path: Path) -> None:
    top = tmp_path / "cg roup"
    limit_at(top / "slurm" / "job_7" / "memory.max", 1_300_000_000)
    limit_at(top / "slurm" / "memory.max", 2_000_000_000)
    limit_at(top / "slurm" / "job_8" / "memory.max", 5)  # another's
    limit_at(top / "memory.max", "max")
    escaped = str(top).replace(" ", "\\040")
    mounts = f"30 24 0:27 / {escaped} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    process = process_in("0::/slurm/job_7\n", mounts, tmp_path / "self")
    assert sorted(memory_limits(process)) == [1_300_000_000, 2_000_000_000]


def test_limits_of_version_1_are_those_of_the_tree_for_memory(tmp_path: Path) -> None:
    limit_at(tmp_path / "memory" / "docker" / "a" / "memory.limit_in_bytes", 700)
    limit_at(tmp_path / "cpu" / "docker" / "a" / "memory.limit_in_bytes", 5)
    mounts = "".join(
        f"3{n} 24 0:2{n} / {tmp_path}/{kind} rw shared:{n} - cgroup cgroup rw,{kind}\n"
        for n, kind in enumerate(("cpu", "memory"))
    )
    process = process_in("4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n", mounts, tmp_path / "self")
    assert memory_limits(process) == [700]


@pytest.mark.parametrize(
    ("group", "root"), [("/", "/"), ("/../../elsewhere", "/"), ("/docker/a", "/docker/a"), ("/x", "/docker/a")]
)
def test_a_container_sees_its_own_limit_at_the_top_of_what_is_mounted(group: str, root: str, tmp_path: Path) -> None:
    limit_at(tmp_path / "cgroup" / "memory.max", 900)
    mounts = f"30 24 0:27 {root} {tmp_path}/cgroup ro - cgroup2 cgroup rw\n"
    assert memory_limits(process_in(f"0::{group}\n", mounts, tmp_path / "self")) == [900]


def test_a_system_without_groups_has_no_limits(tmp_path: Path) -> None:
    assert memory_limits(tmp_path / "no proc") == []
