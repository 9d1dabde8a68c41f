"""Layers that compute on values, or move them: dense, activations, rescaling, reshape and permute."""

from typing import ClassVar

from cnnctl.spec.layers.fields import GLOROT_UNIFORM, ZEROS, Activation, Dims, Layer, Numbers, TargetShape, Units, Weighted
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


class Rescaling(Layer):
    """A scale and an offset of all values; a list has one number per channel, along the last axis of other tensors."""

    kind: ClassVar[str] = "rescaling"
    scale: Numbers
    offset: Numbers = 0.0


class Reshape(Layer):
    kind: ClassVar[str] = "reshape"
    target_shape: TargetShape


class Permute(Layer):
    kind: ClassVar[str] = "permute"
    dims: Dims
