"""Gradients of the tape against numerical ones: what agrees, what does not, and what a kink hides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from cnnctl.model import build_model
from cnnctl.spec.document import parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check
from cnnctl.train.steps import total_loss
from cnnctl.verify.agreement import variables_of
from cnnctl.verify.gradients import (
    FLOOR,
    MAX_TRIED,
    SAMPLED,
    GradientRow,
    compare_gradients,
    numerical_derivative,
    relative_error,
)

EVERYTHING = """
- conv2d: {filters: 4, kernel_size: 3, activation: relu, kernel_regularizer: {l2: {l2: 0.01}}}
- batch_normalization: {momentum: 0.9}
- max_pooling2d
- conv2d: {filters: 4, kernel_size: 2, activation: gelu, activity_regularizer: {l1: {l1: 0.01}}}
- flatten
- dropout: {rate: 0.5}
- dense: {units: classes}
"""


def experiment(layers: str = EVERYTHING, model: str = "", data: str = "", train: str = "") -> Experiment:
    listed = "\n".join(f"    {line}" for line in layers.strip().splitlines())
    text = f"seed: 3\ndata: {{source: digits{data}}}\nmodel:\n  style: functional\n{model}  layers:\n{listed}\n{train}"
    return check(parse(text, "x.yaml"))


def rows_of(spec: Experiment, shape: tuple[int, ...] = (8, 8, 1)) -> list[GradientRow]:
    """Compare gradients for random images, at weights moved from their start as by a training."""
    generator = np.random.default_rng(5)
    images = generator.random((8, *shape)).astype(np.float32)
    labels: Any = generator.integers(0, 10, 8)
    if spec.data.labels == "one_hot":
        labels = np.eye(10, dtype=np.float32)[labels]
    start = variables_of(build_model(spec))
    moved = {name: values + 0.05 * generator.normal(size=values.shape) for name, values in start.items()}
    return compare_gradients(spec, moved, tf.constant(images), tf.constant(labels))


def test_every_trained_variable_of_a_stack_with_dropout_and_batch_norm_agrees() -> None:
    rows = rows_of(experiment())
    assert [(row.layer, row.variable) for row in rows] == [
        ("conv2d", "kernel"), ("conv2d", "bias"), ("batch_normalization", "gamma"), ("batch_normalization", "beta"),
        ("conv2d_1", "kernel"), ("conv2d_1", "bias"), ("dense", "kernel"), ("dense", "bias"),
    ]  # fmt: skip
    assert [row.sampled for row in rows] == [min(row.weights, SAMPLED) for row in rows]
    assert all(row.agrees for row in rows)
    assert max(row.largest_error for row in rows) < 1e-6
    assert min(row.largest_gradient for row in rows) > 1e-4


def test_a_network_that_takes_channels_first_agrees() -> None:
    layers = "- conv2d: {filters: 3, kernel_size: 3, activation: tanh}\n- max_pooling2d\n- flatten\n- dense: {units: classes}"
    rows = rows_of(experiment(layers, model="  data_format: channels_first\n"), shape=(1, 8, 8))
    assert [row.sampled for row in rows] == [5, 3, 5, 5]
    assert all(row.agrees for row in rows)


def test_the_loss_is_the_configs_own() -> None:
    softmax = EVERYTHING.replace("units: classes", "units: classes, activation: softmax")
    smoothed = "train: {loss: {categorical_crossentropy: {label_smoothing: 0.2}}}"
    plain = rows_of(experiment(softmax, data=", labels: one_hot"))
    smooth = rows_of(experiment(softmax, data=", labels: one_hot", train=smoothed))
    assert all(row.agrees for row in [*plain, *smooth])
    assert plain[-1].largest_gradient != pytest.approx(smooth[-1].largest_gradient, rel=1e-3)


def test_regularization_is_part_of_what_is_differentiated() -> None:
    layers = "- flatten\n- dense: {units: classes, kernel_regularizer: {l2: {l2: 100.0}}}"
    kernel = rows_of(experiment(layers))[0]
    assert kernel.agrees
    assert kernel.largest_gradient > 10


def test_a_gradient_that_is_wrong_by_a_thousandth_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_wrong_gradient(*arguments: Any) -> Any:
        def pass_on(loss: Any) -> tuple[Any, Any]:
            return tf.identity(loss), lambda upstream: 1.001 * upstream

        return tf.custom_gradient(pass_on)(total_loss(*arguments))

    monkeypatch.setattr("cnnctl.verify.gradients.total_loss", with_wrong_gradient)
    rows = rows_of(experiment())
    assert not any(row.agrees for row in rows if row.largest_gradient > FLOOR)


def test_weights_at_a_kink_are_counted_and_left_out() -> None:
    """All weights of the first layer are zero, so relu has its kink just there, for each of its biases."""
    layers = """
