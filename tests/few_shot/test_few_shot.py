"""Few-shot tasks from the config to the results, on the bundled digits: six to train on, two to validate, two to test."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnnctl.cli import main
from cnnctl.errors import DataError, RunError
from cnnctl.spec.leaves import differing, leaves
from cnnctl.spec.load import load
from cnnctl.spec.section import plain as plain_data
from tests.interruptions import interrupt, interrupt_at, prepared
from tests.interruptions import run as trained

# Keras 3.15 writes .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

METHODS = ("prototypical", "maml", "cosine_classifier")
EPOCHS = 4
CONV: list[Any] = [
    {"conv2d": {"filters": 8, "kernel_size": 3, "padding": "same"}},
    {"batch_normalization": {"momentum": 0.9}},
    {"activation": {"activation": "relu"}},
    "max_pooling2d",
    "flatten",
]


def config(method: str, **few_shot: Any) -> dict[str, Any]:
    by_episodes = {} if method == "cosine_classifier" else {"episodes": 64, "episodes_per_step": 5}
    return {
        "task": "few_shot",
        "seed": 2,
        "data": {"source": "digits", "validation": ["6", "7"], "test": ["8", "9"], "augment": {"rotation": 5, "shift": 0.05}},
        "few_shot": {
            "method": {method: {"inner_steps": 3, "inner_learning_rate": 0.1} if method == "maml" else {}},
            "way": 2,
            "shot": 1,
            "query": 5,
            "validation_episodes": 30,
            "test_episodes": 200,
            "rotations": True,
            **by_episodes,
            **few_shot,
        },
        "model": {"style": "functional", "layers": CONV},
        "train": {"epochs": EPOCHS, "batch_size": 256, "optimizer": {"adam": {"learning_rate": 0.005}}},
    }


def written(folder: Path, content: dict[str, Any]) -> Path:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def cnnctl(*words: object) -> int:
    """Runs a command in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["cnnctl", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained run of each method."""
    folders = {}
    for method in METHODS:
        folder = tmp_path_factory.mktemp(method)
        folders[method] = folder / "run"
        assert cnnctl("train", written(folder, config(method)), "--run-dir", folder / "run", "--verbose", "--quiet") == 0
    return folders


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a one-shot challenge: an eight and a nine, to be matched with others."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("challenge")
    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    for run in (1, 2):
        lines = []
        for place, label in enumerate((8, 9), 1):
            first, *others = np.flatnonzero(labels == label)[run * 10 : run * 10 + 6]
            training = folder / f"run{run:02}" / "training" / f"class{place:02}.png"
            save(training, pixels[first])
            for number, other in enumerate(others):
                test = folder / f"run{run:02}" / "test" / f"item{place}{number}.png"
                save(test, pixels[other])
                lines.append(f"{test.relative_to(folder)} {training.relative_to(folder)}")
        (folder / f"run{run:02}" / "class_labels.txt").write_text("\n".join(lines))
    return folder


def save(file: Path, pixels: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def result(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "result.json").read_text())
    return content


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


# what a run leaves


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_better_than_guessing_on_classes_it_never_saw(method: str, runs: dict[str, Path]) -> None:
    found = result(runs[method])
    assert found["test_episodes"] == 200
    assert found["test_accuracy"] - found["test_interval"] > 0.55
    assert 0 < found["test_interval"] < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_the_run_folder_is_that_of_any_run(method: str, runs: dict[str, Path]) -> None:
    run = runs[method]
    names = {file.name for file in run.iterdir()}
    assert names >= {
        "config.yaml",
        "curves.svg",
        "environment.json",
        "metrics.csv",
        "result.json",
        "checkpoints",
        "model.keras",
        "tensorboard",
    }
    columns = "epoch,step,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds,images_per_second"
    assert (run / "metrics.csv").read_text().splitlines()[0] == f"{columns},validation_interval"
    assert len(rows(run)) == EPOCHS
    assert all(0 <= float(row["validation_interval"]) < 0.2 for row in rows(run))
    assert json.loads((run / "environment.json").read_text())["class_names"] == list("0123456789")


@pytest.mark.parametrize("method", METHODS)
def test_the_steps_are_those_of_the_config(method: str, runs: dict[str, Path]) -> None:
    turned = 4 * sum(1 for label in digit_labels() if label < 6)
    an_epoch = -(-turned // 256) if method == "cosine_classifier" else 13  # 64 episodes, 5 a step
    assert [int(row["step"]) for row in rows(runs[method])] == [an_epoch * epoch for epoch in range(1, EPOCHS + 1)]


def digit_labels() -> list[int]:
    from sklearn.datasets import load_digits

    labels: list[int] = load_digits().target.tolist()
    return labels


@pytest.mark.parametrize("method", METHODS)
def test_tensorboard_has_the_interval_and_looks_inside(method: str, runs: dict[str, Path]) -> None:
    tags = tags_of(runs[method] / "tensorboard")
    assert tags >= {"loss/validation", "accuracy/validation", "validation/accuracy_interval"}
    assert tags >= {"test/loss", "test/accuracy", "test/accuracy_interval"}
    assert tags >= {
        "loss/train",
        "accuracy/train",
        "training/learning_rate",
        "training/gradient_norm",
        "pictures/training_images",
    }
    assert tags >= {"weight_gradients/conv2d/kernel", "weights/conv2d/kernel", "outputs/flatten"}


def tags_of(folder: Path) -> set[str]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return set(events.Tags()["tensors"])


@pytest.mark.parametrize("method", METHODS)
def test_the_saved_network_opens_with_keras_alone(method: str, runs: dict[str, Path]) -> None:
    """And nothing of ours: batch norm is Keras's own again, the head of the classifier is left out."""
    network = keras.models.load_model(runs[method] / "model.keras", compile=False, safe_mode=True)
    assert network.output_shape == (None, 2 if method == "maml" else 128)
    assert {type(layer).__module__.partition(".")[0] for layer in network.layers} == {"keras"}


@pytest.mark.parametrize(("style", "method"), list(zip(["sequential", "subclass", "subclass"], METHODS, strict=True)))
def test_the_style_does_not_change_the_result(style: str, method: str, runs: dict[str, Path], tmp_path: Path) -> None:
    content = {**config(method), "log": {"tensorboard": False}}
    content["model"] = {**content["model"], "style": style}
    trained(load(written(tmp_path, content)), tmp_path / "run")
    assert result(tmp_path / "run")["test_accuracy"] == pytest.approx(result(runs[method])["test_accuracy"], abs=0.02)


def test_a_test_that_is_impossible_is_refused_before_the_training(tmp_path: Path) -> None:
    content = config("prototypical", way=3)
    content["data"]["validation"] = None
    with pytest.raises(DataError, match=r"needs 3 classes, but test has 2; lower few_shot\.way"):
        prepared(load(written(tmp_path, content)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_way": 25},
            r"needs 25 classes, but 'train' with rotated or mirrored ones has 24; lower few_shot\.train_way",
        ),
        ({"train_query": 300}, r"fewer, one only \d+; lower few_shot\.shot or few_shot\.train_query"),
    ],
)
def test_training_episodes_that_cannot_be_name_their_own_fields(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        prepared(load(written(tmp_path, config("prototypical", **changes))))


def test_folders_of_other_classes_can_be_the_test(tmp_path: Path) -> None:
    for split, names in (("train", "abcd"), ("test", "uv")):
        for name in names:
            for number in range(6):
                save(tmp_path / "images" / split / name / f"{number}.png", np.full((6, 6), 20 * number + ord(name), np.uint8))
    content = config("prototypical", episodes=2, query=2)
    content["data"] = {"source": "folder", "path": str(tmp_path / "images"), "validation": ["c", "d"]}
    content["train"] = {"epochs": 1}
    session = trained(load(written(tmp_path, content)), tmp_path / "run")
    assert session.task.splits.class_names == ["a", "b", "c", "d", "u", "v"]
    assert session.task.splits.test_class_sizes == (6, 6)


# resumed


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_ends_as_one_that_was_not(method: str, runs: dict[str, Path], tmp_path: Path) -> None:
    folder, straight = tmp_path / "run", runs[method]
    experiment = load(written(tmp_path, {**config(method), "log": {"tensorboard": False}}))
    interrupt_at(experiment, folder, step=2)
    if method == "prototypical":
        interrupt(experiment, folder, after_epoch=2)
    last_step = int(rows(straight)[2]["step"])
    interrupt_at(experiment, folder, step=last_step)  # before the validation after it
    trained(experiment, folder)
    assert_same_arrays(folder, straight)
    clocks = ("seconds", "images_per_second")
    lasting = [[{k: v for k, v in row.items() if k not in clocks} for row in rows(each)] for each in (folder, straight)]
    assert lasting[0] == lasting[1]
    assert result(folder)["test_accuracy"] == result(straight)["test_accuracy"]


def assert_same_arrays(mine: Path, straight: Path) -> None:
    """Asserts that the newest checkpoints of two runs have the same network and optimizer, to the bit."""
    newest = [max((run / "checkpoints").iterdir()) for run in (mine, straight)]
    assert newest[0].name == newest[1].name
    with np.load(newest[0]) as first, np.load(newest[1]) as second:
        names = [name for name in second.files if name.startswith(("model/", "optimizer/"))]
        assert names
        for name in names:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_no_number_stops_the_run(method: str, tmp_path: Path) -> None:
    content = {**config(method), "log": {"tensorboard": False}}
    content["train"] = {**content["train"], "optimizer": {"sgd": {"learning_rate": 1e30}}}
    content["model"] = {"layers": ["flatten", {"dense": {"units": 8}}, {"dense": {"units": 2}}]}
    with pytest.raises(RunError, match=r"^the loss became (nan|inf) at step [23] .* That step changed no trained weight"):
        trained(load(written(tmp_path, content)), tmp_path / "run")


# evaluated


@pytest.mark.parametrize("method", METHODS)
def test_evaluate_finds_what_the_run_found(method: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(runs[method], capsys)
    assert found["accuracy"] == pytest.approx(result(runs[method])["test_accuracy"], abs=1e-6)
    assert found["interval"] == pytest.approx(result(runs[method])["test_interval"], abs=1e-6)
    assert (found["images"], found["classes"]) == (354, 2)
    kept = json.loads((runs[method] / "evaluation" / "test-2way-1shot-5query-200episodes.json").read_text())
    assert kept == found


def evaluated(run: Path, capsys: pytest.CaptureFixture[str], *options: object) -> dict[str, Any]:
    capsys.readouterr()
    assert cnnctl("evaluate", run, "--format", "json", "--verbose", *options) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_more_shots_make_it_easier_and_more_classes_harder(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    run = runs["prototypical"]
    one = evaluated(run, capsys, "--split", "train")
    five = evaluated(run, capsys, "--split", "train", "--shot", 5)
    six_way = evaluated(run, capsys, "--split", "train", "--way", 6, "--query", 2, "--episodes", 100)
    assert five["accuracy"] > one["accuracy"] > six_way["accuracy"]
    assert (six_way["way"], six_way["query"], six_way["episodes"], five["shot"]) == (6, 2, 100, 5)


def test_episodes_of_other_images_can_be_asked_for(
    runs: dict[str, Path], challenge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder a class; the network knows none of their names."""
    folder = challenge / "others"
    for name in ("alpha", "beta"):
        for number in range(4):
            save(folder / name / f"{number}.png", np.full((8, 8), 40 * number + (100 if name == "beta" else 0), np.uint8))
    found = evaluated(runs["cosine_classifier"], capsys, "--data", folder, "--query", 3, "--episodes", 20)
    assert (found["data"], found["images"], found["classes"]) == (str(folder.resolve()), 8, 2)


def test_a_class_without_images_and_one_with_too_few_are_named(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("alpha", "beta", "gamma"):
        for number in range(1 if name == "gamma" else 4):
            save(tmp_path / name / f"{number}.png", np.full((8, 8), 40 * number, np.uint8))
    assert cnnctl("evaluate", runs["prototypical"], "--data", tmp_path, "--query", 2, "--episodes", 2) == 1
    assert "of the 3 classes of" in (message := capsys.readouterr().err)
    assert "has fewer: 'gamma' has 1; lower --shot or --query" in message
    save(tmp_path / "gamma" / "1.png", np.zeros((8, 8), np.uint8))
    save(tmp_path / "gamma" / "2.png", np.zeros((8, 8), np.uint8))
    assert cnnctl("evaluate", runs["prototypical"], "--data", tmp_path, "--query", 2, "--episodes", 2) == 0
    assert "no image in class 'empty'; left out" in capsys.readouterr().err


def test_other_images_are_compared_with_the_training_images(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digits 8 and 9, which the network never saw, as they are and inverted."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number in np.flatnonzero(digits.target >= 8)[:40].tolist():
        pixels = np.round(digits.images[number] * (255 / 16)).astype(np.uint8)
        save(tmp_path / "right" / str(digits.target[number]) / f"{number}.png", pixels)
        save(tmp_path / "wrong" / str(digits.target[number]) / f"{number}.png", 255 - pixels)
    few = ("--query", 3, "--episodes", 20)
    right = evaluated(runs["prototypical"], capsys, "--data", tmp_path / "right", *few)
    assert right["warnings"] == []
    (warned,) = evaluated(runs["prototypical"], capsys, "--data", tmp_path / "wrong", *few)["warnings"]
    assert warned.startswith("40 of 40 images look inverted (") and warned.endswith("): try --invert")
    inverted = evaluated(runs["prototypical"], capsys, "--data", tmp_path / "wrong", "--invert", *few)
    assert (inverted["warnings"], inverted["options"]["invert"]) == ([], True)
    capsys.readouterr()
    assert cnnctl("evaluate", runs["prototypical"], "--invert") == 2
    assert "--invert is for other images than the run's own; add --data FOLDER" in capsys.readouterr().err


def test_augmented_views_are_reported_and_saved_in_a_file_of_their_own(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated(runs["cosine_classifier"], capsys, "--tta", 2)
    assert found["tta"] == 2
    assert (runs["cosine_classifier"] / "evaluation" / "test-2way-1shot-5query-200episodes-2tta.json").exists()


def test_poses_are_reported_and_saved_in_a_file_of_their_own(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(runs["cosine_classifier"], capsys, "--tta-poses")
    assert (found["tta_poses"], found["tta"]) == (4, 0)
    assert found["accuracy"] != result(runs["cosine_classifier"])["test_accuracy"]
    assert (runs["cosine_classifier"] / "evaluation" / "test-2way-1shot-5query-200episodes-4poses.json").exists()


def test_a_person_reads_accuracy_and_interval(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cnnctl("evaluate", runs["maml"], "--verbose") == 0
    lines = capsys.readouterr().out.splitlines()
    found = result(runs["maml"])
    accuracy, interval = found["test_accuracy"], found["test_interval"]
    assert lines[0] == f"accuracy                {accuracy:.2%} ± {100 * interval:.2f} % (95 % interval); guessing 50.00%"
    assert lines[2] == "episodes                200: 2-way, 1-shot, 5 queries per class"
    assert lines[4] == "compared                by the outputs after 3 steps of gradient descent, all query images in one batch"


@pytest.mark.parametrize(
    ("method", "options", "code", "message"),
    [
        (
            "prototypical",
            ("--way", "3"),
            1,
            "an episode needs 3 classes, but test has 2; lower --way",
        ),
        ("prototypical", ("--query", "400"), 1, "an episode needs 1 + 400 images per class, but 2 of the 2 classes of test"),
        ("maml", ("--way", "3"), 2, "--way 3: this maml network has 2 outputs and classifies 2-way episodes only"),
        ("maml", ("--tta", "2"), 2, "--tta 2: maml adapts weights and has no embeddings to average"),
        ("maml", ("--tta-poses",), 2, "--tta-poses: maml adapts weights and has no embeddings to average"),
        ("maml", ("--data", "nowhere"), 2, "--data nowhere: no such folder"),
    ],
)
def test_episodes_that_cannot_be_are_refused(
    method: str, options: tuple[str, ...], code: int, message: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cnnctl("evaluate", runs[method], *options) == code
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert message in printed


# the one-shot challenge


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_the_challenge(
    method: str, runs: dict[str, Path], challenge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cnnctl("one-shot", runs[method], challenge, "--format", "json", "--verbose") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["classes"], row["images"]) for row in found["runs"]] == [(2, 10), (2, 10)]
    assert found["total"]["error_rate"] < 0.45


def test_maml_refuses_a_challenge_of_another_way(
    runs: dict[str, Path], challenge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in range(3):
        save(tmp_path / "run01" / "training" / f"class{place}.png", np.full((8, 8), 80 * place, np.uint8))
    save(tmp_path / "run01" / "test" / "item.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "run01" / "class_labels.txt").write_text("run01/test/item.png run01/training/class0.png")
    assert cnnctl("one-shot", runs["maml"], tmp_path) == 2
    assert "classifies 2-way episodes only, and a run of the challenge has 3 classes" in capsys.readouterr().err


# what other verbs say


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "{run}", "{run}/config.yaml"), "cnnctl predict is for classification, and this is a few-shot task"),
        (("export", "{run}", "--to", "keras"), "cnnctl export is for classification, and this is a few-shot task"),
        (("code", "{run}/config.yaml"), "cnnctl code is for classification, and this is a few-shot task"),
        (("verify", "{run}/config.yaml"), "cnnctl verify is for classification, and this is a few-shot task"),
    ],
)
def test_verbs_for_classification_say_so(
    words: tuple[str, ...], message: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cnnctl(*(word.format(run=runs["prototypical"]) for word in words)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("method", METHODS)
def test_summary_shows_and_checks_what_is_built(method: str, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cnnctl("summary", runs[method] / "config.yaml", "--check", "--verbose") == 0
    assert ("maml_head" in capsys.readouterr().out) == (method == "maml")


def test_runs_lists_few_shot_runs_too(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cnnctl("runs", runs["maml"].parent, "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["test_accuracy"] == result(runs["maml"])["test_accuracy"]


def test_beside_a_classification_runs_names_the_learner(tmp_path: Path) -> None:
    content = {"data": {"source": "digits"}, "model": {"layers": ["flatten", {"dense": {"units": "classes"}}]}}
    configs = {"plain": resolved(tmp_path, content), "few": resolved(tmp_path, config("maml"))}
    found = differing([leaves(each) for each in configs.values()])
    assert found["few_shot.method"] == [None, "maml"]
    assert found["few_shot.way"] == [None, 2]


def resolved(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    return dict(plain_data(load(written(folder, content))))


def test_episode_options_are_refused_for_a_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"data": {"source": "digits"}, "model": {"layers": ["flatten", {"dense": {"units": "classes"}}]}}
    assert (
        cnnctl("train", written(tmp_path, {**content, "train": {"epochs": 1}}), "--run-dir", tmp_path / "run", "--quiet") == 0
    )
    assert cnnctl("evaluate", tmp_path / "run", "--shot", 5) == 2
    assert "--shot is for few-shot tasks, and this is a classification run; remove the option" in capsys.readouterr().err
