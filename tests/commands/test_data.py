"""`cnnctl data`: what it prints and draws, and what it refuses."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnnctl.commands.data import data
from cnnctl.errors import DataError, RunError, UsageError
from cnnctl.few_shot.task import FewShot, series_of
from cnnctl.report.console import Console
from cnnctl.spec.few_shot import size_of
from cnnctl.spec.load import load

CONFIG = """
data: {source: digits}
model: {layers: [flatten, {dense: {units: classes}}]}
"""
FEW_SHOT = """
task: few_shot
data: {source: digits, validation: 0.2, test: ['8', '9']}
model: {layers: [flatten]}
few_shot: {way: 2}
"""


@pytest.fixture
def few_shot(tmp_path: Path) -> Path:
    file = tmp_path / "few-shot.yaml"
    file.write_text(FEW_SHOT)
    return file


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "digits.yaml"
    file.write_text(CONFIG)
    return file


def test_json_has_everything(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data(config, ["data.image_size=[9, 8]"], None, "json", Console(), False)
    facts = json.loads(capsys.readouterr().out)
    assert (facts["source"], facts["image_shape"], facts["source_shape"]) == ("digits", [9, 8, 1], [8, 8, 1])
    assert {name: split["images"] for name, split in facts["splits"].items()} == {"train": 1258, "validation": 180, "test": 359}
    assert sum(each["images"]["train"] for each in facts["classes"]) == 1258
    assert facts["splits"]["test"]["shared"] == {"train": 0, "validation": 0}
    assert (facts["duplicates"], facts["conflicts"], facts["advice"]) == ([], 0, [])


@pytest.mark.parametrize(("form", "line"), [("table", "train        1,258       10"), ("markdown", "| train | 1,258 | 10 |")])
def test_people_get_a_table(form: str, line: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data(config, [], None, form, Console(), False)
    printed = capsys.readouterr()
    assert line in printed.out
    assert "--output samples.png" in printed.err


def test_without_an_output_nothing_is_written(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    data(config, [], None, "table", Console(), False)
    assert [file.name for file in config.parent.iterdir()] == [config.name]


def test_samples_are_drawn(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, other = config.parent / "samples.PNG", config.parent / "flipped.png"
    data(config, [], output, "json", Console(), False)
    with Image.open(output) as picture:
        plain = picture.size
    data(config, ["data.augment={flip: true}"], other, "json", Console(), False)
    with Image.open(other) as picture:
        assert picture.width > 1.5 * plain[0]  # a second block
    printed = capsys.readouterr()
    assert f"{output} shows training images of each class." in printed.err
    assert len(printed.out.split('"advice"')) == 3  # nothing but the two JSON texts


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("samples.jpg", r"--output .*samples\.jpg: expected a name ending with \.png, such as .*samples\.png"),
        ("samples", r"expected a name ending with \.png"),
        ("nowhere/samples.png", r"there is no folder .*nowhere; create it: mkdir -p .*nowhere"),
        ("folder.png", r"is a folder; choose a file in it, such as .*folder\.png/new\.png"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_data_is_read(
    name: str, message: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "folder.png").mkdir()
    monkeypatch.setattr("cnnctl.data.splits.open_source", None)
    with pytest.raises(UsageError, match=message):
        data(config, [], config.parent / name, "table", Console(), False)


def test_an_image_that_cannot_be_read_is_told_and_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (4, 4), number).save(tmp_path / "set" / name / f"{number}.png")
    (tmp_path / "set/test/b/3.png").write_text("no image")
    file = tmp_path / "folder.yaml"
    file.write_text(CONFIG.replace("source: digits", f"source: folder, path: '{tmp_path / 'set'}'"))
    with pytest.raises(DataError, match=r"test/b/3\.png: cannot be read as an image"):
        data(file, [], tmp_path / "samples.png", "table", Console(), False)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "samples.png").exists()


def test_data_larger_than_the_memory_is_told(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("cnnctl.data.splits.open_source", too_much)
    with pytest.raises(RunError, match=r"the images do not fit into memory; write a smaller data\.image_size"):
        data(config, [], None, "table", Console(), False)


def test_the_bundled_digits_are_shown_and_drawn_without_tensorflow(config: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cnnctl.commands.data import data; from cnnctl.report.console import Console\n"
        f"data(Path({str(config)!r}), [], Path({str(config.parent / 'out.png')!r}), 'json', Console(), False)\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (0, 2), done.stderr
    with Image.open(io.BytesIO((config.parent / "out.png").read_bytes())) as picture:
        assert picture.format == "PNG"


# few-shot tasks


def test_json_of_a_few_shot_task_has_its_episodes(few_shot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data(few_shot, [], None, "json", Console(), False)
    facts = json.loads(capsys.readouterr().out)
    assert {name: split["classes"] for name, split in facts["splits"].items()} == {"train": 6, "validation": 2, "test": 2}
    assert sum(split["images"] for split in facts["splits"].values()) == 1797
    assert facts["episodes"]["test"] == {"classes": 2, "images": 174, "way": 2, "shot": 1, "query": 5, "short": 0}
    assert (facts["baseline"], facts["advice"], facts["splits"]["test"]["part"]) == (None, [], ["8", "9"])


@pytest.mark.parametrize(
    ("form", "line"),
    [("table", "test          2        2         1 + 5      174"), ("markdown", "| test | 2 | 2 | 1 + 5 | 174 |")],
)
def test_people_see_how_large_an_episode_can_be(
    form: str, line: str, few_shot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data(few_shot, [], None, form, Console(), False)
    assert line in capsys.readouterr().out.splitlines()


def test_samples_of_a_few_shot_task_are_of_its_training_classes(few_shot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = few_shot.parent / "samples.png"
    data(few_shot, ["data.augment={flip: true}"], output, "json", Console(), False)
    assert f"{output} shows training images of each class." in capsys.readouterr().err
    with Image.open(output) as picture:
        assert picture.format == "PNG"


def refusals(file: Path, overrides: list[str]) -> list[str]:
    """Returns what the training of a config says of episodes that cannot be drawn, of one split or of all."""
    experiment = load(file, overrides)
    assert experiment.few_shot
    try:
        task = FewShot(experiment)
        series_of(experiment, "test", task.splits.read_test(), size_of(experiment.few_shot), 2)
    except DataError as error:
        return [str(error)]
    return []


@pytest.mark.parametrize(
    ("fields", "split"),
    [
        ([], None),
        (["way=3"], "validation"),
        (["way=3", "train_way=2"], "validation"),
        (["train_way=6"], None),
        (["train_way=7"], "train"),
        (["train_way=24", "rotations=true"], None),
        (["train_way=25", "rotations=true"], "train"),
        (["train_way=48", "rotations=true", "mirrors=true"], None),
        (["train_way=13", "mirrors=true"], "train"),
        (["train_query=177"], None),
        (["train_query=178"], "train"),
        (["query=173"], None),
        (["query=174"], "test"),
        (["shot=200", "train_shot=1"], "validation"),
        (["method=cosine_classifier", "query=174"], "test"),
        (["method=cosine_classifier"], None),
    ],
    ids=str,
)
def test_an_episode_is_advised_against_exactly_where_training_refuses_it(
    fields: list[str], split: str | None, few_shot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [f"few_shot.{field}" for field in fields]
    data(few_shot, overrides, None, "json", Console(), False)
    advised = json.loads(capsys.readouterr().out)["advice"]
    assert bool(advised) == bool(refusals(few_shot, overrides)) == (split is not None)
    assert split is None or re.search(rf"(from|classes of) {split}\b", advised[0])


def test_a_few_shot_task_is_shown_and_drawn_without_tensorflow(few_shot: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cnnctl.commands.data import data; from cnnctl.report.console import Console\n"
        f"data(Path({str(few_shot)!r}), [], Path({str(few_shot.parent / 'out.png')!r}), 'json', Console(), False)\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (0, 2), done.stderr


def test_a_class_that_does_not_exist_is_told_and_nothing_is_printed(few_shot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=r"data\.test: there is no class '11' in 'train'"):
        data(few_shot, ["data.test=['11']"], None, "table", Console(), False)
    assert capsys.readouterr().out == ""
