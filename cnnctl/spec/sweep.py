"""The section `sweep`: the search space, the search method and the number of trials."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from cnnctl.spec.section import MAX, Count, Named, Section, Seed, expected, show, wrong

LARGEST = 1e100
"""Largest number of a range, so that the difference of two numbers is finite."""
MAX_POINTS = 10_000
"""Most points of a grid."""


def _number(value: object) -> int | float:
    if type(value) is int and abs(value) <= MAX:
        return value
    if type(value) is float and abs(value) <= LARGEST:  # which NaN is not
        return value
    raise expected("a finite number", value)


_NUMBER = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema(_NUMBER)]


class Range(Section):
    """Values from `low` to `high`, both included.

    Attributes:
        low, high: the bounds, integers for an integer field.
        step: distance between values; null for all integers, or all numbers, in the range.
        log: draw log-uniformly, so that 1 to 10 and 10 to 100 are equally likely.
    """

    low: Number
    high: Number
    step: Number | None = None
    log: bool = False

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if not self.low < self.high:
            raise wrong(f"the range is empty: low, {show(self.low)}, is not below high, {show(self.high)}", "low")
        if self.log and self.low <= 0:
            raise wrong(f"a range with log: true requires positive bounds, received {show(self.low)}", "low")
        if self.step is not None:
            self._refuse_bad_step(self.step)
        return self

    def _refuse_bad_step(self, step: int | float) -> None:
        if self.log:
            raise wrong("cannot be combined with log: true; remove one of the two", "step")
        if step <= 0:
            raise wrong(f"expected a number greater than 0, received {show(step)}", "step")
        low, high, by = (Decimal(str(each)) for each in (self.low, self.high, step))
        if (high - low) % by:
            last = low + (high - low) // by * by
            raise wrong(f"steps of {by} from {low} do not reach {high}; write high: {last}" if last > low else
                        f"the first step of {by} from {low} is beyond {high}; write a smaller step", "step")  # fmt: skip

    def points(self) -> list[int | float]:
        """List the values of a range with a step, or of integers; at most one more than `MAX_POINTS`."""
        step = Decimal(str(self.step if self.step is not None else 1))
        low, high = Decimal(str(self.low)), Decimal(str(self.high))
        count = min(int((high - low) / step), MAX_POINTS) + 1
        number = float if float in map(type, (self.low, self.high, self.step)) else int
        return [number(low + index * step) for index in range(count)]

    @property
    def is_whole(self) -> bool:
        """Whether all numbers of the range are integers."""
        return all(isinstance(each, int) for each in (self.low, self.high, self.step) if each is not None)


Parameter = tuple[Any, ...] | Range
"""The values tried at a path: choices, or a range."""


def _parameter(value: object) -> Parameter:
    if isinstance(value, Range):
        return value
    if isinstance(value, dict):
        return Range.model_validate(value)
    if not isinstance(value, list | tuple):
        raise expected("a list of values, such as [16, 32], or a range, such as {low: 16, high: 64}", value)
    if not value:
        raise wrong("the list of values is empty")
    twice = [index for index, each in enumerate(value) if any(_same(each, other) for other in value[:index])]
    if twice:
        details = [
            InitErrorDetails(type=wrong(f"duplicate value {show(value[index])}"), loc=(index,), input=value) for index in twice
        ]
        raise ValidationError.from_exception_data("choices", details)
    return tuple(value)


def readable(value: object) -> Parameter | None:
    """Read the values tried at a path; None if they are invalid by themselves."""
    try:
        return _parameter(value)
    except (ValidationError, PydanticCustomError):
        return None


def _same(one: Any, other: Any) -> bool:
    """Return True if two choices are equal; 1 equals 1.0, but not true."""
    return (type(one) is not bool and type(other) is not bool and one == other) or (type(one), one) == (type(other), other)


def _written(parameter: Parameter) -> Any:
    return parameter.model_dump(mode="json") if isinstance(parameter, Range) else list(parameter)


_RANGE_SCHEMA = {
    "type": "object",
    "properties": {"low": {**_NUMBER, "description": "Smallest value."}, "high": {**_NUMBER, "description": "Largest value."},
                   "step": {"anyOf": [{**_NUMBER, "exclusiveMinimum": 0}, {"type": "null"}],
                            "description": "Distance between values; null for all integers, or all numbers, in the range."},
                   "log": {"type": "boolean", "description": "Draw log-uniformly, so that 1 to 10 and 10 to 100 are equally likely."}},
    "required": ["low", "high"],
    "additionalProperties": False,
}  # fmt: skip
_PARAMETERS_SCHEMA = {
    "type": "object",
    "properties": {},
    "patternProperties": {"^": {"anyOf": [{"type": "array", "items": {}, "minItems": 1, "uniqueItems": True}, _RANGE_SCHEMA]}},
    "additionalProperties": False,
    "minProperties": 1,
}
Parameters = Annotated[
    dict[str, Annotated[Any, PlainValidator(_parameter), PlainSerializer(_written)]], WithJsonSchema(_PARAMETERS_SCHEMA)
]


class Median(Section):
    """Prunes a trial whose best epoch so far is worse than the median of the finished trials at the same epoch.

    Optuna's MedianPruner. Pruned and failed trials do not count.

    Attributes:
        startup_trials: finished trials before any is pruned.
        warmup_epochs: epochs of each trial before it may be pruned.
    """

    kind: ClassVar[str] = "median"
    startup_trials: Count = 5
    warmup_epochs: Annotated[int, Field(ge=0, le=MAX)] = 0


class SuccessiveHalving(Section):
    """Prunes a trial after `min_epochs` epochs, and at each multiple by `reduction_factor`, unless it is among the best.

    Optuna's SuccessiveHalvingPruner, asynchronous: a trial is compared with all trials that reached this epoch before, and
    continues if it is among the best `1 / reduction_factor` of them, or the best of fewer.

    Attributes:
        min_epochs: epochs before the first comparison.
        reduction_factor: one trial in `reduction_factor` continues.
    """

    kind: ClassVar[str] = "successive_halving"
    min_epochs: Count = 1
    reduction_factor: Annotated[int, Field(ge=2, le=MAX)] = 4


PRUNER = Named("pruner", (Median, SuccessiveHalving))


class SweepSpec(Section):
    """A hyperparameter search; for `cnnctl sweep`.

    Attributes:
        method: `grid` (every combination), `random`, or `tpe` (10 random trials, then values near good ones, each parameter
            independently: Bergstra et al. 2011).
        trials: number of trials in total; null with `minutes`, or for all points of a grid.
        minutes: time budget in minutes: no trial starts later than this after the command; null for no limit.
        objective: `validation_accuracy`, or `validation_loss` without the penalties of regularizers; of the final weights of
            a trial.
        pruning: how trials with poor results are stopped early, see below; null for no pruning.
        seed: seed of the drawn values.
        repeat_best: how often the best trial is retrained at the end, each time with another `seed`; 0 for never.
        parameters: values to try by path: a list of values, or a range `{low, high}` with `step` or `log: true`.
    """

    renamed: ClassVar[Mapping[str, str]] = {"choose_by": "objective"}

    method: Literal["grid", "random", "tpe"] = "tpe"
    trials: Count | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    objective: Literal["validation_accuracy", "validation_loss"] = "validation_accuracy"
    pruning: Annotated[Any, PRUNER] | None = None
    seed: Seed = 0
    repeat_best: Annotated[int, Field(ge=0, le=1000)] = 3
    parameters: Parameters

    @field_validator("parameters", mode="after")
    @classmethod
    def _names_something(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if not parameters:
            raise wrong("there are no parameters; add at least one path, such as train.batch_size: [32, 64]")
        return parameters

    @model_validator(mode="after")
    def _comes_to_an_end(self) -> Self:
        if self.method == "grid":
            self._refuse_bad_grid()
        elif self.trials is None and self.minutes is None:
            raise wrong(f"'{self.method}' has no end of its own; set trials, minutes or both", "trials")
        return self

    def _refuse_bad_grid(self) -> None:
        endless = [
            _no_points(path, parameter)
            for path, parameter in self.parameters.items()
            if isinstance(parameter, Range) and (parameter.log or not (parameter.is_whole or parameter.step is not None))
        ]
        if endless:
            raise ValidationError.from_exception_data("grid", endless)
        points = self.grid_size
        if points > MAX_POINTS:
            raise wrong(
                f"the grid has more than {MAX_POINTS:,} points; list fewer values, or write method: random", "parameters"
            )
        if self.trials is not None and self.trials < points:
            raise wrong(
                f"the grid has {points:,} points, but trials is {self.trials:,}; remove trials to try all of them, or write method: random",
                "trials",
            )

    @property
    def grid_size(self) -> int:
        """The number of combinations of a grid."""
        return math.prod(map(len, self.grid_axes))

    @property
    def grid_axes(self) -> list[Sequence[Any]]:
        """The values of each parameter of a grid."""
        return [each.points() if isinstance(each, Range) else each for each in self.parameters.values()]


def _no_points(path: str, parameter: Range) -> InitErrorDetails:
    if parameter.log:
        message = "log: true is for drawing values, and a grid draws none; list the values, or use method: random"
        return InitErrorDetails(type=wrong(message), loc=("parameters", path, "log"), input=parameter.log)
    message = "a grid requires a step for a range of numbers; set step, list the values, or use method: random"
    return InitErrorDetails(type=wrong(message), loc=("parameters", path), input=None)
