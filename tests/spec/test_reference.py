"""The fields below a path, as `cnnctl schema PATH` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cnnctl.commands.schema import schema
from cnnctl.errors import UsageError
from cnnctl.report.console import Console
from cnnctl.spec.leaves import NAMED
from cnnctl.spec.reference import fields_below
from cnnctl.spec.schema import json_schema


def properties(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each field of each mapping that a config may have, not those of rules on what goes together."""
    if isinstance(node, list):
        for each in node:
            yield from properties(each, path)
    elif isinstance(node, dict):
        if node.get("type") == "object" and node.get("additionalProperties") is False:
            yield from ((f"{path}.{name}", field) for name, field in node["properties"].items())
        for key, each in node.items():
            yield from properties(each, f"{path}.{key}")


def test_every_field_and_every_name_of_a_config_has_a_meaning() -> None:
    found = list(properties(json_schema()))
    assert len(found) > 400
    assert [path for path, field in found if not field.get("description")] == []


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named.what)
def test_every_field_of_a_kind_is_a_row_with_its_default(named: Any) -> None:
    where = {"layer": "model.layers", "optimizer": "train.optimizer", "schedule": "train.optimizer.sgd.learning_rate"}
    others = {"loss": "train.loss", "method": "few_shot.method", "pruner": "sweep.pruning"}
    path = (where | others).get(named.what, f"model.layers.dense.kernel_{named.what}")
    assert [row.path for row in fields_below(path)] == [f"{path}.{kind}" for kind in named.choices]
    for kind, section in named.choices.items():
        if not section.model_fields:
            continue
        rows = {row.path.rpartition(".")[2]: row for row in fields_below(f"{path}.{kind}")}
        assert set(rows) == set(section.model_fields)
        for name, field in section.model_fields.items():
            assert (rows[name].default == "required") == field.is_required(), (kind, name)
            assert rows[name].type and rows[name].meaning, (kind, name)


def test_what_a_name_with_fields_is_stands_above_them(capsys: pytest.CaptureFixture[str]) -> None:
    schema("model.layers.multiply", "table", Console())
    path, meaning, empty, *rows = capsys.readouterr().out.splitlines()
    assert (path, meaning, empty) == (
        "model.layers.multiply",
        "The product of two or more layers, value by value (Keras Multiply).",
        "",
    )
    assert "The names of the layers that are joined" in rows[-1]
    schema("train.epochs", "table", Console())
    assert capsys.readouterr().out.splitlines()[:2] == ["train.epochs", ""], "a field's meaning is in its row"


def test_a_field_by_itself_is_one_row() -> None:
    (row,) = fields_below("train.epochs")
    assert (row.path, row.type, row.default) == ("train.epochs", "integer > 0", "10")
    assert row.meaning == "Passes over the training images."
    (row,) = fields_below("model.layers[0].conv2d.padding")
    assert (row.type, row.default) == ("valid, same", "valid")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("trian", "there is no 'trian' in the top; did you mean 'train'?"),
        ("train.optimizer.adamm", "there is no 'adamm' in train.optimizer; did you mean 'adam'?"),
        ("seed.x", "there is no 'x' in seed: it has no fields"),
    ],
)
def test_a_wrong_path_is_refused_with_the_nearest(path: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        fields_below(path)
    assert str(refused.value) == message


@pytest.mark.parametrize("path", ["data", "train", "train.optimizer.adam", "model.layers.conv2d", "model.layers"])
def test_the_table_fits_100_columns(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    schema(path, "table", Console())
    printed = capsys.readouterr().out
    assert printed.startswith(f"{path}\n")
    assert "\n\nfield" in printed
    assert max(map(len, printed.splitlines())) <= 100
