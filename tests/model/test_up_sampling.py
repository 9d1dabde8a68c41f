"""Up-sampling against Keras: which pixels have a weight, in any precision and with second derivatives."""

from __future__ import annotations

from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.model import build_model
from cnnctl.model.up_sampling import UpSamplingByProducts, interpolation_weights
from cnnctl.spec.document import Document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers.fields import Interpolation
from cnnctl.spec.load import check
from cnnctl.spec.shapes import interpolated_from

WAYS = get_args(Interpolation)
SMOOTH = [way for way in WAYS if way != "nearest"]


@pytest.mark.parametrize("way", WAYS)
def test_the_pixels_that_have_a_weight_are_those_of_keras(way: str) -> None:
    for pixels in (1, 2, 3, 4, 7, 11, 16, 30):
        for factor in (1, 2, 3, 4, 5, 8):
            weights = interpolation_weights(pixels, factor, way)
            for position, row in enumerate(weights):
                places = interpolated_from(way, factor, pixels, position)
                assert list(np.flatnonzero(row)) == list(places), (pixels, factor, position)
            np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("way", SMOOTH)
def test_products_equal_keras(way: str, data_format: str) -> None:
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 7)).astype("float32")
    mine, theirs = (kind((2, 3), data_format, way)(images) for kind in (UpSamplingByProducts, keras.layers.UpSampling2D))
    np.testing.assert_allclose(mine, theirs, atol=1e-5)


def experiment(way: str, data_format: str = "channels_last", **train: Any) -> Experiment:
    conv, up = {"conv2d": {"filters": 3, "kernel_size": 3}}, {"up_sampling2d": {"interpolation": way}}
    layers = [conv, up, {"conv2d": {"filters": 2, "kernel_size": 3}}, "flatten", {"dense": {"units": "classes"}}]
    model = {"data_format": data_format, "layers": layers}
    return check(Document("x.yaml", {"data": {"source": "digits"}, "model": model, "train": train}))


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_reach_the_layers_before_it_in_16_bits(way: str, precision: str) -> None:
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    found = []
    for each in ("float32", precision):
        network = build_model(experiment(way, precision=each))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.cast(network(images, training=True), tf.float32)))
        found.append(tape.gradient(loss, network.trainable_variables[0].value).numpy())
    assert np.abs(found[0]).max() > 1e-4
    np.testing.assert_allclose(found[1], found[0], rtol=0.1, atol=0.1 * np.abs(found[0]).max())


@pytest.mark.parametrize("way", SMOOTH)
def test_second_derivatives_are_those_of_numerical_differentiation(way: str) -> None:
    network = build_model(experiment(way), "float64", twice_differentiable=True)
    kernel, images = network.trainable_variables[0], np.random.default_rng(0).random((4, 8, 8, 1))
    start, along = kernel.numpy(), np.random.default_rng(1).normal(size=kernel.shape)

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(images)))
        return tape.gradient(loss, kernel.value)

    with tf.GradientTape() as outer:
        slope = tf.reduce_sum(gradient() * along)
    second = outer.gradient(slope, kernel.value).numpy()
    h = 1e-4
    sides = []
    for sign in (1, -1):
        kernel.assign(start + sign * h * along)
        sides.append(gradient().numpy())
    np.testing.assert_allclose(second, (sides[0] - sides[1]) / (2 * h), rtol=1e-6, atol=1e-8)
    assert np.abs(second).max() > 1e-4


def test_a_network_of_products_is_saved_and_read_back(tmp_path: Any) -> None:
    network = build_model(experiment("bicubic"), twice_differentiable=True)
    network.save(tmp_path / "x.keras")
    images = np.random.default_rng(0).random((2, 8, 8, 1))
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "x.keras")(images), network(images))
