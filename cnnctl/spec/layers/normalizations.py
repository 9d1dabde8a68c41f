"""Layers that normalize their input."""

from math import isfinite
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, GetJsonSchemaHandler, PlainSerializer, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import CoreSchema

from cnnctl.spec.layers.fields import ONES, ZEROS, Axes, Layer, Weighted
from cnnctl.spec.section import MAX, Section, at_most, expected, is_integer, wrong
from cnnctl.spec.weights import Constraint, Initializer, NonNegative, Regularizer


def _numbers(value: object) -> float | tuple[Any, ...]:
    if _sizes_of(value) is None:
        raise expected("a number, or a list of numbers, or lists of equal length", value)
    return value if isinstance(value, int | float) else _frozen(value)


def _sizes_of(value: object) -> tuple[int, ...] | None:
    """Return the lengths of nested lists of numbers, () for a number; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return () if isfinite(value) else None
    if not isinstance(value, list | tuple) or not value:
        return None
    inner = [_sizes_of(each) for each in value]
    return None if inner[0] is None or len(set(inner)) > 1 else (len(value), *inner[0])


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _least(value: Any) -> float:
    return min(map(_least, value)) if isinstance(value, tuple) else float(value)


def _schema_of(number: dict[str, Any]) -> dict[str, Any]:
    """Build the schema of a number, or of lists of numbers in up to three axes."""
    kinds = [number]
    for _ in range(3):
        kinds.append({"type": "array", "items": kinds[-1], "minItems": 1})
    return {"anyOf": kinds}


_Nested = float | tuple[Any, ...]
_READ = PlainValidator(_numbers), PlainSerializer(lambda value: value)
Numbers = Annotated[_Nested, *_READ, WithJsonSchema(_schema_of({"type": "number"}))]
Variances = Annotated[_Nested, *_READ, WithJsonSchema(_schema_of({"type": "number", "minimum": 0}))]
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


_BOUND = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}], "default": None}
RENORM_CLIPPING: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "rmin": _BOUND | {"description": "Lower bound of the scale r."},
        "rmax": _BOUND | {"description": "Upper bound of the scale r."},
        "dmax": _BOUND | {"description": "Largest size of the shift d, in both directions."},
    },
}
"""Written out, since the schemas of layers have no definitions of their own."""
_NOT_NULL = {"not": {"type": "null"}}


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
    renorm_clipping: Annotated[RenormClipping, WithJsonSchema(RENORM_CLIPPING)] | None = None
    renorm_momentum: Momentum = 0.99
    synchronized: bool = False

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        without = {"not": {"required": ["renorm"], "properties": {"renorm": {"const": True}}}}
        fields = {"renorm_clipping": {"type": "null"}, "renorm_momentum": {"const": 0.99}}
        return schema | {"allOf": [{"if": without, "then": {"properties": fields}}]}

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


class Normalization(Layer):
    kind: ClassVar[str] = "normalization"
    axis: Axes | None = -1
    mean: Numbers | None = None
    variance: Variances | None = None
    invert: bool = False

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        both = ("mean", "variance")
        one = {"anyOf": [{"required": [name], "properties": {name: _NOT_NULL}} for name in both]}
        return schema | {"allOf": [{"if": one, "then": {"required": [*both], "properties": dict.fromkeys(both, _NOT_NULL)}}]}

    @model_validator(mode="after")
    def _mean_and_variance_belong_together(self) -> Self:
        if (self.mean is None) != (self.variance is None):
            given, other = ("mean", "variance") if self.variance is None else ("variance", "mean")
            raise wrong(
                f"needs {other} too; without both they are computed from the training images; add {other}, or remove it", given
            )
        if self.mean is not None:
            self._fits_together()
        return self

    def _fits_together(self) -> None:
        axes = 0 if self.axis is None else 1 if isinstance(self.axis, int) else len(self.axis)
        sizes, others = self.sizes, _sizes_of(self.variance) or ()
        if sizes != others:
            raise wrong(f"has the shape {list(others)}, but mean has {list(sizes)}", "variance")
        if len(sizes) > axes:
            raise wrong(
                f"has one number for each place along {len(sizes)} axes, but axis has {axes}; write one number, or other axes",
                "mean",
            )
        if _least(self.variance) < 0:
            raise wrong(f"expected a variance of at least 0, received {_least(self.variance):g}", "variance")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of a mean that is set."""
        return _sizes_of(self.mean) or ()

    @property
    def adapted(self) -> bool:
        """Whether mean and variance are computed from the training images."""
        return self.mean is None
