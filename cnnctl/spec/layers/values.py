"""Layers that compute on values: dense, activations and dropout."""

from typing import Annotated, ClassVar

from pydantic import Field

from cnnctl.spec.layers.fields import GLOROT_UNIFORM, ZEROS, Activation, Layer, NoiseShape, Units, Weighted
from cnnctl.spec.section import Seed
from cnnctl.spec.weights import Constraint, Initializer, Regularizer


class Dense(Weighted):
    kind: ClassVar[str] = "dense"
    weight_axes: ClassVar = {"kernel": 2}
    units: Units
    activation: Activation | None = None
    use_bias: bool = True
    kernel_initializer: Initializer = GLOROT_UNIFORM
    bias_initializer: Initializer = ZEROS
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None


class ActivationLayer(Layer):
    kind: ClassVar[str] = "activation"
    activation: Activation


class Dropout(Layer):
    kind: ClassVar[str] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)]
    noise_shape: NoiseShape | None = None
    seed: Seed | None = None
