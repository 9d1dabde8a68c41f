"""The arithmetic of the page in Chromium against Keras: every layer type and option, random stacks and the example configs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, assume, given, settings

from cnnctl.explore import network_data
from cnnctl.explore.network_data import network_description
from cnnctl.spec import layers as L
from cnnctl.spec.load import load
from cnnctl.spec.stack import INPUT
from tests.browser import CHROMIUM, Browser
from tests.custom import EXAMPLE
from tests.explore.arithmetic_page import ArithmeticPage, differences
from tests.explore.networks import ACTS_IN_TRAINING, FIRST, IMAGE, LAST, LAYERS, Case, Plain, is_shown, network_from
from tests.model.test_shapes_equal_keras import Drawn, fitting_stacks
from tests.spec.fuzz import times

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

CONFIGS = [
    file for file in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml")) if file != EXAMPLE
]  # refused by name
ACTIVATION_TOLERANCE = 1e-4
"""Of the largest absolute value of the layer."""
GRADIENT_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArithmeticPage]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield ArithmeticPage(browser, tmp_path_factory.mktemp("page"))
    keras.backend.clear_session()


def assert_agrees(page: ArithmeticPage, case: Case, count: int = 2, training: bool = False) -> None:
    """Compare all activations, and the gradients of a random sum of the network's outputs."""
    images, adjoint, masks = case.images(count), case.adjoint(count), case.masks(count) if training else {}
    outputs, gradients = case.by_keras(images, lambda tensors: tf.reduce_sum(tensors[case.last] * adjoint), training, masks)
    target = {"kind": "adjoint", "values": adjoint}
    found = page.compute(case.description, case.weights, images, target, training=training, masks=masks)
    assert differences(found["outputs"], outputs, ACTIVATION_TOLERANCE) == []
    assert differences(found["gradients"], gradients, GRADIENT_TOLERANCE) == []
    assert differences(found["masks"], masks, 0) == []


# --- every layer type and option ----------------------------------------------------------------------------------


@pytest.mark.parametrize("model_format", [LAST, FIRST])
@pytest.mark.parametrize("name", LAYERS)
def test_activations_and_gradients_equal_keras(page: ArithmeticPage, name: str, model_format: str) -> None:
    assert_agrees(page, Case(network_from(LAYERS[name], IMAGE, model_format)), 3)


@pytest.mark.parametrize("model_format", [LAST, FIRST])
@pytest.mark.parametrize("name", ACTS_IN_TRAINING)
def test_batch_statistics_and_dropout_masks_equal_keras(page: ArithmeticPage, name: str, model_format: str) -> None:
    assert_agrees(page, Case(network_from(LAYERS[name], IMAGE, model_format)), 3, training=True)


@pytest.mark.parametrize("name", sorted(network_data.SHOWN_ACTIVATIONS))
@pytest.mark.parametrize("layer", ["activation", "dense"])
def test_every_activation_and_its_derivative_equal_keras(page: ArithmeticPage, name: str, layer: str) -> None:
    fields = {"activation": {"activation": name}, "dense": {"units": 5, "activation": name}}[layer]
    case = Case(network_from([{layer: fields}], (4, 5, 6)))
    assert_agrees(page, case, 4)


