"""`cnnctl evaluate` on small networks that are trained here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cnnctl.commands.evaluate import evaluate
from cnnctl.commands.train import train
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.evaluate import evaluation as evaluation_module
from cnnctl.evaluate.scores import calibration_error
from cnnctl.report.console import Console
from cnnctl.session.trained_run import open_trained
from cnnctl.spec.load import load

CONV: dict[str, Any] = {"filters": 4, "kernel_size": 3, "activation": "relu"}
ENDS = ("flatten", {"dense": {"units": "classes", "kernel_regularizer": {"l2": {"l2": 0.01}}}})
CONFIGS: dict[str, dict[str, Any]] = {
    "logits": {"model": {"layers": [{"conv2d": {**CONV, "activity_regularizer": {"l1": {"l1": 0.01}}}}, *ENDS]}},
    "probabilities": {
        "data": {"labels": "one_hot"},
        "model": {
            "style": "subclass",
            "data_format": "channels_first",
            "layers": [
                {"conv2d": CONV},
                {"batch_normalization": {"axis": 1}},
                *ENDS,
                {"activation": {"activation": "softmax"}},
            ],
        },
        "train": {"loop": "fit", "loss": {"categorical_crossentropy": {"label_smoothing": 0.1}}},
    },
    "mixed": {"model": {"style": "functional", "layers": [{"conv2d": CONV}, *ENDS]}, "train": {"precision": "mixed_bfloat16"}},
}


def train_digits(folder: Path, **changes: Any) -> Path:
    """Train a config on the digits for two epochs and return the run folder."""
    config = {
        "data": {"source": "digits", **changes.get("data", {})},
        "model": changes["model"],
        "train": {"epochs": 2, "batch_size": 48, **changes.get("train", {})},
        "log": {"tensorboard": False},
    }
    return train_config(config, folder)


def train_config(config: dict[str, Any], folder: Path) -> Path:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    train(file, [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: train_digits(tmp_path_factory.mktemp(name), **config) for name, config in CONFIGS.items()}


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run of a test's own."""
    shutil.copytree(runs["logits"], tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    return tmp_path / "run"


def scores(capsys: pytest.CaptureFixture[str], run: Path, split: str | None = None, data: Path | None = None) -> Any:
    capsys.readouterr()
    evaluate([run], split, str(data) if data else None, "json", "cpu", Console(), verbose=True)
    return json.loads(capsys.readouterr().out)


def write_digits(run: Path, folder: Path, labels: tuple[int, ...] = tuple(range(10))) -> Path:
    """Write the run's test images as files, a folder per class."""
    images = read_splits(load(run / "config.yaml").data).read_test()
    for index, (pixels, label) in enumerate(zip(images.images[:], images.labels, strict=True)):
        if label in labels:
            (folder / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[..., 0]).save(folder / str(label) / f"{index:03}.png")
    return folder


@pytest.mark.parametrize("name", CONFIGS)
def test_the_test_split_has_the_loss_and_accuracy_that_the_run_noted(
    name: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    noted = json.loads((runs[name] / "result.json").read_text())
    found = scores(capsys, runs[name])
    assert found["loss"] == pytest.approx(noted["test_loss"], rel=1e-6)
    assert found["accuracy"] == pytest.approx(noted["test_accuracy"], rel=1e-6)
    assert found["images"] == sum(each["images"] for each in found["classes"]) == 359
    assert np.trace(found["confusion_matrix"]) == pytest.approx(found["accuracy"] * 359)


def test_the_validation_split_has_what_the_last_epoch_had(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    noted = (runs["logits"] / "metrics.csv").read_text().splitlines()[-1].split(",")
    found = scores(capsys, runs["logits"], "validation")
    assert [found["loss"], found["accuracy"]] == pytest.approx([float(noted[4]), float(noted[5])], rel=1e-6)
    assert scores(capsys, runs["logits"], "train")["images"] == 1797 - 359 - found["images"]


@pytest.mark.parametrize("name", CONFIGS)
def test_calibration_is_that_of_the_probabilities(name: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    trained = open_trained(runs[name])
    images = read_splits(trained.experiment.data).read_test()
    outputs = np.asarray(trained.model(trained.inputs(images.images[:]), training=False), np.float64)
    exponentials = np.exp(outputs)
    probabilities = outputs if name == "probabilities" else exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = calibration_error(images.labels, probabilities.astype(np.float32))
    assert scores(capsys, runs[name])["calibration_error"] == pytest.approx(expected, abs=1e-2 if name == "mixed" else 1e-5)


def test_other_images_have_the_labels_that_their_folders_are_named_by(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the digits 9 and 3 alone, 3 would be label 0 by its place."""
    whole = scores(capsys, run)
    found = scores(capsys, run, data=write_digits(run, tmp_path / "some", (3, 9)))
    matrix = np.array(whole["confusion_matrix"])
    matrix[[label for label in range(10) if label not in (3, 9)]] = 0
    assert found["confusion_matrix"] == matrix.tolist()
    assert found["data"] == str(tmp_path / "some")


def test_all_test_images_from_files_are_judged_as_the_split_is(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = scores(capsys, run)
    found = scores(capsys, run, data=write_digits(run, tmp_path / "all"))
    assert found["confusion_matrix"] == whole["confusion_matrix"]
    assert found["accuracy"] == pytest.approx(whole["accuracy"])
    assert found["loss"] == pytest.approx(whole["loss"], rel=1e-3)  # the activity term depends on the batches


def test_a_split_of_other_images_is_the_folder_of_that_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_digits(run, tmp_path / "data/test", (1, 2))
    write_digits(run, tmp_path / "data/validation", (4,))
    write_digits(run, tmp_path / "data/train", (5, 6, 7))
    counts = {split: scores(capsys, run, split, tmp_path / "data")["images"] for split in (None, "test", "validation", "train")}
    shown = [each["images"] for each in scores(capsys, run)["classes"]]
    assert counts == {None: shown[1] + shown[2], "test": shown[1] + shown[2], "validation": shown[4], "train": sum(shown[5:8])}
    files = {file.name for file in (run / "evaluation").glob("*.json")}
    assert files == {"data-test.json", "data-validation.json", "data-train.json", "test.json"}


def test_the_scores_are_kept_in_the_run_with_a_picture(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = scores(capsys, run)
    assert json.loads((run / "evaluation/test.json").read_text()) == found
    with Image.open(run / "evaluation/test.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_an_evaluation_is_replaced_by_one_of_the_same_images_only(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores(capsys, run)
    for parent, label in (("a", 1), ("b", 2)):
        scores(capsys, run, data=write_digits(run, tmp_path / parent / "test_images", (label,)))
    scores(capsys, run, data=write_digits(run, tmp_path / "c/images/test", (3,)).parent.parent / "images/test")
    evaluate([run], None, str(tmp_path / "b/test_images"), "table", "cpu", Console(), verbose=True)
    assert f"replaced    {run}/evaluation/test_images_2.json" in capsys.readouterr().err
    files = {file.name for file in (run / "evaluation").glob("*.json")}
    assert files == {"test.json", "test_images.json", "test_images_2.json", "images-test.json"}


def test_the_table_shows_classes_and_confusions_and_says_where_they_are_kept(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate([run], None, None, "table", "cpu", Console(), verbose=True)
    printed = capsys.readouterr()
    noted = json.loads((run / "result.json").read_text())
    first = f"test         accuracy {noted['test_accuracy']:.2%}, loss {noted['test_loss']:.4f} (regularization included), on 359 images"
    assert printed.out.splitlines()[0] == first
    assert "true \\ predicted" in printed.out
    assert f"written     {run}/evaluation/test.png" in printed.err
    evaluate([run], None, None, "markdown", "cpu", Console(), verbose=True)
    assert "| class | precision | recall | F1 | images |" in capsys.readouterr().out


def test_a_run_that_is_not_there_or_was_cut_short_is_one_message(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        evaluate([tmp_path / "nowhere"], None, None, "table", "cpu", Console(), verbose=True)
    (run / "model.keras").unlink()
    with pytest.raises(RunError, match=r"its training was interrupted\. Resume with: cnnctl train --resume"):
        evaluate([run], None, None, "table", "cpu", Console(), verbose=True)


def test_other_images_of_another_class_are_one_message(run: Path, tmp_path: Path) -> None:
    write_digits(run, tmp_path / "data", (3,))
    shutil.copytree(tmp_path / "data/3", tmp_path / "data/dog")
    with pytest.raises(DataError, match="the network has no class 'dog'; expected folders named '0', '1', '2'"):
        evaluate([run], None, str(tmp_path / "data"), "table", "cpu", Console(), verbose=True)


@pytest.mark.parametrize(
    ("split", "data", "error", "message"),
    [
        (None, "nowhere", UsageError, "--data .*nowhere: no such folder"),
        ("train", "empty", UsageError, "--split train: there is no folder .*empty/train .* remove --split"),
        (None, "empty", DataError, "empty: no images \\(.*\\) in class folders"),
        (
            None,
            "hollow",
            DataError,
            "hollow: no images \\(PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM\\) in class folders; read 0 images",
        ),
    ],
)
def test_a_folder_without_images_is_one_message(
    run: Path, tmp_path: Path, split: str | None, data: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hollow/3").mkdir(parents=True)
    with pytest.raises(error, match=message):
        evaluate([run], split, str(tmp_path / data), "table", "cpu", Console(), verbose=True)


def test_a_run_without_validation_has_no_such_split(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("validation: 0.1", "validation: null"))
    with pytest.raises(UsageError, match="the run has no validation data"):
        evaluate([run], "validation", None, "table", "cpu", Console(), verbose=True)


def test_a_run_that_cannot_be_written_to_is_evaluated_and_the_reason_told(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "evaluation").write_text("")
    evaluate([run], None, None, "table", "cpu", Console(), verbose=True)
    said = capsys.readouterr()
    assert "accuracy" in said.out
    assert f"not saved   {run}/evaluation cannot be created: File exists" in said.err


def test_too_little_memory_is_one_message(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(evaluation_module, "evaluate_batches", run_out)
    with pytest.raises(RunError, match="not enough memory for this network; use fewer images or --device cpu"):
        evaluate([run], None, None, "table", "cpu", Console(), verbose=True)


# a run on a folder that changes afterwards


@pytest.fixture
def of_a_folder(tmp_path: Path) -> Path:
    """A run on a folder of two classes, black and white."""
    for shade, name in ((10, "black"), (240, "white")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(8):
            Image.new("L", (6, 6), shade + index).save(tmp_path / "images" / name / f"{index}.png")
    config = {
        "data": {"source": "folder", "path": str(tmp_path / "images"), "validation": None, "test": 0.25},
        "model": {"layers": list(ENDS)},
        "train": {"epochs": 1, "batch_size": 4},
        "log": {"tensorboard": False},
    }
    return train_config(config, tmp_path)


def test_a_class_that_came_later_is_one_message(of_a_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "images/white", tmp_path / "images/grey")
    with pytest.raises(DataError, match=r"other classes than the network was trained on: 'grey' of .*--data FOLDER"):
        evaluate([of_a_folder], None, None, "table", "cpu", Console(), verbose=True)


def test_images_that_are_gone_are_one_message(of_a_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "images").rename(tmp_path / "moved")
    with pytest.raises(
        DataError,
        match=r"there is no folder .*images'; a relative path starts at the current folder\. To evaluate other images: --data FOLDER",
    ):
        evaluate([of_a_folder], None, None, "table", "cpu", Console(), verbose=True)
    evaluate([of_a_folder], None, str(tmp_path / "moved"), "table", "cpu", Console(quiet=True), verbose=True)


def test_training_images_that_have_changed_are_noted(
    of_a_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores(capsys, of_a_folder)
    evaluate([of_a_folder], None, None, "json", "cpu", Console(), verbose=True)
    assert "note        the training images" not in capsys.readouterr().err
    Image.new("L", (6, 6), 99).save(tmp_path / "images/white/more.png")
    evaluate([of_a_folder], None, None, "json", "cpu", Console(), verbose=True)
    assert "note        the training images have changed since the run" in capsys.readouterr().err


def test_test_images_that_have_changed_are_noted(of_a_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They need not be those of training: a split of its own may change alone."""
    file = of_a_folder / "result.json"
    result = json.loads(file.read_text())
    file.write_text(json.dumps({**result, "test_fingerprint": "0" * 16, "test_accuracy": 0.125}))
    evaluate([of_a_folder], None, None, "json", "cpu", Console(), verbose=True)
    reported = " ".join(capsys.readouterr().err.split())
    assert "the test images have changed since the run's test, which had an accuracy of 12.50%" in reported
    assert "the training images are not" not in reported
