"""Vectors from trained networks, and how alike they are: against NumPy and against Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cnnctl.few_shot.embedding import last_dense, layer_inputs, similarities
from cnnctl.model.styles import build_model
from cnnctl.spec.experiment import Experiment

CONV: dict[str, Any] = {"conv2d": {"filters": 4, "kernel_size": 3, "activation": "relu"}}
STACK: list[Any] = [CONV, "batch_normalization", "flatten", {"dense": {"units": 6}}, {"dropout": {"rate": 0.5}}]
HEAD: list[Any] = [{"dense": {"units": "classes", "name": "head"}}, {"activation": {"activation": "softmax"}}]


def experiment(style: str, layers: list[Any]) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10},
            "model": {"style": style, "layers": layers},
        }
    )


def drawn(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).random(shape, np.float32)


def test_the_last_dense_layer_is_found_whatever_follows_it() -> None:
    nodes = experiment("sequential", [*STACK, *HEAD]).network.nodes
    found = last_dense(nodes)
    assert found is not None and found.name == "head"
    nodes = experiment("sequential", [CONV, "global_average_pooling2d"]).network.nodes
    assert last_dense(nodes) is None


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_a_layer_takes_what_the_network_computes_before_it(style: str) -> None:
    """The dense layer applied to its inputs gives the network's output, in inference, in every style."""
    config = experiment(style, [*STACK, *HEAD])
    model, nodes = build_model(config), config.network.nodes
    head = next(node for node in nodes if node.name == "head")
    images = drawn(5, 8, 8, 1)
    vectors = layer_inputs(model, nodes, head, images)
    assert vectors.shape == (5, 6)
    logits = vectors @ np.asarray(model.get_layer("head").kernel) + np.asarray(model.get_layer("head").bias)
    np.testing.assert_allclose(keras.ops.softmax(logits), np.asarray(model(images, training=False)), rtol=1e-4, atol=1e-6)


def test_a_dense_layer_on_flat_images_takes_the_pixels() -> None:
    config = experiment("functional", ["flatten", {"dense": {"units": "classes"}}])
    nodes = config.network.nodes
    images = drawn(3, 8, 8, 1)
    np.testing.assert_array_equal(layer_inputs(build_model(config), nodes, nodes[-1], images), images.reshape(3, 64))


def test_squared_euclid_is_minus_the_squared_distance() -> None:
    tests, training = drawn(4, 7), drawn(6, 7)
    expected = -((tests[:, None] - training[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(
        similarities(tests[:, np.newaxis], training[:, np.newaxis], "squared_euclid"), expected, rtol=1e-4, atol=1e-5
    )


def test_cosine_orders_by_the_angle_alone() -> None:
    tests, training = drawn(4, 7) - 0.5, drawn(6, 7) - 0.5
    angles = np.arccos(tests @ training.T / np.linalg.norm(tests, axis=1)[:, None] / np.linalg.norm(training, axis=1))
    found = similarities(tests[:, np.newaxis], 9 * training[:, np.newaxis], "cosine")
    assert found.shape == (4, 6)
    np.testing.assert_array_equal(np.argsort(-found, axis=1), np.argsort(angles, axis=1))
