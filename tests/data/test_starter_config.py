"""`cnnctl init --from PATH`: a config for one's own folder or file that trains as it is."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from cnnctl.commands.init import init
from cnnctl.data.splits import read_splits
from cnnctl.errors import UsageError
from cnnctl.report.console import Console
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from tests.data.test_file_source import MAKERS
from tests.formats.originals import idx, write

DIGITS = load_digits()
PIXELS: NDArray[np.uint8] = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)


def written(path: Path, root: Path, name: str = "made.yaml") -> tuple[Experiment, dict[str, Any], str]:
    """Returns the experiment, the data section and the text of the config that is made for a path."""
    file = root / name
    init(None, path, file, Console(quiet=True))
    notes: list[str] = []
    experiment = load(file, notes=notes)
    assert notes == [], "nothing is left to be warned about"
    return experiment, yaml.safe_load(file.read_text())["data"], file.read_text()


def digits(root: Path, count: int = 60, change: Any = lambda image: image, suffix: str = "png") -> Path:
    for index in range(count):
        folder = root / str(DIGITS.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        change(Image.fromarray(PIXELS[index])).save(folder / f"{index}.{suffix}")
    return root


def test_a_folder_of_digits_trains_as_it_is(tmp_path: Path) -> None:
    from cnnctl.commands.train import train

    _, data, text = written(digits(tmp_path / "my digits", 400), tmp_path)
    assert data["image_size"] == [8, 8] and data["channels"] == 1 and "invert" not in data
    assert text.startswith(f"# Trains on {tmp_path}/my digits: 400 training images of 10 classes.")
    train(tmp_path / "made.yaml", ["train.epochs=6"], tmp_path / "run", None, "cpu", Console(quiet=True), verbose=False)
    assert yaml.safe_load((tmp_path / "run" / "result.json").read_text())["test_accuracy"] > 0.5


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_original_file_has_its_config(kind: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    path = MAKERS[kind](tmp_path / "set", np.arange(60) % 5, np.arange(20) % 5)
    experiment, data, _ = written(path, tmp_path)
    assert data["source"] == kind
    assert (experiment.data.classes, experiment.data.image_size, experiment.data.channels) == (5, (7, 7), 1)
    assert len(read_splits(experiment.data).read_test()) == 20
    assert data.get("transpose", False) is (kind == "mat"), "EMNIST's files are stored by columns"


def test_dark_ink_on_light_paper_is_inverted(tmp_path: Path) -> None:
    _, data, _ = written(
        digits(tmp_path / "paper", change=lambda image: Image.eval(image, lambda value: 255 - value)), tmp_path
    )
    assert data["invert"] is True


def test_colour_stays_colour_and_large_images_become_small(tmp_path: Path) -> None:
    def photo(image: Image.Image) -> Image.Image:
        return Image.merge("RGB", [image, image.rotate(90), image]).resize((400, 300))

    experiment, data, _ = written(digits(tmp_path / "photos", 30, photo, "jpg"), tmp_path)
    assert data["channels"] == 3 and max(data["image_size"]) <= 96 and data["fit"] == "pad"
    from cnnctl.report.rows import summarize

    assert summarize(experiment).trainable < 2_000_000


def test_twelve_bits_are_told_their_white(tmp_path: Path) -> None:
    deep = lambda image: Image.fromarray(np.asarray(image).astype(np.uint16) * 16)  # noqa: E731
    _, data, _ = written(digits(tmp_path / "deep", change=deep), tmp_path)
    assert data["pixel_max"] == 4095


def test_labels_that_leave_gaps_are_remapped(tmp_path: Path) -> None:
    path = MAKERS["npz"](tmp_path, np.arange(60) % 5 * 2 + 1, np.arange(20) % 5 * 2 + 1)
    experiment, data, _ = written(path, tmp_path)
    assert data["remap_labels"] is True and experiment.data.classes == 5


def test_splits_that_are_found_are_written_down(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split in ("Training", "Val", "Testing"):
        digits(root / split, 100)
    _, data, _ = written(root, tmp_path)
    assert (data["train"], data["validation"], data["test"]) == ("Training", "Val", "Testing")


def test_small_sets_get_fractions_that_work(tmp_path: Path) -> None:
    for count in (2, 3, 5):
        root = tmp_path / str(count)
        for name in ("a", "b"):
            (root / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(PIXELS[index]).save(root / name / f"{index}.png")
        experiment, _, _ = written(root, tmp_path, f"{count}.yaml")
        splits = read_splits(experiment.data)
        assert len(splits.read_test()) and splits.validation and len(splits.validation)


def test_folders_like_omniglots_have_a_class_in_each_leaf(tmp_path: Path) -> None:
    for alphabet in ("Greek", "Latin"):
        for character in range(6):
            folder = tmp_path / "set" / alphabet / f"character{character:02d}"
            folder.mkdir(parents=True)
            for index in range(4):
                Image.fromarray(PIXELS[index]).save(folder / f"{index}.png")
    experiment, data, _ = written(tmp_path / "set", tmp_path)
    assert data["class_folders"] == "leaf" and experiment.data.classes == 12


def test_a_folder_one_level_too_high_is_made_right(tmp_path: Path) -> None:
    digits(tmp_path / "download" / "images" / "train")
    _, data, _ = written(tmp_path / "download", tmp_path)
    assert data["path"] == str(tmp_path / "download" / "images")


def test_emnists_idx_files_are_turned_upright(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / "set" / f"emnist-digits-{split}-images-idx3-ubyte.gz", idx(PIXELS[:100]))
        write(tmp_path / "set" / f"emnist-digits-{split}-labels-idx1-ubyte.gz", idx(DIGITS.target[:100].astype(np.uint8)))
    _, data, _ = written(tmp_path / "set", tmp_path)
    assert data["transpose"] is True


def test_matlab_files_of_other_sets_stay_upright(tmp_path: Path) -> None:
    import scipy.io

    scipy.io.savemat(tmp_path / "set.mat", {"x_train": PIXELS[:100], "y_train": DIGITS.target[:100, np.newaxis]})
    _, data, _ = written(tmp_path / "set.mat", tmp_path)
    assert "transpose" not in data


def test_a_table_of_labels_is_used_where_folders_have_no_classes(tmp_path: Path) -> None:
    for index in range(40):
        (tmp_path / "set" / "train").mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[index]).save(tmp_path / "set" / "train" / f"{index}.png")
    rows = "".join(f"{index},{'xy'[index % 2]}\n" for index in range(40))
    (tmp_path / "set" / "train.csv").write_text(f"id,label\n{rows}")
    experiment, data, _ = written(tmp_path / "set", tmp_path)
    assert data["labels_file"] == "train.csv" and experiment.data.classes == 2


def test_negative_labels_are_remapped(tmp_path: Path) -> None:
    path = MAKERS["npz"](tmp_path, np.arange(60) % 2 * 2 - 1, np.arange(20) % 2 * 2 - 1)
    experiment, data, _ = written(path, tmp_path)
    assert data["remap_labels"] is True and experiment.data.classes == 2


def test_idx_files_some_folders_below_are_found(tmp_path: Path) -> None:
    MAKERS["idx"](tmp_path / "root" / "MNIST" / "raw", np.arange(60) % 5, np.arange(20) % 5)
    _, data, _ = written(tmp_path / "root", tmp_path)
    assert (data["source"], data["path"]) == ("idx", str(tmp_path / "root" / "MNIST" / "raw"))


@pytest.mark.parametrize(
    "names", [("training_set", "test_set"), ("seg_train/seg_train", "seg_test/seg_test"), ("train/train", "test/test")]
)
def test_folders_that_look_like_splits_are_written_as_splits(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        digits(tmp_path / "set" / name, 60)
    _, data, _ = written(tmp_path / "set", tmp_path)
    assert (data["path"], data["train"], data["test"]) == (str(tmp_path / "set"), *names)


def test_several_sets_in_a_folder_are_told(tmp_path: Path) -> None:
    for name in ("MNIST", "FashionMNIST"):
        MAKERS["idx"](tmp_path / "root" / name / "raw", np.arange(60) % 5, np.arange(20) % 5)
    with pytest.raises(UsageError, match=r"contains several sets; choose one of .*FashionMNIST.*, .*MNIST"):
        init(None, tmp_path / "root", tmp_path / "made.yaml", Console(quiet=True))


def test_messages_name_an_example_that_is_there(tmp_path: Path) -> None:
    for name in ("letters", "digits"):
        write(tmp_path / "set" / f"emnist-{name}-train-images-idx3-ubyte", idx(PIXELS[:60]))
        write(tmp_path / "set" / f"emnist-{name}-train-labels-idx1-ubyte", idx(DIGITS.target[:60].astype(np.uint8)))
    with pytest.raises(UsageError, match=r"in a config, this goes below data\. Copy one with: cnnctl init (\w+)") as raised:
        init(None, tmp_path / "set", tmp_path / "made.yaml", Console(quiet=True))
    found = re.search(r"cnnctl init (\w+)", str(raised.value))
    assert found
    init(found[1], None, tmp_path / "copied.yaml", Console(quiet=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or folder"),
        (lambda path: path.mkdir(), "it holds no image"),
        (lambda path: path.write_text("a text"), "not a readable set of images"),
        (lambda path: path.write_bytes(b"\x80\x04N."), "can run any code on loading"),
        (lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)), "unpack it, and write path: .*; type: python -m zipfile -e"),
    ],
    ids=["nothing", "empty folder", "text", "pickle", "zip"],
)
def test_what_cannot_be_trained_on_is_told_and_nothing_is_written(make: Any, message: str, tmp_path: Path) -> None:
    make(tmp_path / "thing")
    with pytest.raises(UsageError, match=message):
        init(None, tmp_path / "thing", tmp_path / "made.yaml", Console(quiet=True))
    assert not (tmp_path / "made.yaml").exists()


def test_nothing_is_overwritten_and_names_are_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    digits(tmp_path / "it's: a #set")
    init(None, Path("it's: a #set"), None, Console(quiet=True))
    (made,) = tmp_path.glob("*.yaml")
    assert load(made).data.path == str(tmp_path / "it's: a #set")
    with pytest.raises(UsageError, match=r"already exists; not overwriting\. Choose another name: --output") as raised:
        init(None, Path("it's: a #set"), None, Console(quiet=True))
    found = re.search(r"--output (.*)$", str(raised.value))
    assert found
    init(None, Path("it's: a #set"), Path(shlex.split(found[1])[0]), Console(quiet=True))
    assert len(list(tmp_path.glob("*.yaml"))) == 2


def test_the_command_says_what_comes_next_without_tensorflow(tmp_path: Path) -> None:
    digits(tmp_path / "set")
    code = (
        "import sys; sys.argv = ['cnnctl', 'init', '--from', 'set']\n"
        "from cnnctl.cli import main\ntry: main()\nexcept SystemExit as left: assert not left.code\n"
        "assert 'tensorflow' not in sys.modules"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, env={**os.environ}
    )
    commands = re.findall(r"cnnctl (summary|data|train) set\.yaml", printed.stdout)
    assert commands == ["summary", "data", "train"]
    assert (tmp_path / "set.yaml").read_text() in printed.stdout
