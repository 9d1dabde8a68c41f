"""Layers that normalize their input."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from cnnctl.spec.layers.fields import ONES, ZEROS, Axes, Layer, Weighted
from cnnctl.spec.section import MAX, Section, at_most, expected, is_integer, wrong
from cnnctl.spec.weights import Constraint, Initializer, NonNegative, Regularizer

Epsilon = Annotated[float, Field(gt=0)]
Momentum = Annotated[float, Field(ge=0, le=1)]


def _groups(value: object) -> int:
    if isinstance(value, int) and (value == -1 or is_integer(value, 1)):
        return value
    raise expected("a positive integer, or -1 for a group per channel", value, at_most(value))


Groups = Annotated[
    int,
    PlainValidator(_groups),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MAX}, {"type": "integer", "const": -1}]}),
]


class RenormClipping(Section):
    """Bounds of the two corrections of batch renormalization; null for none.

    Attributes:
        rmin: lower bound of the scale r.
        rmax: upper bound of the scale r.
        dmax: largest size of the shift d, in both directions.
    """

    rmin: NonNegative | None = None
    rmax: NonNegative | None = None
    dmax: NonNegative | None = None

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.rmin is not None and self.rmax is not None and self.rmin > self.rmax:
            raise wrong(f"rmin {self.rmin:g} is greater than rmax {self.rmax:g}; write rmin: {self.rmax:g}, or less", "rmin")
        return self

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, as Keras takes them."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


class BatchNormalization(Weighted):
    kind: ClassVar[str] = "batch_normalization"
    axis: int = -1
    momentum: Momentum = 0.99
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
    renorm: bool = False
    renorm_clipping: RenormClipping | None = None
    renorm_momentum: Momentum = 0.99
    synchronized: bool = False

    @model_validator(mode="after")
    def _has_no_renorm_fields_without_renorm(self) -> Self:
        for field in ("renorm_clipping", "renorm_momentum"):
            if not self.renorm and getattr(self, field) != type(self).model_fields[field].default:
                raise wrong("has no effect without renorm: true; remove it", field)
        return self

    @property
    def states(self) -> tuple[str, ...]:
        """The weights that are not trained but follow the statistics of the batches."""
        moving = ("moving_mean", "moving_variance")
        return (*moving, "moving_stddev", "renorm_mean", "renorm_stddev") if self.renorm else moving

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
