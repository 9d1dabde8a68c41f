"""Scores of few-shot classes, Grad-CAM and cross-entropy of the page against TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.few_shot.methods import prototype_logits
from tests.browser import CHROMIUM, Browser
from tests.explore.arithmetic_page import ArithmeticPage, differences
from tests.explore.networks import FIRST, IMAGE, LAST, Case, Plain, described, network_from

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArithmeticPage]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield ArithmeticPage(browser, tmp_path_factory.mktemp("page"))
    keras.backend.clear_session()


# --- few-shot -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["squared_euclid", "cosine"])
@pytest.mark.parametrize("shot", [1, 5])
def test_class_scores_and_their_gradients_are_those_of_the_few_shot_methods(
    page: ArithmeticPage, distance: str, shot: int
) -> None:
    generator = np.random.default_rng(shot)
    support, queries = (generator.normal(size=size).astype("float32") for size in ((1, 4, shot, 12), (1, 3, 12)))
    tensor = tf.constant(queries)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        logits = prototype_logits(support, tensor, distance)
        chosen = tf.reduce_sum(logits[0, :, 2])
    gradients = tape.gradient(chosen, tensor).numpy()[0]
    for query, expected, gradient in zip(queries[0], logits.numpy()[0], gradients, strict=True):
        scores = page.call("classScores", query.tolist(), support[0].tolist(), {"distance": distance})
        np.testing.assert_allclose([each["score"] for each in scores], expected, rtol=1e-4, atol=1e-5)
        prototypes = [list(each["prototype"].values()) for each in scores]  # typed arrays come as mappings
        np.testing.assert_allclose(prototypes, support[0].mean(1), atol=1e-5)
        found = page.call("gradientOfScoreAsList", query.tolist(), support[0].tolist(), 2, {"distance": distance})
        np.testing.assert_allclose(found, gradient, rtol=1e-4, atol=1e-5)


def test_the_scale_of_a_cosine_multiplies_its_score(page: ArithmeticPage) -> None:
    scores = page.call("classScores", [3, 4], [[[6, 8]], [[4, -3]], [[-3, -4]]], {"distance": "cosine", "scale": 16})
    np.testing.assert_allclose([each["score"] for each in scores], [16, 0, -16], atol=1e-9)
    np.testing.assert_allclose([each["distance"] for each in scores], [0, 1, 2], atol=1e-9)


# --- Grad-CAM -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_format", [LAST, FIRST])
def test_grad_cam_weighs_each_map_by_its_mean_gradient(page: ArithmeticPage, model_format: str) -> None:
    layers: list[Plain] = [
        {"conv2d": {"filters": 5, "kernel_size": 3, "name": "first"}},
        {"conv2d": {"filters": 3, "kernel_size": 2, "activation": "relu", "name": "last"}},
        {"batch_normalization": {"axis": 1 if model_format == FIRST else -1}},
        {"flatten": {}},
        {"dense": {"units": "classes"}},
    ]
    case = Case(network_from(layers, IMAGE, model_format))
    images = case.images(3)
    outputs, gradients = case.by_keras(images, lambda tensors: tensors["dense"][1, 4])
    axes = (1, 2) if model_format == FIRST else (0, 1)
    maps, slopes = outputs["last"][1], gradients["last"][1]
    expected = np.maximum((maps * slopes.mean(axes, keepdims=True)).sum(0 if model_format == FIRST else -1), 0)
    found = page.grad_cam(case.description, case.weights, images, {"kind": "class", "index": 1, "class": 4}, image=1)
    assert found is not None and found["layer"] == "last"
    assert expected.max() > 0
    np.testing.assert_allclose(found["map"], expected, atol=1e-4 * expected.max())


def test_a_network_without_a_convolution_has_no_last_one(page: ArithmeticPage) -> None:
    case = Case(network_from([{"flatten": {}}, {"dense": {"units": 3}}]))
    found = page.grad_cam(case.description, case.weights, case.images(1), {"kind": "class", "index": 0, "class": 0}, image=0)
    assert found is None


# --- softmax and losses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_softmax_with_a_temperature_is_tensorflows_of_the_divided_logits(page: ArithmeticPage, temperature: float) -> None:
    logits = [-300.0, 2.5, 2.0, 0.0, -1.0, 88.0]
    found = page.call("asLists", "crossEntropy", logits, 1, {"temperature": temperature})
    scaled = np.array(logits) / temperature
    np.testing.assert_allclose(found["probabilities"], tf.nn.softmax(scaled).numpy(), rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(found["logarithms"], tf.nn.log_softmax(scaled).numpy(), rtol=1e-6)
    np.testing.assert_allclose(np.array(found["exponentials"]) / found["sum"], found["probabilities"], rtol=1e-12)
    assert found["loss"] == pytest.approx(-found["logarithms"][1], rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_kerass_with_label_smoothing(page: ArithmeticPage, smoothing: float) -> None:
    logits = np.array([0.3, -2.0, 4.0, 1.0])
    one_hot = np.array([[0, 0, 0, 1.0]])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing, dtype="float64")
    found = page.call("asLists", "crossEntropy", logits.tolist(), 3, {"smoothing": smoothing})
    assert found["loss"] == pytest.approx(float(loss(one_hot, logits[None])), rel=1e-6)
    probabilities = tf.nn.softmax(logits).numpy()
    found = page.call("asLists", "crossEntropyOfProbabilities", probabilities.tolist(), 3, {"smoothing": smoothing})
    assert found["loss"] == pytest.approx(float(loss(one_hot, logits[None])), rel=1e-6)


def with_output(layers: list[Plain], output: str, smoothing: float) -> Case:
    network = network_from(layers, (1, 2, 3))
    loss = {"name": "categorical_crossentropy", "label_smoothing": smoothing}
    return Case(network, described(network, output) | {"loss": loss})


LOGITS: list[Plain] = [{"flatten": {}}, {"dense": {"units": "classes", "name": "scores"}}]
SOFTMAX: list[Plain] = [*LOGITS, {"activation": {"activation": "softmax"}}]


@pytest.mark.parametrize("output", ["logits", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_of_the_loss_is_the_tapes_of_kerass_loss(page: ArithmeticPage, output: str, smoothing: float) -> None:
    case = with_output(SOFTMAX if output == "probabilities" else LOGITS, output, smoothing)
    images, labels = case.images(3), [2, 0, 6]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    _, gradients = case.by_keras(images, lambda tensors: loss(tf.one_hot(labels, 7), tensors["scores"]))
    found = page.compute(case.description, case.weights, images, {"kind": "loss", "labels": labels})
    names = ("scores", "flatten", "input")
    assert differences(found["gradients"], {name: gradients[name] for name in names}, 1e-5) == []


def test_the_gradient_of_a_probability_too_small_for_float32_is_that_of_its_logarithm(page: ArithmeticPage) -> None:
    case = with_output(SOFTMAX, "probabilities", 0)
    images = case.images(2) * 1000
    outputs, _ = case.by_keras(images, lambda tensors: tf.reduce_sum(tensors["scores"]))
    chosen = int(outputs["scores"][0].argmin())
    _, gradients = case.by_keras(images, lambda tensors: tf.nn.log_softmax(tensors["scores"])[0, chosen])
    assert outputs["activation"][0, chosen] == 0
    found = page.compute(case.description, case.weights, images, {"kind": "class", "index": 0, "class": chosen})
    assert differences(found["gradients"], {name: gradients[name] for name in ("scores", "flatten", "input")}, 1e-5) == []


def test_the_gradient_of_one_value_is_the_tapes_and_zero_where_it_does_not_depend(page: ArithmeticPage) -> None:
    case = Case(
        network_from([{"dense": {"units": 4, "name": "a"}}, {"dense": {"units": 3, "activation": "tanh", "name": "b"}}])
    )
    images = case.images(2)
    outputs, gradients = case.by_keras(images, lambda tensors: tf.reshape(tensors["a"], (2, -1))[1, 30])
    found = page.compute(case.description, case.weights, images, {"kind": "value", "layer": "a", "index": 30, "image": 1})
    assert differences(found["gradients"], {name: gradients[name] for name in ("input", "a")}, 1e-6) == []
    assert found["gradients"]["b"].shape == outputs["b"].shape
    assert not found["gradients"]["b"].any()


# --- dropout masks and errors -------------------------------------------------------------------------------------


def test_masks_depend_on_the_seed_and_keep_the_share_that_the_rate_says(page: ArithmeticPage) -> None:
    case = Case(network_from([{"dropout": {"rate": 0.3, "name": "a"}}, {"dropout": {"rate": 0.3, "name": "b"}}], (20, 20, 10)))
    images, target = case.images(2), {"kind": "value", "layer": "b", "index": 0}
    masks = [
        page.compute(case.description, case.weights, images, target, training=True, seed=seed)["masks"] for seed in (1, 1, 2)
    ]
    assert (masks[0]["a"] == masks[1]["a"]).all()
    assert (masks[0]["a"] != masks[2]["a"]).any()
    assert (masks[0]["a"] != masks[0]["b"]).any()
    assert set(np.unique(masks[0]["a"])) == {0, 1}
    assert abs(masks[0]["a"].mean() - 0.7) < 4 * np.sqrt(0.7 * 0.3 / masks[0]["a"].size)
    assert page.compute(case.description, case.weights, images, target)["masks"] == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("request.network.layers[0].kind = 'conv3d'", "layer 'a' has an unknown type: conv3d"),
        ("request.network.layers[0].fields.activation = 'sine'", "unknown activation sine"),
        ("request.network.weights_count = 3", "the network has 3 weights, received 28"),
        ("request.images.shape[0] = 3", "a tensor of shape (3, 6, 7, 6) needs 756 values, received 504"),
        ("request.images.shape = [2, 7, 6, 6]", "the network takes images (B, 6, 7, 6), received (2, 7, 6, 6)"),
        ("request.target = { kind: 'class', index: 0, class: 4 }", "the output of the network is not one value per class but (2, 6, 7, 4)"),
        ("request.target = { kind: 'value', layer: 'x', index: 0 }", "there is no layer 'x'"),
        ("request.target = { kind: 'pixel' }", "unknown target pixel; expected class, loss, value or adjoint"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error_that_names_it(page: ArithmeticPage, change: str, message: str) -> None:
    case = Case(network_from([{"dense": {"units": 4, "name": "a", "activation": "relu"}}]))
    assert message in page.error_of(case.description, case.weights, case.images(2), change)