@pytest.mark.parametrize("name", sorted(network_data.SHOWN_ACTIVATIONS))
def test_activations_of_large_values_and_at_their_kinks_equal_keras(page: ArithmeticPage, name: str) -> None:
    values = np.array([-30, -6.5, -3, -1, -0.5, -1e-3, 0, 1e-3, 0.5, 1, 3, 5.9, 6, 6.5, 30], "float32").reshape(1, 1, 15, 1)
    case = Case(network_from([{"activation": {"activation": name}}], (1, 15, 1)))
    score = {"kind": "adjoint", "values": np.ones_like(values)}
    if name == "softmax":  # of one value is 1 whatever it is: take it over the columns
        case, values = Case(network_from([{"activation": {"activation": name}}], (1, 1, 15))), values.reshape(1, 1, 1, 15)
        score["values"] = np.arange(15, dtype="float32").reshape(values.shape)
    outputs, gradients = case.by_keras(
        values, lambda tensors: tf.reduce_sum(tensors["activation"] * score["values"]), False, {}
    )
    found = page.compute(case.description, case.weights, values, score)
    for kind, expected in (("outputs", outputs), ("gradients", gradients)):
        np.testing.assert_allclose(found[kind]["activation"], expected["activation"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[kind][INPUT], expected[INPUT], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["max_pooling2d", "global_max_pooling2d"])
def test_the_gradient_of_equal_maxima_goes_where_tensorflow_sends_it(page: ArithmeticPage, kind: str) -> None:
    fields = {"pool_size": 3, "strides": 2, "padding": "same"} if kind == "max_pooling2d" else {}
    case = Case(network_from([{kind: fields}], (6, 7, 2)))
    images = case.generator.integers(0, 2, (3, 6, 7, 2)).astype("float32")
    adjoint = case.adjoint(3)
    _, gradients = case.by_keras(images, lambda tensors: tf.reduce_sum(tensors[kind] * adjoint))
    found = page.compute(case.description, case.weights, images, {"kind": "adjoint", "values": adjoint})
    assert differences(found["gradients"], gradients, 1e-6) == []


@pytest.mark.parametrize("kind", ["maximum", "minimum"])
def test_the_gradient_of_equal_inputs_goes_where_tensorflow_sends_it(page: ArithmeticPage, kind: str) -> None:
    layers: list[Plain] = [{"relu": {"name": "a"}}, {"relu": {"name": "b"}}, {kind: {"inputs": ["b", "a", INPUT]}}]
    assert_agrees(page, Case(network_from(layers)))


KINKS: list[Plain] = [
    {"relu": {"max_value": 6}},
    {"relu": {"max_value": 3}},
    {"relu": {"max_value": 6, "threshold": 1}},
    {"relu": {"threshold": 1, "negative_slope": 0.5}},
    {"relu": {"negative_slope": 0.5}},
    {"relu": {"max_value": 0}},
    {"leaky_relu": {}},
    {"prelu": {"shared_axes": [2]}},
    {"elu": {}},
    {"elu": {"alpha": 0.5}},
]


@pytest.mark.parametrize("layer", KINKS, ids=str)
def test_activation_layers_at_their_kinks_equal_keras(page: ArithmeticPage, layer: Plain) -> None:
    values = np.array([-30, -6, -3, -1, -0.5, 0, 0.5, 1, 2, 3, 5.9, 6, 6.5, 30], "float32").reshape(1, 1, 14, 1)
    case = Case(network_from([layer], (1, 14, 1)))
    ones = np.ones_like(values)
    outputs, gradients = case.by_keras(values, lambda tensors: tf.reduce_sum(tensors[case.last]))
    found = page.compute(case.description, case.weights, values, {"kind": "adjoint", "values": ones})
    np.testing.assert_allclose(found["outputs"][case.last], outputs[case.last], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["gradients"][INPUT], gradients[INPUT], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "mean", "deviation"),
    [
        ({"dropout": {"rate": 0.3}}, 0.7, 0.21**0.5),
        ({"spatial_dropout2d": {"rate": 0.3}}, 0.7, 0.21**0.5),
        ({"gaussian_noise": {"stddev": 0.2}}, 0, 0.2),
        ({"gaussian_dropout": {"rate": 0.3}}, 1, (0.3 / 0.7) ** 0.5),
        ({"alpha_dropout": {"rate": 0.3}}, 0.7, 0.21**0.5),
    ],
    ids=str,
)
def test_drawn_random_numbers_have_the_mean_and_the_deviation_of_the_layer(
    page: ArithmeticPage, layer: Plain, mean: float, deviation: float
) -> None:
    case = Case(network_from([layer], (8, 8, 64)))
    target = {"kind": "value", "layer": case.last, "index": 0}
    drawn = [
        page.compute(case.description, case.weights, case.images(16), target, training=True, seed=seed)["masks"][case.last]
        for seed in (1, 2)
    ]
    assert not np.array_equal(drawn[0], drawn[1])
    count = drawn[0].size
    assert drawn[0].mean() == pytest.approx(mean, abs=5 * deviation / count**0.5)
    assert drawn[0].std() == pytest.approx(deviation, rel=5 / count**0.5)


