"""Blocks and layers that are used again: the same weights in every style, and as in the network written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cnnctl.model.saved import saved_network
from cnnctl.model.shape_check import differences
from cnnctl.model.styles import Block, StackModel, build_model, layers_by_name
from cnnctl.report.rows import folded, summarize
from cnnctl.report.tables import summary_json, summary_table
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.groups import Group, tree_of
from cnnctl.spec.load import check

ROW = """
  blocks:
    convolution:
      parameters: {filters: required, size: 3}
      layers:
        - conv2d: {filters: $filters, kernel_size: $size, padding: same}
        - batch_normalization
        - dropout: {rate: 0.25}
    stage:
      parameters: {width: required, times: 1}
      layers:
        - repeat: {times: $times, layers: [convolution: {filters: $width}]}
        - convolution: {filters: $width, size: 1}
  layers:
    - stage: {width: 3, times: 2}
    - convolution: {filters: 4, name: neck}
    - stage: {width: 5}
    - flatten
    - dense: {units: classes}
"""
ROW_WRITTEN_OUT = """
  layers:
    - conv2d: {filters: 3, kernel_size: 3, padding: same}
    - batch_normalization
    - dropout: {rate: 0.25}
    - conv2d: {filters: 3, kernel_size: 3, padding: same}
    - batch_normalization
    - dropout: {rate: 0.25}
    - conv2d: {filters: 3, kernel_size: 1, padding: same}
    - batch_normalization
    - dropout: {rate: 0.25}
    - conv2d: {filters: 4, kernel_size: 3, padding: same}
    - batch_normalization
    - dropout: {rate: 0.25}
    - conv2d: {filters: 5, kernel_size: 3, padding: same}
    - batch_normalization
    - dropout: {rate: 0.25}
    - conv2d: {filters: 5, kernel_size: 1, padding: same}
    - batch_normalization
    - dropout: {rate: 0.25}
    - flatten
    - dense: {units: classes}
"""
BRANCHES = """
  blocks:
    residual:
      parameters: {filters: required, strides: 1}
      layers:
        - conv2d: {filters: $filters, kernel_size: 3, strides: $strides, padding: same, name: long}
        - batch_normalization: {name: end}
        - conv2d: {filters: $filters, kernel_size: 1, strides: $strides, inputs: [input], name: short}
        - add: {inputs: [end, short]}
    join:
      inputs: [deep, skip]
      layers:
        - concatenate: {inputs: [skip, deep]}
        - residual: {filters: 4}
        - dropout: {rate: 0.1}
  layers:
    - conv2d: {filters: 4, kernel_size: 3, padding: same, name: stem}
    - use: stem_again
    - residual: {filters: 4, name: first}
    - use: {layer: first, name: again}
    - join: {inputs: [again, first]}
    - residual: {filters: 6, strides: 2}
    - flatten
    - dense: {units: classes}
