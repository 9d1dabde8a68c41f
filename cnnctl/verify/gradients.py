"""The tape's gradients against numerical differentiation, in float64.

A central difference (J(w + h) - J(w - h)) / 2h misses the derivative by h²/6 · J''' and by what rounding
leaves, some 1e-16 · J / h (Nocedal and Wright, "Numerical Optimization" (2006), chapter 8). Where relu or max
pooling puts a kink between w - h and w + h it says nothing at all. Such a step is found by values of J alone,
never by the tape's answer, and a smaller one is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from cnnctl.model import build_model
from cnnctl.model.keras_optimizers import build_loss
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss
from cnnctl.spec.shapes import format_of
from cnnctl.train.steps import total_loss

TOLERANCE = 1e-5
"""The largest relative error at which two gradients agree."""
FLOOR = 1e-3
"""Smaller gradients are divided by this in a relative error: rounding alone makes differences of about 1e-9."""
STEPS = (1e-4, 1e-5, 1e-6)
"""How far weights are moved, the best step first; the others are for where it meets a kink."""
ROUNDING = 4e-15
"""Bound on the relative error of J as float64 computes it."""
IMAGES = 8
"""So many are enough for the derivatives; of more, more come near a kink."""
SAMPLED = 5
MAX_TRIED = 15


@dataclass(frozen=True)
class GradientRow:
    """How well the gradients of one variable agree.

    Attributes:
        layer: its name.
        variable: such as `kernel`.
        weights: how many it has.
        sampled: of them, those compared.
        kinks: weights drawn too near a kink for every step, left out of `sampled`.
        largest_gradient: by the tape, of those compared.
        largest_error: relative, of those compared.
    """

    layer: str
    variable: str
    weights: int
    sampled: int
    kinks: int
    largest_gradient: float
    largest_error: float

    @property
    def agrees(self) -> bool:
        """Whether no gradient that was compared misses the other by more than `TOLERANCE`."""
        return self.largest_error <= TOLERANCE


def compare_gradients(
    experiment: Experiment, weights: Mapping[str, NDArray[Any]], images: Any, labels: Any
) -> list[GradientRow]:
    """Returns a row for each trained variable: the tape's gradients against central differences.

    On the CPU, since many a GPU has few units for float64.

    Args:
        experiment: the network is built from it anew, in float64.
        weights: where to differentiate, by `layer/variable`.
        images: a training batch as the network takes it, float32; the first `IMAGES` are used.
        labels: theirs.
    """
    with tf.device("CPU:0"):
        objective = _Objective(experiment, weights, images[:IMAGES], labels[:IMAGES])
        generator = np.random.default_rng(experiment.seed)
        return [_row(objective, *each, generator) for each in objective.gradients()]


class _Objective:
    """The config's loss as a function of the weights alone, in training mode, regularization included.

    Every evaluation starts from the same state, so it draws the same dropout. The functional style serves for
    all three, since it is the one that can branch and needs no eager call.
    """

    def __init__(self, experiment: Experiment, weights: Mapping[str, NDArray[Any]], images: Any, labels: Any) -> None:
        style = experiment.model.model_copy(update={"style": "functional"})
        loss = build_loss(chosen_loss(experiment))
        self._model = build_model(experiment.model_copy(update={"model": style}), "float64")
        self._loss = type(loss).from_config({**loss.get_config(), "dtype": "float64"})
        self._batch = images, labels
        self._states = [(state, state.numpy()) for state in self._model.non_trainable_variables]
        self._named = {f"{layer.name}/{each.name}": each for layer in self._model.layers for each in layer.trainable_variables}
        for name, variable in self._named.items():
            variable.assign(weights[name])
        compiled = tf.function(autograph=False, jit_compile=_needs_xla(experiment))
        self._compiled_value, self._compiled_gradients = compiled(self._loss_here), compiled(self._gradients_here)

    def value(self) -> float:
        """Returns the loss at the weights as they are."""
        return float(self._compiled_value())

    def gradients(self) -> list[tuple[str, keras.Variable, NDArray[np.float64]]]:
        """Returns name, variable and the tape's gradient of each trained variable."""
        gradients = [gradient.numpy() for gradient in self._compiled_gradients()]
        return list(zip(self._named, self._named.values(), gradients, strict=True))

    def _loss_here(self) -> Any:
        for state, value in self._states:
            state.assign(value)
        images, labels = self._batch
        return total_loss(self._model, self._loss, labels, self._model(images, training=True))

    def _gradients_here(self) -> Any:
        with tf.GradientTape() as tape:
            loss = self._loss_here()
        return tape.gradient(loss, list(self._named.values()))


