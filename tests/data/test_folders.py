"""Folders as people have them: any depth, any names of splits, any kind of file; what is not read is counted and explained."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnctl.data.class_splits import disjoint_groups, read_disjoint_splits
from cnnctl.data.sources.opening import open_source
from cnnctl.data.splits import read_splits
from cnnctl.errors import ConfigError, DataError
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load

STACK = "model: {layers: [flatten, {dense: {units: classes}}]}\n"
EMBEDDING = "model: {layers: [flatten, {dense: {units: 3}}]}\ntask: few_shot\nfew_shot: {way: 2, query: 1}\n"


def image(file: Path, grey: int = 100, size: tuple[int, int] = (6, 6)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(file)
    return file


def write(root: Path, counts: dict[str, int]) -> Path:
    """Writes so many images into each folder, each of a grey of its own."""
    for number, (folder, count) in enumerate(counts.items()):
        for index in range(count):
            image(root / folder / f"{index}.png", grey=(7 * number + index) % 256)
    return root


def config(root: Path, file: Path, stack: str = STACK, **data: Any) -> Path:
    fields = {"source": "folder", "path": str(root), **data}
    file.write_text(f"data: {fields}\n".replace("'", '"').replace("True", "true").replace("None", "null") + stack)
    return file


def loaded(root: Path, tmp_path: Path, stack: str = STACK, **data: Any) -> Experiment:
    return load(config(root, tmp_path / "x.yaml", stack, **data))


def counts_of(experiment: Experiment) -> Counter[str]:
    source = open_source(experiment.data)
    return Counter(source.class_names[label] for label in source.labels(experiment.data.train))


# depth


def test_images_at_any_depth_belong_to_the_class_folder_above_them(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"cat": 3, "cat/own": 2, "cat/web/2024": 4, "dog/only/deep": 5})
    assert counts_of(loaded(root, tmp_path)) == {"cat": 9, "dog": 5}


def test_the_classes_are_those_that_keras_finds(tmp_path: Path) -> None:
    import keras

    root = write(tmp_path / "set", {"b/x": 3, "a": 2, "a/y": 2, "c": 1})
    found = keras.utils.image_dataset_from_directory(root, image_size=(6, 6), batch_size=None, shuffle=False, verbose=False)
    labels = Counter(found.class_names[int(label)] for _, label in found)
    assert counts_of(loaded(root, tmp_path, test=0.2)) == labels


def test_leaf_makes_each_folder_of_images_a_class_named_by_its_path(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"Greek/alpha": 2, "Greek/beta": 3, "Latin/a": 4})
    experiment = loaded(root, tmp_path, class_folders="leaf")
    assert counts_of(experiment) == {"Greek/alpha": 2, "Greek/beta": 3, "Latin/a": 4}
    assert experiment.data.classes == 3
    assert open_source(experiment.data).groups("train") == ["Greek"] * 5 + ["Latin"] * 4


def test_groups_of_folders_are_held_out_whole(tmp_path: Path) -> None:
    names = [f"{group}/{each}" for group in ("Greek", "Latin", "Runes") for each in "abc"]
    root = write(tmp_path / "set", dict.fromkeys(names, 4))
    data = {"class_folders": "leaf", "hold_out": "group", "validation": ["Latin"], "test": ["Runes"]}
    experiment = loaded(root, tmp_path, EMBEDDING, **data)
    splits = read_disjoint_splits(experiment.data)
    assert splits.class_names == [f"{group}/{each}" for group in ("Greek", "Latin", "Runes") for each in "abc"]
    assert set(splits.read_test().labels.tolist()) == {6, 7, 8}
    assert disjoint_groups(experiment.data) == {"train": ["Greek"], "validation": ["Latin"], "test": ["Runes"]}


def test_groups_need_leaves(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a": 4, "b": 4})
    with pytest.raises(
        ConfigError,
        match=r"data\.hold_out: the groups of a folder are the parent folders of its classes; write class_folders: leaf",
    ):
        loaded(root, tmp_path, EMBEDDING, hold_out="group")


def test_folders_that_all_have_folders_hint_at_leaf(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"Greek/alpha": 2, "Greek/beta": 3, "Latin/a": 4, "Latin/b": 4})
    notes = open_source(loaded(root, tmp_path).data).notes
    assert [note for note in notes if "class_folders: leaf" in note and "Greek/alpha" in note]
    write(root, {"Latin": 1})
    assert not [note for note in open_source(loaded(root, tmp_path).data).notes if "class_folders: leaf" in note]


# splits

SPELLINGS = [
    ("train", "validation", "test"),
    ("training", "val", "testing"),
    ("Train", "Valid", "Test"),
    ("TRAINING", "DEV", "TESTING"),
    ("Training", None, "Testing"),
    (None, "val", None),
    (None, None, "Test"),
]


@pytest.mark.parametrize("names", SPELLINGS, ids=str)
def test_folders_of_splits_are_found_by_the_names_that_people_give_them(names: tuple[str | None, ...], tmp_path: Path) -> None:
    sizes = {"train": 10, "validation": 5, "test": 3}
    root = tmp_path / "set"
    for (_, count), name in zip(sizes.items(), names, strict=True):
        write(root / (name or ""), {"a": count, "b": count} if name or count == 10 else {})
    data = loaded(root, tmp_path).data
    assert (data.train, data.validation, data.test) == (names[0] or "train", names[1] or 0.1, names[2] or 0.2)
    assert data.classes == 2
    (line,) = [note for note in open_source(data).notes if note.startswith("splits by folder: ")]
    assert all(name is None or f" from {name}/" in line for name in names)


@pytest.mark.parametrize(
    ("role", "two"), [("train", ("train", "Training")), ("validation", ("val", "valid")), ("test", ("test", "Test"))]
)
def test_two_folders_for_one_role_are_an_error_that_names_both(role: str, two: tuple[str, str], tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in {"train", *two} if role != "train" else two:
        write(root / name, {"a": 8, "b": 8})
    first, second = sorted(two)
    with pytest.raises(ConfigError, match=f"'{first}' and '{second}' may both be the {role} split; write {role}: {first}"):
        loaded(root, tmp_path)
    assert getattr(loaded(root, tmp_path, **{role: second}).data, role) == second, "the config overrides"


def test_the_config_overrides_what_is_found(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("train", "val", "test", "extra"):
        write(root / name, {"a": 10, "b": 10})
    data = loaded(root, tmp_path, validation=0.2, test="extra").data
    assert (data.validation, data.test) == (0.2, "extra")
    assert loaded(root, tmp_path, validation=None).data.validation is None
    (account, *_) = open_source(data).notes
    assert account == (
        "read 40 images in 2 classes; not read: 40 files (20 images in test/, which is not a split of the config, "
        "20 images in val/, which is not a split of the config)"
    )


@pytest.mark.parametrize("layout", ["loose", "one folder", "loose beside flat classes"])
def test_a_split_folder_without_labels_is_no_class(layout: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    write(root if "flat" in layout else root / "train", {"a": 10, "b": 10})
    write(root, {"test/unknown" if layout == "one folder" else "test": 7})
    experiment = loaded(root, tmp_path)
    assert (experiment.data.classes, experiment.data.test) == (2, 0.2)
    notes = open_source(experiment.data).notes
    assert "read 20 images in 2 classes; not read: 7 files (7 images in test/ without classes)" in notes
    (printed,) = [
        note for note in notes if note.startswith("test/ holds 7 images without classes: treated as unlabelled test images")
    ]
    assert f"cnnctl predict RUN {shlex.quote(str(root / 'test'))}" in printed


@pytest.mark.parametrize("above", ["train/", ""])
def test_links_are_looked_for_as_often_among_many_images_as_among_few(
    above: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, realpath, counts = list[Any](), os.path.realpath, []

    def noted(path: Any, **how: Any) -> Any:
        asked.append(path)
        return realpath(path, **how)

    monkeypatch.setattr(os.path, "realpath", noted)
    for number in (2, 40):  # 40 < LOOKED_AT
        root = write(tmp_path / str(number), {f"{above}cat": number, f"{above}dog": number, "test": number})
        asked.clear()
        assert counts_of(loaded(root, tmp_path, image_size=6, channels=1)) == {"cat": number, "dog": number}
        counts.append(len(asked))
    assert counts[0] == counts[1] > 0


def test_naming_an_unlabelled_split_says_that_predict_is_for_it(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"train/a": 5, "train/b": 5, "test": 4})
    with pytest.raises(
        ConfigError, match=r"data\.test: there is no split 'test'.*its 4 images have no classes; use cnnctl predict"
    ):
        loaded(root, tmp_path, test="test")


def test_a_run_reads_its_own_config_as_the_first_time(tmp_path: Path) -> None:
    """Also where a class is called as a split: what was found is written down."""
    from cnnctl.spec.document import dump
    from cnnctl.spec.section import plain

    for counts in ({"bus": 5, "car": 5, "train": 5}, {"Training/a": 8, "Training/b": 8, "val/a": 4, "val/b": 4}):
        root = write(tmp_path / str(len(counts)), counts)
        first = loaded(root, tmp_path)
        again = tmp_path / "again.yaml"
        again.write_text(dump(plain(first)))
        assert load(again) == first
        assert open_source(load(again).data).notes == open_source(first.data).notes
    assert counts_of(loaded(tmp_path / "3", tmp_path)) == {"bus": 5, "car": 5, "train": 5}


# labels files

TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "usual names": ("label,file\nx,0\ny,1\nx,2\ny,3\n", {}),
    "first two": ("picture;kind\n0.png;x\n1.png;y\n2.png;x\n3.png;y\n", {}),
    "no header": ("0.png,x\n1.png,y\n2.png,x\n3.png,y\n", {}),
    "named": (
        "a,b,picture,c,kind\n1,2,0.png,3,x\n1,2,1.png,3,y\n1,2,2.png,3,x\n1,2,3.png,3,y\n",
        {"keys": ["picture", "kind"]},
    ),
    "blanks": ("0.png x\n1.png y\n2.png x\n3.png y\n", {}),
    "paths": ("\ufefffile_name,label\n./sub/0.png,x\nsub\\1.png,y\nsub/2,x\n3,y\n", {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_labels_file_labels_a_flat_folder(name: str, tmp_path: Path) -> None:
    text, fields = TABLES[name]
    root = write(tmp_path / "set", {"sub" if name == "paths" else "": 5})
    (root / "labels.csv").write_text(text)
    experiment = loaded(root, tmp_path, labels_file="labels.csv", validation=None, test=0.25, **fields)
    assert counts_of(experiment) == {"x": 2, "y": 2}
    place = "sub/4.png" if name == "paths" else "4.png"
    assert open_source(experiment.data).notes[0] == (
        "read 4 images in 2 classes; not read: 1 file (1 image not in labels.csv)"
    ), place


def test_a_labels_file_overrides_folders(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a": 4, "b": 4})
    (root / "fixed.csv").write_text("file,label\na/0.png,b\nb/1.png,a\nb/2.png,a\n")
    assert counts_of(loaded(root, tmp_path, labels_file="fixed.csv")) == {"a": 5, "b": 3}
    (root / "fixed.csv").write_text("file,label\na/0.png,x\nb/1.png,y\n")
    experiment = loaded(root, tmp_path, labels_file="fixed.csv", validation=None, test=0.5)
    assert counts_of(experiment) == {"x": 1, "y": 1}, "labels that are no folders say that folders are no classes"


def test_a_labels_file_means_the_images_of_train_where_those_of_test_have_the_same_names(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"train": 4, "test": 4})
    (root / "labels.csv").write_text("id,breed\n0,x\n1,y\n2,x\n3,y\n")
    experiment = loaded(root, tmp_path, labels_file="labels.csv", validation=None, test=0.5)
    assert counts_of(experiment) == {"x": 2, "y": 2}
    assert experiment.data.train == "train"
    assert "test/ holds 4 images without classes" in " ".join(open_source(experiment.data).notes)


def test_names_without_an_image_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"": 8})
    (root / "labels.csv").write_text("file,label\n" + "".join(f"{i}.png,{'xy'[i % 2]}\n" for i in range(8)) + "gone.png,x\n")
    notes = open_source(loaded(root, tmp_path, labels_file="labels.csv").data).notes
    assert "1 name in labels.csv is no image here, such as 'gone.png'" in notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected two columns, file names and labels; received 0"),
        ("file\n0.png\n", "expected two columns, file names and labels; received 1"),
        ("file,label\n7.png,x\n", r"names no image of .*, such as '7\.png' \(the folder has 0\.png\); its columns must be"),
        ("file,label\n0.png,x\n0.png,y\n", r"'0\.png' has two labels, 'x' and 'y'; remove one of them"),
        ("file,label\n0.png\n", "row 2 has 1 columns, expected 2 or more"),
        ("file,label\n0.png,x\n1.png,x\n", r"the images of 'train' have 1 class; at least 2 are required"),
        ('file,label\n"0.png,x\n', "cannot be read as CSV"),
    ],
)
def test_a_labels_file_that_cannot_be_used_is_told(text: str, message: str, tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"": 4})
    (root / "labels.csv").write_text(text)
    with pytest.raises(ConfigError, match=rf"data\.labels_file: labels\.csv: {message}"):
        loaded(root, tmp_path, labels_file="labels.csv")


def test_a_column_for_each_class_is_told(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"": 4})
    (root / "labels.csv").write_text("picture,healthy,rust,scab\n0,1,0,0\n1,0,1,0\n2,0,0,1\n3,1,0,0\n")
    with pytest.raises(
        ConfigError, match=r"expected one column of labels, received a column for each class \(healthy, rust, scab\)"
    ):
        loaded(root, tmp_path, labels_file="labels.csv")


def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"": 4})
    (root / "labels.csv").write_text("file,label,age\n0,x,3\n1,y,4\n2,x,5\n3,,6\n")
    notes = open_source(loaded(root, tmp_path, labels_file="labels.csv", validation=None, test=0.5).data).notes
    assert "labels.csv: file names from column 'file', labels from column 'label'; not read: age" in notes
    assert notes[0] == "read 3 images in 2 classes; not read: 1 file (1 image without a label in labels.csv)"


@pytest.mark.parametrize("name", ["0.jpg", "C:\\pictures\\0.png", "/home/me/0.png", "0.PNG"])
def test_names_as_people_write_them_are_found(name: str, tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"": 4})
    (root / "labels.csv").write_text(f"file,label\n{name},x\n1,y\n2,x\n3,y\n")
    assert counts_of(loaded(root, tmp_path, labels_file="labels.csv", validation=None, test=0.5)) == {"x": 2, "y": 2}


def test_names_in_a_table_below_a_split_mean_the_images_beside_it(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"train": 6, "test": 4})
    for split, count in (("train", 6), ("test", 4)):
        rows = "".join(f"{index}.png,{'xy'[index % 2]}\n" for index in range(count))
        (root / split / "labels.csv").write_text(f"file,label\n{rows}")
    with pytest.raises(ConfigError, match=r"write labels_file: train/labels\.csv"):
        loaded(root, tmp_path)
    source = open_source(loaded(root, tmp_path, labels_file="train/labels.csv", validation=None, test=0.5).data)
    assert all(file.parts[-2] == "train" for file in source._files("train")[0])  # type: ignore[attr-defined]
    of_test = loaded(root, tmp_path, labels_file="test/labels.csv", train="test", validation=None, test=0.5).data
    assert len(open_source(of_test).labels("test")) == 4


def test_a_table_in_a_folder_is_named_by_its_path(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"train": 4})
    (root / "train" / "metadata.csv").write_text("file_name,label\n0.png,x\n1.png,y\n2.png,x\n3.png,y\n")
    with pytest.raises(ConfigError, match=r"write labels_file: train/metadata\.csv") as raised:
        loaded(root, tmp_path)
    table = str(raised.value).rpartition("labels_file: ")[2]
    assert loaded(root, tmp_path, labels_file=table, validation=None, test=0.5).data.classes == 2


def test_a_name_that_may_be_two_images_is_told(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"one": 2, "two": 2})
    (root / "labels.csv").write_text("file,label\n0.png,x\n1.png,y\n")
    with pytest.raises(ConfigError, match=r"'0\.png' matches one/0\.png and two/0\.png; write its path below data\.path"):
        loaded(root, tmp_path, labels_file="labels.csv")


# links


def test_links_out_of_the_folder_are_followed_where_the_config_says_so(tmp_path: Path) -> None:
    store = write(tmp_path / "store", {"a": 6, "b": 6, "test/a": 2, "test/b": 2})
    root = tmp_path / "set"
    (root / "train" / "a").mkdir(parents=True)
    for index in range(6):
        (root / "train" / "a" / f"{index}.png").symlink_to(store / "a" / f"{index}.png")
    (root / "train" / "b").symlink_to(store / "b")
    (root / "test").symlink_to(store / "test")
    with pytest.raises(ConfigError, match=r"write data\.follow_links: true"):
        loaded(root, tmp_path)
    experiment = loaded(root, tmp_path, follow_links=True)
    assert counts_of(experiment) == {"a": 6, "b": 6}
    assert experiment.data.test == "test"


def test_circles_of_links_end_where_links_are_followed(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a": 5, "b": 5})
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "b").symlink_to(root / "b")
    (root / "b" / "a").symlink_to(root / "a")
    assert loaded(root, tmp_path, follow_links=True).data.classes == 2


@pytest.mark.parametrize(
    ("layout", "lines"),
    [
        (
            {"training_set/training_set": "ab", "test_set/test_set": "ab"},
            {"train": "training_set/training_set", "test": "test_set/test_set"},
        ),
        ({"train_set": "ab", "test_set": "ab"}, {"train": "train_set", "test": "test_set"}),
        (
            {"seg_train/seg_train": "ab", "seg_test/seg_test": "ab", "seg_pred/seg_pred": ""},
            {"train": "seg_train/seg_train", "test": "seg_test/seg_test"},
        ),
        (
            {"letters_train": "ab", "letters_val": "ab", "letters_test": "ab"},
            {"train": "letters_train", "validation": "letters_val", "test": "letters_test"},
        ),
    ],
    ids=["wrapped", "set", "prefix", "three"],
)
def test_folders_that_look_like_splits_are_no_classes(layout: dict[str, str], lines: dict[str, str], tmp_path: Path) -> None:
    folders = [f"{split}/{name}" for split, names in layout.items() for name in names or [""]]
    root = write(tmp_path / "set", dict.fromkeys(folders, 5))
    with pytest.raises(
        ConfigError, match=r"look like splits, not classes; write .* \(or train: \. if they are classes\)$"
    ) as raised:
        loaded(root, tmp_path)
    written = dict(part.split(": ") for part in str(raised.value).partition("; write ")[2].partition(" (")[0].split(", "))
    assert written == lines
    data = loaded(root, tmp_path, **written).data
    assert (data.classes, data.test) == (2, lines["test"])
    assert loaded(root, tmp_path, train=".").data.classes == len(layout), "they are classes where the config says so"


def test_splits_with_one_folder_around_their_classes_are_told_both(tmp_path: Path) -> None:
    root = write(tmp_path / "set", dict.fromkeys(["train/train/a", "train/train/b", "test/test/a", "test/test/b"], 5))
    with pytest.raises(ConfigError, match=r"the classes are deeper: write train: train/train, test: test/test"):
        loaded(root, tmp_path)
    assert loaded(root, tmp_path, train="train/train", test="test/test").data.classes == 2


def test_flat_splits_beside_a_table_are_no_classes(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"train": 4, "test": 4})
    (root / "test.csv").write_text("id\n0\n")
    (root / "train.csv").write_text("id,label\n0,x\n1,y\n2,x\n3,y\n")
    with pytest.raises(
        ConfigError, match=r"'test' and 'train' are splits, and their images have no classes; write labels_file: train\.csv"
    ):
        loaded(root, tmp_path)
    assert loaded(root, tmp_path, labels_file="train.csv", validation=None, test=0.5).data.classes == 2


def test_a_folder_called_as_a_split_is_a_class_where_the_config_says_so(tmp_path: Path) -> None:
    for names in (("test", "exam", "quiz"), ("dev", "ops", "qa"), ("val", "x", "y")):
        root = write(tmp_path / names[0], dict.fromkeys(names, 5))
        assert loaded(root, tmp_path).data.classes == 2
        experiment = loaded(root, tmp_path, train=".")
        assert counts_of(experiment) == dict.fromkeys(names, 5)
    deep = write(tmp_path / "deep", {f"{name}/{side}": 5 for name in ("test", "bus", "car") for side in ("left", "right")})
    data = loaded(deep, tmp_path, train=".").data
    assert (data.classes, data.test) == (3, 0.2)


def test_classes_that_are_called_as_splits_beside_others_are_classes(tmp_path: Path) -> None:
    assert loaded(write(tmp_path / "set", {"control": 5, "test": 5}), tmp_path).data.classes == 2
    assert loaded(write(tmp_path / "other", {"pre_test": 5, "post_test": 5}), tmp_path).data.classes == 2


# what is not read


def test_an_image_beside_the_splits_is_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"train/a": 5, "train/b": 5, "": 1})
    assert open_source(loaded(root, tmp_path).data).notes[0] == (
        "read 10 images in 2 classes; not read: 1 file (1 image outside of the class folders)"
    )


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"cat": 4, "dog": 4, "": 2})
    for number in range(9):
        (root / "cat" / f"{number}.txt").write_text("a text")
    (root / "dog" / "film.MP4").write_bytes(b"\0\0\0\x18ftypmp42")
    (root / "dog" / "nothing").touch()
    (root / "dog" / "junk").write_bytes(b"junk")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "__MACOSX" / "cat").mkdir(parents=True)
    (root / "__MACOSX" / "cat" / "._0.png").write_bytes(b"x")
    (root / "notes").mkdir()
    (root / "notes" / "README.md").write_text("about")
    (root / "away.txt").symlink_to("/etc/hostname")
    os.mkfifo(root / "cat" / "pipe.png")
    source = open_source(loaded(root, tmp_path).data)
    assert source.class_names == ["cat", "dog"]
    assert source.notes[1:] == ["notes/: no readable images, so not classes"]
    assert source.notes[0] == (
        "read 8 images in 2 classes; not read: 19 files (9 .txt, 2 hidden, 2 images outside of the class folders, 1 .md, "
        "1 .mp4, 1 empty, 1 link, 1 not a regular file, 1 without a suffix)"
    ).replace("1 .md, 1 .mp4, 1 empty, 1 link, 1 not a regular file, 1 without a suffix", account_tail(source.notes[0]))


def account_tail(note: str) -> str:
    """Returns the kinds that occur once, in the order of the note, once they are those that are expected."""
    tail = [part for part in re.findall(r"\d+ [^,()]+", note.partition("(")[2]) if part.startswith("1 ")]
    assert sorted(tail) == ["1 .md", "1 .mp4", "1 empty", "1 link", "1 not a regular file", "1 without a suffix"]
    return ", ".join(tail)


def test_nothing_is_said_to_be_left_where_nothing_is(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"cat": 4, "dog": 4})
    assert open_source(loaded(root, tmp_path).data).notes == ["read 8 images in 2 classes"]


def test_an_empty_folder_is_a_class_to_come_and_one_of_other_files_is_none(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"cat": 4, "dog": 4})
    (root / "new").mkdir()
    (root / "scripts").mkdir()
    (root / "scripts" / "make.py").write_text("print()")
    source = open_source(loaded(root, tmp_path).data)
    assert source.class_names == ["cat", "dog", "new"]
    assert source.notes[1:] == ["scripts/: no readable images, so not classes"], "a class does not vanish in silence"


# a folder that is not what it should be


def test_a_folder_one_level_too_high_names_the_one_below(tmp_path: Path) -> None:
    for layout in ({"train/a": 2, "train/b": 2, "test/a": 2}, {"a": 2, "b": 2}):
        root = write(tmp_path / f"high{len(layout)}" / "inside" / "set", layout).parent
        with pytest.raises(ConfigError, match=r"the folder below it looks right: write path: (.*)") as raised:
            loaded(root, tmp_path)
        found = re.search(r"write path: (.*)$", str(raised.value))
        assert found and loaded(Path(found[1]), tmp_path).data.classes == 2


@pytest.mark.parametrize("suffix", [".npy", ".zip"])
def test_the_remedy_for_a_folder_of_other_files_works_when_typed(suffix: str, tmp_path: Path) -> None:
    root = tmp_path / "a set"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    if suffix == ".npy":
        for name in ("a", "b"):
            for index in range(5):
                np.save(root / name / f"{index}.npy", np.full((6, 6), 9 * index, np.uint8))
        with pytest.raises(ConfigError, match=r"not read: 10 files \(10 \.npy\); these are arrays") as raised:
            loaded(root, tmp_path)
        command = str(raised.value).partition("as an image: ")[2]
        words = shlex.split(command)
        assert words[0] == "python"
        subprocess.run([sys.executable, *words[1:]], check=True)
        assert counts_of(loaded(root, tmp_path)) == {"a": 5, "b": 5}


def test_a_folder_of_prepared_sets_names_its_source(tmp_path: Path) -> None:
    place = tmp_path / "set" / "my" / "letters" / "1.0.0"
    place.mkdir(parents=True)
    (place / "dataset_info.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"write source: tfds, name: my/letters, data_dir: {tmp_path}/set"):
        loaded(tmp_path / "set", tmp_path)


def test_a_single_class_and_loose_images_say_what_to_do(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"": 4})
    (root / "classes.csv").write_text("file,label\n")
    with pytest.raises(
        ConfigError, match=r"put the images of each class into a separate folder.* or write labels_file: classes\.csv"
    ):
        loaded(root, tmp_path)


# names of classes

NEAR = [
    ("08", "8"),
    ("Cat", "cat"),
    ("3 ", "3"),
    (unicodedata.normalize("NFD", "zwölf"), unicodedata.normalize("NFC", "zwölf")),
]


@pytest.mark.parametrize(("folder", "other"), NEAR, ids=ascii)
def test_classes_that_nearly_have_a_name_of_train_are_shown_it(folder: str, other: str, tmp_path: Path) -> None:
    root = write(tmp_path / "set", {f"train/{folder}": 4, "train/b": 4, f"test/{other}": 2, "test/b": 2})
    with pytest.raises(DataError, match=re.escape(f"did you mean '{folder}'")):
        read_splits(loaded(root, tmp_path).data).read_test()


@pytest.mark.parametrize(("folder", "other"), NEAR, ids=ascii)
def test_so_are_classes_that_are_held_out_by_name(folder: str, other: str, tmp_path: Path) -> None:
    root = write(tmp_path / "set", {folder: 4, "b": 4, "c": 4, "d": 4})
    experiment = loaded(root, tmp_path, EMBEDDING, validation=None, test=[other, "b"])
    with pytest.raises(DataError, match=re.escape(f"there is no class '{other}' in 'train'; did you mean '{folder}'")):
        read_disjoint_splits(experiment.data)


def test_all_broken_images_are_named_where_the_first_one_decides_the_size(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a": 3, "b": 3})
    (root / "a" / "0.png").write_bytes(b"")
    (root / "b" / "2.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError) as raised:
        loaded(root, tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[0].endswith("data.path: 2 of 6 images cannot be read as images; replace or remove them:")
    assert lines[1:] == [
        f"  {root}/a/0.png: it is an empty file",
        f"  {root}/b/2.png: not a PNG, JPEG, BMP, GIF, WebP, TIFF, PGM or PPM",
    ]


def test_a_broken_link_is_told_as_one(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a": 3, "b": 3})
    (root / "a" / "gone.png").symlink_to("/nowhere/x.png")
    with pytest.raises(
        ConfigError, match=r"a/gone\.png' cannot be read: No such file or directory: it is a broken link; remove"
    ):
        loaded(root, tmp_path)


# sizes


def test_where_the_size_comes_from_is_said(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a": 4, "b": 4})
    notes: list[str] = []
    load(config(root, tmp_path / "x.yaml"), notes=notes)
    assert notes == ["image_size [6, 6] is that of the first image, a/0.png, and of all 8 inspected"]
    load(config(root, tmp_path / "x.yaml", image_size=[6, 6]), notes=(said := list[str]()))
    assert said == []


def test_a_first_image_unlike_most_others_is_a_warning_with_a_size_that_fits(tmp_path: Path) -> None:
    root = write(tmp_path / "set", {"a": 1})
    for index in range(9):
        image(root / "b" / f"{index}.png", size=(12, 8))
    notes: list[str] = []
    load(config(root, tmp_path / "x.yaml"), notes=notes)
    (warning,) = [
        note for note in notes if note.startswith("warning: 9 of 10 images inspected have another size, most often 8×12")
    ]
    found = re.search(r"write data\.image_size: (\[\d+, \d+\])", warning)
    assert found
    root = write(root, {"a": 4})
    experiment = load(config(root, tmp_path / "x.yaml"), [f"data.image_size={found[1]}"])
    assert experiment.data.image_size == (8, 12)
    counted = [note for note in _read_notes(experiment) if "were resized" in note]
    assert counted == [
        "4 of 13 images of 'train' were resized to 8×12, 4 of them stretched from other proportions; "
        "data.fit: crop or data.fit: pad keeps their proportions"
    ]


def _read_notes(experiment: Experiment) -> list[str]:
    source = open_source(experiment.data)
    source.read(experiment.data.train)
    return source.notes


def test_a_size_that_makes_a_large_network_is_a_warning_with_one_that_does_not(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("a", "b"):
        image(root / name / "0.png", size=(2000, 3000))
        image(root / name / "1.png", size=(2000, 3000))
    notes: list[str] = []
    load(config(root, tmp_path / "x.yaml"), notes=notes)
    (warning,) = [
        note for note in notes if note.startswith("warning: images of 3000×2000 make a network of 12,000,002 parameters")
    ]
    found = re.search(r"data\.image_size, such as (\[\d+, \d+\])", warning)
    assert found
    load(config(root, tmp_path / "x.yaml"), [f"data.image_size={found[1]}"], notes=(quiet := list[str]()))
    assert quiet == []
