"""The network as the page gets it: resolved fields, places of weights, groups, outputs; without TensorFlow."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from cnnctl.errors import UsageError
from cnnctl.explore import network_data
from cnnctl.explore.network_data import network_description, weight_shapes, weights_from, weights_of
from cnnctl.model.keras_layers import KERAS_LAYERS
from cnnctl.model.styles import build_model
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import load
from cnnctl.spec.shapes import LayerContext

Plain = dict[str, Any]


def experiment(tmp_path: Path, layers: str, more: str = "") -> Experiment:
    file = tmp_path / "config.yaml"
    file.write_text(f"data: {{source: digits}}\nmodel:\n  style: functional\n  layers:\n{layers}\n{more}", encoding="utf-8")
    return load(file)


ALL = """
    - conv2d: {filters: 4, kernel_size: 3, padding: same, groups: 1, name: c}
    - max_pooling2d
    - batch_normalization: {axis: 1, scale: false}
    - dropout: {rate: 0.5, noise_shape: [null, 1, 1, null]}
    - repeat:
        times: 2
        layers:
          - conv2d: {filters: 4, kernel_size: 1, use_bias: false}
          - repeat: {times: 3, layers: [{batch_normalization: {center: false}}]}
    - flatten
    - prelu: {shared_axes: [1]}
    - dense: {units: classes}
"""


def test_fields_that_a_config_leaves_out_are_resolved(tmp_path: Path) -> None:
    description = network_description(experiment(tmp_path, ALL), list("0123456789"))
    layers = {layer["name"]: layer for layer in description["layers"]}
    assert layers["c"]["fields"]["data_format"] == "channels_last"
    assert layers["c"]["fields"]["strides"] == [1, 1]
    assert layers["max_pooling2d"]["fields"]["strides"] == [2, 2]
    assert layers["dropout"]["fields"]["noise_shape"] == [None, 1, 1, None]
    assert layers["dense"]["fields"]["units"] == 10
    assert layers["flatten"]["fields"] == {"data_format": "channels_last"}
    assert layers["c"]["receptive"] == {"height": 3, "width": 3, "stride": [1, 1]}
    assert layers["c"]["inputs"] == ["input"] and layers["c"]["input_shapes"] == [[8, 8, 1]]
    assert layers["c"]["shape"] == [8, 8, 4] and layers["c"]["macs"] == 8 * 8 * 9 * 4
    assert description["input"] == {"shape": [8, 8, 1], "data_format": "channels_last"}
    assert description["classes"] == list("0123456789")


def test_groups_are_the_enclosing_repeats_with_their_rounds(tmp_path: Path) -> None:
    layers = network_description(experiment(tmp_path, ALL), [])["layers"]
    assert [layer["group"] for layer in layers[:4]] == [[]] * 4
    outer, inner = "4", "4.1"
    assert [layer["group"] for layer in layers[4:12]] == [
        group
        for time in (1, 2)
        for group in (
            [["repeat 2", time, outer]],
            *([["repeat 2", time, outer], ["repeat 3", round_, inner]] for round_ in (1, 2, 3)),
        )
    ]
    assert [layer["group"] for layer in layers[12:]] == [[], [], []]


def test_every_weight_of_keras_has_its_place_once(tmp_path: Path) -> None:
    config = experiment(tmp_path, ALL)
    model = build_model(config)
    description = network_description(config, [])
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "seed_generator" not in weight.path:
            weight.assign(generator.normal(size=weight.shape))
    values = np.frombuffer(weights_of(description, model), "<f4")
    assert len(values) == description["weights_count"] == model.count_params()
    placed = np.zeros(len(values), int)
    for layer in description["layers"]:
        for name, place in layer["weights"].items():
            found = values[place["offset"] : place["offset"] + prod(place["shape"])]
            placed[place["offset"] : place["offset"] + prod(place["shape"])] += 1
            expected = getattr(model.get_layer(layer["name"]), name).numpy()
            assert (found.reshape(place["shape"]) == expected).all()
    assert (placed == 1).all()
    keras.backend.clear_session()


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(
    "layer",
    [
        "depthwise_conv2d: {kernel_size: [2, 3], depth_multiplier: 2}",
        "depthwise_conv2d: {kernel_size: 3, use_bias: false}",
        "separable_conv2d: {filters: 5, kernel_size: [2, 3], depth_multiplier: 2}",
        "separable_conv2d: {filters: 5, kernel_size: 3, use_bias: false}",
        "conv2d_transpose: {filters: 5, kernel_size: [2, 3], strides: 2}",
        "conv2d_transpose: {filters: 5, kernel_size: 3, use_bias: false}",
    ],
)
def test_the_shapes_of_the_weights_of_a_kind_of_convolution_are_those_of_keras(layer: str, data_format: str) -> None:
    kind, _, fields = layer.partition(": ")
    spec = L.STACK_ITEM.read({kind: yaml.safe_load(fields)})
    assert isinstance(spec, L.Layer)
    shape = (9, 8, 4) if data_format == "channels_last" else (4, 9, 8)
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in yaml.safe_load(fields).items()}
    built = KERAS_LAYERS[type(spec)](**arguments, data_format=data_format)
    built.build((None, *shape))
    context = LayerContext(10, "channels_first" if data_format == "channels_first" else "channels_last")
    assert list(weight_shapes(spec, shape, context).items()) == [(each.name, tuple(each.shape)) for each in built.weights]


def test_arrays_of_another_shape_are_an_error(tmp_path: Path) -> None:
    description = network_description(experiment(tmp_path, "    - flatten\n    - dense: {units: classes}"), [])
    arrays = {"dense/kernel": np.zeros((64, 10)), "dense/bias": np.zeros(9)}
    with pytest.raises(ValueError, match=r"dense/bias has shape \(9,\), expected \(10,\)"):
        weights_from(description, arrays)


@pytest.mark.parametrize(
    ("end", "more", "output", "loss"),
    [
        ("dense: {units: classes}", "", "logits", ("sparse_categorical_crossentropy", 0.0)),
        (
            "dense: {units: classes, activation: softmax}",
            "train: {loss: {categorical_crossentropy: {label_smoothing: 0.1}}}",
            "probabilities",
            ("categorical_crossentropy", 0.1),
        ),
    ],
)
def test_output_and_loss_are_those_of_the_training(
    tmp_path: Path, end: str, more: str, output: str, loss: tuple[str, float]
) -> None:
    labels = "data: {source: digits, labels: one_hot}" if "categorical" in more else "data: {source: digits}"
    file = tmp_path / "config.yaml"
    file.write_text(f"{labels}\nmodel: {{layers: [flatten, {{{end}}}]}}\n{more}\n", encoding="utf-8")
    description = network_description(load(file), [])
    assert description["output"] == output
    assert description["loss"] == {"name": loss[0], "label_smoothing": loss[1]}


def test_a_layer_that_the_page_cannot_compute_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path, ALL)
    monkeypatch.setattr(network_data, "SHOWN", network_data.SHOWN - {"flatten", "conv2d"})
    with pytest.raises(UsageError) as caught:
        network_description(config, [])
    assert str(caught.value) == (
        "explore cannot show layer type conv2d ('c', 'conv2d', 'conv2d_1'); layer type flatten ('flatten'). "
        "'cnnctl summary --explain' describes every layer, 'cnnctl draw' draws it"
    )


def test_an_activation_that_the_page_cannot_compute_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = experiment(tmp_path, "    - flatten\n    - dense: {units: 5, activation: gelu}\n    - dense: {units: classes}")
    monkeypatch.setattr(network_data, "SHOWN_ACTIVATIONS", network_data.SHOWN_ACTIVATIONS - {"gelu"})
    with pytest.raises(UsageError, match=r"explore cannot show activation gelu \('dense'\)"):
        network_description(config, [])


BLOCKS = """
data: {source: digits}
model:
  style: functional
  blocks:
    unit:
      parameters: {filters: 4}
      layers:
        - conv2d: {filters: $filters, kernel_size: 3, padding: same, name: c}
        - batch_normalization
    pair:
      layers:
        - unit
        - repeat: {times: 2, layers: [{unit: {name: next}}]}
  layers:
    - unit: {name: first}
    - pair
    - use: {layer: pair, name: again}
    - conv2d: {filters: 4, kernel_size: 1, name: last}
    - use: {layer: last, name: once_more}
    - flatten
    - dense: {units: classes}
