"""Compare the tape's gradients with numerical differentiation, in float64.

A central difference (J(w + h) - J(w - h)) / 2h differs from the derivative by h²/6 · J''' and by rounding, about
1e-16 · J / h (Nocedal and Wright, "Numerical Optimization" (2006), chapter 8). It is meaningless where relu or max pooling
has a kink between w - h and w + h. Such a step is detected by values of J alone, never by the tape's gradient, and a
smaller one is tried.
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
from cnnctl.model.adapted import Moments
from cnnctl.model.keras_optimizers import build_loss
from cnnctl.model.styles import layers_by_name
from cnnctl.model.variables import named
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss
from cnnctl.spec.shapes import format_of
from cnnctl.train.steps import total_loss

TOLERANCE = 1e-5
"""Largest relative error at which two gradients agree."""
FLOOR = 1e-3
"""Least denominator of a relative error: rounding alone causes differences of about 1e-9."""
STEPS = (1e-4, 1e-5, 1e-6)
"""Steps of the weights, the best first; the others are for kinks within it."""
ROUNDING = 4e-15
"""Bound on the relative error of J as float64 computes it."""
IMAGES = 8
"""Images of the batch: enough for the derivatives, and more would bring more kinks."""
SAMPLED = 5
MAX_TRIED = 15


@dataclass(frozen=True)
class GradientRow:
    """The comparison of the gradients of one variable.

    Attributes:
        layer: its name.
        variable: such as `kernel`.
        weights: number of weights.
        sampled: number of compared weights.
        kinks: drawn weights that are too near a kink for every step, not in `sampled`.
        largest_gradient: by the tape, among the compared weights.
        largest_error: relative, among the compared weights.
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
        """Whether all compared gradients agree within `TOLERANCE`."""
        return self.largest_error <= TOLERANCE


def compare_gradients(
    experiment: Experiment, weights: Mapping[str, NDArray[Any]], images: Any, labels: Any, moments: Moments | None = None
) -> list[GradientRow]:
    """Compare the tape's gradients with central differences, in a row per trained variable.

    Computed on the CPU, since most GPUs have few units for float64.

    Args:
        experiment: config of the network, which is built in float64.
        weights: the point of differentiation, by `layer/variable`.
        images: a prepared training batch, float32; the first `IMAGES` are used.
        labels: of the images.
        moments: as in `build_model`.
    """
    with tf.device("CPU:0"):
        objective = _Objective(experiment, weights, images[:IMAGES], labels[:IMAGES], moments)
        generator = np.random.default_rng(experiment.seed)
        return [_row(objective, *each, generator) for each in objective.gradients()]


class _Objective:
    """The config's loss as a function of the weights alone, in training mode, regularization included.

    Every evaluation starts from the same state, so it draws the same dropout masks. The functional style stands for all
    three: it can branch and needs no eager call.
    """

    def __init__(
        self, experiment: Experiment, weights: Mapping[str, NDArray[Any]], images: Any, labels: Any, moments: Moments | None
    ) -> None:
        style = experiment.model.model_copy(update={"style": "functional"})
        loss = build_loss(chosen_loss(experiment))
        self._model = build_model(experiment.model_copy(update={"model": style}), "float64", moments=moments)
        self._loss = type(loss).from_config({**loss.get_config(), "dtype": "float64"})
        self._batch = images, labels
        self._states = [(state, state.numpy()) for state in self._model.non_trainable_variables]
        self._named = dict(named(layers_by_name(self._model), "trainable_variables"))
        for name, variable in self._named.items():
            variable.assign(weights[name])
        compiled = tf.function(autograph=False, jit_compile=_needs_xla(experiment))
        self._compiled_value, self._compiled_gradients = compiled(self._compute_loss), compiled(self._compute_gradients)

    def value(self) -> float:
        """Compute the loss at the current weights."""
        return float(self._compiled_value())

    def gradients(self) -> list[tuple[str, keras.Variable, NDArray[np.float64]]]:
        """Compute the tape's gradient of each trained variable, with its name and the variable."""
        gradients = [gradient.numpy() for gradient in self._compiled_gradients()]
        return list(zip(self._named, self._named.values(), gradients, strict=True))

    def _compute_loss(self) -> Any:
        for state, value in self._states:
            state.assign(value)
        images, labels = self._batch
        return total_loss(self._model, self._loss, labels, self._model(images, training=True))

    def _compute_gradients(self) -> Any:
        with tf.GradientTape() as tape:
            loss = self._compute_loss()
        return tape.gradient(loss, list(self._named.values()))


def _needs_xla(experiment: Experiment) -> bool:
    """Return True if a layer takes (B, C, H, W): on a CPU, only XLA has such convolutions in float64."""
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
    """Compute the derivatives by some weights, the tape's and the numerical one, and count the weights too near a kink."""
    pairs, kinks = [], 0
    for index in generator.choice(gradient.size, min(gradient.size, MAX_TRIED), replace=False):
        numerical = numerical_derivative(_loss_along(objective, variable, index), float(variable.numpy().flat[index]))
        if numerical is None:
            kinks += 1
        else:
            pairs.append((float(gradient.flat[index]), numerical))
        if len(pairs) == SAMPLED:
            break
    return pairs, kinks


def _loss_along(objective: _Objective, variable: keras.Variable, index: int) -> Callable[[float], float]:
    """Return the loss as a function of one weight, which is restored after each evaluation."""
    values = np.array(variable.numpy())  # a weight of no axis is a number, which has no place to write to

    def evaluate(weight: float) -> float:
        moved = values.copy()
        moved.flat[index] = weight
        variable.assign(moved)
        loss = objective.value()
        variable.assign(values)
        return loss

    return evaluate


def numerical_derivative(function: Callable[[float], float], point: float) -> float | None:
    """Compute the central difference of a function; None where a kink is too near `point`.

    Without a kink, the differences over h and h/2 have the same slope, and their bends the ratio of the steps. A kink beside
    the point changes the slope. One at the point leaves a bend that does not shrink.
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
    """Compute the central difference, and the slope after the point minus the slope before it."""
    after, before = function(point + h), function(point - h)
    return (after - before) / (2 * h), (after - 2 * middle + before) / h


def relative_error(one: float, other: float, floor: float) -> float:
    """Compute the difference of two numbers relative to the larger one, or to `floor`."""
    return abs(one - other) / max(abs(one), abs(other), floor)
