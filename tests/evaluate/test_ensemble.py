"""`cnnctl evaluate RUN RUN...` on small networks that are trained here: evaluated as an ensemble, or refused."""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import weakref
from itertools import combinations, product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from cnnctl.cli import main
from cnnctl.commands.evaluate import evaluate
from cnnctl.commands.predict import predict
from cnnctl.commands.train import train
from cnnctl.data.image_set import ImageSet
from cnnctl.data.images import fit_image
from cnnctl.data.splits import read_splits
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.evaluate import ensemble, evaluated_images, evaluation
from cnnctl.evaluate.same_images import check_compatible
from cnnctl.evaluate.scores import calibration_error
from cnnctl.report.console import Console
from cnnctl.session.trained_run import EndedRun, Trained, with_network
from cnnctl.spec.dataset import DataSpec
from cnnctl.spec.experiment import Experiment, FewShotSpec, ModelSpec
from cnnctl.spec.load import load
from cnnctl.train.inference import cross_entropy

ROOT = Path(__file__).parents[2]
CONV: dict[str, Any] = {"filters": 4, "kernel_size": 3, "activation": "relu"}
ENDS = ("flatten", {"dense": {"units": "classes", "kernel_regularizer": {"l2": {"l2": 0.01}}}})
CONFIGS: dict[str, dict[str, Any]] = {
    "logits": {"model": {"layers": [{"conv2d": CONV}, *ENDS]}},
    "probabilities": {
        "seed": 1,
        "data": {"labels": "one_hot", "augment": {"shift": 0.05}},
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
        "train": {"loop": "fit", "batch_size": 100, "loss": {"categorical_crossentropy": {"label_smoothing": 0.1}}},
    },
    "mixed": {"model": {"style": "functional", "layers": list(ENDS)}, "train": {"precision": "mixed_bfloat16"}},
    "large": {"data": {"image_size": [10, 12], "channels": 3, "invert": True}, "model": {"layers": [{"conv2d": CONV}, *ENDS]}},
}


def train_digits(folder: Path, **changes: Any) -> Path:
    """Train a config on the digits for an epoch and return the run folder."""
    config = {
        "seed": changes.get("seed", 0),
        "data": {"source": "digits", **changes.get("data", {})},
        "model": changes["model"],
        "train": {"epochs": 1, "batch_size": 48, "optimizer": {"adam": {"learning_rate": 0.01}}, **changes.get("train", {})},
        "log": {"tensorboard": False},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    train(folder / "config.yaml", [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: train_digits(tmp_path_factory.mktemp(name), **config) for name, config in CONFIGS.items()}


def copied(run: Path, folder: Path, **data: Any) -> Path:
    """Copies a run; `data` are other values of its config's data section."""
    shutil.copytree(run, folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["data"].update(data)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def note(run: Path, **content: Any) -> None:
    """Changes what a run noted of its environment."""
    file = run / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **content}))


def scores(capsys: pytest.CaptureFixture[str], *folders: Path, split: str | None = None, data: Path | None = None) -> Any:
    capsys.readouterr()
    evaluate(folders, split, str(data) if data else None, "json", "cpu", Console(), verbose=True)
    return json.loads(capsys.readouterr().out)


def images_of(run: Path) -> ImageSet:
    return read_splits(load(run / "config.yaml", look_at_data=False).data).read_test()


def answers(run: Path, name: str, images: ImageSet) -> np.ndarray:
    """Compute the probabilities of a network from its file alone."""
    inputs = images.images[:].astype(np.float32) / 255
    if name == "probabilities":
        return np.asarray(keras.models.load_model(run / "model.keras", compile=False)(inputs.transpose(0, 3, 1, 2)), np.float64)
    outputs = np.asarray(keras.models.load_model(run / "model.keras", compile=False)(inputs), np.float64)
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


# several as one


