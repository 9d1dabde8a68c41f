"""One step of training and of evaluation, against arithmetic done here in numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.errors import UsageError
from cnnctl.model import build_model
from cnnctl.model.keras_optimizers import build_loss, build_optimizer
from cnnctl.session.state import Session
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss
from cnnctl.train import records
from cnnctl.train.learner import Learner
from cnnctl.train.loops import LOOPS
from cnnctl.train.observers import EpochRecord, Observer, Plan, StepsRecord
from cnnctl.train.steps import build_metrics, evaluate_step, train_step
from tests.interruptions import prepared, run_loop

Array = NDArray[np.float64]
GENERATOR = np.random.default_rng(11)
IMAGES = GENERATOR.random((5, 4, 4, 1), np.float32)
LABELS = np.array([0, 2, 1, 2, 0])
L2 = 0.05

CONV: dict[str, Any] = {"conv2d": {"filters": 2, "kernel_size": 3, "kernel_regularizer": {"l2": {"l2": L2}}}}
NORM: dict[str, Any] = {"batch_normalization": {"momentum": 0.9, "epsilon": 0.01}}
NETWORK: list[Any] = [CONV, NORM, {"activation": {"activation": "relu"}}, "flatten", {"dense": {"units": "classes"}}]
DENSE: list[Any] = ["flatten", {"dense": {"units": "classes", "kernel_regularizer": {"l2": {"l2": L2}}}}]


def experiment(layers: list[Any], optimizer: Any = "sgd", **train: Any) -> Experiment:
    content = {
        "seed": 3,
        "data": {"source": "digits", "image_size": [4, 4], "channels": 1, "classes": 3, "test": 0.2},
        "model": {"layers": layers},
        "train": {"optimizer": optimizer, "batch_size": 4, **train},
    }
    return Experiment.model_validate(content)


def learner(spec: Experiment) -> Learner:
    loss = build_loss(chosen_loss(spec))
    optimizer = build_optimizer(spec.train.optimizer, 2, 1, spec.train.precision)
    made = Learner(build_model(spec), optimizer, loss, build_metrics(spec.data.labels))
    made.optimizer.build(made.model.trainable_variables)
    return made


def step(made: Learner, images: Any = IMAGES, labels: Any = LABELS) -> tuple[float, float]:
    """Makes one training step; returns the loss and the accuracy that it tells the metrics."""
    made.metrics.reset()
    train_step(made.model, made.optimizer, made.loss, made.metrics, tf.constant(images), tf.constant(labels))
    return made.metrics.values()


def evaluated(made: Learner) -> tuple[float, float]:
    made.metrics.reset()
    evaluate_step(made.model, made.loss, made.metrics, tf.constant(IMAGES), tf.constant(LABELS))
    return made.metrics.values()


def weights(made: Learner) -> list[Array]:
    return [variable.numpy().astype(np.float64) for variable in made.model.trainable_variables]


# The same arithmetic in numpy


def convolved(images: Array, kernel: Array, bias: Array) -> Array:
    """Returns the valid cross-correlation of (B, H, W, C) images with a (3, 3, C, F) kernel."""
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))  # (B, H-2, W-2, C, 3, 3)
    result: Array = np.einsum("bhwcij,ijcf->bhwf", patches, kernel) + bias
    return result


def normalized(values: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Array:
    return gamma * (values - mean) / np.sqrt(variance + 0.01) + beta


def logits(parameters: list[Array], statistics: tuple[Array, Array] | None = None) -> Array:
    """Returns the outputs of `NETWORK`; the batch's own mean and variance where no statistics are given."""
    kernel, bias, gamma, beta, dense, dense_bias = parameters
    maps = convolved(IMAGES.astype(np.float64), kernel, bias)
    mean, variance = statistics or (maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2)))
    active = np.maximum(normalized(maps, gamma, beta, mean, variance), 0)
    result: Array = active.reshape(len(active), -1) @ dense + dense_bias
    return result


def cross_entropies(outputs: Array, labels: NDArray[np.int64] = LABELS) -> Array:
    """Returns the loss of each image."""
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    result: Array = -np.log(probabilities[np.arange(len(labels)), labels])
    return result


def network_loss(parameters: list[Array]) -> float:
    return float(cross_entropies(logits(parameters)).mean() + L2 * (parameters[0] ** 2).sum())


def numerical_gradient(function: Callable[[list[Array]], float], parameters: list[Array]) -> list[Array]:
    """Returns the central differences of a function of several arrays."""
    gradient = [np.zeros_like(array) for array in parameters]
    for array, slope in zip(parameters, gradient, strict=True):
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + 1e-6
            above = function(parameters)
            array[index] = value - 1e-6
            slope[index] = (above - function(parameters)) / 2e-6
            array[index] = value
    return gradient