def _needs_xla(experiment: Experiment) -> bool:
    """Returns whether a layer takes (B, C, H, W): TensorFlow itself has such convolutions in float64 on no CPU."""
    network = experiment.network
    formats = [format_of(node.layer, network.context) for node in network.nodes if hasattr(node.layer, "data_format")]
    return "channels_first" in formats


def _row(
    objective: _Objective,
    name: str,
    variable: keras.Variable,
    gradient: NDArray[np.float64],
    generator: np.random.Generator,
) -> GradientRow:
    pairs, kinks = _pairs(objective, variable, gradient, generator)
    floor = FLOOR * max(1.0, abs(objective.value()))
    layer, _, last = name.rpartition("/")
    return GradientRow(
        layer=layer,
        variable=last,
        weights=gradient.size,
        sampled=len(pairs),
        kinks=kinks,
        largest_gradient=max((abs(tape) for tape, _ in pairs), default=0.0),
        largest_error=max((relative_error(*pair, floor) for pair in pairs), default=0.0),
    )


def _pairs(
    objective: _Objective, variable: keras.Variable, gradient: NDArray[np.float64], generator: np.random.Generator
) -> tuple[list[tuple[float, float]], int]:
    """Returns the derivatives by some weights, the tape's and the numerical one, and how many were too near a kink."""
    pairs, kinks = [], 0
    for index in generator.choice(gradient.size, min(gradient.size, MAX_TRIED), replace=False):
        numerical = numerical_derivative(_along(objective, variable, index), float(variable.numpy().flat[index]))
        if numerical is None:
            kinks += 1
        else:
            pairs.append((float(gradient.flat[index]), numerical))
        if len(pairs) == SAMPLED:
            break
    return pairs, kinks


def _along(objective: _Objective, variable: keras.Variable, index: int) -> Callable[[float], float]:
    """Returns the loss as a function of one weight; the weight is put back after each evaluation."""
    values = variable.numpy()

    def evaluate(weight: float) -> float:
        moved = values.copy()
        moved.flat[index] = weight
        variable.assign(moved)
        loss = objective.value()
        variable.assign(values)
        return loss

    return evaluate


def numerical_derivative(function: Callable[[float], float], point: float) -> float | None:
    """Returns the central difference of a function, or None where it has a kink too near `point`.

    Without a kink, the differences over h and over h/2 have the same slope, and a bend in the same ratio as their
    steps; a kink beside the point changes the slope, one just at it leaves a bend that does not shrink.
    """
    middle = function(point)
    for step in STEPS:
        h = step * max(1.0, abs(point))
        slope, bend = _slope_and_bend(function, point, middle, h)
        half_slope, half_bend = _slope_and_bend(function, point, middle, h / 2)
        scale = max(1.0, abs(middle))
        allowed = max(ROUNDING * scale / h, TOLERANCE / 4 * max(abs(half_slope), FLOOR * scale))
        if abs(slope - half_slope) <= allowed and abs(bend - 2 * half_bend) <= allowed:
            return half_slope
    return None


def _slope_and_bend(function: Callable[[float], float], point: float, middle: float, h: float) -> tuple[float, float]:
    """Returns the central difference, and by how much the slope after the point is above that before it."""
    after, before = function(point + h), function(point - h)
    return (after - before) / (2 * h), (after - 2 * middle + before) / h


def relative_error(one: float, other: float, floor: float) -> float:
    """Returns how far two numbers are apart, relative to the larger one or to `floor`."""
    return abs(one - other) / max(abs(one), abs(other), floor)