"""


def in_blocks(tmp_path: Path) -> Experiment:
    (tmp_path / "blocks.yaml").write_text(BLOCKS, encoding="utf-8")
    return load(tmp_path / "blocks.yaml")


def test_groups_are_the_enclosing_blocks_and_repeats(tmp_path: Path) -> None:
    layers = {layer["name"]: layer for layer in network_description(in_blocks(tmp_path), [])["layers"]}
    assert layers["first/c"]["group"] == [["first (unit)", None, "0"]]
    assert layers["pair/unit/c"]["group"] == [["pair", None, "1"], ["unit", None, "1.0"]]
    assert layers["again/next_2/c"]["group"] == [["again (pair)", None, "2"], ["repeat 2", 2, "2.1"], ["next_2 (unit)", None, "2.1.0"]]  # fmt: skip
    assert layers["last"]["group"] == []


def test_shared_weights_have_the_places_of_their_owner_and_are_counted_once(tmp_path: Path) -> None:
    config = in_blocks(tmp_path)
    model = build_model(config)
    description = network_description(config, [])
    layers = {layer["name"]: layer for layer in description["layers"]}
    assert description["weights_count"] == model.count_params()
    assert len(weights_of(description, model)) == 4 * model.count_params()
    shared = {name: layer["shares"] for name, layer in layers.items() if layer["shares"]}
    assert shared["again/next_1/c"] == "pair/next_1/c" and shared["once_more"] == "last" and len(shared) == 7
    assert all(layers[name]["weights"] == layers[owner]["weights"] for name, owner in shared.items())
    starts = [place["offset"] for name, layer in layers.items() if name not in shared for place in layer["weights"].values()]
    assert starts == sorted(set(starts))
    keras.backend.clear_session()
