"""Prepared sets of TensorFlow Datasets whose descriptions name code, or files elsewhere. TFDS itself believes them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.safety.conftest import Command, config_of
from tests.safety.hostile import make_fifo

TFDS = "tensorflow_datasets.core.features"
IMAGE = {
    "pythonClassName": f"{TFDS}.image_feature.Image",
    "image": {"shape": {"dimensions": ["8", "8", "1"]}, "dtype": "uint8"},
}
LABEL = {"pythonClassName": f"{TFDS}.class_label_feature.ClassLabel", "classLabel": {"numClasses": "2"}}
SPLIT = {"name": "train", "shardLengths": ["4"], "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}
FOREIGN = "hostile_module.Feature"


def described(**features: Any) -> dict[str, Any]:
    whole = {"image": IMAGE, "label": LABEL, **features}
    return {"pythonClassName": f"{TFDS}.features_dict.FeaturesDict", "featuresDict": {"features": whole}}


def legacy(content: object, kind: str = f"{TFDS}.features_dict.FeaturesDict") -> dict[str, Any]:
    """Returns a description as old versions of TFDS wrote it."""
    return {"type": kind, "content": content, "proto_cls": "tensorflow_datasets.FeaturesDict"}


HOSTILE: dict[str, tuple[object, str]] = {
    "a class of another module": (described(label={**LABEL, "pythonClassName": FOREIGN}), f"names the class '{FOREIGN}'"),
    "the same as protocol buffers call it": (described(more={"python_class_name": FOREIGN}), f"names the class '{FOREIGN}'"),
    "the whole of it": ({**described(), "pythonClassName": FOREIGN}, f"names the class '{FOREIGN}'"),
    "an old description": (legacy({"x": {"type": FOREIGN, "content": {}}}), f"names the class '{FOREIGN}'"),
    "JSON inside a text": (
        legacy(json.dumps({"features": {"x": {"pythonClassName": FOREIGN}}})),
        f"names the class '{FOREIGN}'",
    ),
    "no class at all": (described(more={"pythonClassName": None}), "names the class 'None'"),
    "a class that only begins alike": (
        described(more={"pythonClassName": "tensorflow_datasets_hostile.Feature"}),
        "names the class",
    ),
    "labels from a file": (
        legacy({"x": {"type": f"{TFDS}.class_label_feature.ClassLabel", "content": {"names_file": "/etc/passwd"}}}),
        "names files in 'names_file'",
    ),
    "a feature whose labels lie above": (described(**{"../../secret": LABEL}), "names files in '../../secret'"),
    "two thousand million classes": (
        described(label={**LABEL, "classLabel": {"numClasses": "2000000000"}}),
        "has 2000000000 classes",
    ),
    "fewer than no classes": (described(label={**LABEL, "classLabel": {"numClasses": "-1"}}), "has -1 classes"),
}


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    folder = tmp_path / "sets" / "tiny" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(described()))
    (folder / "dataset_info.json").write_text(json.dumps({"name": "tiny", "version": "1.0.0", "splits": [SPLIT]}))
    return folder


def refused(prepared: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns how `data` refuses the set, having seen that the hostile module was not imported."""
    root = prepared.parents[2]
    (root / "hostile_module.py").write_text(f"open({str(root / 'sentinel')!r}, 'w')\nclass Feature: pass\n")
    monkeypatch.syspath_prepend(root)
    said = {"image_size": [8, 8], "channels": 1, "classes": 2, "test": 0.2}
    (root / "x.yaml").write_text(config_of({"source": "tfds", "name": "tiny", "data_dir": str(prepared.parents[1]), **said}))
    reported = command("data", root / "x.yaml")
    assert reported.code == 1
    assert reported.refusal().count("\n") == 1
    assert not (root / "sentinel").exists()
    assert "hostile_module" not in sys.modules
    return reported.err


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_description_is_refused(name: str, prepared: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    content, reason = HOSTILE[name]
    (prepared / "features.json").write_text(json.dumps(content))
    reported = refused(prepared, command, monkeypatch)
    assert f"{prepared / 'features.json'} {reason}" in reported
    assert "; prepare the set again" in reported


@pytest.mark.parametrize("name", ["tiny/config", "tiny:1.0.0", "tiny/config:1.0.0"])
def test_it_is_refused_wherever_tfds_would_find_it(
    name: str, prepared: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = prepared.parent / "config" / "1.0.0"
    deep.mkdir(parents=True)
    (deep / "features.json").write_text(json.dumps(HOSTILE["the whole of it"][0]))
    assert f"names the class '{FOREIGN}'" in refused(prepared, command, monkeypatch)


@pytest.mark.parametrize("template", ["../{DATASET}", "/etc/passwd", "{DATASET}/x", "..\\{DATASET}"])
def test_examples_elsewhere_are_refused(
    template: str, prepared: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = {"name": "tiny", "version": "1.0.0", "splits": [{**SPLIT, "filepathTemplate": template}]}
    (prepared / "dataset_info.json").write_text(json.dumps(info))
    assert f"names the files '{template}', which are not beside it" in refused(prepared, command, monkeypatch)


def fifo(file: Path) -> None:
    make_fifo(file)


def link(file: Path) -> None:
    file.symlink_to("/etc/passwd")


def deep(file: Path) -> None:
    file.write_text("[" * 100_000 + "]" * 100_000)


def huge(file: Path) -> None:
    with file.open("wb") as out:
        out.truncate(10**12)


def no_json(file: Path) -> None:
    file.write_text("{")


@pytest.mark.parametrize("make", [fifo, link, deep, huge, no_json])
@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_a_description_that_is_none_is_refused(
    name: str, make: Callable[[Path], None], prepared: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (prepared / name).unlink()
    make(prepared / name)
    assert str(prepared) in refused(prepared, command, monkeypatch)


def test_examples_by_a_link_are_refused(prepared: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    (prepared / "tiny-train.tfrecord-00000-of-00001").symlink_to("/etc/passwd")
    assert "it leads to /etc/passwd, out of" in refused(prepared, command, monkeypatch)


@pytest.mark.parametrize(
    "features",
    [
        [],
        {"featuresDict": []},
        {"featuresDict": {"features": []}},
        described(image={**IMAGE, "image": 1}),
        described(image={**IMAGE, "image": {"shape": {"dimensions": ["9" * 5000, "x", None]}}}),
        described(image={**IMAGE, "image": {"shape": {"dimensions": [str(2**40)] * 3}}}),
        described(label={**LABEL, "classLabel": []}),
        described(label={**LABEL, "classLabel": {"numClasses": "9" * 5000}}),
    ],
    ids=range(8),
)
def test_a_strange_description_is_as_good_as_none(features: object, prepared: Path, command: Command) -> None:
    """`summary` asks it for what the config leaves out."""
    (prepared / "features.json").write_text(json.dumps(features))
    config = prepared.parents[2] / "x.yaml"
    config.write_text(config_of({"source": "tfds", "name": "tiny", "data_dir": str(prepared.parents[1])}))
    reported = command("summary", config)
    assert reported.code == 2
    assert "data.name: " in reported.refusal()
