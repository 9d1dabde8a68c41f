"""The arithmetic of the page in Chromium against Keras: every layer type and option, random stacks and the example configs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings

from cnnctl.errors import DataError
from cnnctl.explore import network_data
from cnnctl.explore.network_data import count_weights, layers_of, network_description, weights_of
from cnnctl.model.keras_layers import keras_layers
from cnnctl.model.styles import build_functional
from cnnctl.spec import layers as L
from cnnctl.spec.experiment import Experiment, ModelSpec
from cnnctl.spec.load import load
from cnnctl.spec.network import Network
from cnnctl.spec.shapes import LayerContext, Shape, trace
from cnnctl.spec.stack import INPUT, nodes_of
from tests.browser import CHROMIUM, Browser
from tests.explore.arithmetic_page import ArithmeticPage, Values, differences
from tests.model.test_shapes_equal_keras import CLASSES, Drawn, fitting_stacks
from tests.spec.fuzz import times

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
ACTIVATION_TOLERANCE = 1e-4
"""Of the largest absolute value of the layer."""
GRADIENT_TOLERANCE = 1e-3
Plain = dict[str, Any]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArithmeticPage]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield ArithmeticPage(browser, tmp_path_factory.mktemp("page"))
    keras.backend.clear_session()


class Case:
    """A network in Keras and as the page has it, with random weights.

    Args:
        network: the layers.
        description: of the network, for the page; made from the layers if None.
    """

    def __init__(self, network: Network, description: Plain | None = None, seed: int = 0) -> None:
        self.network = network
        self.layers = keras_layers(network.nodes, 0, network.context, "float32")
        self.model = build_functional(self.layers, {node.name: list(node.inputs) for node in network.nodes}, network.image)
        self.generator = np.random.default_rng(seed)
        self._draw_weights()
        self.description = description or _described(network)
        self.weights = weights_of(self.description, self.model)

    def _draw_weights(self) -> None:
        """Set kernels that keep the size of values, and vectors of which none is a default."""
        for weight in self.model.weights:
            if "seed_generator" in weight.path:
                continue
            if len(weight.shape) > 1:
                weight.assign(self.generator.normal(size=weight.shape) * np.sqrt(2 / prod(weight.shape[:-1])))
            elif weight.path.endswith(("gamma", "moving_variance")):
                weight.assign(self.generator.uniform(0.5, 1.5, weight.shape))
            else:
                weight.assign(self.generator.normal(size=weight.shape) / 4)

    def images(self, count: int) -> Values:
        return self.generator.normal(size=(count, *self.network.image)).astype("float32")

    def masks(self, count: int) -> dict[str, Values]:
        """Draw a mask of 0 and 1 for every dropout that acts, in the shape of its noise."""
        drawn = {}
        for node, facts in zip(self.network.nodes, self.network.facts, strict=True):
            if isinstance(node.layer, L.Dropout) and node.layer.rate:
                full = (count, *facts.output_shape)
                noise = node.layer.noise_shape or full
                shape = [size if length is None else length for length, size in zip(noise, full, strict=True)]
                drawn[node.name] = (self.generator.uniform(size=shape) >= node.layer.rate).astype("float32")
        return drawn

    def by_keras(
        self, images: Values, score: Any, training: bool, masks: Mapping[str, Values]
    ) -> tuple[dict[str, Values], dict[str, Values]]:
        """Return the output of every layer, and the gradients of `score(outputs by name)` by all of them."""
        tensors = {INPUT: tf.constant(images)}
        with tf.GradientTape(persistent=False) as tape:
            tape.watch(tensors[INPUT])
            for node, layer in zip(self.network.nodes, self.layers, strict=True):
                taken = [tensors[name] for name in node.inputs]
                tensors[node.name] = _called(layer, node.layer, taken, training, masks.get(node.name))
                tape.watch(tensors[node.name])
            value = score(tensors)
        gradients = tape.gradient(value, list(tensors.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        outputs = {name: tensor.numpy() for name, tensor in tensors.items()}
        return outputs, dict(zip(tensors, (gradient.numpy() for gradient in gradients), strict=True))


def _called(layer: keras.Layer, spec: L.Layer, taken: list[Any], training: bool, mask: Values | None) -> Any:
    if isinstance(spec, L.Dropout):  # the masks of Keras are its own: apply the given one by hand
        return tf.identity(taken[0]) if mask is None else taken[0] * mask / (1 - spec.rate)
    inputs = taken if len(taken) > 1 else taken[0]
    if isinstance(spec, L.BatchNormalization):
        moving = [layer.moving_mean.numpy(), layer.moving_variance.numpy()]
        output = layer(inputs, training=training)
        layer.moving_mean.assign(moving[0])
        layer.moving_variance.assign(moving[1])
        return output
    return tf.identity(layer(inputs))  # a layer may return its input itself, whose gradient is another


def _described(network: Network, output: str = "logits") -> Plain:
    layers = layers_of(network)
    return {
        "input": {"shape": list(network.image), "data_format": network.data_format},
        "classes": [],
        "output": output,
        "loss": None,
        "layers": layers,
        "weights_count": count_weights(layers),
    }


def network_from(layers: list[Plain], image: Shape, model_format: str = "channels_last") -> Network:
    data_format: L.DataFormat = "channels_first" if model_format == "channels_first" else "channels_last"
    plain = {"style": "functional", "data_format": model_format, "layers": layers}
    nodes, complaints = nodes_of(ModelSpec.model_validate(plain))
    assert complaints == []
    context = LayerContext(CLASSES, data_format)
    return Network(tuple(nodes), tuple(trace(nodes, image, context)), image, CLASSES, data_format)


def assert_agrees(page: ArithmeticPage, case: Case, count: int = 2, training: bool = False) -> None:
    """Compare all activations, and the gradients of a random sum of the network's outputs."""
    images, masks = case.images(count), case.masks(count) if training else {}
    last = case.network.nodes[-1].name
    adjoint = case.generator.normal(size=(count, *case.network.facts[-1].output_shape)).astype("float32")
    outputs, gradients = case.by_keras(images, lambda tensors: tf.reduce_sum(tensors[last] * adjoint), training, masks)
    found = page.compute(
        case.description, case.weights, images, {"kind": "adjoint", "values": adjoint}, training=training, masks=masks
    )
    assert differences(found["outputs"], outputs, ACTIVATION_TOLERANCE) == []
    assert differences(found["gradients"], gradients, GRADIENT_TOLERANCE) == []
    assert differences(found["masks"], masks, 0) == []


