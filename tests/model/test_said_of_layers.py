"""What is said of single layers in words, computed by Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf


def test_batch_norm_of_one_value_outputs_beta_whatever_the_image() -> None:
    layer = keras.layers.BatchNormalization(beta_initializer="ones")
    images = np.random.default_rng(0).normal(size=(2, 5)).astype("float32")
    for image in images:
        assert np.allclose(layer(image[None], training=True), 1)
    assert not np.allclose(layer(images, training=True), 1)


def test_normalizations_within_an_image_compute_what_is_explained() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    layer = keras.layers.LayerNormalization(axis=[1, 2, 3])
    for image, output in zip(images, layer(images), strict=True):
        assert np.allclose(output, (image - image.mean()) / np.sqrt(image.var() + 1e-3), atol=1e-5)
        assert np.allclose(output, layer(image[None])[0], atol=1e-6), "the other images change nothing"
    groups = images.reshape(2, 3, 4, 2, 3)
    mean, variance = groups.mean((1, 2, 4), keepdims=True), groups.var((1, 2, 4), keepdims=True)
    expected = ((groups - mean) / np.sqrt(variance + 1e-3)).reshape(images.shape)
    assert np.allclose(keras.layers.GroupNormalization(2)(images), expected, atol=1e-5)
    unit = keras.layers.UnitNormalization(axis=[1, 2])(images).numpy()
    assert np.allclose((unit**2).sum((1, 2)), 1, atol=1e-5)
    assert np.allclose(keras.layers.LayerNormalization(beta_initializer="ones")(images[..., :1]), 1), "a mean over one value"


def test_rms_scaling_divides_by_the_standard_deviation_and_keeps_the_mean() -> None:
    images = 3 + np.random.default_rng(0).normal(size=(2, 5)).astype("float32")
    with pytest.warns(UserWarning, match="rms_scaling"):
        outputs = keras.layers.LayerNormalization(rms_scaling=True, scale=False)(images)
    assert np.allclose(outputs, images / np.sqrt(images.var(1, keepdims=True) + 1e-3), atol=1e-5)


def test_renorm_without_clipping_outputs_what_its_statistics_give_and_clipping_bounds_the_corrections() -> None:
    images = (2 + 3 * np.random.default_rng(0).normal(size=(50, 4))).astype("float32")
    layer = keras.layers.BatchNormalization(renorm=True, renorm_momentum=0.9)
    assert np.allclose(layer(images, training=True), images, atol=1e-4), "mean 0 and deviation 1 at first"
    mean, deviation = layer.renorm_mean.numpy(), layer.renorm_stddev.numpy()
    assert np.allclose(mean, 0.1 * images.mean(0), atol=1e-5)
    assert np.allclose(layer(images, training=True), (images - mean) / deviation, atol=1e-4)
    bounded = keras.layers.BatchNormalization(renorm=True, renorm_clipping={"rmin": 1, "rmax": 1, "dmax": 0})
    assert np.allclose(bounded(images, training=True), keras.layers.BatchNormalization()(images, training=True), atol=1e-5)


def test_the_gradient_of_unit_normalization_at_zeros_is_enormous_and_finite() -> None:
    zeros = tf.zeros((1, 3))
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        outputs = keras.layers.UnitNormalization()(zeros)
    assert np.array_equal(outputs, np.zeros((1, 3)))
    np.testing.assert_allclose(tape.gradient(outputs, zeros), np.full((1, 3), 1e12), rtol=1e-5)


def test_noise_is_distributed_as_explained() -> None:
    ones, unit = np.ones((400, 8, 8, 6), "float32"), np.random.default_rng(0).normal(size=(400, 384)).astype("float32")
    maps = keras.layers.SpatialDropout2D(0.25, seed=1)(ones, training=True).numpy().reshape(400, 64, 6)
    assert (maps == maps[:, :1]).all(), "a map as a whole"
    assert set(np.unique(maps)) == {np.float32(0), np.float32(1 / 0.75)}
    added = keras.layers.GaussianNoise(0.5, seed=1)(ones, training=True).numpy() - 1
    assert np.allclose([added.mean(), added.std()], [0, 0.5], atol=0.01)
    factors = keras.layers.GaussianDropout(0.2, seed=1)(ones, training=True).numpy()
    assert np.allclose([factors.mean(), factors.std()], [1, 0.5], atol=0.01)
    dropped = keras.layers.AlphaDropout(0.1, seed=1)(unit, training=True).numpy()
    assert np.allclose([dropped.mean(), dropped.std()], [0, 1], atol=0.02)
    assert round(-keras.activations.selu(-1e3).numpy().item(), 3) == 1.758


def gradients(layer: keras.layers.Layer, *inputs: Any) -> list[Any]:
    """Return the gradients of the sum of a join's outputs by its inputs."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(layer(list(inputs)))
    return [gradient.numpy() for gradient in tape.gradient(total, inputs)]


def test_gradients_of_joins_flow_as_explained() -> None:
    draw = np.random.default_rng(0)
    one, other = (tf.constant(draw.normal(size=(2, 3)), tf.float32) for _ in range(2))
    larger = one.numpy() > other.numpy()
    expected = {
        keras.layers.Multiply: (other, one),
        keras.layers.Average: (np.full((2, 3), 0.5), np.full((2, 3), 0.5)),
        keras.layers.Maximum: (larger, ~larger),
        keras.layers.Minimum: (~larger, larger),
        keras.layers.Subtract: (np.ones((2, 3)), -np.ones((2, 3))),
    }
    for kind, both in expected.items():
        for found, wanted in zip(gradients(kind(), one, other), both, strict=True):
            np.testing.assert_allclose(found, wanted, err_msg=kind.__name__)


def test_the_gradient_of_an_input_that_is_broadcast_is_the_sum_over_where_it_is_added() -> None:
    draw = np.random.default_rng(0)
    large, small = tf.constant(draw.normal(size=(1, 8, 8, 4))), tf.constant(draw.normal(size=(1, 8, 8, 1)))
    weights = draw.normal(size=(1, 8, 8, 4))
    with tf.GradientTape() as tape:
        tape.watch([large, small])
        total = tf.reduce_sum(weights * keras.layers.Add(dtype="float64")([large, small]))
    of_large, of_small = tape.gradient(total, [large, small])
    assert np.allclose(of_large, weights)
    assert np.allclose(of_small, weights.sum(-1, keepdims=True))
