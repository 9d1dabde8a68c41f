"""A network in parts computes what the whole computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnnctl.model import build_model
from cnnctl.model.fast_network import FastNetwork, fast_network
from cnnctl.spec.load import load

QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"
STACK = (
    "model.layers=[{conv2d: {filters: 5, kernel_size: 3, activation: relu, kernel_regularizer: l2}}, max_pooling2d, "
    "flatten, {dense: {units: classes}}]"
)


def split_and_whole(parts: int, style: str = "sequential", stack: str = STACK) -> tuple[FastNetwork, keras.Model]:
    experiment = load(QUICKSTART, [f"model.style={style}", stack, f"train.batch_parts={parts}", "train.precision=float32"])
    whole = build_model(experiment)
    split = fast_network(whole, experiment.network.nodes, "float32", parts)
    assert isinstance(split, FastNetwork)
    return split, whole


def gradients(model: keras.Model, images: Any, labels: Any) -> list[Any]:
    loss_function = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        loss = loss_function(labels, model(images, training=True)) + sum(model.losses)
    return [loss.numpy(), *(each.numpy() for each in tape.gradient(loss, model.trainable_variables))]


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
@pytest.mark.parametrize(("parts", "count"), [(2, 64), (2, 7), (3, 10), (4, 3), (2, 1)])
def test_outputs_loss_and_gradients_are_those_of_the_whole(style: str, parts: int, count: int) -> None:
    split, whole = split_and_whole(parts, style)
    images = np.random.default_rng(0).random((count, 8, 8, 1), np.float32)
    labels = np.arange(count) % 10
    np.testing.assert_allclose(split(images), whole(images), rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(gradients(split, images, labels), gradients(whole, images, labels), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_variables_are_the_network_s_own_in_its_order() -> None:
    split, whole = split_and_whole(2)
    assert [id(each) for each in split.variables] == [id(each) for each in whole.variables]
    assert [id(each) for each in split.trainable_variables] == [id(each) for each in whole.trainable_variables]


def test_plain_float32_is_the_network_itself() -> None:
    experiment = load(QUICKSTART)
    whole = build_model(experiment)
    assert fast_network(whole, experiment.network.nodes, "float32", 1) is whole
    for precision, parts in [("mixed_bfloat16", 1), ("mixed_float16", 1), ("float32", 2)]:
        assert isinstance(fast_network(whole, experiment.network.nodes, precision, parts), FastNetwork)


def test_each_part_is_dropped_by_itself() -> None:
    split, _ = split_and_whole(2, stack="model.layers=[flatten, {dropout: {rate: 0.5}}, {dense: {units: classes}}]")
    outputs = split(np.ones((8, 8, 8, 1), np.float32), training=True).numpy()
    assert len({row.tobytes() for row in outputs}) == 8
