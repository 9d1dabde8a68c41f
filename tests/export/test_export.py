"""`cnnctl export` on networks that were trained here: what is written, checked, said, and refused."""

from __future__ import annotations

import json
import os
import pathlib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from cnnctl.commands import export as command
from cnnctl.commands.export import export
from cnnctl.commands.train import train
from cnnctl.data.sources.folder_source import fit_opened, open_image
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.export import exporter, writers
from cnnctl.export.writers import Opened, Values
from cnnctl.model import build_model
from cnnctl.report.console import Console
from cnnctl.session.trained_run import open_trained
from tests.independent_preparation import difficult_files, prepared

TARGETS = ("keras", "saved_model", "tflite", "onnx")
FILES = {"keras": "model.keras", "saved_model": "saved_model", "tflite": "model.tflite", "onnx": "model.onnx"}

PLAIN: dict[str, Any] = {
    "data": {"source": "digits"},
    "model": {
        "layers": [{"conv2d": {"filters": 8, "kernel_size": 3, "activation": "relu"}}, "max_pooling2d", "flatten",
                   {"dense": {"units": "classes"}}],
    },
    "train": {"loop": "fit", "epochs": 3, "batch_size": 64, "optimizer": {"adam": {"learning_rate": 0.01}}},
    "log": {"tensorboard": False},
}  # fmt: skip
BRANCHED: dict[str, Any] = {
    "data": {"source": "digits", "labels": "one_hot", "invert": True},
    "model": {
        "style": "subclass",
        "layers": [
            {"conv2d": {"name": "stem", "filters": 8, "kernel_size": 3, "padding": "same", "activation": "relu"}},
            {"conv2d": {"name": "far", "filters": 8, "kernel_size": 3, "padding": "same"}},
            {"batch_normalization": {"name": "norm", "momentum": 0.5}},
            {"conv2d": {"name": "near", "inputs": ["stem"], "filters": 8, "kernel_size": 1}},
            {"add": {"inputs": ["near", "norm"]}}, {"dropout": {"rate": 0.1}},
            "flatten", {"dense": {"units": "classes", "activation": "softmax"}},
        ],
    },
    "train": {**PLAIN["train"], "precision": "mixed_bfloat16"},
    "log": {"tensorboard": False},
}  # fmt: skip


