"""Optimizers by their Keras names, and learning-rate schedules.

A length of training is set in steps, `200`, or in epochs, `2 epochs`. The default of an optional length is all steps of
the training.
"""

import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator, SerializationInfo, WithJsonSchema, model_validator

from cnnctl.spec.section import MAX, Count, Named, Section, at_most, expected, is_integer, refers_to, show, wrong

Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]

_EPOCHS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,30})?) epochs?")


@dataclass(frozen=True)
class Span:
    """A length of training, in steps or in epochs."""

    amount: float
    unit: str

    def steps(self, steps_per_epoch: int) -> int:
        """Convert the length to steps."""
        return round(self.amount * (steps_per_epoch if self.unit == "epochs" else 1))

    def __str__(self) -> str:
        return f"{_written_out(self.amount)} {self.unit if self.amount != 1 else self.unit[:-1]}"


def _written_out(amount: float) -> str:
    """Format a number with all digits, without the exponent that Python uses for small ones and the loader refuses."""
    text = str(amount).removesuffix(".0")
    if "e" not in text:
        return text
    from decimal import Decimal  # slow to import, and rarely needed

    return f"{Decimal(text):f}"


def _span(value: object) -> Span:
    if isinstance(value, Span):
        return value
    if isinstance(value, int) and is_integer(value, 0):
        return Span(value, "steps")
    match = _EPOCHS.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise expected("a number of steps such as 200, or of epochs such as '2 epochs'", value, at_most(value))
    return Span(float(match[1]), "epochs")


def plain_span(span: Span) -> int | str:
    """Format a length as in a config."""
    return int(span.amount) if span.unit == "steps" else str(span)


Length = Annotated[
    Span,
    PlainValidator(_span),
    PlainSerializer(plain_span),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX},
                {"type": "string", "pattern": f"^{_EPOCHS.pattern}$"},
            ]
        }
    ),
]
ONE_EPOCH = Span(1, "epochs")


class Constant(Section):
    kind: ClassVar[str] = "constant"
    learning_rate: Rate


class Exponential(Section):
    """Keras's `ExponentialDecay`: `initial · decay_rate^(step / decay_steps)`."""

    kind: ClassVar[str] = "exponential"
    initial_learning_rate: Rate
    decay_rate: Annotated[float, Field(gt=0, le=1)]
    decay_steps: Length = ONE_EPOCH
    staircase: bool = False


_NO_STEPS = {"anyOf": [{"const": 0}, {"type": "string", "pattern": r"^0+(\.0+)? epochs?$"}]}
_WARMS_UP_TO_SOMETHING: dict[str, Any] = {
    "if": {"required": ["warmup_target"], "properties": {"warmup_target": {"type": "number"}}},
    "then": {"required": ["warmup_steps"], "properties": {"warmup_steps": {"not": _NO_STEPS}}},
    "else": {"properties": {"warmup_steps": _NO_STEPS}},
}


class Cosine(Section):
    """Keras's `CosineDecay`, with a linear warm-up if `warmup_steps` is set."""

    model_config = ConfigDict(json_schema_extra=_WARMS_UP_TO_SOMETHING)

    kind: ClassVar[str] = "cosine"
    initial_learning_rate: Annotated[float, Field(ge=0)]
    decay_steps: Length | None = None
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    warmup_target: Rate | None = None
    warmup_steps: Length = Span(0, "steps")

    @model_validator(mode="after")
    def _warms_up_to_something(self) -> Self:
        if self.warmup_target is None and self.warmup_steps.amount:
            raise wrong("requires warmup_target, the rate that the warm-up reaches; write warmup_target: 0.01", "warmup_steps")
        if self.warmup_target is not None and not self.warmup_steps.amount:
            raise wrong("requires warmup_steps, the length of the warm-up; write warmup_steps: 1 epoch", "warmup_target")
        return self


class Piecewise(Section):
    """Keras's `PiecewiseConstantDecay`: `values[i]` up to `boundaries[i]`."""

    kind: ClassVar[str] = "piecewise"
    boundaries: Annotated[list[Length], Field(min_length=1)]
    values: Annotated[list[Rate], Field(min_length=2)]

    @model_validator(mode="after")
    def _has_a_value_on_each_side(self) -> Self:
        if len(self.values) != len(self.boundaries) + 1:
            raise wrong(
                f"{len(self.boundaries)} boundaries need {len(self.boundaries) + 1} values, received {len(self.values)}"
            )
        for unit in ("steps", "epochs"):  # across units the order depends on the number of images
            ends = [each.amount for each in self.boundaries if each.unit == unit]
            if any(before >= after for before, after in pairwise(ends)):
                shown = show([plain_span(each) for each in self.boundaries])
                raise wrong(f"must be increasing, since values[i] applies up to boundaries[i], received {shown}", "boundaries")
        return self


class OneCycle(Section):
    """Smith's one-cycle policy (2018), in PyTorch's terms: cosine up to the maximum, cosine down."""

    kind: ClassVar[str] = "one_cycle"
    max_learning_rate: Rate
    total_steps: Length | None = None
    pct_start: Annotated[float, Field(gt=0, lt=1)] = 0.3
    div_factor: Annotated[float, Field(ge=1)] = 25.0
    final_div_factor: Annotated[float, Field(ge=1)] = 1e4


SCHEDULES = (Constant, Exponential, Cosine, Piecewise, OneCycle)
SCHEDULE = Named("schedule", SCHEDULES)


def _learning_rate(value: object) -> float | Section:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 < value <= sys.float_info.max:  # an integer may be larger than any float
            return float(value)
        raise expected("a number greater than 0", value)
    if isinstance(value, str | dict | Section):
        return SCHEDULE.read(value)
    raise expected("a number greater than 0 or a schedule", value)


