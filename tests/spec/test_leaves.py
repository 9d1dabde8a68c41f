"""A config as one flat mapping: nothing of it is lost, and what is put in between moves nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnctl.spec.document import Where
from cnnctl.spec.layers import LAYERS
from cnnctl.spec.leaves import NAMED, leaves, same
from cnnctl.spec.load import load
from cnnctl.spec.section import plain
from tests.custom import use_layers_of

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
EVERYTHING = sorted(Path(__file__).parent.glob("everything*.yaml"))


def resolved(file: Path) -> Any:
    """Returns a config as a run folder has it, read back."""
    return yaml.safe_load(yaml.safe_dump(plain(load(use_layers_of(file), [], look_at_data=False))))


def values(content: Any) -> dict[str, Any]:
    return {path: (type(leaf.value), leaf.value) for path, leaf in leaves(content).items()}


def everything_in(content: Any, where: Where = ()) -> Iterator[Where]:
    """Yields the place of each value in plain data, and of each name with fields."""
    if isinstance(content, dict | list) and content:
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from everything_in(value, (*where, key))
    else:
        yield where


def changed(content: Any, where: Where) -> Any:
    other = copy.deepcopy(content)
    inside = other
    for key in where[:-1]:
        inside = inside[key]
    value = inside[where[-1]]
    inside[where[-1]] = (
        not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value or ''}x"
    )
    return other


@pytest.mark.parametrize("file", [*EVERYTHING, *CONFIGS], ids=lambda file: file.stem)
def test_whatever_is_changed_in_a_config_changes_its_leaves(file: Path) -> None:
    content = resolved(file)
    before = values(content)
    places = list(everything_in(content))
    assert len(places) > 50
    unnoticed = [where for where in places if "sweep" not in where and values(changed(content, where)) == before]
    assert unnoticed == []


def test_a_name_with_fields_is_a_leaf_beside_its_fields() -> None:
    found = leaves({"train": {"optimizer": {"sgd": {"learning_rate": {"cosine": {"initial_learning_rate": 0.1}}}}}})
    assert {path: leaf.value for path, leaf in found.items()} == {
        "train.optimizer": "sgd",
        "train.optimizer.sgd.learning_rate": "cosine",
        "train.optimizer.sgd.learning_rate.cosine.initial_learning_rate": 0.1,
    }


def test_a_layer_that_is_put_in_between_moves_no_other() -> None:
    dense = {"dense": {"units": 10}}
    short = values({"model": {"layers": [{"dense": {"units": 64}}, dense]}})
    longer = values({"model": {"layers": [{"dense": {"units": 64}}, {"dropout": {"rate": 0.5}}, dense]}})
    assert {path for path in longer if longer[path] != short.get(path)} == {"model.layers", "model.layers.dropout.rate"}
    assert set(short) <= set(longer)


def test_a_layer_with_a_name_is_found_by_it_whatever_it_is() -> None:
    found = leaves({"model": {"layers": [{"conv2d": {"name": "conv2d_1", "filters": 4}}, "conv2d", "conv2d"]}})
    assert found["model.layers"].value == ["conv2d_1", "conv2d", "conv2d_2"]  # Keras's numbers, without the one that is taken
    assert (found["model.layers.conv2d_1"].value, found["model.layers.conv2d_1.filters"].value) == ("conv2d", 4)


def test_a_config_of_defaults_has_nothing_but_defaults_and_what_is_required() -> None:
    found = leaves(resolved(next(file for file in CONFIGS if file.stem == "quickstart")))
    assert found["train.precision"].is_default
    assert found["train.optimizer.adam.beta_1"].default == 0.9
    assert found["model.layers.conv2d.padding"].default == "valid"
    assert found["model.layers.conv2d.strides"].is_default
    assert not found["model.layers.conv2d.filters"].is_default


def test_kinds_of_one_name_are_told_apart_by_their_fields() -> None:
    """Else a field would have the default of another section."""
    kinds = [(kind, section) for named in NAMED for kind, section in named.choices.items()]
    twice = {kind for kind, _ in kinds if sum(kind == other for other, _ in kinds) > 1}
    assert twice == {"constant"}
    assert {tuple(section.model_fields) for kind, section in kinds if kind == "constant"} == {("learning_rate",), ("value",)}
    assert set(LAYERS) <= {section for _, section in kinds}


def test_true_is_no_number() -> None:
    assert same(1, 1.0)
    assert not same(1, True)
    assert same([1, 2], [1, 2])
