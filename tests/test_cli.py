"""The command as people and scripts call it: a process of its own, its two streams and its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import cnnctl
from cnnctl import cli
from cnnctl.commands import init
from cnnctl.commands.train import _interruptible
from cnnctl.errors import RunError
from cnnctl.report.console import Console
from tests.custom import option_of
from tests.train.test_signals import print_from_c

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
MNIST = str(ROOT / "configs" / "mnist.yaml")
DIGITS = str(ROOT / "configs" / "quickstart.yaml")
VERBS = {
    "train": ("--set", "--run-dir", "--resume", "--device", "--quiet", "--no-cache", "--verbose"),
    "sweep": (
        "--set",
        "--dir",
        "--processes",
        "--trials",
        "--minutes",
        "--show",
        "--format",
        "--device",
        "--quiet",
        "--no-cache",
        "--verbose",
    ),
    "summary": ("--set", "--format", "--batch-size", "--explain", "--check"),
    "draw": ("--set", "--output", "--layer", "--layout", "--theme"),
    "evaluate": ("--split", "--data", "--format", "--device", "--no-cache", "--verbose"),
    "predict": ("--top", "--saliency", "--saliency-method", "--format", "--device", "--verbose"),
    "one-shot": ("--tta", "--mistakes", "--format", "--device", "--verbose"),
    "explore": ("--output", "--set", "--images", "--snapshots", "--max-size", "--device", "--no-cache", "--verbose"),
    "verify": ("--set", "--steps", "--explain", "--output", "--format", "--no-cache", "--verbose"),
    "code": ("--set", "--output"),
    "runs": ("--format", "--sort", "--filter", "--seeds", "--columns", "--plot", "--of"),
    "export": ("--to", "--output", "--quantize", "--format", "--verbose"),
    "data": ("--set", "--output", "--format", "--no-cache", "--verbose"),
    "init": (),
    "schema": ("--format",),
}
HEAVY = ("tensorflow", "keras", "tensorflow_datasets", "sklearn", "matplotlib", "numpy", "PIL", "optuna", "sqlalchemy")

Call = Callable[..., subprocess.CompletedProcess[str]]


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    usual = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TFDS_DATA_DIR")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**usual, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.fixture
def call(tmp_path: Path) -> Call:
    """Returns what runs cnnctl in an empty folder."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return python("-m", "cnnctl", *map(str, arguments), folder=tmp_path, **environment)

    return run


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the message of a command that refused what the user asked, having checked how it refused."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def done_well(done: subprocess.CompletedProcess[str]) -> str:
    """Returns what a command printed, having checked that it did its work and had nothing to say on the side."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


# help and version


def test_help_names_every_verb_with_what_it_does(call: Call) -> None:
    text = done_well(call("--help"))
    listed = re.findall(r"^  ([a-z-]+)  +\S", text.partition("Train:")[2], re.MULTILINE)
    assert sorted(listed) == sorted(VERBS)


def test_help_groups_the_verbs(call: Call) -> None:
    text = done_well(call("--help"))
    assert re.findall(r"^([A-Z][a-z ]+):$", text, re.MULTILINE) == ["Options", "Train", "Look", "Use", "Set up"]


def test_help_cuts_nothing_and_fits_80_columns(call: Call) -> None:
    text = done_well(call("--help"))
    assert "..." not in text.replace("[ARGS]...", "")
    assert max(map(len, text.splitlines())) <= 80


def test_help_is_the_same_by_whatever_way(call: Call) -> None:
    assert done_well(call("-h")) == done_well(call("--help")) == done_well(call("help"))
    assert done_well(call("runs", "-h")) == done_well(call("runs", "--help")) == done_well(call("help", "runs"))
    assert "No such command 'trian'. Did you mean 'train'?" in refusal(call("help", "trian"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered_for_the_usual_shells(shell: str, call: Call) -> None:
    assert f"_CNNCTL_COMPLETE=complete_{shell}" in done_well(
        call("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    )


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("cnnctl su", ["summary"]),
        ("cnnctl summary --ch", ["--check"]),
        ("cnnctl help o", ["one-shot"]),
        ("cnnctl train c.yaml --set train.ep", ["train.epochs"]),
        (
            "cnnctl train c.yaml --set train.early",
            [f"train.early_stopping.{name}" for name in ("monitor", "patience", "min_delta", "restore_best")],
        ),
        ("cnnctl train c.yaml --set nowhere.x", []),
        ("cnnctl init mnist-", ["mnist-best", "mnist-fast"]),
        ("cnnctl evaluate runs/f", ["runs/first"]),
        ("cnnctl train --resume elsewhere/", ["elsewhere/one"]),
    ],
)
def test_the_shell_completes(typed: str, completed: list[str], tmp_path: Path) -> None:
    for run in ("runs/first", "runs/mnist/2026", "elsewhere/one"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.yaml").touch()
    done = python(
        "-c",
        "import sys; sys.argv = ['cnnctl']; from cnnctl.cli import main; main()",
        folder=tmp_path,
        COMP_WORDS=typed,
        COMP_CWORD=str(len(typed.split()) - 1),
        _CNNCTL_COMPLETE="complete_bash",
    )
    assert done.stdout.split() == completed, done.stderr


def test_version_is_that_of_the_package(call: Call) -> None:
    assert done_well(call("--version")) == f"cnnctl {cnnctl.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_explains_each_of_its_options(verb: str, call: Call) -> None:
    text = done_well(call(verb, "--help"))
    for option in VERBS[verb]:
        assert re.search(rf"^  (?:-\w, )?{option}\b.*[a-z]", text, re.MULTILINE), option


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "No such command 'trian'. Did you mean 'train'?"),
        (("summary",), "Missing argument"),
        (("summary", MNIST, "--batchsize", "3"), "No such option: --batchsize"),
        (("train", MNIST, "--epochs", "5"), "which is a config field; use --set train.epochs=5"),
        (("summary", MNIST, "--batch-size", "0"), "'--batch-size': expected a number greater than or equal to 1, received '0'"),
        (("summary", MNIST, "--batch-size", "many"), "'--batch-size': expected a valid integer, received 'many'"),
        (("export", "run", "--to", "tflite", "--quantize", "float16"), "'--quantize': expected int8, received 'float16'"),
        (("summary", MNIST, "--format", "xml"), "expected one of table, json, markdown, received 'xml'"),
        (("summary", MNIST, "--set", "train.epochs"), "--set train.epochs  expected path=value, such as train.epochs=3"),
        (("summary", MNIST, "--set", "train.epohs=3"), "train: unknown field 'epohs'; did you mean 'epochs'?"),
        (("train",), "expected a config, or --resume RUN"),
        (("train", MNIST, "--resume", "no-run"), "there is no folder no-run"),
        (("train", "--resume", "no-run"), "there is no folder no-run; 'cnnctl runs' shows the runs in runs/"),
        (("train", "--resume", "no-run", "--set", "seed=1"), "there is no folder no-run"),
        (("train", "--resume", "no-run", "--run-dir", "other"), "leave out --run-dir"),
        (("train", MNIST, "--device", "tpu"), "expected one of auto, cpu, gpu, received 'tpu'"),
        (("init", "mnst"), "there is no example config 'mnst'; did you mean 'mnist'?"),
        (("schema", "train.optimizr"), "there is no 'optimizr' in train; did you mean 'optimizer'?"),
    ],
)
def test_a_wrong_command_line_is_refused_with_its_reason(arguments: tuple[str, ...], message: str, call: Call) -> None:
    assert message in refusal(call(*arguments))


# what is no config


@pytest.mark.parametrize("verb", ["summary", "train"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.yaml", "no such file; 'cnnctl init' lists the example configs and copies one"),
        ("folder", "this is a folder; pass the YAML file of a config"),
        ("binary", "not a text file in UTF-8; a config is YAML text"),
        (
            "empty.yaml",
            "the file is empty; a config has at least the sections data and model; 'cnnctl init' copies an example",
        ),
    ],
)
def test_what_is_no_config_gets_one_line_and_leaves_nothing(
    verb: str, name: str, message: str, call: Call, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "empty.yaml").touch()
    before = sorted(tmp_path.rglob("*"))
    assert refusal(call(verb, name)) == f"{name}  {message}"
    assert sorted(tmp_path.rglob("*")) == before


def test_every_error_of_a_config_is_printed_on_its_line(call: Call, tmp_path: Path) -> None:
    bad = ROOT / "tests" / "spec" / "bad"
    (tmp_path / "several.yaml").write_bytes((bad / "several.yaml").read_bytes())
    assert refusal(call("summary", "several.yaml")) + "\n" == (bad / "several.txt").read_text()


def test_a_file_that_the_system_will_not_open_is_refused_with_its_reason(call: Call) -> None:
    name = "x" * 300
    assert refusal(call("summary", name)) == f"{name}  cannot be read: File name too long"


# summary


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_the_table_of_every_ready_config_fits_80_columns_of_a_pipe(config: Path, call: Call) -> None:
    lines = done_well(call("summary", config, "--explain", *option_of(config))).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["layer", "output", "params", "MACs", "receptive", "stride", "memory"]
    assert "\x1b" not in "".join(lines)


def test_json_has_the_names_that_programs_rely_on(call: Call) -> None:
    summary: dict[str, Any] = json.loads(done_well(call("summary", MNIST, "--format", "json")))
    layer_names = ["name", "type", "output_shape", "parameters", "trainable_parameters", "macs", "receptive_field", "stride"]
    for layer in summary["layers"]:
        assert {*layer_names, "activation_bytes"} <= set(layer)
    assert summary["layers"][0]["output_shape"] == [26, 26, 32]
    assert summary["total"] == {
        "parameters": 34826,
        "trainable_parameters": 34826,
        "non_trainable_parameters": 0,
        "macs": 2440960,
        "activation_bytes": 4 * (26 * 26 * 32 + 13 * 13 * 32 + 11 * 11 * 64 + 5 * 5 * 64 + 1600 + 1600 + 10),
    }


def test_batch_size_multiplies_memory_and_nothing_else(call: Call) -> None:
    one, many = (
        json.loads(done_well(call("summary", DIGITS, "--format", "json", "--batch-size", size))) for size in ("1", "32")
    )
    assert many["total"]["activation_bytes"] == 32 * one["total"]["activation_bytes"]
    for summary in (one, many):
        summary["total"].pop("activation_bytes")
        summary.pop("batch_size")
        for layer in summary["layers"]:
            layer.pop("activation_bytes")
    assert many == one


@pytest.mark.parametrize("form", ["table", "json", "markdown"])
def test_the_summary_is_the_same_for_all_styles(form: str, call: Call) -> None:
    styles = ("sequential", "functional", "subclass")
    texts = {done_well(call("summary", MNIST, "--format", form, "--set", f"model.style={style}")) for style in styles}
    assert len(texts) == 1


def test_set_changes_what_is_summed(call: Call) -> None:
    smaller = json.loads(done_well(call("summary", MNIST, "--format", "json", "--set", "model.layers.0.conv2d.filters=16")))
    assert smaller["layers"][0]["parameters"] == 3 * 3 * 1 * 16 + 16


def test_explain_is_text_and_does_not_mix_with_json(call: Call) -> None:
    assert "3·3·1·32 + 32 = 320" in done_well(call("summary", MNIST, "--explain"))
    assert "3·3·1·32 + 32 = 320" in done_well(call("summary", MNIST, "--explain", "--format", "markdown"))
    assert "--explain has no JSON form" in refusal(call("summary", MNIST, "--explain", "--format", "json"))


def test_a_terminal_that_knows_only_ascii_gets_the_numbers_all_the_same(call: Call) -> None:
    text = done_well(call("summary", MNIST, PYTHONIOENCODING="ascii"))
    assert "34,826 parameters" in text
    assert "3?3" in text, "what cannot be shown becomes a question mark"


def test_check_finds_the_built_model_equal(call: Call) -> None:
    """With every layer and field there is; building it takes TensorFlow and seconds."""
    done = call("summary", ROOT / "tests" / "spec" / "everything.yaml", "--check", "--format", "json")
    assert done.returncode == 0, done.stderr
    *warnings, last = done.stderr.splitlines()
    assert all(line.startswith("warning: ") for line in warnings)
    assert last == "The built Keras model (functional) has the same shapes and parameters in every layer."
    assert json.loads(done.stdout)["layers"]


# init and schema


def test_init_lists_every_ready_config_with_what_it_shows(call: Call) -> None:
    done = call("init")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [config.stem for config in CONFIGS]
    for line, config in zip(lines, CONFIGS, strict=True):
        first = config.read_text().splitlines()[0]
        assert first == f"# {line.removeprefix(config.stem).strip()}"


def test_init_copies_a_config_that_the_next_command_takes(call: Call, tmp_path: Path) -> None:
    text = done_well(call("init", "quickstart"))
    assert (tmp_path / "quickstart.yaml").read_bytes() == Path(DIGITS).read_bytes()
    assert "cnnctl train quickstart.yaml" in text
    done_well(call("summary", "quickstart.yaml"))


def test_init_never_writes_over_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mnist.yaml").write_text("mine")
    assert refusal(call("init", "mnist")) == (
        "mnist.yaml already exists; not overwriting. Choose another name: --output mnist-2.yaml"
    )
    assert (tmp_path / "mnist.yaml").read_text() == "mine"


def test_schema_prints_json_schema(call: Call) -> None:
    schema = json.loads(done_well(call("schema")))
    assert set(schema["properties"]) == {"task", "seed", "data", "model", "few_shot", "train", "log", "sweep"}
    assert schema["required"] == ["data", "model"]


def test_a_reader_that_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m cnnctl schema | head -c 1"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{", "")


# train, as far as it does not train; tests/commands has the rest


def test_a_run_dir_that_holds_something_is_refused_and_left_alone(call: Call, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    message = "--run-dir run already exists and is not empty; not overwriting. Choose another name: --run-dir run-2"
    assert refusal(call("train", DIGITS, "--run-dir", "run")) == message
    assert refusal(call("train", DIGITS, "--run-dir", "file")) == "--run-dir file is a file; choose a new folder"
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["file", "notes.txt", "run"]


def test_resume_of_a_folder_without_a_run_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty is not a run folder: it has no config.yaml" in refusal(call("train", "--resume", "empty"))


def test_device_gpu_without_one_is_refused_with_the_reason_and_leaves_nothing(call: Call, tmp_path: Path) -> None:
    message = refusal(call("train", DIGITS, "--device", "gpu", CUDA_VISIBLE_DEVICES="-1"))
    assert re.fullmatch(r"--device gpu: \S.*; leave --device out to compute on the CPU", message)
    assert list(tmp_path.iterdir()) == []


# nothing heavy at start-up


@pytest.mark.parametrize(
    "arguments",
    [None, ["summary", MNIST, "--explain"], ["summary", DIGITS, "--format", "json"], ["init"], ["init", "lenet5"], ["schema"]],
    ids=lambda arguments: "import" if arguments is None else " ".join(Path(each).name for each in arguments),
)
def test_no_heavy_package_is_imported(arguments: list[str] | None, tmp_path: Path) -> None:
    program = f"""