def constant_rate(rate: float | Section) -> float | None:
    """Return a learning rate that is the same in every step; None for a schedule that changes it."""
    if isinstance(rate, Constant):
        return rate.learning_rate
    return None if isinstance(rate, Section) else rate


def _plain_rate(rate: float | Section, info: SerializationInfo) -> object:
    return rate if isinstance(rate, float) else Named.write(rate, info)


LearningRate = Annotated[
    float | Section,
    PlainValidator(_learning_rate),
    PlainSerializer(_plain_rate),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, refers_to("schedule")]}),
]


_NULL = {"type": "null"}
_CLIPS = ("clipnorm", "clipvalue", "global_clipnorm")
_CLIPS_ONE_WAY: dict[str, Any] = {
    "anyOf": [{"properties": {other: _NULL for other in _CLIPS if other != one}} for one in _CLIPS],
}


class Optimizer(Section):
    """Fields of all Keras optimizers."""

    model_config = ConfigDict(json_schema_extra=_CLIPS_ONE_WAY)

    learning_rate: LearningRate = 0.001
    weight_decay: NonNegative | None = None
    clipnorm: Rate | None = None
    clipvalue: Rate | None = None
    global_clipnorm: Rate | None = None
    use_ema: bool = False
    ema_momentum: Annotated[float, Field(ge=0, le=1)] = 0.99
    ema_overwrite_frequency: Count | None = None
    loss_scale_factor: Rate | None = None
    gradient_accumulation_steps: Annotated[int, Field(ge=2, le=MAX)] | None = None

    @model_validator(mode="after")
    def _clips_one_way(self) -> Self:
        given = [name for name in _CLIPS if getattr(self, name) is not None]
        if len(given) > 1:
            raise wrong(
                f"{' and '.join(given)} cannot both be set, since Keras clips by one of them; remove {given[0]}, or remove {given[1]}"
            )
        return self


class SGD(Optimizer):
    kind: ClassVar[str] = "sgd"
    learning_rate: LearningRate = 0.01
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    nesterov: bool = False


class RMSprop(Optimizer):
    kind: ClassVar[str] = "rmsprop"
    rho: Fraction = 0.9
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    epsilon: Rate = 1e-7
    centered: bool = False


class _AdamLike(Optimizer):
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.999
    epsilon: Rate = 1e-7


class Adam(_AdamLike):
    kind: ClassVar[str] = "adam"
    amsgrad: bool = False


class AdamW(_AdamLike):
    kind: ClassVar[str] = "adamw"
    weight_decay: NonNegative | None = 0.004
    amsgrad: bool = False


class Adamax(_AdamLike):
    kind: ClassVar[str] = "adamax"


class Nadam(_AdamLike):
    kind: ClassVar[str] = "nadam"


class Lamb(_AdamLike):
    kind: ClassVar[str] = "lamb"


class Adadelta(Optimizer):
    kind: ClassVar[str] = "adadelta"
    rho: Fraction = 0.95
    epsilon: Rate = 1e-7


class Adagrad(Optimizer):
    kind: ClassVar[str] = "adagrad"
    initial_accumulator_value: NonNegative = 0.1
    epsilon: Rate = 1e-7


class Adafactor(Optimizer):
    kind: ClassVar[str] = "adafactor"
    beta_2_decay: float = -0.8
    epsilon_1: Rate = 1e-30
    epsilon_2: Rate = 0.001
    clip_threshold: Rate = 1.0
    relative_step: bool = True


class Ftrl(Optimizer):
    kind: ClassVar[str] = "ftrl"
    learning_rate_power: Annotated[float, Field(le=0)] = -0.5
    initial_accumulator_value: NonNegative = 0.1
    l1_regularization_strength: NonNegative = 0.0
    l2_regularization_strength: NonNegative = 0.0
    l2_shrinkage_regularization_strength: NonNegative = 0.0
    beta: float = 0.0


class Lion(Optimizer):
    kind: ClassVar[str] = "lion"
    beta_1: Annotated[float, Field(gt=0, le=1)] = 0.9
    beta_2: Fraction = 0.99


class ScheduleFreeAdamW(Optimizer):
    kind: ClassVar[str] = "schedule_free_adamw"
    learning_rate: LearningRate = 0.0025
    beta_1: Annotated[float, Field(gt=0, le=1)] = 0.9
    beta_2: Fraction = 0.999
    epsilon: Rate = 1e-8
    warmup_steps: Length = Span(0, "steps")


class Muon(Optimizer):
    kind: ClassVar[str] = "muon"
    weight_decay: NonNegative | None = 0.004
    adam_beta_1: Fraction = 0.9
    adam_beta_2: Fraction = 0.999
    adam_weight_decay: NonNegative = 0.004
    epsilon: Rate = 1e-7
    exclude_embeddings: bool = True
    muon_a: float = 3.4445
    muon_b: float = -4.775
    muon_c: float = 2.0315
    adam_lr_ratio: Rate = 1.0
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.95
    ns_steps: Count = 5
    nesterov: bool = True
    rms_rate: NonNegative = 0.2


OPTIMIZERS: tuple[type[Optimizer], ...] = (
    SGD, RMSprop, Adam, AdamW, Adadelta, Adagrad, Adamax, Adafactor, Nadam, Ftrl, Lion, Lamb, Muon, ScheduleFreeAdamW,
)  # fmt: skip
OPTIMIZER = Named("optimizer", OPTIMIZERS)


def averaging(spec: Optimizer) -> str:
    """Name what averages the weights that a run saves, `use_ema` or `schedule_free_adamw`; empty for nothing."""
    if spec.use_ema:
        return "use_ema"
    return spec.kind if isinstance(spec, ScheduleFreeAdamW) else ""