def dense_outputs(made: Learner) -> Array:
    kernel, bias = weights(made)
    outputs: Array = IMAGES.reshape(5, 16).astype(np.float64) @ kernel + bias
    return outputs


# train_step


def test_a_step_follows_the_numerical_gradient_of_the_whole_loss() -> None:
    made = learner(experiment(NETWORK, {"sgd": {"learning_rate": 0.5}}))
    before = weights(made)
    expected = numerical_gradient(network_loss, before)
    step(made)
    for old, new, slope in zip(before, weights(made), expected, strict=True):
        np.testing.assert_allclose((old - new) / 0.5, slope, rtol=1e-3, atol=2e-5)


def test_the_loss_of_a_step_is_that_before_it_with_regularization() -> None:
    made = learner(experiment(NETWORK))
    parameters = weights(made)
    loss, accuracy = step(made)
    assert loss == pytest.approx(network_loss(parameters), rel=1e-5)
    assert accuracy == pytest.approx((logits(parameters).argmax(axis=1) == LABELS).mean())


def test_the_gradient_of_a_dense_layer_is_the_textbook_formula_plus_weight_decay() -> None:
    made = learner(experiment(DENSE, {"sgd": {"learning_rate": 0.5}}))
    kernel, bias = weights(made)
    exponentials = np.exp(dense_outputs(made))
    errors = exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(3)[LABELS]
    step(made)
    new_kernel, new_bias = weights(made)
    decay = 2 * L2 * kernel
    np.testing.assert_allclose(new_kernel, kernel - 0.5 * (IMAGES.reshape(5, 16).T @ errors / 5 + decay), atol=1e-6)
    np.testing.assert_allclose(new_bias, bias - 0.5 * errors.mean(axis=0), atol=1e-6)


def test_a_step_moves_the_moving_statistics_towards_the_batch() -> None:
    made = learner(experiment(NETWORK))
    kernel, bias, *_ = weights(made)
    maps = convolved(IMAGES.astype(np.float64), kernel, bias)
    step(made)
    norm = made.model.layers[1]
    np.testing.assert_allclose(norm.moving_mean.numpy(), 0.1 * maps.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0.9 + 0.1 * maps.var(axis=(0, 1, 2)), rtol=1e-4)


def test_dropout_acts_in_a_training_step() -> None:
    made = learner(experiment(["flatten", {"dropout": {"rate": 0.5}}, *DENSE[1:]], {"sgd": {"learning_rate": 1e-9}}))
    losses = [step(made)[0] for _ in range(4)]
    assert len(set(losses)) == 4


# evaluate_step


