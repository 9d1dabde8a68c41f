"""The arithmetic of few-shot learners: against NumPy, and MAML's second-order gradient against differences."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.few_shot.methods import (
    adapt,
    cross_entropy,
    episode_labels,
    maml_logits,
    prototype_logits,
    squared_distances,
    stateless,
)
from cnnctl.model.keras_layers import TwiceDifferentiableBatchNormalization

WAY, SHOT, QUERY, WIDTH = 3, 2, 4, 5


def embeddings(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_squared_euclid_logits_are_minus_the_distances_to_the_means() -> None:
    support, queries = embeddings(2, WAY, SHOT, WIDTH), embeddings(2, WAY * QUERY, WIDTH)
    means = support.mean(axis=2)
    expected = -((queries[:, :, None] - means[:, None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(prototype_logits(support, queries, "squared_euclid"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("common", [0.0, 30.0])
def test_squared_distances_of_long_vectors_are_exact(common: float) -> None:
    """Vectors of 8,000 values that have much in common, against float64; what is left is the rounding of the result."""
    generator = np.random.default_rng(8)
    first, second = ((common + generator.normal(size=(1, count, 8_000))).astype(np.float32) for count in (6, 5))
    wide = [each.astype(np.float64)[0] for each in (first, second)]
    expected = ((wide[0][:, None] - wide[1]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(squared_distances(first, second)[0], expected, rtol=1e-7)
    near = first + generator.normal(scale=1e-3, size=first.shape).astype(np.float32)
    differences = np.diagonal(((near.astype(np.float64)[0][:, None] - wide[0]) ** 2).sum(axis=-1))
    np.testing.assert_allclose(np.diagonal(squared_distances(near, first)[0]), differences, rtol=1e-5)


def test_cosine_logits_are_ten_times_the_cosines_with_the_means() -> None:
    support, queries = embeddings(1, WAY, SHOT, WIDTH), embeddings(1, WAY * QUERY, WIDTH)
    means = support.mean(axis=2)[0]
    lengths = np.linalg.norm(queries[0], axis=-1)[:, None] * np.linalg.norm(means, axis=-1)
    expected = 10 * (queries[0] @ means.T) / lengths
    np.testing.assert_allclose(prototype_logits(support, queries, "cosine")[0], expected, rtol=1e-4, atol=1e-5)


def test_labels_follow_the_classes() -> None:
    assert episode_labels(3, 2).numpy().tolist() == [0, 0, 1, 1, 2, 2]


@pytest.fixture
def network() -> keras.Model:
    """A smooth network in float64, with batch norm."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, activation="tanh"),
            TwiceDifferentiableBatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(WAY),
        ]
    )


@pytest.fixture(autouse=True)
def _in_float64() -> Any:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def episode() -> tuple[Any, Any]:
    generator = np.random.default_rng(3)
    return generator.random((WAY, SHOT, 4, 4, 1)), generator.random((WAY, QUERY, 4, 4, 1))


def flat(images: Any) -> Any:
    return tf.reshape(images, (-1, 4, 4, 1))


def outer_loss(network: keras.Model, weights: list[Any], first_order: bool, steps: int = 2) -> Any:
    support, queries = episode()
    labels = episode_labels(WAY, SHOT)
    fast = adapt(network, weights, flat(support), labels, steps=steps, rate=0.3, first_order=first_order)
    logits = tf.cast(stateless(network, fast, flat(queries)), tf.float64)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(episode_labels(WAY, QUERY), logits))


def gradients(network: keras.Model, first_order: bool) -> list[NDArray[np.float64]]:
    weights = [tf.convert_to_tensor(variable) for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = outer_loss(network, weights, first_order)
    return [gradient.numpy() for gradient in tape.gradient(loss, weights)]


def differences(network: keras.Model, step: float = 1e-5) -> list[NDArray[np.float64]]:
    """Compute central differences of the outer loss by every weight of the network."""
    start = [variable.numpy() for variable in network.trainable_variables]
    found = []
    for index, value in enumerate(start):
        gradient = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            sides = []
            for sign in (1, -1):
                moved = [each.copy() for each in start]
                moved[index][place] += sign * step
                sides.append(float(outer_loss(network, [tf.constant(each) for each in moved], False)))
            gradient[place] = (sides[0] - sides[1]) / (2 * step)
        found.append(gradient)
    return found


def test_the_second_order_gradient_is_that_of_differences(network: keras.Model) -> None:
    for found, expected in zip(gradients(network, first_order=False), differences(network), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_first_order_gradient_is_another(network: keras.Model) -> None:
    pairs = zip(gradients(network, first_order=True), gradients(network, first_order=False), strict=True)
    assert max(np.abs(first - second).max() for first, second in pairs) > 1e-3


def test_one_inner_step_is_one_step_of_gradient_descent(network: keras.Model) -> None:
    support, _ = episode()
    weights = [tf.convert_to_tensor(variable) for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = cross_entropy(stateless(network, weights, flat(support)), episode_labels(WAY, SHOT))
    expected = [weight - 0.3 * gradient for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True)]
    fast = adapt(network, weights, flat(support), episode_labels(WAY, SHOT), steps=1, rate=0.3, first_order=False)
    for found, wanted in zip(fast, expected, strict=True):
        np.testing.assert_allclose(found, wanted)


def test_adapting_changes_no_state_of_the_network(network: keras.Model) -> None:
    before = [variable.numpy() for variable in network.variables]
    weights = [tf.convert_to_tensor(variable) for variable in network.trainable_variables]
    logits = maml_logits(network, weights, *episode(), steps=3, rate=0.3, first_order=False)
    assert logits.shape == (WAY * QUERY, WAY)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_keras_own_batch_norm_gives_wrong_second_derivatives(network: keras.Model) -> None:
    """Why `TwiceDifferentiableBatchNormalization` is there; when this fails, Keras has fixed it and ours can go."""
    plain = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(WAY),
        ]
    )
    plain.set_weights(network.get_weights())
    pairs = zip(gradients(plain, first_order=False), differences(plain), strict=True)
    assert max(np.abs(found - expected).max() for found, expected in pairs) > 1e-3
    pairs = zip(gradients(plain, first_order=True), gradients(network, first_order=True), strict=True)
    assert max(np.abs(one - other).max() for one, other in pairs) < 1e-10
