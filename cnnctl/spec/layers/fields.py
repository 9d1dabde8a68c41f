"""What the fields of layers may be, and the base classes of all layers."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
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
    Names,
    Section,
    at_most,
    expected,
    is_integer,
    show,
    wrong,
)
from cnnctl.spec.weights import CONSTRAINTS, STFT, GlorotUniform, Identity, Ones, Orthogonal, OrthogonalRegularizer, Zeros

DataFormat = Literal["channels_last", "channels_first"]
Padding = Literal["valid", "same"]
Activation = Literal[
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear",
    "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus",
    "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink",
]  # fmt: skip
OF_ROWS = ("log_softmax", "softmax")
"""The activations that combine all values along the last axis; the others are of each value."""

MAX_AXES = 7
"""Most axes of a reshape or permute, without the batch."""
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]

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


def _axes_from(low: int) -> Any:
    """Build the type of an axis or a list of different ones, as Keras counts: the batch is 0."""

    def read(value: Any) -> int | tuple[int, ...]:
        axes: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
        if not axes or not all(type(axis) is int and axis >= low for axis in axes) or len(set(axes)) < len(axes):
            raise expected("an axis or a list of different axes, such as [1, 2]; 0 is the batch", value)
        return tuple(axes) if isinstance(value, list | tuple) else int(value)

    one = {"type": "integer"} if low < 0 else {"type": "integer", "minimum": low}
    many = {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}
    write = PlainSerializer(lambda axes: axes if isinstance(axes, int) else list(axes))
    return Annotated[int | tuple[int, ...], PlainValidator(read), write, WithJsonSchema({"anyOf": [one, many]})]


Axes = _axes_from(-MAX)
InputAxes = _axes_from(1)
"""Axes counted from the first after the batch, which is 1."""


def _numbers(value: Any) -> float | tuple[float, ...]:
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    if not numbers or not all(_is_finite(number) for number in numbers):
        raise expected("a number, or a list of numbers, one per channel", value)
    return tuple(map(float, numbers)) if isinstance(value, list | tuple) else float(value)


def _is_finite(value: object) -> bool:
    """Return True for a number that is a finite float, and not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _target_shape(value: Any) -> tuple[int, ...]:
    sizes = list(value) if isinstance(value, list | tuple) else []
    sound = all((type(n) is int and n == -1) or is_integer(n, 1) for n in sizes) and sizes.count(-1) <= 1
    if not sound or not 1 <= len(sizes) <= MAX_AXES:
        raise expected(
            f"a list of 1 to {MAX_AXES} positive integers without the batch, one of which may be -1", value, at_most(value)
        )
    return tuple(sizes)


def _dims(value: Any) -> tuple[int, ...]:
    dims = list(value) if isinstance(value, list | tuple) else []
    if (
        not all(type(n) is int for n in dims)
        or not dims
        or len(dims) > MAX_AXES
        or sorted(dims) != list(range(1, len(dims) + 1))
    ):
        raise expected("each axis from 1 on once, such as [2, 1, 3], without the batch axis 0", value)
    return tuple(dims)


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
Cropping = ZeroPadding
"""Rows and columns to remove, in the forms of a padding."""
Numbers = Annotated[
    float | tuple[float, ...],
    PlainValidator(_numbers),
    PlainSerializer(lambda numbers: list(numbers) if isinstance(numbers, tuple) else numbers),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "array", "minItems": 1, "items": {"type": "number"}}]}),
]
"""A number, or one per channel."""
TargetShape = Annotated[
    tuple[int, ...],
    PlainValidator(_target_shape),
    PlainSerializer(list),
    WithJsonSchema(
        {
            "type": "array", "minItems": 1, "maxItems": MAX_AXES, "items": {"anyOf": [_POSITIVE, {"const": -1}]},
            "contains": {"const": -1}, "minContains": 0, "maxContains": 1,
        }
    ),
]  # fmt: skip
"""Sizes of axes without the batch; -1 is inferred from the others."""
Dims = Annotated[
    tuple[int, ...],
    PlainValidator(_dims),
    PlainSerializer(list),
    WithJsonSchema(
        {
            "type": "array", "uniqueItems": True, "items": {"type": "integer", "minimum": 1},
            "anyOf": [{"minItems": n, "maxItems": n, "items": {"maximum": n}} for n in range(1, MAX_AXES + 1)],
        }
    ),
]  # fmt: skip
"""An order of all axes but the batch, which are counted from 1."""
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