@pytest.mark.parametrize("names", [("logits", "probabilities"), ("logits", "probabilities", "large"), ("mixed", "logits")])
def test_the_mean_of_the_probabilities_is_judged_as_worked_out_apart(
    names: tuple[str, ...], runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    near = 1e-2 if "mixed" in names else 1e-5
    found = scores(capsys, *(runs[name] for name in names))
    alone = [answers(runs[name], name, images_of(runs[name])) for name in names]
    labels = images_of(runs[names[0]]).labels
    mean = np.mean(alone, axis=0)
    matrix = np.zeros((10, 10), np.int64)
    np.add.at(matrix, (labels, mean.argmax(axis=1)), 1)
    assert found["confusion_matrix"] == matrix.tolist()
    assert found["accuracy"] == pytest.approx(np.mean(mean.argmax(axis=1) == labels))
    assert found["loss"] == pytest.approx(-np.log(mean[np.arange(359), labels]).mean(), rel=near)
    assert found["calibration_error"] == pytest.approx(calibration_error(labels, mean.astype(np.float32)), abs=near)
    entropies = [-np.log(each[np.arange(359), labels]).mean() for each in alone]
    assert [each["cross_entropy"] for each in found["runs"]] == pytest.approx(entropies, rel=near)
    accuracies = [np.mean(each.argmax(axis=1) == labels) for each in alone]
    assert [each["accuracy"] for each in found["runs"]] == pytest.approx(accuracies, abs=1e-6)
    spread = {"mean": np.mean(accuracies), "standard_deviation": np.std(accuracies, ddof=1)}
    assert found["accuracy_of_runs"] == pytest.approx(spread, abs=1e-6)
    assert found["loss"] < np.mean(entropies)  # the logarithm is concave: Jensen's inequality


@pytest.mark.parametrize("names", [("logits", "probabilities"), ("large", "logits", "probabilities")])
def test_new_images_get_the_mean_of_the_probabilities_worked_out_apart(
    names: tuple[str, ...], runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each network sees the images as its own config says, one of them larger, in colour and inverted."""
    pixels = images_of(runs["logits"]).images[:20]
    (tmp_path / "images").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image[..., 0]).save(tmp_path / f"images/{number:02}.png")
    (tmp_path / "images/broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        predict(
            runs[names[0]], [*(runs[name] for name in names[1:]), tmp_path / "images"], 10, None, "json", "cpu", Console(), True
        )
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert f"runs    the mean of the probabilities of {len(names)} runs" in printed.err
    fitted = [
        [fit_image(Image.fromarray(each[..., 0]), load(runs[name] / "config.yaml", look_at_data=False).data) for each in pixels]
        for name in names
    ]
    alone = [
        answers(runs[name], name, ImageSet(np.stack(each), np.zeros(20, np.int64)))
        for name, each in zip(names, fitted, strict=True)
    ]
    mean = np.mean(alone, axis=0)
    expected_text = np.array(
        [[guess["probability"] for guess in sorted(each["predictions"], key=lambda guess: guess["label"])] for each in found]
    )
    np.testing.assert_allclose(expected_text, mean, atol=1e-5)


def test_runs_and_images_to_predict_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    def refused(images: list[Path], saliency: Path | None = None) -> str:
        with pytest.raises(UsageError) as caught:
            predict(runs["logits"], images, 3, saliency, "table", "cpu", Console(quiet=True), True)
        return str(caught.value)

    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert "is a run, like every argument before it; add images after the runs" in refused([runs["mixed"]])
    assert "is given twice; name each run once" in refused([runs["logits"], tmp_path / "a.png"])
    assert "--saliency needs exactly one RUN, received" in refused([runs["mixed"], tmp_path / "a.png"], tmp_path / "s.png")
    other = copied(runs["mixed"], tmp_path / "other")
    note(other, class_names=[*"abcdefghij"])
    assert "its output 0 is class 'a', expected '0'; remove it" in refused([other, tmp_path / "a.png"])


def test_a_run_has_the_accuracy_and_loss_that_it_is_judged_with_alone(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss with regularization and label smoothing, so it is not the cross-entropy."""
    copies = [copied(runs[name], tmp_path / name) for name in ("probabilities", "logits")]
    found = scores(capsys, *copies, split="validation")
    for run, member in zip(copies, found["runs"], strict=True):
        alone = scores(capsys, run, split="validation")
        assert member["run"] == str(run)
        assert [member["accuracy"], member["loss"]] == [alone["accuracy"], alone["loss"]]
        assert member["loss"] > member["cross_entropy"] + 0.01


def test_equal_networks_answer_as_one_of_them(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = scores(capsys, runs["logits"], copied(runs["logits"], tmp_path / "copy"))
    assert found["loss"] == pytest.approx(found["runs"][0]["cross_entropy"], rel=1e-6)
    assert found["accuracy"] == pytest.approx(found["runs"][0]["accuracy"])
    assert found["accuracy_of_runs"]["standard_deviation"] == 0


def test_the_order_of_the_runs_changes_no_score(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folders = [runs[name] for name in ("logits", "large", "probabilities")]
    one, other = scores(capsys, *folders), scores(capsys, *reversed(folders))
    assert [each["run"] for each in one["runs"]] == [str(folder) for folder in folders]
    assert one.pop("runs") == list(reversed(other.pop("runs")))
    assert other.pop("loss") == pytest.approx(one.pop("loss"), rel=1e-6)
    assert other.pop("calibration_error") == pytest.approx(one.pop("calibration_error"), rel=1e-5)
    assert one == other


def test_json_has_what_one_run_has_and_the_runs(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copied(runs["logits"], tmp_path / "copy")
    several, one = scores(capsys, copy, runs["mixed"]), scores(capsys, copy)
    assert set(several) == (set(one) - {"run"}) | {"runs", "accuracy_of_runs"}
    assert set(several["runs"][0]) == {"run", "accuracy", "loss", "cross_entropy"}
    assert set(several["accuracy_of_runs"]) == {"mean", "standard_deviation"}
    assert (several["split"], several["data"], several["images"]) == ("test", None, 359)


def test_nothing_is_written_into_a_run(runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copies = [copied(runs[name], tmp_path / name) for name in ("logits", "mixed")]
    before = sorted(tmp_path.rglob("*"))
    evaluate(copies, None, None, "table", "cpu", Console(), verbose=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert "written" not in capsys.readouterr().err


def test_images_are_read_once_for_runs_that_read_them_alike(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[DataSpec] = []

    def counted(data: DataSpec) -> Any:
        read.append(data)
        return read_splits(data)

    monkeypatch.setattr(evaluated_images, "read_splits", counted)
    scores(capsys, runs["logits"], runs["large"], runs["probabilities"], runs["mixed"])
    assert [each.image_size for each in read] == [(8, 8), (10, 12)]


def test_networks_do_not_pile_up_in_memory(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded: list[weakref.ref[Any]] = []
    alive: list[int] = []

    def counted(run: EndedRun) -> Trained:
        gc.collect()
        alive.append(sum(each() is not None for each in loaded))
        trained = with_network(run)
        loaded.append(weakref.ref(trained.model))
        return trained

    monkeypatch.setattr(ensemble, "with_network", counted)
    scores(capsys, *runs.values())
    assert len(loaded) == len(runs) > 3
    # A thread of TensorFlow that has yet to wake up may hold the last one, and a collection that another
    # thread has begun makes gc.collect() do nothing; all of them stay only if the evaluation holds them.
    assert max(alive) <= 1


def test_other_images_are_judged_by_runs_of_any_split(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = images_of(runs["logits"])
    for index, (pixels, label) in enumerate(zip(images.images[:], images.labels, strict=True)):
        (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(tmp_path / "data" / str(label) / f"{index:03}.png")
    other = copied(runs["probabilities"], tmp_path / "other", split_seed=5)
    whole = scores(capsys, runs["logits"], runs["probabilities"])
    found = scores(capsys, runs["logits"], other, data=tmp_path / "data")
    assert found["confusion_matrix"] == whole["confusion_matrix"]
    assert found["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert (found["split"], found["data"]) == (None, str(tmp_path / "data"))


def test_the_run_that_saw_other_training_images_is_named(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = copied(runs["mixed"], tmp_path / "odd")
    note(odd, data_fingerprint="0" * 16)
    evaluate([runs["logits"], odd], None, None, "table", "cpu", Console(), verbose=True)
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]
    reason = "the training images have changed since the run, so its splits may differ too"
    assert notes == [f"note        {odd}: {reason}"]


def test_the_command_takes_several_runs(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(runs["logits"]), str(runs["mixed"]), "--split", "train", "--format", "markdown", "--verbose"]
    monkeypatch.setattr(sys, "argv", ["cnnctl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert printed.startswith("- train: accuracy ")
    assert "| run | accuracy | cross-entropy | loss |" in printed
    assert f"| {runs['mixed']} | " in printed


def test_a_probability_of_zero_has_the_cross_entropy_that_keras_gives_it() -> None:
    labels, probabilities = np.array([1, 1, 0]), np.array([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5]], np.float32)
    expected = float(keras.losses.SparseCategoricalCrossentropy()(labels, probabilities))
    assert cross_entropy(labels, probabilities) == pytest.approx(expected, rel=1e-5)


# refusals


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        ({"split_seed": 1}, None, r"data\.split_seed is 1, expected 0\. All runs must hold out the same images; remove"),
        (
            {"split_seed": 1},
            "validation",
            r"data\.split_seed is 1, expected 0\. .* remove the run, or evaluate other images with --data",
        ),
        ({"split_seed": 1}, "train", r"data\.split_seed is 1, expected 0\."),
        ({"test": 0.3}, None, r"data\.test is 0\.3, expected 0\.2\."),
        ({"test": 0.3}, "validation", r"data\.test is 0\.3, expected 0\.2\."),
        ({"validation": 0.2, "split_seed": 7}, "train", r"data\.validation is 0\.2, expected 0\.1; data\.split_seed is 7, exp"),
        (
            {"validation": None},
            "validation",
            r"--split validation: \S+other has no validation data \(data\.validation is null\)",
        ),
        ({"classes": 11}, None, "its model has 11 outputs, expected 10; remove it"),
    ],
)
def test_runs_that_hold_out_other_images_are_refused(
    runs: dict[str, Path], tmp_path: Path, data: dict[str, Any], split: str | None, message: str
) -> None:
    other = copied(runs["logits"], tmp_path / "other", **data)
    expected_text = message if message.startswith("--") else rf"other cannot be in an ensemble with {runs['logits']}: {message}"
    with pytest.raises(UsageError, match=expected_text):
        evaluate([runs["logits"], other], split, None, "table", "cpu", Console(), verbose=True)


def test_the_same_run_twice_is_refused_whatever_it_is_called(runs: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(runs["logits"])
    with pytest.raises(UsageError, match="link is given twice; name each run once"):
        evaluate([runs["logits"], runs["mixed"], link], None, None, "table", "cpu", Console(), verbose=True)


def test_networks_with_other_names_of_classes_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    other = copied(runs["mixed"], tmp_path / "other")
    note(other, class_names=["0", "1", "two", *map(str, range(3, 10))])
    with pytest.raises(UsageError, match=r"other cannot be in an ensemble with .*: its output 2 is class 'two', expected '2'"):
        evaluate([runs["logits"], other], None, None, "table", "cpu", Console(), verbose=True)


def test_a_run_that_was_cut_short_is_told_before_any_network_is_loaded(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = copied(runs["mixed"], tmp_path / "short")
    (short / "model.keras").unlink()
    monkeypatch.delattr(ensemble, "with_network")
    with pytest.raises(
        RunError, match=r"short has no trained network yet: its training was interrupted\. Resume with: cnnctl train --resume"
    ):
        evaluate([runs["logits"], short], None, None, "table", "cpu", Console(), verbose=True)


def test_too_little_memory_is_one_message(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(evaluation, "evaluate_batches", run_out)
    with pytest.raises(RunError, match="not enough memory for this network; use fewer images or --device cpu"):
        evaluate([runs["logits"], runs["mixed"]], None, None, "table", "cpu", Console(), verbose=True)


@pytest.mark.parametrize("place", [0, 1])
def test_a_few_shot_run_is_judged_alone(place: int, runs: dict[str, Path], tmp_path: Path) -> None:
    """By the command itself: exit code 2, one message, nothing on stdout."""
    shutil.copy(ROOT / "configs/few-shot.yaml", tmp_path / "config.yaml")
    folders = [runs["logits"], runs["mixed"]]
    folders[place] = tmp_path
    done = subprocess.run(
        [sys.executable, "-m", "cnnctl", "evaluate", *map(str, folders)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"{tmp_path} is a few-shot run, and an ensemble needs classification runs; evaluate it alone\n")


# which images a split has


def section(**fields: Any) -> DataSpec:
    usual = {"classes": 10, "image_size": (8, 8), "channels": 1, "hold_out": "image"}
    return DataSpec.model_validate({"source": "digits", "test": 0.2, **usual, **fields})


def experiment(data: DataSpec, few_shot: FewShotSpec | None = None) -> Experiment:
    return Experiment.model_construct(data=data, few_shot=few_shot, model=ModelSpec.model_construct(layers=[]))


def goes_together(one: DataSpec, other: DataSpec, split: str) -> bool:
    experiments = [experiment(one), experiment(other)]
    try:
        check_compatible([Path("one"), Path("other")], experiments, split)
    except UsageError:
        return False
    return True


def kinds(images: ImageSet | None) -> set[bytes]:
    """List each image of the digits as bytes; no two of them are equal."""
    return {each.tobytes() for each in images.images[:]} if images else set()


def test_runs_go_together_just_where_the_splits_that_are_read_are_equal() -> None:
    fractions = product((0.2, 0.3), (None, 0.1, 0.2), (0, 1))
    sections = [section(test=test, validation=validation, split_seed=seed) for test, validation, seed in fractions]
    read = [(each, read_splits(each)) for each in sections]
    splits = [
        (data, {"train": kinds(of.train), "validation": kinds(of.validation), "test": kinds(of.read_test())})
        for data, of in read
    ]
    together = 0
    for (one, mine), (other, others) in combinations(splits, 2):
        for split in ("train", "validation", "test"):
            there = mine[split] == others[split] and bool(mine[split])
            assert goes_together(one, other, split) == there, (one, other, split)
            together += there
            if there and split != "train":
                assert not mine[split] & others["train"]
    assert together == 3 * 4  # test: of three validations each, for two fractions and two seeds


@pytest.mark.parametrize(
    ("one", "other", "splits"),
    [
        ({}, {"validation": 0.2}, {"test"}),
        ({}, {"split_seed": 3}, {"test"}),
        ({}, {"validation": "rest"}, {"test"}),
        ({"validation": "rest"}, {"validation": "rest", "split_seed": 3}, {"train", "validation", "test"}),
        ({"validation": "rest"}, {"validation": "rest", "train": "train[:50%]"}, {"validation", "test"}),
        ({}, {"test": "other"}, {"train", "validation"}),
        ({}, {"test": 0.1}, set()),
        ({}, {"name": "fashion_mnist"}, set()),
        ({}, {"data_dir": "elsewhere"}, set()),
        ({}, {"labels": "one_hot", "augment": {"flip": True}}, {"train", "validation", "test"}),
        ({}, {"image_size": (9, 9), "channels": 3, "invert": True}, {"train", "validation", "test"}),
    ],
)
def test_a_split_by_name_is_the_same_whatever_is_drawn_beside_it(
    one: dict[str, Any], other: dict[str, Any], splits: set[str]
) -> None:
    usual = {"source": "tfds", "name": "mnist", "test": "test"}
    first, second = section(**{**usual, **one}), section(**{**usual, **other})
    assert {split for split in ("train", "validation", "test") if goes_together(first, second, split)} == splits
    assert {split for split in ("train", "validation", "test") if goes_together(second, first, split)} == splits


def test_a_few_shot_run_goes_with_no_other() -> None:
    experiments = [experiment(section()), experiment(section(), FewShotSpec())]
    with pytest.raises(UsageError, match="other is a few-shot run"):
        check_compatible([Path("one"), Path("other")], experiments, None)
