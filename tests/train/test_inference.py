"""What a network says of images, against numbers computed another way."""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.train.inference import evaluate_batches, grad_cam, outputs_of, saliency
from cnnctl.train.steps import Metrics

SHAPE = (5, 4, 2)
CLASSES = 3


def network(activation: str | None, channels_first: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    data_format = "channels_first" if channels_first else "channels_last"
    shape = (SHAPE[2], *SHAPE[:2]) if channels_first else SHAPE
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(3, 2, activation="tanh", data_format=data_format),
            layers.BatchNormalization(axis=1 if channels_first else -1),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(CLASSES, activation=activation, kernel_regularizer="l2"),
        ]
    )


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, *SHAPE), np.float32)


def test_the_saliency_of_a_linear_network_is_its_weights() -> None:
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    labels = np.array([2, 0])
    weights = np.abs(model.layers[-1].kernel.numpy()).reshape(*SHAPE, CLASSES)
    maps = saliency(model, images(2), labels, from_logits=True, channel_axis=3)
    np.testing.assert_allclose(maps, [weights[..., label].max(axis=-1) for label in labels])


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_saliency_is_what_small_changes_of_a_pixel_do_to_the_score(activation: str | None) -> None:
    model, batch, labels = network(activation), images(3), np.array([1, 0, 2])

    def score(changed: np.ndarray, index: int) -> float:
        output = float(model(changed[np.newaxis], training=False)[0, labels[index]])
        return output if activation is None else float(np.log(output))

    maps = saliency(model, batch, labels, from_logits=activation is None, channel_axis=3)
    assert maps.shape == (3, *SHAPE[:2])
    for index, (row, column) in enumerate([(0, 0), (2, 3), (4, 1)]):
        slopes = []
        for channel in range(SHAPE[2]):
            above, below = batch[index].copy(), batch[index].copy()
            above[row, column, channel] += 0.01
            below[row, column, channel] -= 0.01
            slopes.append(abs(score(above, index) - score(below, index)) / 0.02)
        assert maps[index, row, column] == pytest.approx(max(slopes), rel=0.02, abs=1e-4)


def test_the_saliency_does_not_depend_on_where_the_channels_are() -> None:
    last, first, labels = network(None), network(None, channels_first=True), np.array([1, 2])
    first.layers[0].set_weights(last.layers[0].get_weights())
    kernel = last.layers[-1].kernel.numpy().reshape(4, 3, 3, CLASSES)  # rows, columns, maps
    first.layers[-1].kernel.assign(kernel.transpose(2, 0, 1, 3).reshape(-1, CLASSES))
    expected = saliency(last, images(2), labels, from_logits=True, channel_axis=3)
    found = saliency(first, images(2).transpose(0, 3, 1, 2), labels, from_logits=True, channel_axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Grad-CAM


def wiring(model: keras.Model) -> dict[str, list[str]]:
    names = ["input", *(layer.name for layer in model.layers)]
    return {name: [before] for before, name in pairwise(names)}


def cam(model: keras.Model, batch: np.ndarray, labels: np.ndarray, from_logits: bool) -> np.ndarray:
    return grad_cam(
        {layer.name: layer for layer in model.layers}, wiring(model), model.layers[0].name, batch, labels, from_logits
    )


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_grad_cam_is_equations_1_and_2_in_numpy(activation: str | None) -> None:
    model, batch, labels = network(activation), images(3), np.array([1, 0, 2])
    norm, dense = model.layers[1], model.layers[-1]
    draws = np.random.default_rng(2)
    norm.set_weights([draws.random(3) + 0.5 for _ in range(4)])
    maps = np.asarray(model.layers[0](batch), np.float64)  # (B, h, w, K)
    gamma, _, _, variance = (np.asarray(each, np.float64) for each in norm.get_weights())
    kernel = dense.kernel.numpy().astype(np.float64).reshape(*maps.shape[1:], CLASSES)
    by_class = (
        gamma[:, np.newaxis] / np.sqrt(variance + norm.epsilon)[:, np.newaxis] * kernel
    )  # of every logit, (h, w, K, classes)
    probabilities = np.asarray(model(batch, training=False), np.float64)
    expected = np.zeros(maps.shape[:3])
    for index, label in enumerate(labels):
        gradient = by_class[..., label]
        if activation == "softmax":  # of the logarithm of the probability
            gradient = gradient - by_class @ probabilities[index]
        alpha = gradient.mean(axis=(0, 1))  # equation 1
        expected[index] = np.maximum((alpha * maps[index]).sum(axis=-1), 0)  # equation 2
    assert 0.1 < np.mean(expected > 0) < 0.9  # the ReLU has something to do
    np.testing.assert_allclose(cam(model, batch, labels, activation is None), expected, rtol=1e-4, atol=1e-6)


def test_grad_cam_does_not_depend_on_where_the_channels_are() -> None:
    last, first, labels = network(None), network(None, channels_first=True), np.array([1, 2])
    first.layers[0].set_weights(last.layers[0].get_weights())
    kernel = last.layers[-1].kernel.numpy().reshape(4, 3, 3, CLASSES)  # rows, columns, maps
    first.layers[-1].kernel.assign(kernel.transpose(2, 0, 1, 3).reshape(-1, CLASSES))
    found = cam(first, images(2).transpose(0, 3, 1, 2), labels, from_logits=True)
    assert found.shape == (2, 4, 3)
    np.testing.assert_allclose(found, cam(last, images(2), labels, from_logits=True), rtol=1e-4, atol=1e-6)


def test_grad_cam_of_an_image_does_not_depend_on_the_others_of_its_batch() -> None:
    model, batch, labels = network(None), images(3), np.array([1, 0, 2])
    alone = [cam(model, batch[index : index + 1], labels[index : index + 1], from_logits=True)[0] for index in range(3)]
    np.testing.assert_allclose(cam(model, batch, labels, from_logits=True), alone, rtol=1e-4, atol=1e-6)


def test_loss_and_accuracy_are_means_over_the_images_whatever_the_batches() -> None:
    model, batch, labels = network(None), images(7), np.array([0, 1, 2, 0, 1, 2, 0])
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = Metrics(keras.metrics.Mean(), keras.metrics.SparseCategoricalAccuracy())
    judged = evaluate_batches(model, loss_function, metrics, tf.data.Dataset.from_tensor_slices((batch, labels)).batch(3))
    outputs = np.asarray(model(batch, training=False))
    regularization = 0.01 * float(np.square(model.layers[-1].kernel.numpy()).sum())
    np.testing.assert_allclose(judged.outputs, outputs, rtol=1e-5, atol=1e-6)
    assert judged.loss == pytest.approx(float(loss_function(labels, outputs)) + regularization, rel=1e-5)
    assert judged.accuracy == pytest.approx(np.mean(outputs.argmax(axis=1) == labels))


def test_outputs_are_computed_by_one_compiled_function_for_batches_of_any_size() -> None:
    traced = 0

    class Counted(keras.Model):
        def call(self, inputs: object, training: bool = False) -> object:
            nonlocal traced
            traced += 1
            return tf.reduce_mean(inputs, axis=(1, 2))

    given = images(5)
    outputs = outputs_of(Counted(), tf.data.Dataset.from_tensor_slices((given, np.arange(5))).batch(2))  # 2, 2 and 1
    np.testing.assert_allclose(outputs, given.mean(axis=(1, 2)), rtol=1e-6)
    assert traced == 1