class Weighted(Layer):
    """A layer with weights.

    `weight_axes` has the number of axes of each weight that is not a vector; None where it depends on the input.
    """

    weight_axes: ClassVar[Mapping[str, int | None]] = {}

    @classmethod
    def weights(cls) -> Iterator[tuple[str, str, str, int | None]]:
        """Yield (field, weight, property, axes of the weight), such as (`bias_constraint`, `bias`, `constraint`, 1)."""
        for field in cls.model_fields:
            weight, _, part = field.rpartition("_")
            yield field, weight, part, cls.weight_axes.get(weight, 1)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        for field, _, part, axes in cls.weights():
            if axes is None:
                continue
            if part == "constraint":
                schema["properties"][field]["properties"] = _axes_schema(axes)
            elif refused := [
                choice.kind for choice, (of_part, low, high, _) in _NEEDS.items() if of_part == part and not low <= axes <= high
            ]:
                schema["properties"][field] |= {"not": {"enum": refused}, "properties": dict.fromkeys(refused, False)}
        return schema

    @model_validator(mode="after")
    def _weights_have_such_axes(self) -> Self:
        for field, weight, part, axes in self.weights():
            if axes is not None and (complaint := weight_complaint(getattr(self, field), field, weight, part, axes)):
                raise wrong(complaint, field)
        return self


_MATRIX = "a matrix, such as the kernel of a dense layer"
_NEEDS: dict[type[Section], tuple[str, int, int, str]] = {
    Orthogonal: ("initializer", 2, MAX, "a weight of at least 2 axes"),
    Identity: ("initializer", 2, 2, _MATRIX),
    STFT: ("initializer", 3, 3, "a weight of 3 axes, (T, 1, F // 2 + 1) for T times and F frequencies"),
    OrthogonalRegularizer: ("regularizer", 2, 2, _MATRIX),
}
"""The parts that do not go with every weight: initializer or regularizer, fewest and most axes of the weight, and in words."""


def weight_complaint(value: object, field: str, weight: str, part: str, axes: int) -> str:
    """Describe what is wrong with an initializer, regularizer or constraint of a weight of `axes` axes; empty if nothing is."""
    if part == "constraint":
        return _axes_complaint(value, weight, axes)
    if not isinstance(value, Section) or type(value) not in _NEEDS:
        return ""
    _, low, high, needs = _NEEDS[type(value)]
    if low <= axes <= high:
        return ""
    has = (
        f"{weight} has {axes} {'axis' if axes == 1 else 'axes'}"
        if weight != "activity"
        else "the outputs of a layer are not a weight"
    )
    return f"{value.kind} requires {needs}, but {has}; write {field}: {_any_axes(part, axes)}"


def _any_axes(part: str, axes: int) -> str:
    """Return an initializer or regularizer for a weight of any number of axes."""
    return "l2" if part == "regularizer" else "zeros" if axes < 2 else "glorot_uniform"


def size_complaint(value: object, field: str, weight: str, shape: Sequence[int]) -> str:
    """Describe what is wrong with an initializer or regularizer of a weight of this shape; empty if nothing is."""
    shown = f"{weight} has the shape ({', '.join(map(str, shape))})"
    if isinstance(value, STFT) and shape[-1] < 2:
        return f"stft divides by 2 · (n - 1) with n the length of the last axis, but {shown}: n - 1 is 0; write {field}: zeros"
    if not isinstance(value, OrthogonalRegularizer):
        return ""
    rows, columns = shape
    count, other = (rows, "columns") if value.mode == "rows" else (columns, "rows")
    if count > 1:
        return ""
    remedy = f"{field}: {{orthogonal_regularizer: {{mode: {other}}}}}" if max(shape) > 1 else f"{field}: l2"
    return f"orthogonal_regularizer compares {value.mode} with one another, but {shown}, with one; write {remedy}"


def _axes_schema(count: int) -> dict[str, Any]:
    """Build the schema for the axes of constraints on a weight of `count` axes."""
    one = {"minimum": -count, "maximum": count - 1}
    axis = {**one, "items": one, "uniqueItems": True}
    return {choice.kind: {"properties": {"axis": axis}} for choice in CONSTRAINTS if "axis" in choice.model_fields}


def _axes_complaint(constraint: object, weight: str, count: int) -> str:
    """Describe what is wrong with the axes of a constraint on a weight of `count` axes; empty if nothing is."""
    given = getattr(constraint, "axis", ())
    axes = [given] if isinstance(given, int) else list(given)
    outside = [axis for axis in axes if not -count <= axis < count]
    if outside:
        has = f"{count} axes, 0 to {count - 1}" if count > 1 else "1 axis, 0"
        return f"there is no axis {outside[0]}: {weight} has {has}"
    return f"axis {show(axes)} has a duplicate" if len({axis % count for axis in axes}) < len(axes) else ""
