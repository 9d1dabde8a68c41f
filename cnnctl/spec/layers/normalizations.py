"""Layers that normalize their input."""

from typing import Annotated, ClassVar

from pydantic import Field, PlainValidator, WithJsonSchema

from cnnctl.spec.layers.fields import ONES, ZEROS, Axes, Layer, Weighted
from cnnctl.spec.section import MAX, at_most, expected, is_integer
from cnnctl.spec.weights import Constraint, Initializer, Regularizer

Epsilon = Annotated[float, Field(gt=0)]


def _groups(value: object) -> int:
    if isinstance(value, int) and (value == -1 or is_integer(value, 1)):
        return value
    raise expected("a positive integer, or -1 for a group per channel", value, at_most(value))


Groups = Annotated[
    int,
    PlainValidator(_groups),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX}, {"type": "integer", "const": -1}]}),
]


class BatchNormalization(Weighted):
    kind: ClassVar[str] = "batch_normalization"
    axis: int = -1
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.99
    epsilon: Epsilon = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = ZEROS
    gamma_initializer: Initializer = ONES
    moving_mean_initializer: Initializer = ZEROS
    moving_variance_initializer: Initializer = ONES
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None

    @property
    def trained(self) -> tuple[str, ...]:
        """The trained weights that the layer has."""
        return tuple(name for name, there in (("gamma", self.scale), ("beta", self.center)) if there)


class LayerNormalization(Weighted):
    kind: ClassVar[str] = "layer_normalization"
    weight_axes: ClassVar = {"gamma": None, "beta": None}
    axis: Axes = -1
    epsilon: Epsilon = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = ZEROS
    gamma_initializer: Initializer = ONES
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None
    rms_scaling: bool = False

    @property
    def trained(self) -> tuple[str, ...]:
        """The weights that the layer has: rms_scaling has a gamma in any case, and no beta."""
        used = {"gamma": self.scale or self.rms_scaling, "beta": self.center and not self.rms_scaling}
        return tuple(name for name, there in used.items() if there)


class GroupNormalization(Weighted):
    kind: ClassVar[str] = "group_normalization"
    groups: Groups = 32
    axis: int = -1
    epsilon: Epsilon = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = ZEROS
    gamma_initializer: Initializer = ONES
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None

    @property
    def trained(self) -> tuple[str, ...]:
        """The weights that the layer has."""
        return tuple(name for name, there in (("gamma", self.scale), ("beta", self.center)) if there)


class UnitNormalization(Layer):
    kind: ClassVar[str] = "unit_normalization"
    axis: Axes = -1
