"""What every command says of a folder: what it read, what it did not, and where the size of the images comes from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cnnctl.commands.code import code
from cnnctl.commands.data import data
from cnnctl.commands.evaluate import evaluate
from cnnctl.commands.summary import summary
from cnnctl.commands.train import train
from cnnctl.commands.verify import verify
from cnnctl.errors import DataError
from cnnctl.report.console import Console
from tests.data.test_file_source import MAKERS

DIGITS = load_digits()
ACCOUNT = "read 120 images in 10 classes; not read: 4 files (2 .txt, 1 .mp4, 1 empty)"
SIZE = "image_size [8, 8] is that of the first image, 0/0.png, and of all 50 inspected"
STACK = (
    "model: {layers: [flatten, {dense: {units: classes}}]}\ntrain: {epochs: 1, precision: float32}\nlog: {tensorboard: false}\n"
)


def digits(root: Path, count: int) -> Path:
    for index in range(count):
        folder = root / str(DIGITS.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(DIGITS.images[index] * 15.9).astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture
def config(tmp_path: Path) -> Path:
    root = digits(tmp_path / "set", 120)
    for name in ("a.txt", "0/b.txt", "film.mp4"):
        (root / name).write_text("no picture")
    (root / "nothing").touch()
    (tmp_path / "x.yaml").write_text(f"data: {{source: folder, path: {root}}}\n{STACK}")
    return tmp_path / "x.yaml"


def test_training_accounts_for_its_folder(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(config, [], config.parent / "run", None, "cpu", Console(), verbose=False)
    printed = capsys.readouterr().err
    assert ACCOUNT in printed and SIZE in printed
    evaluate([config.parent / "run"], None, str(config.parent / "set"), "json", "cpu", Console(), verbose=False)
    assert f"note        {ACCOUNT}" in capsys.readouterr().err


def test_a_command_lists_the_folder_of_its_data_once_and_the_next_one_lists_it_again(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    walked, scandir, root = list[Any](), os.scandir, config.parent / "set"

    def noted(folder: Any) -> Any:
        walked.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", noted)
    train(config, [], config.parent / "run", None, "cpu", Console(), verbose=False)
    assert walked.count(root) == walked.count(root / "0") == 1
    walked.clear()
    Image.new("L", (8, 8)).save(root / "0" / "added.png")
    data(config, [], None, "json", Console(), verbose=True)
    assert walked.count(root) == walked.count(root / "0") == 1
    assert "read 121 images" in capsys.readouterr().out
    walked.clear()
    verify(config, [], 1, False, "json", Console(), False)
    assert walked.count(root) == walked.count(root / "0") == 1
    walked.clear()
    code(config, [], None, Console())
    assert walked.count(root) == walked.count(root / "0") == 1


def test_a_summary_says_where_the_size_comes_from(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary(config, [], "json", 1, None, False, False, Console(), verbose=False)
    found = capsys.readouterr()
    assert f"note: {SIZE}" in found.err
    json.loads(found.out)


def test_data_accounts_for_its_folder_and_verbose_lists_what_is_not_read(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data(config, [], None, "table", Console(), verbose=False)
    printed = " ".join(capsys.readouterr().out.split())
    assert ACCOUNT in printed and "a.txt" not in printed
    data(config, [], None, "table", Console(), verbose=True)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("not read")]
    assert lines == [
        ["not", "read", why, file]
        for why, file in ((".txt", "0/b.txt"), (".txt", "a.txt"), (".mp4", "film.mp4"), ("empty", "nothing"))
    ]
    data(config, [], None, "json", Console(), verbose=False)
    facts = json.loads(capsys.readouterr().out)
    assert {"file": "film.mp4", "why": ".mp4"} in facts["not_read"]
    assert facts["notes"][:2] == [SIZE, ACCOUNT]


def test_data_names_all_broken_images_where_it_is_asked_to(config: Path) -> None:
    for index in range(200, 230):
        (config.parent / "set" / "1" / f"{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)30 of 150 images.*and 10 more; cnnctl data --verbose lists all"):
        data(config, [], None, "table", Console(), verbose=False)
    with pytest.raises(DataError) as raised:
        data(config, [], None, "table", Console(), verbose=True)
    assert str(raised.value).count("it is an empty file") == 30


def test_a_sweep_accounts_for_its_folder(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnctl.commands import sweep

    class NoCrew:
        def __init__(self, *_: Any) -> None:
            pass

        def work(self) -> None:
            pass

    monkeypatch.setattr(sweep, "TrialPool", NoCrew)
    monkeypatch.setattr(sweep, "_conclude", lambda *_: None)
    config.write_text(config.read_text() + "sweep: {method: grid, parameters: {train.batch_size: [16, 32]}}\n")
    wish = sweep.SweepOptions(config.parent / "sweep", None, None, 1, "cpu", "table", False, False)
    sweep.sweep(config, [], wish, Console())
    printed = capsys.readouterr().err
    assert ACCOUNT in printed and SIZE in printed


@pytest.mark.parametrize("loop", ["custom", "fit"])
def test_original_files_of_every_kind_train_to_the_same_result(loop: str, tmp_path: Path) -> None:
    """Kept and streamed: the same pixels, labels, batches and numbers."""
    results = {}
    for kind, make in MAKERS.items():
        (tmp_path / kind).mkdir()
        path = make(tmp_path / kind, np.arange(60) % 5, np.arange(20) % 5)
        memory = "stream" if kind in ("npz", "parquet") else "keep"
        source = f"data: {{source: {kind}, path: {path}, memory: {memory}}}\n"
        (tmp_path / f"{kind}.yaml").write_text(source + STACK)
        run = tmp_path / f"run-{kind}"
        train(tmp_path / f"{kind}.yaml", [f"train.loop={loop}"], run, None, "cpu", Console(quiet=True), verbose=False)
        result = json.loads((run / "result.json").read_text())
        results[kind] = result["test_loss"], result["test_accuracy"]
    assert len(set(results.values())) == 1, results


def test_a_run_with_a_labels_file_is_evaluated_on_a_folder_that_has_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(60):
        for root in ("set", "other"):
            (tmp_path / root).mkdir(exist_ok=True)
            Image.fromarray(np.full((8, 8), 255 * (index % 2), np.uint8)).save(tmp_path / root / f"{index}.png")
    rows = "".join(f"{index}.png,{('black', 'white')[index % 2]}\n" for index in range(60))
    for root in ("set", "other"):
        (tmp_path / root / "labels.csv").write_text(f"file,label\n{rows}")
    (tmp_path / "x.yaml").write_text(f"data: {{source: folder, path: {tmp_path}/set, labels_file: labels.csv}}\n{STACK}")
    train(tmp_path / "x.yaml", ["train.epochs=5"], tmp_path / "run", None, "cpu", Console(quiet=True), verbose=False)
    capsys.readouterr()
    evaluate([tmp_path / "run"], None, str(tmp_path / "other"), "json", "cpu", Console(), verbose=False)
    assert len(json.loads(capsys.readouterr().out)["classes"]) == 2


def test_predict_says_which_split_of_a_file_it_takes_and_of_which_images_it_takes_a_frame(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cnnctl.commands.predict import predict

    run, root = config.parent / "run", config.parent
    train(config, [], run, None, "cpu", Console(quiet=True), verbose=False)
    capsys.readouterr()
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 90, 200)]
    frames[0].save(root / "film.gif", save_all=True, append_images=frames[1:])
    pixels = np.round(DIGITS.images * 15.9).astype(np.uint8)
    np.savez(root / "k.npz", x_train=pixels[:60], y_train=DIGITS.target[:60], x_test=pixels[60:69], y_test=DIGITS.target[60:69])
    predict(run, [root / "film.gif", root / "k.npz"], 3, None, "json", "cpu", Console(), verbose=False)
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 10
    assert "note    1 image has several frames; the first is read" in printed.err
    assert f"note    {root}/k.npz: predicting the split 'test', not train (60 images)" in printed.err


def test_rows_that_are_transposed_are_predicted_as_they_are_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of 6×10 pixels that become images of 10×6: the same pixels in training and in prediction."""
    from cnnctl.data.sources.opening import open_source
    from cnnctl.evaluate.prediction import inputs_of
    from cnnctl.spec.load import load

    images = np.random.default_rng(0).integers(0, 256, (20, 60), np.uint8)
    head = ["label", *(f"p{index}" for index in range(60))]
    rows = [",".join(map(str, [index % 2, *image])) for index, image in enumerate(images.tolist())]
    (tmp_path / "train.csv").write_text("\n".join([",".join(head), *rows]) + "\n")
    (tmp_path / "test.csv").write_text("\n".join([",".join(head[1:]), *(row.partition(",")[2] for row in rows)]) + "\n")
    text = f"data: {{source: csv, path: {tmp_path}/train.csv, image_size: [10, 6], transpose: true}}\n{STACK}"
    (tmp_path / "x.yaml").write_text(text)
    own = load(tmp_path / "x.yaml").data
    file = tmp_path / "test.csv"
    (batch,) = inputs_of([file], [file], own, own, 0).batches(64)
    np.testing.assert_array_equal(batch.images, open_source(own).read(own.train).images[:])
    np.testing.assert_array_equal(batch.images[..., 0], images.reshape(20, 6, 10).transpose(0, 2, 1))