# --- every layer type and option ----------------------------------------------------------------------------------

IMAGE, LAST, FIRST = (6, 7, 6), "channels_last", "channels_first"
CONVOLUTION = {"filters": 6, "kernel_size": [3, 2]}
LAYERS: dict[str, list[Plain]] = {
    "valid": [{"conv2d": CONVOLUTION}],
    "same": [{"conv2d": {**CONVOLUTION, "padding": "same"}}],
    "same, even kernel": [{"conv2d": {**CONVOLUTION, "kernel_size": [4, 2], "padding": "same"}}],
    "strides": [{"conv2d": {**CONVOLUTION, "strides": [2, 3]}}],
    "same with strides": [{"conv2d": {**CONVOLUTION, "strides": [3, 2], "padding": "same"}}],
    "strides beyond the kernel": [{"conv2d": {**CONVOLUTION, "kernel_size": 1, "strides": [3, 2], "padding": "same"}}],
    "dilation": [{"conv2d": {**CONVOLUTION, "dilation_rate": [2, 3]}}],
    "same with dilation": [{"conv2d": {**CONVOLUTION, "dilation_rate": [3, 2], "padding": "same"}}],
    "dilation beyond the image": [{"conv2d": {**CONVOLUTION, "kernel_size": 3, "dilation_rate": 9, "padding": "same"}}],
    "groups": [{"conv2d": {**CONVOLUTION, "groups": 2, "padding": "same"}}],
    "depthwise": [{"conv2d": {"filters": 12, "kernel_size": 3, "groups": 6}}],
    "grouped with strides": [{"conv2d": {**CONVOLUTION, "groups": 2, "strides": 2}}],
    "grouped with dilation": [{"conv2d": {**CONVOLUTION, "groups": 2, "dilation_rate": 2, "padding": "same"}}],
    "without bias": [{"conv2d": {**CONVOLUTION, "use_bias": False, "activation": "relu"}}],
    "as many filters as columns": [{"conv2d": {"filters": 6, "kernel_size": 1}}],
    "1x1": [{"conv2d": {"filters": 3, "kernel_size": 1, "activation": "tanh"}}],
    "explicit padding": [{"zero_padding2d": {"padding": [[1, 0], [2, 3]]}}, {"conv2d": CONVOLUTION}],
    "max pooling": [{"max_pooling2d": {}}],
    "max pooling, overlapping": [{"max_pooling2d": {"pool_size": [3, 2], "strides": [1, 2]}}],
    "max pooling, same": [{"max_pooling2d": {"pool_size": [3, 4], "strides": [2, 3], "padding": "same"}}],
    "max pooling, gaps": [{"max_pooling2d": {"pool_size": 1, "strides": [3, 2]}}],
    "average pooling": [{"average_pooling2d": {}}],
    "average pooling, overlapping": [{"average_pooling2d": {"pool_size": [2, 3], "strides": [2, 1]}}],
    "average pooling, same": [{"average_pooling2d": {"pool_size": [4, 3], "strides": [3, 2], "padding": "same"}}],
    "global average": [{"global_average_pooling2d": {}}],
    "global average, keepdims": [{"global_average_pooling2d": {"keepdims": True}}],
    "global max": [{"global_max_pooling2d": {}}],
    "global max, keepdims": [{"global_max_pooling2d": {"keepdims": True}}],
    "flatten": [{"flatten": {}}],
    "flatten twice": [{"flatten": {}}, {"flatten": {}}],
    "dense": [{"flatten": {}}, {"dense": {"units": 5, "activation": "selu"}}, {"dense": {"units": "classes", "use_bias": False}}],
    "dense on images": [{"dense": {"units": 3}}],
    "batch norm": [{"batch_normalization": {}}],
    "batch norm of rows": [{"batch_normalization": {"axis": 1, "epsilon": 0.1}}],
    "batch norm of columns": [{"batch_normalization": {"axis": -2, "center": False}}],
    "batch norm without gamma": [{"batch_normalization": {"axis": 3, "scale": False}}],
    "batch norm of a vector": [{"flatten": {}}, {"batch_normalization": {"center": False, "scale": False}}],
    "dropout": [{"dropout": {"rate": 0.3}}],
    "dropout of maps": [{"dropout": {"rate": 0.5, "noise_shape": [None, 1, 1, None]}}],
    "dropout of rows, the same in all images": [{"dropout": {"rate": 0.5, "noise_shape": [1, 6, 1, 1]}}],
    "dropout of rate 0": [{"dropout": {"rate": 0}}],
    "add": [{"conv2d": {"filters": 6, "kernel_size": 1}}, {"add": {"inputs": ["conv2d", INPUT]}}],
    "add to itself": [{"add": {"inputs": [INPUT, INPUT, INPUT]}}],
    "add a vector": [{"global_max_pooling2d": {"name": "a", "data_format": LAST}}, {"add": {"inputs": [INPUT, "a"]}}],
    "add a map": [{"conv2d": {"filters": 1, "kernel_size": 1, "name": "a"}}, {"add": {"inputs": ["a", INPUT]}}],
    "concatenate": [{"dense": {"units": 3, "name": "a"}}, {"concatenate": {"inputs": ["a", INPUT]}}],
    "concatenate rows": [{"zero_padding2d": {"padding": [1, 0], "name": "a", "data_format": LAST}}, {"concatenate": {"inputs": [INPUT, "a"], "axis": 1}}],
    "concatenate columns": [{"zero_padding2d": {"padding": [0, 1], "name": "a", "data_format": LAST}}, {"concatenate": {"inputs": ["a", INPUT, "a"], "axis": -2}}],
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("model_format", [LAST, FIRST])
@pytest.mark.parametrize("name", LAYERS)
def test_activations_and_gradients_equal_keras(page: ArithmeticPage, name: str, model_format: str, training: bool) -> None:
    assert_agrees(page, Case(network_from(LAYERS[name], IMAGE, model_format)), 3, training)


@pytest.mark.parametrize("name", get_args(L.Activation))
@pytest.mark.parametrize("layer", ["activation", "dense"])
def test_every_activation_and_its_derivative_equal_keras(page: ArithmeticPage, name: str, layer: str) -> None:
    fields = {"activation": {"activation": name}, "dense": {"units": 5, "activation": name}}[layer]
    case = Case(network_from([{layer: fields}], (4, 5, 6)))
    assert_agrees(page, case, 4)


@pytest.mark.parametrize("name", get_args(L.Activation))
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
    adjoint = case.generator.normal(size=(3, *case.network.facts[-1].output_shape)).astype("float32")
    _, gradients = case.by_keras(images, lambda tensors: tf.reduce_sum(tensors[kind] * adjoint), False, {})
    found = page.compute(case.description, case.weights, images, {"kind": "adjoint", "values": adjoint})
    assert differences(found["gradients"], gradients, 1e-6) == []


# --- random stacks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_random_stacks_equal_keras(page: ArithmeticPage, training: bool) -> None:
    @settings(max_examples=times(40), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(fitting_stacks())
    def agrees(drawn: Drawn) -> None:
        assert_agrees(page, Case(network_from(drawn.layers, drawn.image, drawn.model_format)), 2, training)

    agrees()


# --- the example configs ------------------------------------------------------------------------------------------


def _experiment(config: Path) -> Experiment:
    try:
        return load(config)
    except DataError as missing:
        pytest.skip(f"the data of {config.name} is not there: {missing}")


def _score(description: Plain, target: Plain) -> Any:
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
    experiment = _experiment(config)
    case = Case(experiment.network, network_description(experiment, []))
    count = 3
    images = case.generator.uniform(size=(count, *case.network.image)).astype("float32")
    masks = case.masks(count) if training else {}
    targets = [{"kind": "class", "index": 1, "class": 2}, {"kind": "loss", "labels": [1, 0, 3]}]
    for target in targets[: 1 if case.description["output"] == "embedding" else 2]:
        outputs, gradients = case.by_keras(images, _score(case.description, target), training, masks)
        found = page.compute(case.description, case.weights, images, target, training=training, masks=masks)
        assert differences(found["outputs"], outputs, ACTIVATION_TOLERANCE) == []
        assert differences(found["gradients"], gradients, GRADIENT_TOLERANCE) == []


# --- the vocabulary -----------------------------------------------------------------------------------------------


def test_the_page_computes_every_layer_type_and_activation_of_the_config(page: ArithmeticPage) -> None:
    assert set(page.evaluate("Object.keys(arithmetic.OPERATIONS)")) == network_data.SHOWN == {each.kind for each in L.LAYERS}
    assert {*page.evaluate("Object.keys(arithmetic.ACTIVATIONS)"), "softmax"} == network_data.SHOWN_ACTIVATIONS
