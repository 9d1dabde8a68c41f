"""A network in parts computes what the whole computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.build import build_model
from cnnctl.build.parts import ByParts, in_parts
from cnnctl.spec.load import load

QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"
STACK = (
    "model.layers=[{conv2d: {filters: 5, kernel_size: 3, activation: relu, kernel_regularizer: l2}}, max_pooling2d, "
    "flatten, {dense: {units: classes}}]"
)


def network(style: str = "sequential") -> keras.Model:
    return build_model(load(QUICKSTART, [f"model.style={style}", STACK]))


def gradients(model: keras.Model, images: Any, labels: Any) -> list[Any]:
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        loss = loss_function(labels, model(images, training=True)) + sum(model.losses)
    return [loss.numpy(), *(each.numpy() for each in tape.gradient(loss, model.trainable_variables))]


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
@pytest.mark.parametrize(("parts", "count"), [(2, 64), (2, 7), (3, 10), (4, 3), (2, 1)])
def test_outputs_loss_and_gradients_are_those_of_the_whole(style: str, parts: int, count: int) -> None:
    whole = network(style)
    images = np.random.default_rng(0).random((count, 8, 8, 1), np.float32)
    labels = np.arange(count) % 10
    split = ByParts(whole, parts)
    np.testing.assert_allclose(split(images), whole(images), rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(gradients(split, images, labels), gradients(whole, images, labels), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_variables_are_the_network_s_own_in_its_order() -> None:
    whole = network()
    split = ByParts(whole, 2)
    assert [id(each) for each in split.variables] == [id(each) for each in whole.variables]
    assert [id(each) for each in split.trainable_variables] == [id(each) for each in whole.trainable_variables]


def test_one_part_is_the_network_itself() -> None:
    whole = network()
    assert in_parts(load(QUICKSTART), whole) is whole
    assert isinstance(in_parts(load(QUICKSTART, ["train.batch_parts=2"]), whole), ByParts)


def test_each_part_is_dropped_by_itself() -> None:
    experiment = load(QUICKSTART, ["model.layers=[flatten, {dropout: {rate: 0.5}}, {dense: {units: classes}}]"])
    split = ByParts(build_model(experiment), 2)
    outputs = split(np.ones((8, 8, 8, 1), np.float32), training=True).numpy()
    assert len({row.tobytes() for row in outputs}) == 8