def test_the_softmax_layer_of_the_output_has_exact_gradients(page: ArithmeticPage) -> None:
    case = Case(network_from([{"flatten": {}}, {"dense": {"units": 5}}, {"softmax": {}}]))
    case.description["output"] = "probabilities"
    images = case.images(2) * 30  # some probabilities are 0 in float32
    chosen = int(case.by_keras(images, lambda tensors: tf.reduce_sum(tensors[case.last]))[0][case.last][0].argmin())
    target = {"kind": "class", "index": 0, "class": chosen}
    _, gradients = case.by_keras(images, lambda tensors: tf.nn.log_softmax(tensors["dense"])[0, chosen])
    found = page.compute(case.description, case.weights, images, target)
    assert differences({"dense": found["gradients"]["dense"]}, {"dense": gradients["dense"]}, 1e-5) == []


# --- random stacks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_random_stacks_equal_keras(page: ArithmeticPage, training: bool) -> None:
    @settings(max_examples=times(30), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(fitting_stacks(kinds=network_data.SHOWN))
    def agrees(drawn: Drawn) -> None:
        network = network_from(drawn.layers, drawn.image, drawn.model_format)
        assume(is_shown(network))
        assert_agrees(page, Case(network), 2, training)

    agrees()


# --- the example configs ------------------------------------------------------------------------------------------


def _score(description: Plain, target: Plain) -> Callable[[Mapping[str, Any]], Any]:
    """Return the score of a target as TensorFlow computes it, from the outputs by name."""
    last = description["layers"][-1]["name"]
    smoothing = (description["loss"] or {}).get("label_smoothing", 0)

    def logarithms(tensors: Mapping[str, Any]) -> Any:
        output = tensors[last]
        return tf.math.log(output) if description["output"] == "probabilities" else tf.nn.log_softmax(output)

    def score(tensors: Mapping[str, Any]) -> Any:
        output = tensors[last]
        if target["kind"] == "class":
            chosen = tf.math.log(output) if description["output"] == "probabilities" else output
            return chosen[target["index"], target["class"]]
        labels = tf.one_hot(target["labels"], output.shape[-1]) * (1 - smoothing) + smoothing / output.shape[-1]
        return -tf.reduce_mean(tf.reduce_sum(labels * logarithms(tensors), axis=-1))

    return score


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_example_configs_equal_keras(page: ArithmeticPage, config: Path, training: bool) -> None:
    experiment = load(config)
    case = Case(experiment.network, network_description(experiment, []))
    count = 3
    images = case.generator.uniform(size=(count, *case.network.image)).astype("float32")
    masks = case.masks(count) if training else {}
    has_loss = training and case.description["loss"] is not None
    target: Plain = {"kind": "loss", "labels": [1, 0, 3]} if has_loss else {"kind": "class", "index": 1, "class": 2}
    outputs, gradients = case.by_keras(images, _score(case.description, target), training, masks)
    found = page.compute(case.description, case.weights, images, target, training=training, masks=masks)
    assert differences(found["outputs"], outputs, ACTIVATION_TOLERANCE) == []
    assert differences(found["gradients"], gradients, GRADIENT_TOLERANCE) == []


# --- blocks and shared weights ------------------------------------------------------------------------------------

SHARED = """
data: {source: digits}
model:
  style: functional
  blocks:
    unit:
      layers:
        - conv2d: {filters: 4, kernel_size: 3, padding: same, activation: tanh, name: c}
        - batch_normalization
        - use: c
        - add: {inputs: [use, input]}
  layers:
    - conv2d: {filters: 4, kernel_size: 1}
    - unit: {name: a}
    - use: {layer: a, name: b}
    - use: {layer: a, name: side, inputs: [conv2d]}
    - add: {inputs: [b, side]}
    - flatten
    - dense: {units: classes}
"""


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_layers_that_share_weights_equal_keras(page: ArithmeticPage, training: bool, tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text(SHARED)
    experiment = load(tmp_path / "shared.yaml")
    case = Case(experiment.network, network_description(experiment, []))
    assert case.model.count_params() == case.description["weights_count"] == len(case.weights) / 4
    assert_agrees(page, case, 3, training)


# --- the vocabulary -----------------------------------------------------------------------------------------------


def test_the_page_computes_every_layer_type_and_every_activation(page: ArithmeticPage) -> None:
    assert set(page.evaluate("Object.keys(arithmetic.OPERATIONS)")) == network_data.SHOWN
    assert {each.kind for each in L.LAYERS} <= network_data.SHOWN
    assert {*page.evaluate("Object.keys(arithmetic.ACTIVATIONS)"), "softmax"} == network_data.SHOWN_ACTIVATIONS
    assert set(get_args(L.Activation)) - network_data.SHOWN_ACTIVATIONS == {"log_softmax"}