- conv2d: {filters: 4, kernel_size: 3, activation: relu, kernel_initializer: zeros}
- flatten
- dense: {units: classes}
"""
    spec = experiment(layers)
    images, labels = tf.constant(np.zeros((8, 8, 8, 1), np.float32)), tf.constant(np.arange(8))
    rows = compare_gradients(spec, variables_of(build_model(spec)), images, labels)
    bias = rows[1]
    assert (bias.layer, bias.variable, bias.sampled, bias.kinks) == ("conv2d", "bias", 0, 4)
    assert all(row.agrees for row in rows)


def test_the_derivatives_are_those_at_the_weights_given() -> None:
    """At weights of zero every class has probability 0.1, so by a bias the loss grows as 0.1 - the share of its class."""
    spec = experiment("- flatten\n- dense: {units: classes}")
    weights = {name: np.zeros_like(values) for name, values in variables_of(build_model(spec)).items()}
    bias = compare_gradients(spec, weights, tf.constant(np.ones((8, 8, 8, 1), np.float32)), tf.constant([4] * 8))[1]
    assert bias.agrees
    assert bias.largest_gradient in (pytest.approx(0.1), pytest.approx(0.9))


def test_the_same_weights_are_sampled_each_time() -> None:
    assert rows_of(experiment()) == rows_of(experiment())


@pytest.mark.parametrize(
    ("function", "point", "derivative"),
    [
        (lambda x: x**3, 2.0, 12.0),
        (math.sin, 0.5, math.cos(0.5)),
        (lambda x: 5.0, 1.0, 0.0),
        (lambda x: abs(x - 3e-5), 0.0, -1.0),  # a kink within the first step, not within the second
        (lambda x: abs(x - 3e-6), 0.0, -1.0),  # within the first two
        (lambda x: abs(x - 1e-4 / 3), 0.0, -1.0),  # where the bends over h and h/2 are in their ratio by chance
        (lambda x: 1000 + x, 1e3, 1.0),
    ],
)
def test_a_numerical_derivative_is_the_derivative(function: Any, point: float, derivative: float) -> None:
    assert numerical_derivative(function, point) == pytest.approx(derivative, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kink", [0.0, 1e-8, -1e-8, 1e-7 / 3])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_at_a_kink_there_is_no_numerical_derivative(kink: float, size: float) -> None:
    assert numerical_derivative(lambda x: size * abs(x - kink) + math.sin(x), 0.0) is None


def test_a_relative_error_is_of_the_larger_number_or_the_floor() -> None:
    assert relative_error(1.0, 2.0, 0.1) == 0.5
    assert relative_error(-1.0, 1.0, 0.1) == 2.0
    assert relative_error(0.0, 1e-9, 1e-3) == pytest.approx(1e-6)


def test_no_more_weights_are_tried_than_there_are() -> None:
    assert MAX_TRIED > 10  # the bias of the last layer has so many
    assert rows_of(experiment("- flatten\n- dense: {units: classes}"))[-1].sampled == SAMPLED
