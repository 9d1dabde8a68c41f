"""The layer vocabulary: one frozen model per layer.

A layer's name in a config is Keras's class name in snake case, its fields are Keras's arguments
with Keras's defaults (`average_pooling2d` has `pool_size: 2`, which has no default in Keras).
`data_format: null` means `model.data_format`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema

from cnnctl.spec.section import (
    MAX,
    Count,
    Named,
    Names,
    Section,
    Seed,
    Size,
    TwoNames,
    at_most,
    expected,
    is_integer,
    show,
    wrong,
)
from cnnctl.spec.weights import CONSTRAINTS, Constraint, GlorotUniform, Initializer, Ones, Orthogonal, Regularizer, Zeros

DataFormat = Literal["channels_last", "channels_first"]
Padding = Literal["valid", "same"]
Activation = Literal[
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear",
    "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign",
    "swish", "tanh",
]  # fmt: skip

# Made without validation, which would build each schema at start-up.
GLOROT_UNIFORM, ZEROS, ONES = GlorotUniform.model_construct(), Zeros.model_construct(), Ones.model_construct()

CLASSES = "classes"
"""The value of `units` that stands for the number of classes of the data."""


def _units(value: object) -> int | str:
    if isinstance(value, int | str) and (value == CLASSES or is_integer(value, 1)):
        return value
    raise expected("a positive integer or 'classes'", value, at_most(value))


def _zero_padding(value: object) -> tuple[tuple[int, int], tuple[int, int]]:
    rows = [value, value] if isinstance(value, int) else value
    sides = [[side, side] if isinstance(side, int) else side for side in rows] if isinstance(rows, list | tuple) else []
    whole = all(isinstance(side, list | tuple) and len(side) == 2 for side in sides)
    if len(sides) != 2 or not whole or not all(is_integer(n, 0) for side in sides for n in side):
        raise expected(
            "an integer of at least 0, a pair [rows, columns] or [[top, bottom], [left, right]]", value, at_most(value)
        )
    (top, bottom), (left, right) = sides
    return (top, bottom), (left, right)


def _noise_shape(value: object) -> tuple[int | None, ...]:
    if isinstance(value, list | tuple) and value and all(n is None or is_integer(n, 1) for n in value):
        return tuple(value)
    raise expected("a list of positive integers or null, one per axis, the batch first", value, at_most(value))


_WHOLE = {"type": "integer", "minimum": 0, "maximum": MAX}
_POSITIVE = {"type": "integer", "minimum": 1, "maximum": MAX}
_SIDES = {"type": "array", "items": _WHOLE, "minItems": 2, "maxItems": 2}
Units = Annotated[
    int | str,
    PlainValidator(_units),
    WithJsonSchema({"anyOf": [_POSITIVE, {"const": CLASSES}]}),
]
ZeroPadding = Annotated[
    tuple[tuple[int, int], tuple[int, int]],
    PlainValidator(_zero_padding),
    PlainSerializer(lambda sides: [list(side) for side in sides]),
    WithJsonSchema({"anyOf": [_WHOLE, {"type": "array", "items": {"anyOf": [_WHOLE, _SIDES]}, "minItems": 2, "maxItems": 2}]}),
]
NoiseShape = Annotated[
    tuple[int | None, ...],
    PlainValidator(_noise_shape),
    PlainSerializer(list),
    WithJsonSchema({"type": "array", "minItems": 1, "items": {"anyOf": [_POSITIVE, {"type": "null"}]}}),
]
LayerName = Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")]


class Layer(Section):
    """Fields of every layer.

    Attributes:
        name: its name in `inputs`, tables and TensorBoard; by default its kind and a number.
        inputs: the names of the layers whose outputs it takes, `input` for the image; by default the layer above.
    """

    name: LayerName | None = None
    inputs: Names | None = None


_ONE = {"anyOf": [{"const": 1}, {"const": [1, 1]}]}
_STRIDES_OR_DILATION: dict[str, Any] = {"anyOf": [{"properties": {"strides": _ONE}}, {"properties": {"dilation_rate": _ONE}}]}


class Weighted(Layer):
    """A layer with weights: vectors, and in some layers a kernel of `kernel_axes` axes."""

    kernel_axes: ClassVar[int] = 0

    @classmethod
    def _weights(cls) -> Iterator[tuple[str, str, str, int]]:
        """Yield (field, weight, property, axes of the weight), such as (`bias_constraint`, `bias`, `constraint`, 1)."""
        for field in cls.model_fields:
            weight, _, part = field.rpartition("_")
            yield field, weight, part, cls.kernel_axes if weight == "kernel" else 1

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        for field, _, part, axes in cls._weights():
            if part == "initializer" and axes < 2:
                schema["properties"][field] |= {"not": {"const": Orthogonal.kind}, "properties": {Orthogonal.kind: False}}
            if part == "constraint":
                schema["properties"][field]["properties"] = _axes_schema(axes)
        return schema

    @model_validator(mode="after")
    def _weights_have_such_axes(self) -> Self:
        for field, weight, part, axes in self._weights():
            value = getattr(self, field)
            if part == "initializer" and isinstance(value, Orthogonal) and axes < 2:
                raise wrong(f"orthogonal requires a weight of at least 2 axes, but {weight} has 1; write {field}: zeros", field)
            if part == "constraint" and (complaint := _axes_complaint(value, weight, axes)):
                raise wrong(complaint, field)
        return self


def _axes_schema(count: int) -> dict[str, Any]:
    """Build the schema for the axes of constraints on a weight of `count` axes."""
    one = {"minimum": -count, "maximum": count - 1}
    axis = {**one, "items": one, "uniqueItems": True}
    return {choice.kind: {"properties": {"axis": axis}} for choice in CONSTRAINTS if "axis" in choice.model_fields}


def _axes_complaint(constraint: Section | None, weight: str, count: int) -> str:
    """Describe what is wrong with the axes of a constraint on a weight of `count` axes; empty if nothing is."""
    given = getattr(constraint, "axis", ())
    axes = [given] if isinstance(given, int) else list(given)
    outside = [axis for axis in axes if not -count <= axis < count]
    if outside:
        has = f"{count} axes, 0 to {count - 1}" if count > 1 else "1 axis, 0"
        return f"there is no axis {outside[0]}: {weight} has {has}"
    return f"axis {show(axes)} has a duplicate" if len({axis % count for axis in axes}) < len(axes) else ""


class Conv2D(Weighted):
    kind: ClassVar[str] = "conv2d"
    kernel_axes: ClassVar[int] = 4
    model_config = ConfigDict(json_schema_extra=_STRIDES_OR_DILATION)
    filters: Count
    kernel_size: Size
    strides: Size = (1, 1)
    padding: Padding = "valid"
    data_format: DataFormat | None = None
    dilation_rate: Size = (1, 1)
    groups: Count = 1
    activation: Activation | None = None
    use_bias: bool = True
    kernel_initializer: Initializer = GLOROT_UNIFORM
    bias_initializer: Initializer = ZEROS
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    @model_validator(mode="after")
    def _keras_can_build_it(self) -> Self:
        if self.filters % self.groups:
            raise wrong(f"filters ({self.filters}) must be a multiple of groups ({self.groups})")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise wrong("strides and dilation_rate cannot both be above 1: Keras has no such convolution")
        return self


class ZeroPadding2D(Layer):
    kind: ClassVar[str] = "zero_padding2d"
    padding: ZeroPadding = ((1, 1), (1, 1))
    data_format: DataFormat | None = None


class Pooling(Layer):
    """Fields of both pooling layers; `strides: null` means the pool size."""

    pool_size: Size = (2, 2)
    strides: Size | None = None
    padding: Padding = "valid"
    data_format: DataFormat | None = None


class MaxPooling2D(Pooling):
    kind: ClassVar[str] = "max_pooling2d"


class AveragePooling2D(Pooling):
    kind: ClassVar[str] = "average_pooling2d"


class GlobalPooling(Layer):
    """Fields of both global pooling layers."""

    data_format: DataFormat | None = None
    keepdims: bool = False


class GlobalAveragePooling2D(GlobalPooling):
    kind: ClassVar[str] = "global_average_pooling2d"


class GlobalMaxPooling2D(GlobalPooling):
    kind: ClassVar[str] = "global_max_pooling2d"


class Flatten(Layer):
    kind: ClassVar[str] = "flatten"
    data_format: DataFormat | None = None


class Dense(Weighted):
    kind: ClassVar[str] = "dense"
    kernel_axes: ClassVar[int] = 2
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


class BatchNormalization(Weighted):
    kind: ClassVar[str] = "batch_normalization"
    axis: int = -1
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.99
    epsilon: Annotated[float, Field(gt=0)] = 0.001
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


class Dropout(Layer):
    kind: ClassVar[str] = "dropout"
    rate: Annotated[float, Field(ge=0, lt=1)]
    noise_shape: NoiseShape | None = None
    seed: Seed | None = None


class ActivationLayer(Layer):
    kind: ClassVar[str] = "activation"
    activation: Activation


class Join(Layer):
    """Fields of both layers with several inputs."""

    inputs: TwoNames


class Add(Join):
    kind: ClassVar[str] = "add"


class Concatenate(Join):
    kind: ClassVar[str] = "concatenate"
    axis: int = -1


LAYERS: tuple[type[Layer], ...] = (
    Conv2D, ZeroPadding2D, MaxPooling2D, AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D,
    Flatten, Dense, BatchNormalization, Dropout, ActivationLayer, Add, Concatenate,
)  # fmt: skip


class Repeat(Section):
    """A block of layers, built `times` times in sequence."""

    kind: ClassVar[str] = "repeat"
    times: Annotated[int, Field(gt=0, le=1000)]
    layers: "Stack"


STACK_ITEM = Named("layer", (*LAYERS, Repeat))
Stack = Annotated[list[Annotated[Section, STACK_ITEM]], Field(min_length=1)]
