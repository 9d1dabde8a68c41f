"""What a process finds around it changes no number of a run and costs no training; where it cannot work, one line says so."""

from __future__ import annotations

import io
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import typer

from cnnctl import last_words, surroundings
from cnnctl.cli import _types_in, app, be_own_process
from cnnctl.data.store.cgroup import cpu_limit, memory_limits
from cnnctl.errors import RunError, UsageError
from cnnctl.report.console import Console
from cnnctl.surroundings import is_utf8, number_from, own_settings, shell_word, shortened, small_limits
from cnnctl.train import quiet
from tests.fork_server import ROOT, ForkServer
from tests.reliability.endings import assert_same_ending

CONFIG = """
seed: 4
data: {source: digits, test: 0.8}
model: {layers: [flatten, batch_normalization, dropout: {rate: 0.2}, dense: {units: classes}]}
train: {epochs: 2, batch_size: 48, checkpoint: {every_steps: 3}}
"""
BYTES = os.fsdecode(b"r\xe9\xff")
"""A name that is not UTF-8."""
CNNCTL = f"{shlex.quote(sys.executable)} -m cnnctl"
KERAS_FILE = {"floatx": "float16", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Path:
    """A folder with a config, and the run that it gives where nothing is strange."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "q.yaml").write_text(CONFIG)
    (folder / "matplotlibrc").write_text("backend: nonsense\nfigure.dpi: 1\n")
    output = folder / "output.txt"
    assert fork_server.run("train", "q.yaml", "--run-dir", "plain", "--device", "cpu", cwd=folder, output=output) == 0
    return folder


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash, in which $C is `cnnctl`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS_", "TF_"))}
    environment = {**kept, "PYTHONPATH": str(ROOT), "C": CNNCTL, **variables}
    words = ["bash", "-c", command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False)


def home_with_settings(folder: Path) -> Path:
    """Returns a home with user files of Keras and matplotlib that would change numbers and pictures, or fail."""
    (folder / ".keras").mkdir(parents=True)
    (folder / ".keras/keras.json").write_text(json.dumps(KERAS_FILE))
    (folder / ".config/matplotlib").mkdir(parents=True)
    (folder / ".config/matplotlib/matplotlibrc").write_text("text.usetex: True\nbackend: TkAgg\nnonsense\n")
    return folder


def test_tensorflow_computes_by_onednn_on_every_processor_unless_the_user_sets_it(place: Path) -> None:
    for name, variables, expected in [("on", {}, "1"), ("off", {"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")]:
        done = shell(f"eval $C train q.yaml --set train.epochs=1 --run-dir onednn-{name}", place, **variables)
        assert done.returncode == 0, done.stderr
        environment = json.loads((place / f"onednn-{name}/environment.json").read_text())
        assert environment["variables"]["TF_ENABLE_ONEDNN_OPTS"] == expected


HOSTILE = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MATPLOTLIBRC": "matplotlibrc",
    "KERAS_BACKEND": "jax",
    "KERAS_MAX_EPOCHS": "x",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_FLOATX": "float16",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "ascii",
    "LC_ALL": "C",
    "TMPDIR": "/nonexistent",
    "COLUMNS": "9" * 5000,
    "LINES": "-1",
    "TERM": "x",
    "TERMINAL_WIDTH": "x",
    "OMP_NUM_THREADS": "9" * 5000,
    "CUDA_VISIBLE_DEVICES": "nonsense",
}


def test_a_run_among_settings_of_other_programs_ends_as_any_other_with_closed_streams_in_a_folder_of_any_name(
    place: Path, tmp_path: Path
) -> None:
    home = home_with_settings(tmp_path / "home")
    done = shell(
        "eval $C train q.yaml --device cpu --run-dir='~/'$'r\\xe9\\xff' '2>&-' '<&-'", place, HOME=str(home), **HOSTILE
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("see     tensorboard --logdir $'")
    run = (home / BYTES).rename(tmp_path / "run")  # TensorBoard reads no events from a folder of such a name
    assert_same_ending(run, place / "plain")
    environment = json.loads((run / "environment.json").read_text())
    assert environment["overridden"] == {
        str(home / ".keras/keras.json"): KERAS_FILE,
        **{name: value for name, value in HOSTILE.items() if name.startswith(("KERAS_", "MPL", "MATPLOTLIB"))},
    }
    assert not [name for name in environment["variables"] if name.startswith("KERAS_")]


def test_a_resume_among_settings_of_other_programs_ends_as_if_nothing_had_been(
    place: Path, fork_server: ForkServer, tmp_path: Path
) -> None:
    """The run is killed on its way; the resume has no HOME, few open files, and a full disk for its stderr."""
    run, output = tmp_path / "run", tmp_path / "output.txt"
    child = fork_server.start("train", "q.yaml", "--run-dir", run, "--device", "cpu", cwd=place, output=output)
    assert child.has_said("1/2")
    child.send(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    without = "unset HOME USER LOGNAME XDG_CACHE_HOME XDG_CONFIG_HOME; ulimit -n 40"
    done = shell(f"{without}; eval $C train --resume {run} --device cpu '2>/dev/full'", place, KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stdout
    assert_same_ending(run, place / "plain")


def test_whoever_is_killed_has_it_told_how_to_go_on(place: Path, fork_server: ForkServer, tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "output.txt"
    child = fork_server.start(
        *("train", "q.yaml", "--run-dir", run, "--device", "cpu", "--set", "train.epochs=100000"), cwd=place, output=output
    )
    assert child.has_said("1/100000")
    child.send(signal.SIGKILL)
    child.wait()
    for _ in range(1000):
        if "Resume with" in child.said():
            break
        signal.sigtimedwait([], 0.01)
    reported = child.said().splitlines()[-1]
    assert reported.startswith("this process was ended before it was done, by TensorFlow or by the system")
    assert reported.endswith(f". Resume with: cnnctl train --resume {run}")


def test_the_last_words_of_a_library_that_ends_the_process_are_heard(place: Path) -> None:
    done = shell("eval $C train q.yaml --run-dir never", place, TF_XLA_FLAGS="--nonsense=1")
    words, reported = done.stderr.splitlines()
    assert done.returncode == 1
    assert "Unknown flag in TF_XLA_FLAGS: --nonsense=1" in words
    assert reported.startswith("TensorFlow ended this process as it started; it reads ")
    assert "TF_XLA_FLAGS" in reported
    assert not (place / "never").exists()


def test_too_little_address_space_is_told_in_one_line(place: Path) -> None:
    done = shell("ulimit -v 600000; eval $C train q.yaml --run-dir never", place)
    (reported,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert reported.startswith(("TensorFlow cannot be started: ", "the system starts no more threads"))
    assert "a limit of 614,400,000 bytes of address space (ulimit -v); raise it" in reported


FULL = "output: No space left on device\n"


@pytest.mark.parametrize(
    ("command", "code", "reported"),
    [
        ("summary q.yaml >&-", 0, ""),
        ("--version >&-", 0, ""),
        ("runs . >&- 2>&- <&-", 0, ""),
        ("code q.yaml 2>&- | grep -c keras >&2", 0, None),
        ("summary q.yaml >/dev/full", 1, FULL),
        ("--version >/dev/full", 1, FULL),
        ("summary nowhere.yaml 2>/dev/full", 2, ""),
    ],
)
def test_commands_with_closed_or_full_streams_end_as_they_should(
    command: str, code: int, reported: str | None, place: Path
) -> None:
    done = shell(f"$C {command}".replace("$C", CNNCTL), place)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert reported is None or done.stderr == reported


def test_messages_never_land_in_a_file_that_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = "from cnnctl.surroundings import open_closed_streams; open_closed_streams(); import sys; f = open('x', 'w')"
    done = shell(f'{shlex.quote(sys.executable)} -c "{code}; print(f.fileno() > 2, file=f)" <&- >&- 2>&-', tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "x").read_text() == "True\n"


def test_a_message_that_nobody_can_read_does_not_end_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    Console().say("1/2")


def test_what_ctrl_c_says_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr(Console, "_write_at_once", lambda _, text: reported.append(text))
    console = Console()
    console.live = True
    console.interrupted(signal.SIGINT)
    assert reported[0].endswith("\nSaving; press Ctrl-C again to quit now\n")


# Names and numbers


@pytest.mark.parametrize("name", ["plain", "two words", "quote's", BYTES, "line\nbreak", "back\\slash\x1b", BYTES + "'"])
def test_a_shell_reads_back_the_name_that_is_shown(name: str) -> None:
    word = shell_word(Path(name))
    assert word.isprintable()
    assert is_utf8(word)
    reported = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert reported == os.fsencode(name)


@pytest.mark.parametrize("said", ["9" * 5000, "-1", "", "1.5", "x", "65", "0"])
def test_a_variable_that_is_no_such_number_is_told(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NUMBER", said)
    with pytest.raises(UsageError) as raised:
        number_from("SOME_NUMBER", 1, 1, 64, "a number from 1 to 64")
    assert str(raised.value) == f"SOME_NUMBER is {shortened(said)}, expected a number from 1 to 64"
    assert len(str(raised.value)) < 120


def verbs() -> list[Any]:
    return list(typer.main.get_command(app).commands.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", verbs(), ids=lambda verb: verb.name)
def test_every_number_has_a_limit(verb: Any) -> None:
    for name, hint in verb.callback.__annotations__.items():
        if int in _types_in(hint):
            assert hint.__metadata__[0].max is not None, name


@pytest.mark.parametrize("verb", verbs(), ids=lambda verb: verb.name)
def test_every_path_of_the_command_line_resolves_the_home(verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/some/home")
    for name, hint in verb.callback.__annotations__.items():
        if Path in _types_in(hint):
            parser = hint.__metadata__[0].parser
            found = [parser(text) for text in ("~/x", "./~", "a~", "~nobody-here/x")]
            assert found == [Path("/some/home/x"), Path("./~"), Path("a~"), Path("~nobody-here/x")], name


# Settings and limits


def test_settings_of_other_programs_are_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("KERAS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(surroundings, "overridden", {})
    home_with_settings(tmp_path / "home")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home/.keras"))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")  # as it is anyway
    own_settings()
    own_settings()
    noted = {str(tmp_path / "home/.keras/keras.json"): KERAS_FILE, "KERAS_HOME": str(tmp_path / "home/.keras")}
    assert {name: value for name, value in surroundings.overridden.items() if name != "MPLBACKEND"} == noted
    assert (os.environ["KERAS_HOME"], os.environ["MPLBACKEND"]) == (os.devnull, "agg")


@pytest.mark.parametrize("content", ["[1]", "nonsense", '{"floatx": [1]}', "[" * 50_000])
def test_no_user_file_of_keras_is_too_strange(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keras.json").write_text(content)
    monkeypatch.setattr(surroundings, "overridden", {})
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    own_settings()
    assert os.environ["KERAS_HOME"] == os.devnull


def test_small_limits_are_told_and_large_ones_not(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 600_000_000, resource.RLIMIT_NPROC: 5, resource.RLIMIT_NOFILE: 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits.get(kind, resource.RLIM_INFINITY), -1))
    assert small_limits() == (
        "this process has a limit of 600,000,000 bytes of address space (ulimit -v) "
        "and one of 5 processes and threads (ulimit -u); raise it"
    )
    limits.clear()
    assert small_limits() == ""


@pytest.mark.parametrize(
    ("what", "error"), [("fork", BlockingIOError(11, "x")), ("thread", RuntimeError("can't start new thread"))]
)
def test_a_system_without_threads_is_told_before_tensorflow_aborts(
    what: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(last_words._Reporter, "enabled", what == "fork")
    monkeypatch.setattr(os, "fork", refuse) if what == "fork" else monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RunError, match=r"^the system starts no more threads and processes, and TensorFlow needs some"):
        quiet.import_tensorflow()


def test_warnings_that_are_errors_elsewhere_end_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr("cnnctl.cli.enable_reporter", lambda: None)
        be_own_process()
        warnings.warn("old", DeprecationWarning, stacklevel=1)


# Memory


def process_in(folder: Path, groups: str, mounts: str) -> Path:
    folder.mkdir()
    (folder / "cgroup").write_text(groups)
    (folder / "mountinfo").write_text(mounts)
    return folder


def group(folder: Path, name: str, limit: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"{limit}\n")


def test_every_group_above_a_process_limits_its_memory(tmp_path: Path) -> None:
    """As in a systemd slice: version 2, seen from its top."""
    top = tmp_path / "sys fs"
    group(top / "user.slice/user-1.slice/run", "memory.max", "max")
    group(top / "user.slice/user-1.slice", "memory.max", 1_300_000_000)
    group(top / "user.slice", "memory.max", 4_000_000_000)
    mounts = f"31 23 0:28 / {str(top).replace(' ', chr(92) + '040')} rw shared:1 - cgroup2 cgroup2 rw\n"
    process = process_in(tmp_path / "1", "0::/user.slice/user-1.slice/run\n", mounts)
    assert sorted(memory_limits(process)) == [1_300_000_000, 4_000_000_000]


def test_the_first_version_has_a_tree_for_memory_alone(tmp_path: Path) -> None:
    """As in a Slurm job, and in a container that sees its own group at the top."""
    group(tmp_path / "memory/slurm/job_7", "memory.limit_in_bytes", 2_000_000_000)
    group(tmp_path / "memory", "memory.limit_in_bytes", 8_000_000_000)
    group(tmp_path / "cpu/slurm/job_7", "memory.limit_in_bytes", 1)
    mounts = (
        f"33 31 0:30 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 / {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
    )
    groups = "9:name=systemd:/\n4:memory:/slurm/job_7\n1:cpu:/slurm/job_7\n0::/\n"
    assert memory_limits(process_in(tmp_path / "1", groups, mounts)) == [2_000_000_000, 8_000_000_000]
    inside = mounts.replace(" / ", " /slurm ")
    group(tmp_path / "memory/job_7", "memory.limit_in_bytes", 3_000_000_000)
    assert memory_limits(process_in(tmp_path / "2", groups, inside)) == [3_000_000_000, 8_000_000_000]
    elsewhere = groups.replace("/slurm/job_7", "/../other")
    assert memory_limits(process_in(tmp_path / "3", elsewhere, mounts)) == [8_000_000_000]


def test_a_system_without_groups_has_no_such_limit(tmp_path: Path) -> None:
    assert memory_limits(tmp_path) == []
    assert cpu_limit(tmp_path) is None


@pytest.mark.parametrize(
    ("above", "below", "cores"),
    [
        ("max 100000", "max 100000", None),
        ("400000 100000", "max 100000", 4),
        ("400000 100000", "250000 100000", 2),
        ("max 100000", "50000 100000", 1),
    ],
)
def test_every_group_above_a_process_limits_its_cores(above: str, below: str, cores: int | None, tmp_path: Path) -> None:
    """Version 2: the quota and the period, or `max`, in one file."""
    group(tmp_path / "slice", "cpu.max", above)
    group(tmp_path / "slice/run", "cpu.max", below)
    mounts = f"31 23 0:28 / {tmp_path} rw shared:1 - cgroup2 cgroup2 rw\n"
    assert cpu_limit(process_in(tmp_path / "1", "0::/slice/run\n", mounts)) == cores


def test_the_first_version_has_a_quota_and_a_period_of_cores(tmp_path: Path) -> None:
    for place, quota in (("cpu/docker", 300_000), ("cpu", -1)):
        group(tmp_path / place, "cpu.cfs_quota_us", quota)
        group(tmp_path / place, "cpu.cfs_period_us", 100_000)
    mounts = f"33 31 0:30 / {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    assert cpu_limit(process_in(tmp_path / "1", "1:cpu,cpuacct:/docker\n", mounts)) == 3
    assert cpu_limit(process_in(tmp_path / "2", "1:cpu,cpuacct:/\n", mounts)) is None


def own_groups() -> list[Path]:
    """Returns where a group below that of this process may be made: version 1, then 2."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    places = {"memory": Path("/sys/fs/cgroup/memory"), "": Path("/sys/fs/cgroup")}
    return [places[kind] / path.strip("/") for _, kind, path in lines if kind in places]


def test_the_limit_of_a_real_group_is_seen(tmp_path: Path) -> None:
    name, limited = f"cnnctl-test-{os.getpid()}", None
    for parent in own_groups():
        file = parent / name / ("memory.limit_in_bytes" if "memory" in parent.parts else "memory.max")
        try:
            file.parent.mkdir()
            file.write_text("700002304")
            limited = file.parent
            break
        except OSError:
            if file.parent.is_dir():
                file.parent.rmdir()
    if limited is None:
        pytest.skip("this system lets nobody make a group with a limit of its memory")
    try:
        code = "from cnnctl.data.store.memory import machine_memory; print(machine_memory())"
        done = shell(f'echo $$ > {limited}/cgroup.procs && exec {shlex.quote(sys.executable)} -c "{code}"', tmp_path)
        assert done.stdout == "700002304\n", done.stderr
    finally:
        limited.rmdir()