""".replace("    - use: stem_again\n", "")
STYLES = ("sequential", "functional", "subclass")
IMAGES = np.random.default_rng(0).random((6, 8, 8, 1)).astype("float32")


def network(text: str, style: str) -> Experiment:
    return check(parse(f"data: {{source: digits}}\nmodel:\n  style: {style}{text}", "x.yaml"))


def weights(model: keras.Model) -> dict[str, Any]:
    return {f"{name}/{each.name}": each.numpy() for name, layer in layers_by_name(model).items() for each in layer.weights}


def assert_equal(one: keras.Model, other: keras.Model) -> None:
    """The last call changes both: moving averages, and the states of dropout."""
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name, values in mine.items():
        np.testing.assert_array_equal(values, theirs[name], name)
    for training in (False, True):
        np.testing.assert_array_equal(one(IMAGES, training=training), other(IMAGES, training=training))


@pytest.mark.parametrize(("text", "styles"), [(ROW, STYLES), (BRANCHES, STYLES[1:])], ids=["row", "branches"])
def test_styles_have_the_same_weights_and_outputs_to_the_bit(text: str, styles: tuple[str, ...]) -> None:
    for other in styles[1:]:
        assert_equal(build_model(network(text, styles[0])), build_model(network(text, other)))


@pytest.mark.parametrize("style", STYLES)
def test_a_network_of_blocks_equals_the_network_written_out(style: str) -> None:
    blocks, plain = (build_model(network(text, style)) for text in (ROW, ROW_WRITTEN_OUT))
    for one, other in zip(blocks.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(blocks(IMAGES, training=True), plain(IMAGES, training=True))


def test_a_block_is_a_model_or_a_layer_of_the_style() -> None:
    sequential, functional, subclass = (build_model(network(ROW, style)) for style in STYLES)
    assert type(sequential.get_layer("stage").get_layer("convolution")) is keras.Sequential
    assert type(functional.get_layer("stage").get_layer("convolution")).__name__ == "Functional"
    assert type(subclass) is StackModel
    stage = subclass.get_layer("stage")
    assert isinstance(stage, Block)
    assert isinstance(stage.stack[0], Block)


@pytest.mark.parametrize(("text", "style"), [(ROW, style) for style in STYLES] + [(BRANCHES, style) for style in STYLES[1:]])
def test_a_saved_network_of_blocks_is_the_network(text: str, style: str, tmp_path: Path) -> None:
    experiment, file = network(text, style), tmp_path / "x.keras"
    model = build_model(experiment)
    model.save(file)
    np.testing.assert_allclose(keras.models.load_model(file)(IMAGES), model(IMAGES), rtol=1e-5)
    assert_equal(saved_network(experiment, file), model)


@pytest.mark.parametrize(("text", "style"), [(ROW, "sequential"), (BRANCHES, "functional"), (BRANCHES, "subclass")])
def test_shapes_and_parameters_equal_keras_and_shared_weights_count_once(text: str, style: str) -> None:
    experiment = network(text, style)
    assert differences(experiment) == []
    assert experiment.network.parameters == build_model(experiment).count_params()


def test_a_layer_used_again_has_the_same_weights_and_the_same_gradients_as_two_calls() -> None:
    text = """
  layers:
    - conv2d: {filters: 1, kernel_size: 3, padding: same, name: c}
    - use: c
    - use: {layer: use, name: third}
    - flatten
    - dense: {units: classes}
"""
    model = build_model(network(text, "functional"))
    layer, dense = model.get_layer("c"), model.get_layer("dense")
    expected = dense(keras.ops.reshape(layer(layer(layer(IMAGES))), (6, 64)))
    np.testing.assert_array_equal(model(IMAGES), expected)
    assert [node.owner for node in network(text, "functional").network.nodes[:3]] == ["c", "c", "c"]


def test_the_tree_has_the_inputs_of_a_block_and_what_it_shares() -> None:
    groups = {item.name: item for item in tree_of(network(BRANCHES, "functional").network.nodes) if isinstance(item, Group)}
    assert list(groups) == ["first", "again", "join", "residual"]
    assert groups["again"].shares == "first"
    assert groups["join"].inputs == ("again/add", "first/add")
    assert groups["join"].output == "join/dropout"
    assert [item.name for item in groups["join"].items] == ["join/concatenate", "join/residual", "join/dropout"]


def test_a_summary_shows_a_block_as_one_row_that_depth_opens() -> None:
    experiment = network(BRANCHES, "functional")
    summary = summarize(experiment)
    names = [[row.facts.name for row in folded(summary, experiment.network.nodes, depth).rows] for depth in (1, 2, 3)]
    assert names[0] == ["stem", "first", "again", "join", "residual", "flatten", "dense"]
    assert names[1][1:6] == ["first/long", "first/end", "first/short", "first/add", "again/long"]
    assert "join/residual" in names[1] and "join/residual/long" in names[2]
    rows = folded(summary, experiment.network.nodes, 1)
    assert (rows.trainable, rows.non_trainable, rows.macs) == (summary.trainable, summary.non_trainable, summary.macs)
    assert rows.rows[3].facts.inputs == ("again", "first")
    assert "residual of 4 layers with the weights of first" in " ".join(summary_table(rows, 200).split())


def test_the_json_form_lists_every_layer_with_its_block() -> None:
    layers = {each["name"]: each for each in json.loads(summary_json(summarize(network(BRANCHES, "functional"))))["layers"]}
    assert layers["join/residual/long"]["block"] == "join/residual"
    assert layers["stem"]["block"] is None
    assert layers["again/long"]["shares_weights_of"] == "first/long"
    assert layers["again/long"]["parameters"] == 0