def test_evaluation_uses_the_moving_statistics_and_leaves_every_variable() -> None:
    made = learner(experiment(NETWORK))
    mean, variance = np.array([0.2, -0.1]), np.array([0.5, 2.0])
    made.model.layers[1].moving_mean.assign(mean)
    made.model.layers[1].moving_variance.assign(variance)
    before = [variable.numpy() for variable in made.model.variables]
    parameters = weights(made)
    outputs = logits(parameters, (mean, variance))
    loss, accuracy = evaluated(made)
    assert loss == pytest.approx(cross_entropies(outputs).mean() + L2 * (parameters[0] ** 2).sum(), rel=1e-5)
    assert accuracy == pytest.approx((outputs.argmax(axis=1) == LABELS).mean())
    for old, variable in zip(before, made.model.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_dropout_rests_in_evaluation() -> None:
    made = learner(experiment(["flatten", {"dropout": {"rate": 0.5}}, *DENSE[1:]]))
    kernel, _ = weights(made)
    expected = cross_entropies(dense_outputs(made)).mean() + L2 * (kernel**2).sum()
    assert [evaluated(made)[0] for _ in range(2)] == pytest.approx([expected, expected], rel=1e-5)


# The partial last batch


class Rows(Observer):
    def __init__(self) -> None:
        self.rows: list[EpochRecord] = []
        self.steps: list[StepsRecord] = []

    def on_steps(self, record: StepsRecord) -> None:
        self.steps.append(record)

    def on_epoch(self, record: EpochRecord) -> None:
        self.rows.append(record)


@pytest.mark.parametrize("loop", LOOPS)
def test_every_image_counts_the_same_whatever_its_batch(loop: str) -> None:
    """A batch of four and one of one; the rate is so small that the weights stay."""
    made = learner(experiment(DENSE, {"sgd": {"learning_rate": 1e-12}}))
    outputs, (kernel, _) = dense_outputs(made), weights(made)
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    rows = Rows()
    LOOPS[loop](made, lambda _: batches, batches, Plan(1, 0, 2, 5, 4), rows)
    loss = cross_entropies(outputs).mean() + L2 * (kernel**2).sum()
    accuracy = (outputs.argmax(axis=1) == LABELS).mean()
    row = rows.rows[0]
    assert (row.train_loss, row.train_accuracy) == pytest.approx((loss, accuracy), rel=1e-5)
    assert (row.validation_loss, row.validation_accuracy) == pytest.approx((loss, accuracy), rel=1e-5)
    assert abs(loss - (cross_entropies(outputs)[:4].mean() + cross_entropies(outputs)[4]) / 2) > 0.01  # it matters here
    assert rows.steps[-1].images == 5


# Precision


def underflowing(precision: str) -> Learner:
    """A network whose first layer's gradient is about 1e-9: nothing in float16, whose least number is 6e-8."""
    first = {"dense": {"units": 4, "kernel_initializer": "zeros", "use_bias": False}}
    last = {"dense": {"units": "classes", "kernel_initializer": {"random_normal": {"stddev": 1e-9, "seed": 1}}}}
    return learner(experiment(["flatten", first, last], {"sgd": {"learning_rate": 1.0}}, precision=precision))


def test_mixed_float16_scales_the_loss_so_that_small_gradients_survive() -> None:
    exact, scaled = underflowing("float32"), underflowing("mixed_float16")
    assert isinstance(scaled.optimizer, keras.optimizers.LossScaleOptimizer)
    step(exact)
    step(scaled)
    assert np.abs(weights(exact)[0]).max() > 1e-10
    np.testing.assert_allclose(weights(scaled)[0], weights(exact)[0], rtol=0.05, atol=2e-11)


def test_without_the_scaling_they_would_be_lost() -> None:
    made = underflowing("mixed_float16")
    plain = Learner(made.model, keras.optimizers.SGD(1.0), made.loss, made.metrics)
    plain.optimizer.build(plain.model.trainable_variables)
    step(plain)
    assert not weights(plain)[0].any()


@pytest.mark.parametrize(("precision", "compute"), [("mixed_bfloat16", "bfloat16"), ("mixed_float16", "float16")])
def test_mixed_precision_computes_in_16_bits_except_in_the_last_layer(precision: str, compute: str) -> None:
    made = learner(experiment(NETWORK, precision=precision))
    assert [layer.compute_dtype for layer in made.model.layers] == [compute] * 4 + ["float32"]
    assert {variable.dtype for variable in made.model.variables} == {"float32"}
    assert made.model(IMAGES).dtype == tf.float32


def tiny_session(loop: str, optimizer: Any, precision: str = "float32", epochs: int = 3) -> Session:
    """179 training digits in 4 steps an epoch."""
    content = {
        "data": {"source": "digits", "image_size": [8, 8], "channels": 1, "classes": 10, "test": 0.9, "validation": None},
        "model": {"layers": ["flatten", {"dense": {"units": 16, "activation": "relu"}}, {"dense": {"units": "classes"}}]},
        "train": {"loop": loop, "epochs": epochs, "batch_size": 48, "optimizer": optimizer, "precision": precision},
    }
    return prepared(Experiment.model_validate(content))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_learns(precision: str, loop: str) -> None:
    rows = Rows()
    run_loop(tiny_session(loop, {"adam": {"learning_rate": 0.03}}, precision), rows)
    assert rows.rows[2].train_loss < 0.7 * rows.rows[0].train_loss
    assert rows.rows[2].learning_rate == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("boundaries", "steps", "remedy"),
    [
        ([6, "1 epochs"], "[6, 4]", "write boundaries: [1 epoch, 6], and the values in that order"),
        ([4, "1 epochs"], "[4, 4]", "write boundaries: [1 epoch], and one value more than boundaries"),
        (["0.05 epochs", "0.1 epochs"], "[0, 0]", "write boundaries: [0.1 epochs], and one value more than boundaries"),
    ],
)
def test_boundaries_that_do_not_rise_in_steps_are_refused_before_the_training(
    boundaries: list[Any], steps: str, remedy: str
) -> None:
    """Keras would train at the sum of two values, a rate that nobody wrote."""
    schedule = {"piecewise": {"boundaries": boundaries, "values": [0.05, 0.006, 0.001]}}
    with pytest.raises(UsageError) as reported:
        tiny_session("custom", {"sgd": {"learning_rate": schedule}})
    assert str(reported.value).startswith(
        "train.optimizer.sgd.learning_rate.piecewise.boundaries: must be increasing, since values[i]"
    )
    assert f"which are steps {steps} with 4 steps per epoch; {remedy}" in str(reported.value)


