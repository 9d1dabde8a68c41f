"""Trainings to be killed, and what must be equal in the end: everything but the clocks."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

CLOCKS = ("seconds", "images_per_second", "train_seconds")
EPOCHS = 5
_LOG = {"snapshots": 4}
_CONV: list[Any] = [
    {"conv2d": {"filters": 4, "kernel_size": 3, "kernel_regularizer": "l2"}},
    {"batch_normalization": {"momentum": 0.9}},
    {"activation": {"activation": "relu"}},
    "max_pooling2d",
    "flatten",
    {"dropout": {"rate": 0.3}},
]
_HEAD: list[Any] = [{"dense": {"units": "classes"}}]
_BRANCHES: list[Any] = [
    {"conv2d": {"name": "one", "filters": 4, "kernel_size": 3, "padding": "same"}},
    {"conv2d": {"name": "two", "inputs": ["input"], "filters": 4, "kernel_size": 1}},
    {"add": {"inputs": ["one", "two"]}},
    *_CONV[1:],
    *_HEAD,
]
_AVERAGED = {"sgd": {"use_ema": True, "momentum": 0.9}}
_FEW_SHOT: dict[str, Any] = {
    "task": "few_shot",
    "few_shot": {"way": 2, "query": 3, "episodes": 40, "episodes_per_step": 3, "validation_episodes": 30, "test_episodes": 60},
    "data": {"source": "digits", "validation": ["6", "7"], "test": ["8", "9"], "augment": {"rotation": 10}},
    "model": {"layers": [{"conv2d": {"filters": 4, "kernel_size": 3}}, *_CONV[1:-1]], "style": "functional"},
}


def _classification(loop: str, style: str, layers: list[Any] = [*_CONV, *_HEAD], **train: Any) -> dict[str, Any]:  # noqa: B006
    return {
        "seed": 3,
        "data": {"source": "digits", "test": 0.5, "validation": 0.1, "augment": {"rotation": 10, "shift": 0.1}},
        "model": {"style": style, "layers": layers},
        "train": {
            "loop": loop,
            "epochs": EPOCHS,
            "batch_size": 32,
            "optimizer": {"adam": {"learning_rate": {"one_cycle": {"max_learning_rate": 0.02}}}},
            "early_stopping": {"patience": 20},
            "checkpoint": {"every_steps": 5},
            **train,
        },
        "log": _LOG,
    }


def _few_shot(method: dict[str, Any], **few_shot: Any) -> dict[str, Any]:
    spec = {**_FEW_SHOT["few_shot"], "method": method, **few_shot}
    train = {"epochs": EPOCHS, "batch_size": 32, "checkpoint": {"every_steps": 4}, "early_stopping": {"patience": 20}}
    return {**_FEW_SHOT, "few_shot": spec, "train": train, "log": _LOG}


CASES: dict[str, dict[str, Any]] = {
    "fit-sequential": _classification("fit", "sequential"),
    "custom-functional": _classification("custom", "functional", _BRANCHES),
    "fit-subclass": _classification("fit", "subclass", _BRANCHES),
    "custom-sequential": _classification("custom", "sequential"),
    "fit-functional": _classification("fit", "functional", _BRANCHES),
    "custom-subclass": _classification("custom", "subclass", _BRANCHES),
    "averaged-fit": _classification("fit", "sequential", optimizer=_AVERAGED, early_stopping=None),
    "averaged-custom": _classification("custom", "sequential", optimizer=_AVERAGED, early_stopping=None),
    "stops-early": _classification("fit", "sequential", early_stopping={"patience": 2, "min_delta": 0.2}),
    "in-parts": _classification("custom", "sequential", [_CONV[0], *_CONV[2:], *_HEAD], batch_parts=2, batch_size=64),
    "bfloat16": _classification("custom", "sequential", precision="mixed_bfloat16"),
    "float16-fit": _classification("fit", "sequential", precision="mixed_float16"),
    "float16-custom": _classification("custom", "sequential", precision="mixed_float16"),
    "every-step": _classification("custom", "sequential", checkpoint={"every_steps": 1}),
    "prototypical": _few_shot({"prototypical": {}}),
    "maml": _few_shot({"maml": {"inner_steps": 2}}),
    "cosine_classifier": _few_shot({"cosine_classifier": {}}, episodes=None, episodes_per_step=None, rotations=True),
}


def write_case(name: str, folder: Path) -> Path:
    """Returns the config of a case, written into a folder."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(CASES[name]))
    return file


def ending(run: Path) -> dict[str, Any]:
    """Returns everything that a run leaves, but for clocks and for what says how it came about."""
    newest = max((run / "checkpoints").iterdir())
    with np.load(newest) as content:
        arrays = {name: content[name] for name in content.files if name.startswith(("model/", "optimizer/", "stopping/"))}
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    result = json.loads((run / "result.json").read_text())
    return {
        "newest checkpoint": newest.name,
        "arrays": arrays,
        "metrics": [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows],
        "result": {name: value for name, value in result.items() if name not in CLOCKS},
        "tensorboard": scalars(run / "tensorboard"),
        "curves": curves(run),
        "snapshots": {file.name: file.read_bytes() for file in (run / "snapshots").glob("*")},
        "files": sorted(file.name for file in run.iterdir()),
        "config": (run / "config.yaml").read_text(),
    }


def curves(run: Path) -> str:
    """Returns the picture of a run without its name, the first title and the first text, as a test may have copied the folder."""
    picture = (run / "curves.svg").read_text()
    for heading in (r"<title>.*?</title>", r"<text .*?</text>"):
        picture = re.sub(heading, "", picture, count=1, flags=re.DOTALL)
    return picture


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns every scalar of a folder of event files, as TensorBoard reads it, but for the clock's."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.glob("*tfevents*")):
        events = EventAccumulator(str(file), size_guidance={"tensors": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars" and tag != "training/images_per_second":
                found.setdefault(tag, []).extend((e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag))
    return found


def assert_same_ending(mine: Path, straight: Path) -> None:
    """Asserts that two runs left the same, weights to the bit."""
    first, second = ending(mine), ending(straight)
    assert first["arrays"].keys() == second["arrays"].keys()
    for name, array in first["arrays"].items():
        np.testing.assert_array_equal(array, second["arrays"][name], err_msg=name)
    for name in first.keys() - {"arrays"}:
        assert first[name] == second[name], name
