"""`cnnctl one-shot` on small networks that are trained here."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from cnnctl.commands.one_shot import one_shot
from cnnctl.commands.train import train
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.few_shot import challenge as challenge_module
from cnnctl.few_shot.challenge import Matcher, Outcome, by_embedding, matcher_of, mistakes_picture, run_challenge
from cnnctl.few_shot.challenge_images import OneShotRun, read_challenge
from cnnctl.few_shot.challenge_tables import MAX_DRAWN
from cnnctl.few_shot.views import NO_VIEWS, Views
from cnnctl.report.console import Console
from cnnctl.session.trained_run import open_trained

CONV: dict[str, Any] = {"conv2d": {"filters": 8, "kernel_size": 3, "activation": "relu"}}
LOGITS: list[Any] = [CONV, "flatten", {"dense": {"units": 24, "activation": "relu"}}, {"dense": {"units": "classes"}}]
CONFIGS: dict[str, dict[str, Any]] = {
    "logits": {"layers": LOGITS},
    "probabilities": {
        "style": "subclass",
        "data_format": "channels_first",
        "layers": [*LOGITS, {"activation": {"activation": "softmax"}}],
    },
    "headless": {"layers": [{"conv2d": {"filters": 10, "kernel_size": 3}}, "global_average_pooling2d"]},
}
AUGMENT = {"rotation": 5, "shift": 0.05}
RUNS, OF_EACH = 2, 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: train_digits(tmp_path_factory.mktemp(name), model) for name, model in CONFIGS.items()}


def train_digits(folder: Path, model: dict[str, Any]) -> Path:
    data = {"source": "digits", **({} if model is CONFIGS["headless"] else {"augment": AUGMENT})}
    config = {"data": data, "model": model, "train": {"epochs": 15, "batch_size": 16}, "log": {"tensorboard": False}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    train(folder / "config.yaml", [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A challenge of ten classes: a drawing of each digit, to be matched with three others of the same digit."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("challenge")
    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    for run in range(1, RUNS + 1):
        root = folder / f"run{run:02}"
        lines = []
        for label in range(10):
            of_label = np.flatnonzero(labels == label)
            save(root / "training" / f"class{label + 1:02}.png", pixels[of_label[run]])
            for number in range(OF_EACH):
                test = f"item{(label + 3 * run) % 10 + 1 + 10 * number:02}.png"
                save(root / "test" / test, pixels[of_label[50 + 10 * run + number]])
                lines.append(f"{root.name}/test/{test} {root.name}/training/class{label + 1:02}.png")
        (root / "class_labels.txt").write_text("\n".join(lines))
    return folder


def save(file: Path, pixels: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def result(capsys: pytest.CaptureFixture[str], run: Path, challenge: Path, copies: int = 0) -> Any:
    capsys.readouterr()
    one_shot(run, challenge, copies, None, "json", "cpu", Console(), verbose=True)
    return json.loads(capsys.readouterr().out)


# what is matched


@pytest.mark.parametrize("name", ["logits", "probabilities"])
@pytest.mark.parametrize("copies", [0, 3])
def test_a_network_that_knows_digits_is_far_better_than_guessing(
    name: str, copies: int, runs: dict[str, Path], digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(capsys, runs[name], digits, copies)
    assert (found["run"], found["challenge"], found["tta"]) == (str(runs[name]), str(digits), copies)
    assert [(row["run"], row["classes"], row["images"]) for row in found["runs"]] == [("run01", 10, 30), ("run02", 10, 30)]
    assert found["total"]["guessing"] == pytest.approx(0.9)
    assert found["total"]["error_rate"] < 0.5


def test_copies_of_the_training_images_are_all_matched(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the network has learned: so neither files, nor answers, nor the axes of the similarities are mixed up."""
    folder = shutil.copytree(digits, tmp_path / "copied")
    for line in (folder / "run02" / "class_labels.txt").read_text().splitlines():
        test, training = line.split()
        shutil.copy(folder / training, folder / test)
    assert result(capsys, runs["logits"], folder)["runs"][1]["errors"] == 0