def trained_run(config: dict[str, Any], folder: Path) -> Path:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    train(file, [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(PLAIN, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def branched_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(BRANCHED, tmp_path_factory.mktemp("branched"))


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(folder: Path, to: str, output: Path, quantize: str | None = None) -> dict[str, Any]:
        capsys.readouterr()
        export(folder, to, output, quantize, "json", Console(), verbose=False)
        facts: dict[str, Any] = json.loads(capsys.readouterr().out)
        return facts

    return run


def output_for(to: str, folder: Path) -> Path:
    return folder / FILES[to]


def used(facts: dict[str, Any], images: Values) -> Values:
    """Run the line of Python that an export prints."""
    names = {"keras": keras, "tf": tf, "onnxruntime": onnxruntime, "images": images}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tf.lite.Interpreter has a successor
        exec(facts["use"], names)
    return np.asarray(names["outputs"])


def some_images(count: int) -> Values:
    return np.random.default_rng(count).random((count, 8, 8, 1), np.float32)


@pytest.mark.parametrize("to", TARGETS)
def test_the_line_to_use_it_answers_as_the_run_for_any_batch(
    to: str, plain_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]
) -> None:
    facts = shown(plain_run, to, output_for(to, tmp_path))
    for count in (1, 5):
        images = some_images(count)
        expected = open_trained(plain_run).model(images, training=False)
        np.testing.assert_allclose(used(facts, images), expected, rtol=1e-4, atol=1e-5)


KINDS: dict[str, Any] = {
    **PLAIN,
    "model": {
        "layers": [
            {"depthwise_conv2d": {"kernel_size": 3, "depth_multiplier": 4, "strides": [1, 2], "dilation_rate": [1, 2]}},
            {"conv2d_transpose": {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}},
            {"conv2d_transpose": {"filters": 4, "kernel_size": 2, "strides": 3, "output_padding": [1, 0]}},
            {"depthwise_conv2d": {"kernel_size": [2, 3], "strides": 2, "padding": "same"}},
            {"separable_conv2d": {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "activation": "relu"}},
            "flatten", {"dense": {"units": "classes"}},
        ],
    },
    "train": {**PLAIN["train"], "epochs": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def kinds_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run(KINDS, tmp_path_factory.mktemp("kinds"))


@pytest.mark.parametrize("to", TARGETS)
def test_every_kind_of_convolution_is_exported(
    to: str, kinds_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]
) -> None:
    facts = shown(kinds_run, to, output_for(to, tmp_path))
    for count in (1, 4):
        images = some_images(count)
        expected = open_trained(kinds_run).model(images, training=False)
        np.testing.assert_allclose(used(facts, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("to", TARGETS)
def test_a_branched_subclassed_mixed_precision_run_is_exported_in_float32(
    to: str, branched_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]
) -> None:
    facts = shown(branched_run, to, output_for(to, tmp_path))
    assert 0 < facts["check"]["largest_difference"] <= exporter.HALF_TOLERANCE  # the run's own network computes in bfloat16
    assert "trained in mixed_bfloat16; the file computes in float32" in facts["notes"][0]
    answers = used(facts, some_images(5))
    assert answers.dtype == np.float32
    assert np.abs(answers - open_trained(branched_run).model(some_images(5), training=False)).max() < 0.1  # bfloat16's
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_the_keras_file_of_a_subclassed_run_needs_keras_alone(
    branched_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]
) -> None:
    facts = shown(branched_run, "keras", tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        classes = modules_of(json.loads(file.read("config.json")))
    assert {name.split(".")[0] for name in classes} == {"keras"}
    assert "the run's model is subclassed" in facts["notes"][1]


READERS: dict[str, Callable[[Path], str]] = {
    "keras": lambda path: zipfile.ZipFile(path).read("preparation.json").decode(),
    "saved_model": lambda path: (path / "assets.extra/preparation.json").read_text(encoding="utf-8"),
    "tflite": lambda path: zipfile.ZipFile(path).read("preparation.json").decode(),
    "onnx": lambda path: str(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["preparation"]),
}


@pytest.mark.parametrize("to", TARGETS)
def test_who_has_only_the_file_gets_the_runs_answers_for_any_image(
    to: str, branched_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]
) -> None:
    """Turned, deep, transparent, coloured images of another size, prepared with Pillow as the file itself says."""
    digits = np.round(load_digits().images[:40] * (255 / 16)).astype(np.uint8)
    files = difficult_files(digits, tmp_path / "images")
    exported = shown(branched_run, to, output_for(to, tmp_path))
    facts = json.loads(READERS[to](Path(exported["path"])))
    assert facts == exported["preparation"]
    assert (
        json.loads(eval(exported["read"], {"zipfile": zipfile, "pathlib": pathlib, "onnxruntime": onnxruntime})) == facts
    )  # as it is printed
    answers = used(exported, np.concatenate([prepared(file, facts) for file in files]))
    trained = open_trained(branched_run)
    ours = np.concatenate([fit_opened(open_image(file), file, trained.experiment.data)[np.newaxis] for file in files])
    expected = np.asarray(trained.model(trained.inputs(ours), training=False), np.float32)
    clear = np.diff(np.sort(expected)[:, -2:])[:, 0] > exporter.HALF_TOLERANCE  # the run's own network computes in bfloat16
    np.testing.assert_array_equal(answers.argmax(axis=1)[clear], expected.argmax(axis=1)[clear])
    assert clear.mean() > 0.8
    assert np.abs(answers - expected).max() < exporter.HALF_TOLERANCE
    assert [facts["classes"][at] for at in answers.argmax(axis=1)[clear]]


def test_labels_lie_in_a_tflite_file_where_others_look_for_them(
    plain_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]
) -> None:
    shown(plain_run, "tflite", tmp_path / "model.tflite")
    assert zipfile.ZipFile(tmp_path / "model.tflite").read("labels.txt").decode().split() == [str(digit) for digit in range(10)]


def modules_of(config: Any) -> set[str]:
    """List the modules of the classes that Keras loads a config with."""
    if isinstance(config, list):
        return {name for part in config for name in modules_of(part)}
    if not isinstance(config, dict):
        return set()
    own = {config["module"]} if config.get("module") else set()
    return own | {name for part in config.values() for name in modules_of(part)}


def test_json_says_all_that_a_program_needs(branched_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]) -> None:
    facts = shown(branched_run, "onnx", tmp_path / "a/b/net.onnx")
    assert (facts["path"], facts["to"], facts["quantize"]) == (str(tmp_path / "a/b/net.onnx"), "onnx", None)
    assert facts["bytes"] == (tmp_path / "a/b/net.onnx").stat().st_size
    assert facts["bytes_before"] == (branched_run / "model.keras").stat().st_size
    assert facts["input"] == {
        "name": "input", "shape": [None, 8, 8, 1], "dtype": "float32", "range": [0, 1],
        "data_format": "channels_last", "inverted": True,
    }  # fmt: skip
    assert facts["output"] == {"name": "output", "shape": [None, 10], "dtype": "float32", "values": "probabilities"}
    assert facts["classes"] == [str(digit) for digit in range(10)]
    check = facts["check"]
    assert (check["images"], check["of"]) == (359, "test")
    assert check["same_class"] > 0.98  # the run's own network computes in bfloat16
    assert check["accuracy_before"] == pytest.approx(check["accuracy_after"], abs=0.02)
    assert check["accuracy_before"] > 0.8


def test_an_export_of_another_network_is_refused(plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check asks the run's own network, not the one that was made for the export."""
    monkeypatch.setattr(exporter, "plain_network", lambda experiment, _: build_model(experiment))
    with pytest.raises(RunError, match=r"differ from the run's on 359 test images"):
        export(plain_run, "saved_model", tmp_path / "net", None, "json", Console(), verbose=False)
    assert not (tmp_path / "net").exists()


def test_the_accuracy_is_that_of_the_run(plain_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]) -> None:
    result = json.loads((plain_run / "result.json").read_text())
    check = shown(plain_run, "keras", tmp_path / "model.keras")["check"]
    assert check["accuracy_after"] == pytest.approx(result["test_accuracy"])


@pytest.mark.parametrize(
    ("to", "quantize", "name"), [*((to, None, FILES[to]) for to in TARGETS), ("tflite", "int8", "model-int8.tflite")]
)
def test_people_read_what_lies_in_the_run_and_nothing_else(
    to: str, quantize: str | None, name: str, plain_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export(plain_run, to, None, quantize, "table", Console(), verbose=False)
    printed = capfd.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    words = ["export", "size", "input", "output", "classes", "prepare", "check", "use", "inside"]
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == words
    assert lines[0] == f"export  {plain_run / 'export' / name}"
    assert ("int8 inside, float32 inputs and outputs" in lines[1]) == bool(quantize)
    assert lines[2].endswith("(B, 8, 8, 1) float32: grey images of 8×8, pixels / 255")
    assert lines[3].endswith("(B, 10) float32: logits, apply softmax for probabilities")
    with pytest.raises(UsageError, match=rf"{name} already exists; not overwriting\. Choose another name: --output"):
        export(plain_run, to, None, quantize, "json", Console(), verbose=False)


def test_channels_first_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = {**PLAIN["model"], "data_format": "channels_first"}
    run = trained_run({**PLAIN, "model": model, "train": {**PLAIN["train"], "epochs": 1}}, tmp_path)
    export(run, "onnx", None, None, "table", Console(), verbose=False)
    assert "input   'input' (B, 1, 8, 8) float32: grey images of 8×8, pixels / 255, channels first" in capsys.readouterr().out


def test_int8_computes_in_whole_numbers_and_takes_and_gives_floats(
    plain_run: Path, tmp_path: Path, shown: Callable[..., dict[str, Any]]
) -> None:
    facts = shown(plain_run, "tflite", tmp_path / "small.tflite", "int8")
    floats = shown(plain_run, "tflite", tmp_path / "floats.tflite")
    assert facts["bytes"] < floats["bytes"]
    check = facts["check"]
    assert check["accuracy_before"] == floats["check"]["accuracy_before"]
    assert abs(check["accuracy_after"] - check["accuracy_before"]) < 0.03
    assert 0 < check["largest_difference"] < 0.2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        interpreter = tf.lite.Interpreter(str(tmp_path / "small.tflite"))
    details = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert [each["dtype"] for each in details] == [np.float32, np.float32]
    kinds = [each["dtype"] for each in interpreter.get_tensor_details() if each["name"] and each["dtype"] != np.float32]
    assert set(kinds) <= {np.int8, np.int32}, "int32 are biases and shapes"
    inner = [each for each in interpreter.get_tensor_details() if each["dtype"] == np.float32]
    assert len(inner) == 2, "images and outputs alone are floats"


def test_int8_ranges_come_from_training_images_alone(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Callable[..., dict[str, Any]]
) -> None:
    given: list[Values] = []

    def write(network: keras.Model, path: Path, typical: Values) -> None:
        given.append(typical)
        writers.write_tflite(network, path, typical)

    monkeypatch.setattr(exporter, "write_tflite", write)
    shown(plain_run, "tflite", tmp_path / "model.tflite", "int8")
    training = read_splits(open_trained(plain_run).experiment.data).train.images[:].astype(np.float32) / 255
    (typical,) = given
    assert len(typical) == exporter.MAX_TYPICAL
    assert {image.tobytes() for image in typical} <= {image.tobytes() for image in training}


def rolled(opened: Opened) -> Opened:
    """Create a runtime that shifts the outputs by one class."""
    return Opened(
        "Rolled 1.0", lambda images: np.roll(opened.outputs(images), 1, axis=1), opened.input_name, opened.output_name
    )


def test_a_file_that_answers_otherwise_is_not_left(plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writers.OPEN, "tflite", lambda path: rolled(writers.open_tflite(path)))
    message = (
        r"the outputs of Rolled 1\.0 differ from the run's on 359 test images: probabilities by up to \d\.\de-01, "
        r"expected at most 1e-04; .*% have the same class\. .*new/model\.tflite was not written; export to another runtime"
    )
    with pytest.raises(RunError, match=message):
        export(plain_run, "tflite", tmp_path / "new/model.tflite", None, "json", Console(), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_int8_that_costs_much_accuracy_is_warned_of(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(writers.OPEN, "tflite", lambda path: rolled(writers.open_tflite(path)))
    export(plain_run, "tflite", tmp_path / "model.tflite", "int8", "table", Console(), verbose=False)
    assert "warning: accuracy is " in capsys.readouterr().err
    assert (tmp_path / "model.tflite").exists()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("write_onnx", "the network cannot be exported to onnx: no such operator; nothing was written"),
        ("open_onnx", "the network cannot be exported to onnx: no such operator; nothing was written"),
        (
            "outputs",
            r"Broken 1\.0 cannot run the exported network: no such operator; nothing was written, export to another runtime",
        ),
    ],
)
def test_what_converters_and_runtimes_raise_is_one_message_and_leaves_nothing(
    step: str, message: str, plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no such operator\nand much more")

    if step == "write_onnx":
        monkeypatch.setattr(exporter, "write_onnx", fail)
    else:
        monkeypatch.setitem(writers.OPEN, "onnx", fail if step == "open_onnx" else lambda _: Opened("Broken 1.0", fail))
    with pytest.raises(RunError, match=rf"^{message}$"):
        export(plain_run, "onnx", tmp_path / "new/model.onnx", None, "json", Console(), verbose=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["write_bytes", "rename"])
def test_a_disk_that_refuses_is_one_message(
    step: str, plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = getattr(Path, step)

    def full(file: Path, *content: Any) -> Any:
        if tmp_path in file.parents:  # and not where temporary files are
            raise OSError(28, "No space left on device")
        return write(file, *content)

    monkeypatch.setattr(Path, step, full)
    message = r"model\.onnx cannot be written: No space left on device; choose another --output"
    with pytest.raises(RunError, match=message):
        export(plain_run, "onnx", tmp_path / "model.onnx", None, "json", Console(), verbose=False)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def run_without_data(tmp_path: Path) -> Path:
    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (8, 8), shade + index).save(tmp_path / "images" / name / f"{index}.png")
    data = {"source": "folder", "path": str(tmp_path / "images"), "validation": None}
    run = trained_run({**PLAIN, "data": data, "train": {**PLAIN["train"], "epochs": 1}}, tmp_path)
    (tmp_path / "images").rename(tmp_path / "moved")
    return run


def test_images_that_were_changed_since_the_training_are_told(
    run_without_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = (tmp_path / "moved").rename(tmp_path / "images")
    before = json.loads((run_without_data / "result.json").read_text())["test_accuracy"]
    export(run_without_data, "keras", tmp_path / "same.keras", None, "table", Console(), verbose=False)
    assert "are not those" not in capsys.readouterr().err
    for shade in range(30):
        Image.new("L", (8, 8), 40 + shade).save(images / "light" / f"more_{shade}.png")
    export(run_without_data, "keras", tmp_path / "changed.keras", None, "table", Console(), verbose=False)
    printed = capsys.readouterr()
    reported = " ".join(printed.err.split())
    assert "the training images have changed since the run" in reported
    assert f"the test images have changed since the run's test, which had an accuracy of {before:.2%}" in reported
    trained = open_trained(run_without_data)
    test = read_splits(trained.experiment.data).read_test()
    right = np.asarray(trained.model(trained.inputs(test.images[:]), training=False)).argmax(axis=1) == test.labels
    assert f"accuracy {right.mean():.2%} by the run's network" in printed.out


def test_a_check_on_some_of_the_test_images_says_so(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporter, "MAX_COMPARED", 50)
    export(plain_run, "keras", tmp_path / "model.keras", None, "table", Console(), verbose=False)
    assert "on 50 of 359 test images" in capsys.readouterr().out


def test_without_its_data_it_is_checked_on_random_images(
    run_without_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(run_without_data, "onnx", tmp_path / "model.onnx", None, "json", Console(), verbose=False)
    printed = capsys.readouterr()
    check = json.loads(printed.out)["check"]
    assert (check["of"], check["images"], check["accuracy_before"], check["accuracy_after"]) == ("random", 256, None, None)
    assert check["largest_difference"] <= exporter.TOLERANCE
    assert "the test images cannot be read, so the check used random images and has no accuracy (" in printed.err
    export(run_without_data, "keras", tmp_path / "model.keras", None, "table", Console(), verbose=False)
    assert "accuracy" not in capsys.readouterr().out


def test_without_its_data_nothing_is_quantized(run_without_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--quantize int8 needs training images for the range of every layer: .*images"):
        export(run_without_data, "tflite", tmp_path / "model.tflite", "int8", "json", Console(), verbose=False)
    assert not (tmp_path / "model.tflite").exists()


def test_a_run_cut_short_is_one_message(plain_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_bytes((plain_run / "config.yaml").read_bytes())
    with pytest.raises(
        RunError, match=r"has no trained network yet: its training was interrupted\. Resume with: cnnctl train --resume"
    ):
        export(tmp_path / "run", "keras", None, None, "json", Console(), verbose=False)
    assert not (tmp_path / "run/export").exists()


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("onnx", {"quantize": "int8"}, "--quantize int8 requires --to tflite, received --to onnx"),
        ("onnx", {"output": "there.onnx"}, r"there\.onnx already exists; not overwriting"),
        ("onnx", {"output": "there"}, r"there is a folder; choose a file in it, such as .*there/new\.onnx"),
        ("saved_model", {"output": "there"}, "there already exists; not overwriting"),
        ("keras", {"output": "net.h5"}, r"net\.h5: expected a name ending with \.keras, such as .*net\.keras"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_slow(
    to: str, options: dict[str, Any], message: str, plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(command, "import_tensorflow", lambda _: pytest.fail("TensorFlow was started"))
    asked = {"output": None, "quantize": None, "form": "json", **options}
    output = tmp_path / asked["output"] if asked["output"] else None
    with pytest.raises(UsageError, match=message):
        export(plain_run, to, output, asked["quantize"], asked["form"], Console(), verbose=False)
    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_no_run_and_no_place_are_one_message_each(plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "import_tensorflow", lambda _: pytest.fail("TensorFlow was started"))
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        export(tmp_path / "nowhere", "onnx", None, None, "json", Console(), verbose=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"model\.onnx cannot be written: .*file is a file; choose another --output"):
        export(plain_run, "onnx", tmp_path / "file/model.onnx", None, "json", Console(), verbose=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunError, match=r"model\.onnx cannot be written: .* cannot be written; choose another --output"):
        export(plain_run, "onnx", tmp_path / "model.onnx", None, "json", Console(), verbose=False)


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "import_tensorflow", lambda _: pytest.fail("TensorFlow was started"))
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "onnxruntime" else name)
    message = r"^--to onnx needs onnxruntime; install with: pip install onnxruntime$"
    with pytest.raises(UsageError, match=message):
        export(plain_run, "onnx", tmp_path / "model.onnx", None, "json", Console(), verbose=False)
