"""Activations as layers, with their arguments."""

from typing import ClassVar

from cnnctl.spec.layers.fields import ZEROS, Axes, InputAxes, Layer, Weighted
from cnnctl.spec.weights import Constraint, Initializer, NonNegative, Regularizer


class ReLU(Layer):
    kind: ClassVar[str] = "relu"
    max_value: NonNegative | None = None
    negative_slope: NonNegative = 0.0
    threshold: NonNegative = 0.0


class LeakyReLU(Layer):
    kind: ClassVar[str] = "leaky_relu"
    negative_slope: NonNegative = 0.3


class PReLU(Weighted):
    kind: ClassVar[str] = "prelu"
    weight_axes: ClassVar = {"alpha": None}
    alpha_initializer: Initializer = ZEROS
    alpha_regularizer: Regularizer | None = None
    alpha_constraint: Constraint | None = None
    shared_axes: InputAxes | None = None


class ELU(Layer):
    kind: ClassVar[str] = "elu"
    alpha: float = 1.0


class Softmax(Layer):
    kind: ClassVar[str] = "softmax"
    axis: Axes = -1
