"""Initializers, regularizers and constraints of the weights of a layer.

Names and defaults are those of Keras 3; `tests/model/test_keras_parity.py` compares each field.
"""

import zlib
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema

from cnnctl.spec.section import Named, Section, Seed, expected


def drawn_seed(seed: int, index: int, field: str) -> int:
    """Derive the seed of one draw, such as `kernel_initializer`, of the layer at a position of the stack."""
    return zlib.crc32(f"{seed} {index} {field}".encode()) & 0x7FFFFFFF


def _axes(value: object) -> int | tuple[int, ...]:
    if type(value) is int:
        return value
    if not isinstance(value, list | tuple) or not value or not all(type(axis) is int for axis in value):
        raise expected("an integer or a list of them, such as [0, 1, 2] for the kernel of a conv2d", value)
    return tuple(value)


Axes = Annotated[
    int | tuple[int, ...],
    PlainValidator(_axes),
    PlainSerializer(lambda axes: axes if isinstance(axes, int) else list(axes)),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}, "minItems": 1}]}),
]
NonNegative = Annotated[float, Field(ge=0)]
WindowFunction = Literal[
    "barthann", "bartlett", "blackman", "blackmanharris", "bohman", "boxcar", "cosine", "exponential", "flattop", "hamming",
    "hann", "lanczos", "nuttall", "parzen", "taylor", "triang", "tukey",
]  # fmt: skip
"""The functions of `scipy.signal.windows` that need no arguments."""


class Zeros(Section):
    kind: ClassVar[str] = "zeros"


class Ones(Section):
    kind: ClassVar[str] = "ones"


class Constant(Section):
    kind: ClassVar[str] = "constant"
    value: float = 0.0


class Seeded(Section):
    """A random initializer; without a seed it gets one derived from that of the experiment."""

    seed: Seed | None = None


class RandomNormal(Seeded):
    kind: ClassVar[str] = "random_normal"
    mean: float = 0.0
    stddev: NonNegative = 0.05


class TruncatedNormal(Seeded):
    kind: ClassVar[str] = "truncated_normal"
    mean: float = 0.0
    stddev: NonNegative = 0.05


class RandomUniform(Seeded):
    kind: ClassVar[str] = "random_uniform"
    minval: float = -0.05
    maxval: float = 0.05


class GlorotUniform(Seeded):
    kind: ClassVar[str] = "glorot_uniform"


class GlorotNormal(Seeded):
    kind: ClassVar[str] = "glorot_normal"


class HeUniform(Seeded):
    kind: ClassVar[str] = "he_uniform"


class HeNormal(Seeded):
    kind: ClassVar[str] = "he_normal"


class LecunUniform(Seeded):
    kind: ClassVar[str] = "lecun_uniform"


class LecunNormal(Seeded):
    kind: ClassVar[str] = "lecun_normal"


class VarianceScaling(Seeded):
    kind: ClassVar[str] = "variance_scaling"
    scale: Annotated[float, Field(gt=0)] = 1.0
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal"


class Orthogonal(Seeded):
    kind: ClassVar[str] = "orthogonal"
    gain: float = 1.0


class Identity(Section):
    kind: ClassVar[str] = "identity"
    gain: float = 1.0


class STFT(Section):
    kind: ClassVar[str] = "stft"
    side: Literal["real", "imag"] = "real"
    window: WindowFunction | None = "hann"
    scaling: Literal["density", "spectrum"] | None = "density"
    periodic: bool = False


class L1(Section):
    kind: ClassVar[str] = "l1"
    l1: NonNegative = 0.01


class L2(Section):
    kind: ClassVar[str] = "l2"
    l2: NonNegative = 0.01


class L1L2(Section):
    kind: ClassVar[str] = "l1_l2"
    l1: NonNegative = 0.0
    l2: NonNegative = 0.0


class OrthogonalRegularizer(Section):
    kind: ClassVar[str] = "orthogonal_regularizer"
    factor: NonNegative = 0.01
    mode: Literal["rows", "columns"] = "rows"


class MaxNorm(Section):
    kind: ClassVar[str] = "max_norm"
    max_value: Annotated[float, Field(gt=0)] = 2.0
    axis: Axes = 0


class MinMaxNorm(Section):
    kind: ClassVar[str] = "min_max_norm"
    min_value: NonNegative = 0.0
    max_value: NonNegative = 1.0
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    axis: Axes = 0


class UnitNorm(Section):
    kind: ClassVar[str] = "unit_norm"
    axis: Axes = 0


class NonNeg(Section):
    kind: ClassVar[str] = "non_neg"


INITIALIZERS = (
    Zeros, Ones, Constant, RandomNormal, TruncatedNormal, RandomUniform, GlorotUniform, GlorotNormal,
    HeUniform, HeNormal, LecunUniform, LecunNormal, VarianceScaling, Orthogonal, Identity, STFT,
)  # fmt: skip
REGULARIZERS = (L1, L2, L1L2, OrthogonalRegularizer)
CONSTRAINTS = (MaxNorm, MinMaxNorm, UnitNorm, NonNeg)

INITIALIZER = Named("initializer", INITIALIZERS)
REGULARIZER = Named("regularizer", REGULARIZERS)
CONSTRAINT = Named("constraint", CONSTRAINTS)

Initializer = Annotated[Section, INITIALIZER]
Regularizer = Annotated[Section, REGULARIZER]
Constraint = Annotated[Section, CONSTRAINT]
