"""`--custom-layers FILE.py` through the life of a run: train, resume, evaluate, sweep, verify, code, export, runs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from cnnctl.commands.verify import verify
from cnnctl.model.custom_class import MODULE
from cnnctl.report.console import Console
from cnnctl.script.page import script
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check, load
from tests.custom import EXAMPLE, LAYERS, use_layers
from tests.model.test_custom_layers import BLEND, HEAD, NOISE, REGISTER
from tests.safety import conftest
from tests.safety.conftest import Command
from tests.script.test_code import assert_same_bits

command = conftest.command
OWN = HEAD + REGISTER + NOISE.lstrip() + "\n\n" + REGISTER + BLEND.lstrip()
STACK: list[Any] = [
    {"conv2d": {"filters": 3, "kernel_size": 3, "activation": "relu", "name": "a"}},
    {"noise": {"name": "b"}},
    {"blend": {"inputs": ["a", "b"]}},
    "flatten",
    {"dense": {"units": "classes"}},
]
IN_A_ROW: list[Any] = [STACK[0], STACK[1], *STACK[3:]]


def content_of(layers: Sequence[Any] = STACK, style: str = "functional", **train: Any) -> dict[str, Any]:
    return {
        "data": {"source": "digits", "test": 0.8},
        "model": {"style": style, "layers": list(layers)},
        "train": {"epochs": 1, "batch_size": 48, **train},
        "log": {"tensorboard": False},
    }


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with own.py and small.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    Path("small.yaml").write_text(yaml.safe_dump(content_of()))
    return tmp_path


@pytest.fixture
def cnnctl(files: Path, command: Command) -> Callable[..., str]:
    """Returns a function that runs a command, which must succeed, and returns its output."""

    def run(*words: object) -> str:
        done = command(*words)
        assert done.code == 0, done.err
        return done.out

    return run


def trained(cnnctl: Callable[..., str], folder: str, *words: object) -> Path:
    cnnctl("train", "small.yaml", "--run-dir", folder, "--device", "cpu", "--quiet", "--custom-layers", "own.py", *words)
    return Path(folder)


def test_a_run_keeps_the_file_and_its_hash(cnnctl: Callable[..., str]) -> None:
    run = trained(cnnctl, "run")
    assert (run / "custom_layers.py").read_text() == OWN
    noted = json.loads((run / "environment.json").read_text())["custom_layers"]
    assert noted == {"file": "own.py", "sha256": hashlib.sha256(OWN.encode()).hexdigest()}


def test_a_run_without_layers_of_ones_own_keeps_no_file(cnnctl: Callable[..., str]) -> None:
    Path("small.yaml").write_text(yaml.safe_dump(content_of([STACK[0], *STACK[3:]])))
    run = trained(cnnctl, "run")
    assert not (run / "custom_layers.py").exists()
    assert "custom_layers" not in json.loads((run / "environment.json").read_text())
    cnnctl("evaluate", run)


USES: dict[str, tuple[object, ...]] = {
    "evaluate": ("evaluate", "run"),
    "an ensemble": ("evaluate", "run", "again"),
    "predict": ("predict", "run", "small.png"),
    "resume": ("train", "--resume", "run", "--set", "train.epochs=2", "--device", "cpu"),
    "export": ("export", "run", "--to", "keras", "--output", "out.keras"),
    "explore": ("explore", "run", "--output", "page.html"),
}


def test_a_run_is_used_with_its_own_file_only(cnnctl: Callable[..., str], command: Command) -> None:
    run = trained(cnnctl, "run")
    from PIL import Image

    Image.new("L", (8, 8)).save("small.png")
    shutil.copytree(run, "again")
    Path("other.py").write_text(OWN + "# another\n")
    was, now = (hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in ("own.py", "other.py"))
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for words in USES.values():
        done = command(*words)
        assert done.code == 2
        assert done.err.strip() == (
            f"run was started with the layers of own.py, SHA-256 {was}, and code runs only if the command line names it; add "
            "--custom-layers own.py, or its copy once you have read it: --custom-layers run/custom_layers.py"
        )
        done = command(*words, "--custom-layers", "other.py")
        assert done.code == 2
        assert done.err.strip() == (
            "run was started with another file of layers than other.py; use its copy: --custom-layers run/custom_layers.py, or start again "
            f"in another folder\n  {was} is the SHA-256 of own.py at the start\n  {now} is that of other.py now"
        )
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before
    assert not Path("out.keras").exists()
    for name in ("evaluate", "an ensemble", "predict", "export", "resume"):
        cnnctl(*USES[name], "--custom-layers", "run/custom_layers.py")
    assert (
        "explore cannot show 'b': the page computes every layer in the browser"
        in command(*USES["explore"], "--custom-layers", "own.py").refusal()
    )


def test_the_hash_is_known_from_the_checkpoint_where_the_environment_is_lost(
    cnnctl: Callable[..., str], command: Command
) -> None:
    run = trained(cnnctl, "run")
    (run / "environment.json").unlink()
    (run / "custom_layers.py").unlink()
    assert "run was started with the layers of own.py" in command("train", "--resume", "run").refusal()
    cnnctl("train", "--resume", run, "--set", "train.epochs=2", "--device", "cpu", "--custom-layers", "own.py")
    assert (run / "custom_layers.py").read_text() == OWN


@pytest.mark.parametrize("loop", ["custom", "fit"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one_to_the_bit(loop: str, cnnctl: Callable[..., str]) -> None:
    """Its layer draws random numbers in each step, and counts the steps in a weight."""
    two = trained(cnnctl, "two", "--set", f"train.loop={loop}", "--set", "train.epochs=2")
    one = trained(cnnctl, "one", "--set", f"train.loop={loop}")
    cnnctl("train", "--resume", one, "--set", "train.epochs=2", "--device", "cpu", "--quiet", "--custom-layers", "own.py")
    first, other = (keras.models.load_model(run / "model.keras", compile=False) for run in (two, one))
    assert len(first.variables) > 6
    for mine, theirs in zip(first.variables, other.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    steps = next(layer for layer in first.layers if layer.name == "b").calls
    assert float(steps) == 2 * 4  # 179 images in batches of 48, twice


def test_runs_are_listed_without_the_file_and_an_edit_is_told(cnnctl: Callable[..., str], command: Command) -> None:
    run = trained(cnnctl, "run")
    done = command("runs", run)
    assert done.code == 0
    assert "finished" in done.out
    assert "warning" not in done.err
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("batch_size: 48", "batch_size: 49"))
    assert "train.batch_size is 49, trained with 48" in command("runs", run).err


def test_a_sweep_is_resumed_with_its_own_file_only(cnnctl: Callable[..., str], command: Command) -> None:
    sweep = {"method": "grid", "parameters": {"train.batch_size": [48]}, "repeat_best": 1}
    Path("sweep.yaml").write_text(
        yaml.safe_dump({**content_of(), "sweep": sweep, "data": {"source": "digits", "validation": 0.1}})
    )
    out = cnnctl(
        "sweep", "sweep.yaml", "--dir", "sweep", "--device", "cpu", "--quiet", "--custom-layers", "own.py", "--format", "json"
    )
    assert [trial["state"] for trial in json.loads(out)["trials"]] == ["done"]
    assert Path("sweep/custom_layers.py").read_text() == OWN
    assert json.loads(Path("sweep/trial_0000/environment.json").read_text())["custom_layers"]["file"] == "own.py"
    assert "--custom-layers FILE.py adds one's own" in command("sweep", "sweep.yaml", "--dir", "sweep").refusal()
    Path("other.py").write_text(OWN + "# another\n")
    refusal = command("sweep", "sweep.yaml", "--dir", "sweep", "--custom-layers", "other.py").refusal()
    assert refusal.startswith(
        "sweep was started with another file of layers than other.py; use its copy: --custom-layers sweep/custom_layers.py"
    )
    cnnctl("sweep", "sweep.yaml", "--dir", "sweep", "--show", "--custom-layers", "sweep/custom_layers.py")


# other verbs


def test_verify_agrees_in_builds_loops_and_gradients(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    use_layers(Path("own.py"))
    for layers in (STACK, IN_A_ROW):
        Path("small.yaml").write_text(yaml.safe_dump(content_of(layers)))
        verify(Path("small.yaml"), [], 3, False, "json", Console(), verbose=True)
        proof = json.loads(capsys.readouterr().out)
        assert proof["agrees"]
        assert len(proof["builds"]) == (2 if layers is STACK else 3)
        rows = {(row["layer"], row["variable"]): row for row in proof["gradients"]}
        assert rows["b", "scale"]["sampled"] > 0
        if layers is STACK:
            assert rows["blend", "share"]["largest_gradient"] > 0
            assert rows["blend", "share"]["agrees"]


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_the_script_has_the_classes_and_ends_with_the_same_weights(
    style: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = '"""Layers."""\n\nfrom __future__ import annotations\n\nimport math\n'
    end = "\n\nif __name__ == '__main__':\n    raise SystemExit('not in a script')\n"
    Path("own.py").write_text(head + OWN + end)
    use_layers(Path("own.py"))
    layers = IN_A_ROW if style == "sequential" else STACK
    made = experiment(content_of(layers, style, loop="fit" if style == "functional" else "custom"))
    names = assert_same_bits(made, files, monkeypatch)
    assert names["Noise"].__module__ != MODULE
    for name in ("Custom>Noise", "Custom>Blend"):
        del keras.saving.get_custom_objects()[name]  # the script ran in this process


def experiment(content: dict[str, Any]) -> Experiment:
    return check(parse(json.dumps(content), "c.yaml"))


def test_a_name_that_the_script_has_too_is_refused(cnnctl: Callable[..., str], command: Command) -> None:
    for line in ("SEED = 3\n", "def read():\n    pass\n", "import json as tf\n"):
        Path("own.py").write_text(OWN + line)
        name = line.split()[-1] if "json" in line else line.replace("def ", "").split()[0].removesuffix("():")
        number = OWN.count("\n") + 1
        refusal = command("code", "small.yaml", "--custom-layers", "own.py").refusal()
        assert refusal.strip() == f"own.py:{number}  the script of cnnctl code has a '{name}' of its own; rename this one"


def test_the_script_of_the_example_reads_well(golden: Callable[[Path, str], None]) -> None:
    use_layers(LAYERS)
    text = script(
        load(EXAMPLE), "cnnctl code configs/custom-layer.yaml --custom-layers configs/custom_layer.py", "custom-layer.keras"
    )
    golden(Path(__file__).parents[1] / "golden" / "code-custom-layer.py.txt", text)


@pytest.mark.parametrize("to", ["keras", "saved_model"])
def test_an_export_computes_what_the_run_computes(to: str, cnnctl: Callable[..., str], command: Command) -> None:
    trained(cnnctl, "run", "--set", "model.style=subclass")
    done = command(
        "export",
        "run",
        "--to",
        to,
        "--output",
        "out" if to == "saved_model" else "out.keras",
        "--custom-layers",
        "own.py",
        "--format",
        "json",
    )
    assert done.code == 0
    assert json.loads(done.out)["check"]["largest_difference"] < 1e-6
    assert ("Keras opens the file where the layers of own.py are registered" in done.err) == (to == "keras")


def test_onnx_refuses_the_layer_by_name(cnnctl: Callable[..., str], command: Command) -> None:
    pytest.importorskip("onnx")
    trained(cnnctl, "run")
    refusal = command("export", "run", "--to", "onnx", "--output", "out.onnx", "--custom-layers", "own.py").refusal()
    assert refusal.strip() == (
        "--to onnx: 'b' is a layer of one's own, own.py:7, and cnnctl writes ONNX layer by layer; export it with --to saved_model, or "
        "--to keras"
    )
    assert not Path("out.onnx").exists()


def test_the_schema_and_the_picture_know_the_layers(cnnctl: Callable[..., str]) -> None:
    kinds = json.loads(cnnctl("schema", "--custom-layers", "own.py"))["$defs"]["layer"]["anyOf"][1]["properties"]
    assert {"noise", "blend"} <= kinds.keys()
    assert "noise" not in json.loads(cnnctl("schema"))["$defs"]["layer"]["anyOf"][1]["properties"]
    cnnctl("draw", "small.yaml", "--output", "small.svg", "--custom-layers", "own.py")
    assert "MACs unknown" in Path("small.svg").read_text()


def test_what_the_file_prints_is_not_in_the_results(cnnctl: Callable[..., str]) -> None:
    Path("own.py").write_text(
        OWN.replace("        return input_shape\n", "        print('shape')\n        return input_shape\n") + "print('hello')\n"
    )
    trained(cnnctl, "run")
    assert json.loads(cnnctl("evaluate", "run", "--format", "json", "--custom-layers", "own.py"))["accuracy"] >= 0
    assert json.loads(cnnctl("summary", "small.yaml", "--format", "json", "--check", "--custom-layers", "own.py"))["layers"]


def test_a_failed_command_writes_nothing(cnnctl: Callable[..., str], command: Command) -> None:
    Path("own.py").write_text(OWN.replace("return input_shape[0]", "return (*input_shape[0][:-1], 9)"))
    before = sorted(Path().rglob("*"))
    refusal = command("train", "small.yaml", "--run-dir", "run", "--custom-layers", "own.py").refusal()
    assert "Blend.compute_output_shape says (2, 6, 6, 9) for a batch of 2, but call returns (2, 6, 6, 3)" in refusal
    assert [each for each in sorted(Path().rglob("*")) if "__pycache__" not in str(each)] == before


def test_init_copies_the_file_beside_the_config(cnnctl: Callable[..., str], command: Command) -> None:
    out = cnnctl("init", "custom-layer")
    assert Path("custom_layer.py").read_bytes() == LAYERS.read_bytes()
    words = out.splitlines()[-1].partition("cnnctl ")[2].split()
    assert words == ["train", "custom-layer.yaml", "--custom-layers", "custom_layer.py"]
    cnnctl("summary", *words[1:])
    shutil.move("custom-layer.yaml", "kept.yaml")
    cnnctl("init", "custom-layer")
    Path("custom-layer.yaml").unlink()
    Path("custom_layer.py").write_text("# mine\n")
    assert "custom_layer.py already exists" in command("init", "custom-layer").refusal()
    assert not Path("custom-layer.yaml").exists()


def test_a_layer_with_many_layers_inside_is_saved_and_read(cnnctl: Callable[..., str]) -> None:
    """The checks of a model file, which may come from anyone, leave room for it and for weights of other types."""
    text = HEAD + REGISTER
    text += """class Deep(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = [keras.layers.Dense(2, kernel_initializer="ones") for _ in range(40)]

    def build(self, input_shape):
        self.count = self.add_weight(shape=(5,), dtype="int8", initializer="zeros", trainable=False, name="count")
        for each in self.inner:
            each.build(input_shape)
            input_shape = (*input_shape[:-1], 2)

    def call(self, inputs):
        for each in self.inner:
            inputs = ops.tanh(each(inputs))
        return inputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2)
"""
    Path("own.py").write_text(text)
    Path("small.yaml").write_text(yaml.safe_dump(content_of(["flatten", "deep", {"dense": {"units": "classes"}}])))
    run = trained(cnnctl, "run")
    assert json.loads(cnnctl("evaluate", run, "--format", "json", "--custom-layers", "own.py"))["accuracy"] > 0
