"""The gradient by the filters as matrix products is TensorFlow's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.model import build_model
from cnnctl.model.fast_network import FastNetwork
from cnnctl.model.filter_gradient import by_products, gradient_by_filters, has_faster_gradient
from cnnctl.model.fused import fused_outputs
from cnnctl.model.styles import layers_of
from cnnctl.spec.load import load

QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"
NETWORK = (
    "[{conv2d: {filters: 16, kernel_size: 3, activation: relu}}, max_pooling2d, {conv2d: {filters: 16, kernel_size: 2, activation: relu}}, "
    "max_pooling2d, flatten, {dense: {units: classes}}]"
)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (4, 1), (5, 3)])
def test_it_is_tensorflow_s_in_float64(kernel: tuple[int, int], padding: str) -> None:
    values = np.random.default_rng(0)
    images, filters = tf.constant(values.normal(size=(3, 7, 6, 4))), tf.constant(values.normal(size=(*kernel, 4, 5)))
    with tf.GradientTape() as tape:
        tape.watch(filters)
        outputs = tf.nn.conv2d(images, filters, 1, padding)
        loss = tf.reduce_sum(outputs * (arriving := tf.constant(values.normal(size=outputs.shape))))
    mine = gradient_by_filters(images, arriving, kernel, padding)
    np.testing.assert_allclose(mine, tape.gradient(loss, filters), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_layer_computes_what_it_computes_without(padding: str) -> None:
    """In bfloat16, where it is used: both round a sum in float32."""
    layer = keras.layers.Conv2D(24, 2, padding=padding, activation="relu", dtype="mixed_bfloat16")
    images = tf.constant(np.random.default_rng(0).normal(size=(9, 3, 3, 8)), tf.float32)
    layer(images)
    own_way = [each.numpy() for each in outputs_and_gradients(layer, images)]
    with by_products(layer):
        by_matrices = [each.numpy() for each in outputs_and_gradients(layer, images)]
    np.testing.assert_array_equal(by_matrices[0], own_way[0])
    for mine, theirs in zip(by_matrices[1:], own_way[1:], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0.02, atol=0.02 * np.abs(theirs).max())
    assert "convolution_op" not in vars(layer)


def outputs_and_gradients(layer: keras.Layer, images: Any) -> list[Any]:
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * tf.cast(tf.range(24), tf.float32))
    return [tf.cast(outputs, tf.float32), *tape.gradient(loss, [images, *layer.trainable_variables])]


@pytest.mark.parametrize(
    ("fields", "image", "faster"),
    [
        ({"filters": 64, "kernel_size": 3}, (6, 6, 64), True),
        ({"filters": 64, "kernel_size": 3, "padding": "same"}, (8, 8, 64), False),  # as many pixels as channels
        ({"filters": 65, "kernel_size": 3, "padding": "same"}, (8, 8, 64), True),
        ({"filters": 64, "kernel_size": 3, "strides": 2}, (6, 6, 64), False),
        ({"filters": 64, "kernel_size": 3, "dilation_rate": 2}, (6, 6, 64), False),
        ({"filters": 64, "kernel_size": 3, "groups": 2}, (6, 6, 64), False),
        ({"filters": 64, "kernel_size": 3}, (None, 6, 64), False),
        ({"filters": 64, "kernel_size": 7}, (8, 8, 1), False),  # products of one row
        ({"filters": 16, "kernel_size": 3}, (4, 4, 16), True),
        ({"filters": 15, "kernel_size": 3}, (4, 4, 64), False),
        ({"filters": 64, "kernel_size": 3, "dtype": "float32"}, (6, 6, 64), False),
        ({"filters": 64, "kernel_size": 3, "dtype": "mixed_float16"}, (6, 6, 64), False),
    ],
)
def test_it_is_used_in_bfloat16_where_there_are_more_channels_than_pixels(
    fields: dict[str, Any], image: Sequence[int | None], faster: bool
) -> None:
    layer = keras.layers.Conv2D(**{"dtype": "mixed_bfloat16", **fields})
    assert has_faster_gradient(layer, keras.KerasTensor((None, *image))) is faster


def test_other_convolutions_and_a_gpu_keep_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    images = keras.KerasTensor((None, 6, 6, 64))
    for kind in (keras.layers.Conv2DTranspose, keras.layers.SeparableConv2D):
        assert not has_faster_gradient(kind(64, 3, dtype="mixed_bfloat16"), images)
    layer = keras.layers.Conv2D(64, 3, dtype="mixed_bfloat16")
    assert has_faster_gradient(layer, images)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a card"])
    assert not has_faster_gradient(layer, images)


@pytest.mark.parametrize(("precision", "native"), [("mixed_bfloat16", 1), ("float32", 2)])
def test_the_network_computes_by_products_in_training_only(precision: str, native: int) -> None:
    """The second convolution, of 2×2 pixels and 16 channels; it comes before max pooling, so its ReLU is moved too."""
    experiment = load(QUICKSTART, [f"train.precision={precision}", "model.style=functional", f"model.layers={NETWORK}"])
    model, nodes = build_model(experiment), experiment.network.nodes

    def gradients(images: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(fused_outputs(model, nodes, images, training=True))
        return tape.gradient(loss, model.trainable_variables)

    graph = tf.function(gradients).get_concrete_function(tf.TensorSpec((None, 8, 8, 1), tf.float32)).graph
    assert [op.type for op in graph.get_operations()].count("Conv2DBackpropFilter") == native
    assert all("convolution_op" not in vars(layer) for layer in layers_of(model, nodes).values())


SHARED = (
    "[{conv2d: {filters: 16, kernel_size: 3, padding: same, kernel_regularizer: {l2: {l2: 0.1}}, name: first}}, max_pooling2d, max_pooling2d, "
    "{conv2d: {filters: 16, kernel_size: 2, padding: same, activity_regularizer: {l2: {l2: 0.1}}, name: twice}}, {batch_normalization: {}}, "
    "{use: {layer: twice, name: again}}, flatten, {dense: {units: classes}}]"
)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_layer_that_is_used_twice_and_regularized_has_keras_s_gradients(parts: int) -> None:
    """In bfloat16, as near to float32 as Keras's."""
    images = tf.constant(np.random.default_rng(0).normal(size=(16, 8, 8, 1)), tf.float32)
    labels = tf.one_hot(tf.range(16) % 10, 10)
    found = {}
    for way, precision in (("exact", "float32"), ("keras", "mixed_bfloat16"), ("products", "mixed_bfloat16")):
        layers = (
            SHARED if parts == 1 else SHARED.replace("activity_regularizer: {l2: {l2: 0.1}}, ", "")
        )  # of whole batches only
        overrides = [f"train.precision={precision}", "model.style=functional", f"model.layers={layers}"]
        experiment = load(QUICKSTART, overrides)
        model, nodes = build_model(experiment), experiment.network.nodes
        called = FastNetwork(model, nodes, parts) if way == "products" else model
        with tf.GradientTape() as tape:
            outputs = tf.nn.log_softmax(tf.cast(called(images, training=True), tf.float32))
            loss = -tf.reduce_sum(outputs * labels) + sum(tf.cast(each, tf.float32) for each in model.losses)
        gradients = tape.gradient(loss, model.trainable_variables)
        found[way] = np.concatenate([np.ravel(tf.cast(each, tf.float32)) for each in gradients])
        assert all("convolution_op" not in vars(layer) for layer in layers_of(model, nodes).values())
    off = {way: np.linalg.norm(each - found["exact"]) / np.linalg.norm(found["exact"]) for way, each in found.items()}
    assert 0 < off["products"] < 1.5 * off["keras"] < 0.2


def test_a_layer_is_its_own_again_after_an_error() -> None:
    layer = keras.layers.Conv2D(16, 2, dtype="mixed_bfloat16")
    with pytest.raises(ZeroDivisionError), by_products(layer):
        raise ZeroDivisionError
    assert "convolution_op" not in vars(layer)