def test_boundaries_in_both_units_give_the_values_that_are_written() -> None:
    schedule = {"piecewise": {"boundaries": [2, "1 epochs", 6], "values": [0.5, 0.25, 0.125, 0.0625]}}
    optimizer = tiny_session("custom", {"sgd": {"learning_rate": schedule}}).task.learner.optimizer
    rates = [float(optimizer._learning_rate(step)) for step in range(9)]
    assert rates == [0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625]


def test_a_step_that_loss_scaling_leaves_out_does_not_move_the_schedule() -> None:
    schedule = {"piecewise": {"boundaries": [0], "values": [1.0, 0.25]}}  # 1.0 for the first step alone
    made = learner(experiment(DENSE, {"sgd": {"learning_rate": schedule}}, precision="mixed_float16"))
    rates = []
    for scale in (np.inf, 1.0, 1.0):  # of the first, the gradients are infinite
        made.optimizer.dynamic_scale.assign(scale)
        step(made)
        rates.append(records.learning_rate_of_last_step(made.optimizer))
    assert rates == [1.0, 1.0, 0.25]
    assert all(np.isfinite(array).all() for array in weights(made))


# Arguments of the optimizer


def change(optimizer: Any, steps: int = 1) -> list[Array]:
    """Returns how the weights of the dense network change in some steps on the same batch."""
    made = learner(experiment(DENSE, optimizer))
    before = weights(made)
    for _ in range(steps):
        step(made)
    return [new - old for old, new in zip(before, weights(made), strict=True)]


def norm(changes: list[Array]) -> float:
    return float(np.sqrt(sum((each**2).sum() for each in changes)))


FREE = {"learning_rate": 1.0}


def test_clipnorm_bounds_the_gradient_of_each_variable() -> None:
    free, clipped = change({"sgd": FREE}), change({"sgd": {**FREE, "clipnorm": 0.01}})
    for wide, narrow in zip(free, clipped, strict=True):
        np.testing.assert_allclose(narrow, wide * 0.01 / np.linalg.norm(wide), rtol=1e-3, atol=1e-7)


def test_global_clipnorm_bounds_the_gradient_of_all_variables_together() -> None:
    free, clipped = change({"sgd": FREE}), change({"sgd": {**FREE, "global_clipnorm": 0.01}})
    for wide, narrow in zip(free, clipped, strict=True):
        np.testing.assert_allclose(narrow, wide * 0.01 / norm(free), rtol=1e-3, atol=1e-7)


def test_clipvalue_bounds_every_number_of_the_gradient() -> None:
    free, clipped = change({"sgd": FREE}), change({"sgd": {**FREE, "clipvalue": 0.02}})
    for wide, narrow in zip(free, clipped, strict=True):
        np.testing.assert_allclose(narrow, np.clip(wide, -0.02, 0.02), rtol=1e-3, atol=1e-7)


def test_weight_decay_shrinks_the_weights_apart_from_the_gradient() -> None:
    made = learner(experiment(DENSE))
    kernel = weights(made)[0]
    free, decayed = change({"sgd": {"learning_rate": 0.1}}), change({"sgd": {"learning_rate": 0.1, "weight_decay": 0.5}})
    np.testing.assert_allclose(decayed[0] - free[0], -0.1 * 0.5 * kernel, atol=1e-6)


def test_gradient_accumulation_waits_and_then_makes_one_step() -> None:
    accumulating = {"sgd": {**FREE, "gradient_accumulation_steps": 2}}
    assert norm(change(accumulating, steps=1)) == 0
    for once, twice in zip(change({"sgd": FREE}), change(accumulating, steps=2), strict=True):
        np.testing.assert_allclose(twice, once, rtol=1e-4, atol=1e-7)


class WeightsOfSteps(Rows):
    """Keeps the weights after each call of the custom loop."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self._model = model
        self.weights: list[list[Array]] = []

    def on_steps(self, record: StepsRecord) -> None:
        super().on_steps(record)
        self.weights.append([array.astype(np.float64) for array in self._model.get_weights()])


def test_both_loops_end_with_the_average_weights_where_the_config_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnctl.train.steps.SECONDS_PER_CALL", 0.0)  # a call a step
    averaging = {"sgd": {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.8}}
    custom, fit = tiny_session("custom", averaging), tiny_session("fit", averaging)
    listener = WeightsOfSteps(custom.task.learner.model)
    run_loop(custom, listener)
    run_loop(fit, Observer())
    assert len(listener.weights) == 12
    average = listener.weights[0]
    for current in listener.weights[1:]:
        average = [0.8 * old + 0.2 * new for old, new in zip(average, current, strict=True)]
    for mine, theirs, expected, last in zip(
        custom.task.learner.model.get_weights(),
        fit.task.learner.model.get_weights(),
        average,
        listener.weights[-1],
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_allclose(mine, expected, atol=1e-6)
        assert np.abs(mine - last).max() > 1e-3
