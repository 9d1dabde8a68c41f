"""1×1 convolutions with strides: gradients by independent arithmetic, which oneDNN's own are not for all shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.model import build_model
from cnnctl.model.keras_layers import keras_layers
from cnnctl.model.strided_pixels import with_strides_first
from cnnctl.spec.load import load

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
Array = NDArray[np.float64]


def of_config(filters: int, strides: tuple[int, int], data_format: str) -> keras.Layer:
    """Returns the layer that cnnctl builds of a config."""
    fields = {"filters": filters, "kernel_size": 1, "strides": strides, "use_bias": False}
    stack = [{"conv2d": {**fields, "strides": 1}}, {"conv2d": fields}, "flatten", {"dense": {"units": "classes"}}]
    network = load(QUICKSTART, [f"model.layers={json.dumps(stack)}", f"model.data_format={data_format}"]).network
    return list(keras_layers(network.nodes, 0, network.context, "float32").values())[1]


def gradients(layer: keras.Layer, images: Array, arriving: Array, first: bool) -> tuple[Array, Array]:
    """Returns a layer's gradients by its images and by its kernel, with images (B, H, W, C) whatever its format."""
    turned = images.transpose(0, 3, 1, 2) if first else images
    given = tf.constant(turned, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(given)
        outputs = layer(given)
        outputs = tf.transpose(outputs, (0, 2, 3, 1)) if first else outputs
        loss = tf.reduce_sum(outputs * tf.constant(arriving, tf.float32))
    by_images, by_kernel = (np.asarray(each) for each in tape.gradient(loss, [given, layer.kernel]))
    return by_images.transpose(0, 2, 3, 1) if first else by_images, by_kernel


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(("pixels", "strides"), [(8, (2, 2)), (7, (2, 2)), (9, (3, 3)), (8, (1, 2)), (8, (3, 2))])
@pytest.mark.parametrize(("channels", "filters"), [(1, 4), (3, 4), (4, 5), (5, 8), (8, 8), (16, 32)])
def test_gradients_are_sums_over_the_pixels_that_are_read(
    channels: int, filters: int, pixels: int, strides: tuple[int, int], first: bool
) -> None:
    draw = np.random.default_rng(0)
    images = draw.normal(size=(3, pixels, pixels, channels))
    layer = of_config(filters, strides, "channels_first" if first else "channels_last")
    read = images[:, :: strides[0], :: strides[1]]
    arriving = draw.normal(size=(*read.shape[:3], filters))
    by_images, by_kernel = gradients(layer, images, arriving, first)
    np.testing.assert_allclose(by_kernel[0, 0], np.einsum("bhwc,bhwf->cf", read, arriving), rtol=1e-3, atol=1e-3)
    expected = np.zeros_like(images)
    expected[:, :: strides[0], :: strides[1]] = arriving @ np.asarray(layer.kernel)[0, 0].T
    np.testing.assert_allclose(by_images, expected, rtol=1e-3, atol=1e-3)


def test_values_and_shapes_are_those_of_keras() -> None:
    images = tf.constant(np.random.default_rng(0).normal(size=(2, 8, 8, 6)), tf.float32)
    keras.utils.set_random_seed(0)
    theirs = keras.layers.Conv2D(4, 1, strides=(3, 2), groups=2)
    expected = theirs(images)
    assert with_strides_first(theirs) is theirs
    np.testing.assert_allclose(theirs(images), expected, rtol=1e-5, atol=1e-6)
    assert theirs.compute_output_shape(images.shape) == expected.shape


@pytest.mark.parametrize(
    "arguments", [{"kernel_size": 1}, {"kernel_size": 2, "strides": 3}, {"kernel_size": (1, 2), "strides": 2}]
)
def test_other_convolutions_stay_as_they_are(arguments: dict[str, Any]) -> None:
    layer = with_strides_first(keras.layers.Conv2D(4, **arguments))
    assert "convolution_op" not in vars(layer)


END = "flatten, {dense: {units: classes}}]"
BLOCK = "{thin: {parameters: {strides: 1}, layers: [{conv2d: {filters: 8, kernel_size: 1, strides: $strides}}]}}"
STACKS = {
    "layer": [f"model.layers=[{{conv2d: {{filters: 8, kernel_size: 1, strides: 2}}}}, {END}"],
    "block": [f"model.blocks={BLOCK}", f"model.layers=[{{thin: {{strides: 2}}}}, {END}"],
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_every_style_has_the_gradient(style: str, stack: str) -> None:
    """With one channel of 8×8 pixels, where Keras's layer is wrong on some processors."""
    model = build_model(load(QUICKSTART, [f"model.style={style}", *STACKS[stack]]))
    draw = np.random.default_rng(0)
    images, weights = draw.normal(size=(3, 8, 8, 1)), [np.asarray(each, np.float64) for each in model.get_weights()]
    arriving = draw.normal(size=(3, 10))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(tf.constant(images, tf.float32), training=True) * tf.constant(arriving, tf.float32))
    found = np.asarray(tape.gradient(loss, model.trainable_variables[0]))
    dense = next(each for each in weights if each.shape == (4 * 4 * 8, 10))
    expected = np.einsum("bhw,bhwf->f", images[:, ::2, ::2, 0], (arriving @ dense.T).reshape(3, 4, 4, 8))
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kernel", [(1, 1), (1, 2)])
@pytest.mark.parametrize(("channels", "filters"), [(1, 4), (3, 4), (5, 8), (8, 8)])
def test_the_transposed_ones_that_are_not_refused_are_right(channels: int, filters: int, kernel: tuple[int, int]) -> None:
    """An output with nothing behind the last pixel, and a kernel that is one pixel high only."""
    strides, padding = (2, 3), 0 if kernel == (1, 1) else None
    layer = keras.layers.Conv2DTranspose(filters, kernel, strides=strides, output_padding=padding, use_bias=False)
    draw = np.random.default_rng(0)
    images = draw.normal(size=(3, 4, 4, channels))
    arriving = draw.normal(size=layer.compute_output_shape(images.shape))
    found = gradients(layer, images, arriving, False)[1]
    for row, column in np.ndindex(kernel):
        read = arriving[:, row :: strides[0], column :: strides[1]][:, :4, :4]
        np.testing.assert_allclose(found[row, column], np.einsum("bhwf,bhwc->fc", read, images), rtol=1e-3, atol=1e-3)