import contextlib, io, sys
import cnnctl.cli
if {arguments!r} is not None:
    with contextlib.redirect_stdout(io.StringIO()) as raised:
        cnnctl.cli.app({arguments!r}, standalone_mode=False)
    assert raised.getvalue()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = python("-c", program, folder=tmp_path)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_no_cache_keeps_nothing_of_the_images(call: Call, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for shade in range(10):
            Image.new("L", (6, 6), 20 * shade).save(tmp_path / "images" / name / f"{shade}.png")
    (tmp_path / "own.yaml").write_text(
        "data: {source: folder, path: images}\nmodel: {layers: [flatten, {dense: {units: classes}}]}\n"
    )
    for options, kept in (("--no-cache", 0), ("--format=json", 1)):
        assert call("data", "own.yaml", options, CNNCTL_CACHE_DIR=str(tmp_path / "cache")).returncode == 0
        assert len(list(tmp_path.glob("cache/*.npz"))) == kept


def test_ctrl_c_before_signals_are_heard_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", press)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted during start-up\n"


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], int]]:
    """Runs the command, in this process, with something else in place of what its verb does; returns its exit code."""
    before = {number: signal.getsignal(number) for number, _ in SIGNALS}
    for number in before:  # as where nohup has not made the process ignore them
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def run(act: Callable[[], None]) -> int:
        monkeypatch.setattr(init, "init", lambda *_: act())
        monkeypatch.setattr(sys, "argv", ["cnnctl", "init", "quickstart"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("becomes", [KeyboardInterrupt(), SystemError(), RunError("model.keras is damaged")])
def test_a_signal_is_one_line_in_a_verb_whatever_becomes_of_it(
    number: signal.Signals,
    code: int,
    becomes: BaseException,
    during: Callable[[Callable[[], None]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """TensorFlow's C++ may hand a KeyboardInterrupt on as a SystemError, which may pass for a fault of a file."""

    def act() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as pressed:
            raise becomes from pressed

    assert during(act) == code
    assert capsys.readouterr().err == "interrupted; no file is left half written\n"


def test_what_else_goes_wrong_after_a_signal_is_told(
    during: Callable[[Callable[[], None]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise RunError("the disk is full")

    assert during(act) == 1
    assert capsys.readouterr().err == "the disk is full\n"


def test_a_verb_that_a_signal_did_not_reach_has_ended_well(
    during: Callable[[Callable[[], None]], int], capfd: pytest.CaptureFixture[str]
) -> None:
    def act() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        print_from_c("dropped")

    assert during(act) == 0
    assert not capfd.readouterr().err


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("The Conv2D op currently only supports the NHWC tensor format on the CPU.", "model.data_format: channels_last"),
        ("Conv2DCustomBackpropInputOp only supports NHWC.", "model.data_format: channels_last"),
        ("Current CPU implementations do not yet support dilation rates larger than 1.", "write dilation_rate: 1"),
    ],
)
def test_a_layer_that_this_processor_cannot_compute_ends_with_a_message(
    said: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow's words on processors without oneDNN; with it the layers are computed."""

    class UnimplementedError(Exception):
        """Stands for TensorFlow's, which has no base class but this one."""

    def run() -> None:
        raise UnimplementedError(f"Exception encountered when calling a layer. {said} [Op:Conv2D]")

    monkeypatch.setattr(cli, "_run", run)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    printed = capsys.readouterr().err
    assert remedy in printed and "unset TF_ENABLE_ONEDNN_OPTS if it is 0" in printed and "Traceback" not in printed


def test_an_unknown_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        raise ValueError("a mistake of cnnctl")

    monkeypatch.setattr(cli, "_run", run)
    with pytest.raises(ValueError, match="a mistake of cnnctl"):
        cli.main()


@pytest.mark.parametrize("call", range(12))
def test_a_signal_while_handlers_change_ends_the_verb_with_its_code(
    call: int, during: Callable[[Callable[[], None]], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verb's own handlers come into those of the command line, and both go again: six calls each."""
    change, calls, sent = signal.signal, 0, False

    def act() -> None:
        with _interruptible(None, Console()):
            pass

    def signal_after(number: int, handler: Any) -> Any:
        nonlocal calls, sent
        before, calls = change(number, handler), calls + 1
        if calls == call + 1 and callable(signal.getsignal(signal.SIGTERM)):
            sent = True
            signal.raise_signal(signal.SIGTERM)
        return before

    monkeypatch.setattr(signal, "signal", signal_after)
    code = during(act)
    assert code == (143 if sent else 0)
    assert calls > call
    assert ("interrupted" in capsys.readouterr().err) == sent


SEND = "import signal; signal.raise_signal(signal.{})"
MOMENTS = {  # Python that runs before the command, the signal that comes, the exit code
    "while the command is imported": (
        "import sys\nclass Finder:\n    def find_spec(name, *_):\n        if name == 'typer': {}\nsys.meta_path.insert(0, Finder)",
        {"SIGINT": -2, "SIGTERM": -15},
    ),
    "in a text that Python runs": (
        "import cnnctl.commands.init as place\nplace.init = lambda *_: exec({!r})",
        {"SIGINT": 130, "SIGTERM": 143},
    ),
    "after the command": (
        "import cnnctl.cli as place\ndef dismiss(): {}\nplace.dismiss = dismiss",
        {"SIGINT": -2, "SIGTERM": -15},
    ),
}


@pytest.mark.parametrize(("moment", "name"), [(moment, name) for moment, (_, codes) in MOMENTS.items() for name in codes])
def test_a_signal_outside_the_verb_ends_the_process_without_a_traceback(moment: str, name: str, tmp_path: Path) -> None:
    program, codes = MOMENTS[moment]
    (tmp_path / "sitecustomize.py").write_text(program.format(SEND.format(name)))
    done = python("-m", "cnnctl", "init", folder=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == codes[name], done.stderr
    assert not re.search("Traceback|KeyboardInterrupt", done.stderr)
    assert (done.stderr == "interrupted; no file is left half written\n") == (codes[name] > 0)