def test_the_chosen_image_has_the_largest_cosine_of_what_the_last_dense_layer_takes(
    runs: dict[str, Path], digits: Path
) -> None:
    trained = open_trained(runs["logits"])
    run = read_challenge(digits, trained.experiment.data)[0]
    hidden = [layer for layer in trained.model.layers if layer.name != trained.model.layers[-1].name]

    def vectors(images: Any) -> Any:
        values = trained.inputs(images)
        for layer in hidden:
            values = layer(values)
        values = np.asarray(values)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    expected = np.argmax(vectors(run.tests) @ vectors(run.training).T, axis=1)
    matcher = matcher_of(trained, NO_VIEWS)
    np.testing.assert_array_equal(matcher.match(run.training, run.tests), expected)
    assert matcher.compared == f"by the cosine of the inputs of layer '{trained.model.layers[-1].name}'"


# copies


def test_vectors_are_averaged_over_the_image_and_its_changed_copies(runs: dict[str, Path], digits: Path) -> None:
    trained = open_trained(runs["logits"])
    run = read_challenge(digits, trained.experiment.data)[0]
    seen: list[Any] = []

    def pixels(inputs: Any) -> Any:
        seen.append(np.asarray(inputs))
        return np.asarray(inputs).reshape(len(inputs), -1)

    chosen = by_embedding(trained, pixels, "squared_euclid", Views(augmented=2))(run.training, run.tests)
    original, *changed = seen
    np.testing.assert_array_equal(original, np.concatenate([run.training, run.tests]) / np.float32(255))
    assert len(changed) == 2
    assert not np.array_equal(changed[0], changed[1])
    assert all(not np.array_equal(each, original) for each in changed)
    mean = np.mean(seen, axis=0).reshape(10 + 30, -1)
    distances = ((mean[10:, None] - mean[None, :10]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(chosen, distances.argmin(axis=1))


def test_copies_are_the_same_each_time_and_do_not_depend_on_the_other_runs(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = result(capsys, runs["logits"], digits, 5)
    assert result(capsys, runs["logits"], digits, 5) == whole
    shutil.copytree(digits / "run02", tmp_path / "alone" / "run02")
    alone = result(capsys, runs["logits"], tmp_path / "alone", 5)
    assert alone["runs"] == whole["runs"][1:]
    assert alone["mistakes"] == [each for each in whole["mistakes"] if each["test"].startswith("run02")]


def test_copies_without_augmentation_are_refused(runs: dict[str, Path], digits: Path) -> None:
    with pytest.raises(UsageError, match=r"--tta 3: the run's config has no data\.augment, .*; remove the option"):
        one_shot(runs["headless"], digits, 3, None, "table", "cpu", Console(), verbose=True)


# output


@pytest.fixture
def made_up() -> list[OneShotRun]:
    """Two runs whose images are one grey each, so that a picture shows which is which."""
    images = np.repeat(np.arange(0, 200, 10), 64).astype(np.uint8).reshape(20, 8, 8, 1)
    files = [f"class{index:02}.png" for index in range(10)]
    return [
        OneShotRun(name, images[:10], images[10:], files, [f"{name}/test/{each}" for each in files], np.arange(10))
        for name in ("run01", "run02")
    ]


def outcome_of(chosen: list[int], runs: list[OneShotRun]) -> Outcome:
    return run_challenge(Matcher(lambda training, tests: np.array(chosen), "by a test", NO_VIEWS), runs)


def test_a_mistake_is_told_with_the_images_of_it(made_up: list[OneShotRun]) -> None:
    outcome = outcome_of([0, 1, 2, 7, 4, 5, 6, 7, 8, 0], made_up)
    assert [len(row.mistakes) for row in outcome.result.rows] == [2, 2]
    first = outcome.result.mistakes[0]
    assert (first.test, first.chosen, first.right) == ("run01/test/class03.png", "class07.png", "class03.png")
    test, chosen, right = outcome.drawn[0][:, 0, 0, 0]
    assert (test, chosen, right) == (130, 70, 30)


def test_the_picture_shows_the_first_mistakes_in_its_three_images(made_up: list[OneShotRun]) -> None:
    few = Image.open(io.BytesIO(mistakes_picture(outcome_of([0, 1, 2, 7, 4, 5, 6, 7, 8, 9], made_up))))
    greys = {value for _, value in few.convert("RGB").getcolors(1 << 20) or []}
    assert {(grey, grey, grey) for grey in (130, 70, 30)} <= greys
    outcome = outcome_of([*range(1, 10), 0], made_up * 4)
    assert (len(outcome.drawn), len(outcome.result.mistakes)) == (MAX_DRAWN, 80)
    assert Image.open(io.BytesIO(mistakes_picture(outcome))).height > few.height


def test_the_picture_is_written_and_said(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrong class is forced, since a good network leaves nothing to draw."""
    wrong = Matcher(lambda training, tests: np.zeros(len(tests), np.int64), "by a test", NO_VIEWS)
    monkeypatch.setattr(challenge_module, "matcher_of", lambda trained, copies: wrong)
    one_shot(runs["logits"], digits, 0, tmp_path / "m.png", "table", "cpu", Console(), verbose=True)
    printed = capsys.readouterr()
    assert "error rate              90.00%: 54 of 60 images in 2 runs" in printed.out
    assert f"mistakes   {tmp_path / 'm.png'}\n" in printed.err
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.format == "PNG"


def test_without_mistakes_there_is_no_picture(
    runs: dict[str, Path], digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(digits, tmp_path / "copied")
    for line in "\n".join((folder / f"run0{run}" / "class_labels.txt").read_text() for run in (1, 2)).splitlines():
        shutil.copy(folder / line.split()[1], folder / line.split()[0])
    one_shot(runs["logits"], folder, 0, tmp_path / "m.png", "markdown", "cpu", Console(), verbose=True)
    reported = capsys.readouterr()
    assert "| run01 | 10 | 30 | 0 | 0.00% |" in reported.out
    assert "none, so no picture" in reported.err
    assert not (tmp_path / "m.png").exists()


# what is refused


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("m.jpg", "--mistakes {folder}/m.jpg: expected a name ending with .png, such as"),
        ("no/m.png", "--mistakes {folder}/no/m.png: there is no folder {folder}/no"),
        ("folder.png", "--mistakes {folder}/folder.png is a folder; choose a file in it"),
        ("copied/run01/test/item01.png", "item01.png already exists; not overwriting"),
    ],
)
def test_a_picture_that_cannot_be_there_is_refused_before_anything_is_written(
    place: str, message: str, runs: dict[str, Path], digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.png").mkdir()
    folder = shutil.copytree(digits, tmp_path / "copied")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(UsageError, match=re.escape(message.format(folder=tmp_path))):
        one_shot(runs["logits"], folder, 0, tmp_path / place, "table", "cpu", Console(), verbose=True)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_network_without_a_dense_layer_is_refused(runs: dict[str, Path], digits: Path) -> None:
    with pytest.raises(UsageError, match=r"this network has none; choose a run whose network ends with a dense layer"):
        one_shot(runs["headless"], digits, 0, None, "table", "cpu", Console(), verbose=True)


def test_a_folder_that_is_no_run_is_refused(digits: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run folder: it has no config\.yaml"):
        one_shot(digits, digits, 0, None, "table", "cpu", Console(), verbose=True)


def test_a_run_that_was_cut_short_is_refused(runs: dict[str, Path], digits: Path, tmp_path: Path) -> None:
    shutil.copytree(runs["logits"], tmp_path / "run", ignore=shutil.ignore_patterns("model.keras"))
    with pytest.raises(RunError, match="its training was interrupted"):
        one_shot(tmp_path / "run", digits, 0, None, "table", "cpu", Console(), verbose=True)


def test_a_challenge_with_a_missing_image_is_refused(runs: dict[str, Path], digits: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(digits, tmp_path / "copied")
    (folder / "run02" / "training" / "class05.png").unlink()
    with pytest.raises(DataError, match=r"class_labels\.txt:13: there is no image .*class05\.png"):
        one_shot(runs["logits"], folder, 0, None, "table", "cpu", Console(), verbose=True)


def test_too_little_memory_is_told_in_one_message(made_up: list[OneShotRun]) -> None:
    def full(training: Any, tests: Any) -> Any:
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    with pytest.raises(RunError, match="not enough memory for this network; use fewer images or --device cpu"):
        run_challenge(Matcher(full, "by a test", NO_VIEWS), made_up)


@pytest.mark.skipif("OMNIGLOT_ONE_SHOT" not in os.environ, reason="OMNIGLOT_ONE_SHOT names no folder with Lake's runs")
def test_the_challenge_itself_is_run_through(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """By a network of digits, on which nothing of the challenge can be chosen; it must only beat guesses."""
    found = result(capsys, runs["logits"], Path(os.environ["OMNIGLOT_ONE_SHOT"]))
    assert all(row["images"] == 20 for row in found["runs"])
    assert found["total"]["error_rate"] < found["total"]["guessing"] == pytest.approx(0.95)
