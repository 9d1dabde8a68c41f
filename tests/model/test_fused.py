"""Layers called as they are fastest give what they give one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.model import build_model, fused
from cnnctl.model.fast_network import FastNetwork
from cnnctl.model.fused import fused_outputs, relu_after_pooling
from cnnctl.model.styles import layers_of
from cnnctl.spec.load import load

BFLOAT16 = "mixed_bfloat16"
QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"
CHAIN = (
    "[{conv2d: {filters: 3, kernel_size: 3, activation: relu}}, max_pooling2d, {conv2d: {filters: 4, kernel_size: 2, "
    "activation: relu, padding: same}}, {max_pooling2d: {pool_size: 3, strides: 2, padding: same}}, flatten, {dense: {units: classes}}]"
)
KINDS = (
    "[{depthwise_conv2d: {kernel_size: 3, depth_multiplier: 4, activation: relu}}, max_pooling2d, {conv2d_transpose: {filters: 4, "
    "kernel_size: 3, strides: 2, activation: relu}}, max_pooling2d, {separable_conv2d: {filters: 5, kernel_size: 2, activation: relu}}, "
    "max_pooling2d, flatten, {dense: {units: classes}}]"
)
BRANCHES = (
    "[{conv2d: {filters: 3, kernel_size: 3, activation: relu, name: seen}}, {max_pooling2d: {name: pooled}}, flatten, "
    "{flatten: {inputs: [seen], name: all}}, {concatenate: {inputs: [flatten, all]}}, {dense: {units: classes}}]"
)
AFTER_NORM = (
    "[{conv2d: {filters: 3, kernel_size: 3}}, {layer_normalization: {}}, {activation: {activation: relu}}, max_pooling2d, "
    "{conv2d: {filters: 4, kernel_size: 2}}, relu, max_pooling2d, flatten, {dense: {units: classes}}]"
)


def network(layers: str, *overrides: str) -> tuple[keras.Model, Any]:
    experiment = load(QUICKSTART, ["train.precision=float32", "model.style=functional", *overrides, f"model.layers={layers}"])
    return build_model(experiment), experiment.network.nodes


def outputs_and_gradients(model: keras.Model, call: Any, images: Any) -> list[Any]:
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = call(images)
        loss = tf.reduce_sum(outputs * tf.cast(tf.range(10), tf.float32))
    return [outputs.numpy(), *(each.numpy() for each in tape.gradient(loss, [images, *model.trainable_variables]))]


@pytest.mark.parametrize("layers", [CHAIN, KINDS, BRANCHES, AFTER_NORM])
@pytest.mark.parametrize("overrides", [(), ("model.style=subclass",)])
def test_outputs_and_gradients_are_those_of_the_network_to_the_bit(layers: str, overrides: tuple[str, ...]) -> None:
    model, nodes = network(layers, *overrides)
    images = tf.constant(np.random.default_rng(0).normal(size=(9, 8, 8, 1)), tf.float32)
    mine = outputs_and_gradients(model, lambda pixels: fused_outputs(model, nodes, pixels, training=True), images)
    theirs = outputs_and_gradients(model, lambda pixels: model(pixels, training=True), images)
    for faster, plain in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(faster, plain)


def test_relu_moves_only_where_nobody_else_takes_its_outputs() -> None:
    assert relu_after_pooling(network(CHAIN)[1]) == {
        "conv2d": "linear",
        "max_pooling2d": "pooling",
        "conv2d_1": "linear",
        "max_pooling2d_1": "pooling",
    }
    assert list(relu_after_pooling(network(KINDS)[1]).values()) == ["linear", "pooling"] * 3
    assert list(relu_after_pooling(network(AFTER_NORM)[1]).values()) == ["linear", "pooling"] * 2
    regularized = CHAIN.replace("activation: relu", "activation: relu, activity_regularizer: l2")
    assert relu_after_pooling(network(regularized)[1]) == {}  # of the values after ReLU
    assert relu_after_pooling(network(BRANCHES)[1]) == {}
    assert relu_after_pooling(network("[{relu: {max_value: 6}}, max_pooling2d, flatten, {dense: {units: classes}}]")[1]) == {}
    other = "[{conv2d: {filters: 3, kernel_size: 3, activation: tanh}}, max_pooling2d, flatten, {dense: {units: classes}}]"
    assert relu_after_pooling(network(other)[1]) == {}


def test_the_layers_keep_their_activations() -> None:
    model, nodes = network(CHAIN)
    fused_outputs(model, nodes, tf.zeros((2, 8, 8, 1)), training=True)
    assert [layer.activation for layer in model.layers if "conv2d" in layer.name] == [keras.activations.relu] * 2


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.9])
def test_dropout_leaves_the_share_and_the_mean(rate: float) -> None:
    model, nodes = network(f"[flatten, {{dropout: {{rate: {rate}}}}}, {{dense: {{units: classes}}}}]")
    experiment_nodes = nodes[:2]
    images = tf.ones((1001, 8, 8, 1))
    outputs = fused_outputs(model, experiment_nodes, images, training=True).numpy()
    count = outputs.size
    np.testing.assert_allclose(outputs[outputs > 0], 1 / (1 - rate), rtol=1e-3)
    assert abs((outputs == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / count) + 1 / 2**16
    assert abs(outputs.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / count) + 1e-3
    again = fused_outputs(model, experiment_nodes, images, training=True).numpy()
    assert np.array_equal(outputs, again) == (rate == 0)
    np.testing.assert_array_equal(fused_outputs(model, experiment_nodes, images, training=False), np.ones((1001, 64)))


def test_dropout_of_whole_maps_is_keras_s_own() -> None:
    model, nodes = network("[{dropout: {rate: 0.5, noise_shape: [null, 1, 1, 1]}}, flatten, {dense: {units: classes}}]")
    outputs = fused_outputs(model, nodes[:1], tf.ones((50, 8, 8, 1)), training=True).numpy()
    assert all(len(np.unique(image)) == 1 for image in outputs)
    assert set(np.unique(outputs)) == {0, 2}


@pytest.mark.parametrize(
    "layer",
    [
        "spatial_dropout2d: {rate: 0.5}",
        "gaussian_noise: {stddev: 0.5}",
        "gaussian_dropout: {rate: 0.5}",
        "alpha_dropout: {rate: 0.5}",
    ],
)
def test_other_noise_is_keras_s_own_to_the_bit(layer: str) -> None:
    """Two networks of one seed, since each call draws other numbers."""
    (one, nodes), (other, _) = (network(f"[{{{layer}}}, flatten, {{dense: {{units: classes}}}}]") for _ in range(2))
    images = tf.constant(np.random.default_rng(0).random((9, 8, 8, 1)), tf.float32)
    for training in (True, False, True):
        np.testing.assert_array_equal(fused_outputs(one, nodes, images, training), other(images, training=training))


NORMALIZED = (
    "[{conv2d: {filters: 6, kernel_size: 3, padding: same}}, {batch_normalization: {momentum: 0.9, beta_initializer: random_normal, "
    "gamma_initializer: random_normal}}, relu, max_pooling2d, {batch_normalization: {center: false}}, flatten, {dense: {units: 12}}, "
    "{batch_normalization: {scale: false, momentum: 0.5}}, relu, {dense: {units: classes}}]"
)


def after_steps(call: str | int, images: Any, *overrides: str, layers: str = NORMALIZED) -> list[Any]:
    """Outputs and gradients of the second step in training, then the moving averages and the outputs in inference.

    `call` is `fused`, `keras`, or a number of parts.
    """
    model, nodes = network(layers, *overrides)

    def called(pixels: Any, training: bool) -> Any:
        if isinstance(call, int):
            return FastNetwork(model, nodes, call)(pixels, training=training)
        return fused_outputs(model, nodes, pixels, training) if call == "fused" else model(pixels, training=training)

    called(images[::-1], True)
    found = outputs_and_gradients(model, lambda pixels: called(pixels, True), images)
    return [*found, *(each.numpy() for each in model.non_trainable_variables), called(images, False).numpy()]


def assert_near(found: list[Any], expected: list[Any]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=2e-4 * max(1.0, float(np.abs(theirs).max())))


@pytest.mark.parametrize("count", [64, 5, 2])
@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_batch_norm_in_one_operation_is_keras_s(style: str, count: int) -> None:
    images = tf.constant(np.random.default_rng(0).normal(size=(count, 8, 8, 1)), tf.float32)
    assert_near(*(after_steps(call, images, f"model.style={style}") for call in ("fused", "keras")))


@pytest.mark.parametrize(("count", "parts"), [(64, 2), (7, 3), (3, 4), (2, 5)])
@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_batch_norm_of_a_batch_in_parts_has_the_statistics_of_the_whole(style: str, count: int, parts: int) -> None:
    images = tf.constant(np.random.default_rng(0).normal(size=(count, 8, 8, 1)), tf.float32)
    assert_near(*(after_steps(call, images, f"model.style={style}") for call in (parts, "keras")))


SHARED = (
    "[{conv2d: {filters: 4, kernel_size: 3, padding: same, use_bias: false, name: seen}}, {batch_normalization: {name: norm, center: false, scale: false}}, "
    "{use: {layer: norm, inputs: [seen], name: again}}, {add: {inputs: [again, norm]}}, relu, flatten, {dense: {units: classes}}]"
)


@pytest.mark.parametrize("count", [13, 1])
def test_batch_norm_in_parts_that_is_used_twice_and_in_branches_is_keras_s(count: int) -> None:
    images = tf.constant(np.random.default_rng(0).normal(size=(count, 8, 8, 1)), tf.float32)
    assert_near(*(after_steps(call, images, layers=SHARED) for call in (3, "keras")))


def test_the_variance_far_from_0_keeps_its_digits_in_parts() -> None:
    images = 100 + np.random.default_rng(0).normal(size=(128, 8, 8, 1))
    model, nodes = network("[{batch_normalization: {momentum: 0}}, flatten, {dense: {units: classes}}]")
    FastNetwork(model, nodes[:1], 2)(tf.constant(images, tf.float32), training=True)
    layer = layers_of(model, nodes)["batch_normalization"]
    np.testing.assert_allclose(layer.moving_variance, [images.var()], rtol=1e-4)


def test_a_channel_of_equal_values_has_variance_0_in_parts() -> None:
    """E[x²] - E[x]² of rounded sums may be below 0."""
    model, nodes = network("[{batch_normalization: {momentum: 0, epsilon: 1.0e-6}}, flatten, {dense: {units: classes}}]")
    outputs = FastNetwork(model, nodes[:1], 2)(tf.fill((64, 8, 8, 1), 1 / 3), training=True).numpy()
    variance = layers_of(model, nodes)["batch_normalization"].moving_variance.numpy()
    assert 0 <= variance[0] < 1e-6
    np.testing.assert_allclose(outputs, 0, atol=1e-3)


@pytest.mark.parametrize("fields", ["axis: 1", "renorm: true", "epsilon: 1.0e-6"])
def test_batch_norm_that_tensorflow_has_no_operation_for_is_keras_s_own_to_the_bit(fields: str) -> None:
    images = tf.constant(np.random.default_rng(0).normal(size=(9, 8, 8, 1)), tf.float32)
    layers = f"[{{batch_normalization: {{{fields}}}}}, flatten, {{dense: {{units: classes}}}}]"
    for mine, theirs in zip(*(after_steps(call, images, layers=layers) for call in ("fused", "keras")), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_in_16_bits_batch_norm_is_as_near_to_float32_as_keras_s() -> None:
    """By outputs, gradients and moving averages together: single values are as likely nearer as further."""
    images = tf.constant(np.random.default_rng(0).normal(size=(64, 8, 8, 1)), tf.float32)
    ways: list[tuple[str | int, str]] = [("keras", "float32"), ("fused", BFLOAT16), (2, BFLOAT16), ("keras", BFLOAT16)]
    exact, fused, parts, keras_s = (
        np.concatenate([np.ravel(each) for each in after_steps(call, images, f"train.precision={precision}")])
        for call, precision in ways
    )
    of_fused, of_parts, of_keras = (np.linalg.norm(each - exact) / np.linalg.norm(exact) for each in (fused, parts, keras_s))
    assert 0 < of_fused < 1.3 * of_keras < 0.1
    assert 0 < of_parts < 1.3 * of_keras


def test_the_moving_variance_of_single_values_stays_finite() -> None:
    model, nodes = network("[flatten, {batch_normalization: {momentum: 0.5}}, {dense: {units: classes}}]")
    fused_outputs(model, nodes, tf.ones((1, 8, 8, 1)), training=True)
    layer = layers_of(model, nodes)["batch_normalization"]
    np.testing.assert_array_equal(layer.moving_variance, np.full(64, 0.5))
    fused._move(layer, tf.zeros(64), tf.fill([64], np.inf), tf.constant(1))  # as a GPU may divide by 0
    np.testing.assert_array_equal(layer.moving_variance, np.full(64, 0.25))
