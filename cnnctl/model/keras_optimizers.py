"""Build Keras optimizers, learning-rate schedules and losses from a config."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import keras

from cnnctl.errors import UsageError, counted
from cnnctl.model.guard import guard_loss
from cnnctl.model.schedule_free import ScheduleFreeAdamW
from cnnctl.spec import optimizers as O
from cnnctl.spec.head import Loss
from cnnctl.spec.section import Section

KERAS_OPTIMIZERS: dict[type[O.Optimizer], type[keras.Optimizer]] = {
    O.SGD: keras.optimizers.SGD,
    O.RMSprop: keras.optimizers.RMSprop,
    O.Adam: keras.optimizers.Adam,
    O.AdamW: keras.optimizers.AdamW,
    O.Adadelta: keras.optimizers.Adadelta,
    O.Adagrad: keras.optimizers.Adagrad,
    O.Adamax: keras.optimizers.Adamax,
    O.Adafactor: keras.optimizers.Adafactor,
    O.Nadam: keras.optimizers.Nadam,
    O.Ftrl: keras.optimizers.Ftrl,
    O.Lion: keras.optimizers.Lion,
    O.Lamb: keras.optimizers.Lamb,
    O.Muon: keras.optimizers.Muon,
    O.ScheduleFreeAdamW: ScheduleFreeAdamW,
}


def build_optimizer(
    spec: O.Optimizer, steps_per_epoch: int, epochs: int, precision: str, guarded: bool = True
) -> keras.Optimizer:
    """Create the Keras optimizer, which refuses a non-finite loss.

    With mixed_float16 it scales the loss, so that small gradients do not underflow.

    Args:
        spec: the optimizer of the config.
        steps_per_epoch, epochs: the length of the training, for schedules.
        precision: the precision of the computation.
        guarded: False if the caller itself refuses a non-finite loss.
    """
    fields = {name: getattr(spec, name) for name in type(spec).model_fields if name != "learning_rate"}
    fields = {name: each.steps(steps_per_epoch) if isinstance(each, O.Span) else each for name, each in fields.items()}
    if isinstance(spec.learning_rate, O.Piecewise):
        refuse_unsorted(spec.learning_rate, spec.kind, steps_per_epoch)
    rate = build_schedule(spec.learning_rate, steps_per_epoch, epochs)
    optimizer = KERAS_OPTIMIZERS[type(spec)](learning_rate=rate, **fields)
    optimizer = keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
    if guarded:
        guard_loss(optimizer)
    return optimizer


def refuse_unsorted(spec: O.Piecewise, optimizer: str, steps_per_epoch: int) -> None:
    """Raise UsageError for boundaries that are not increasing after conversion to steps.

    Keras would add the values of all intervals that contain a step.
    """
    steps = [length.steps(steps_per_epoch) for length in spec.boundaries]
    if all(before < after for before, after in pairwise(steps)):
        return
    ordered = sorted(zip(steps, spec.boundaries, strict=True), key=lambda each: each[0])
    distinct = dict(ordered).values()  # one boundary per step
    remedy = (
        f"write boundaries: {_shown(distinct)}, and the values in that order"
        if len(distinct) == len(steps)
        else f"write boundaries: {_shown(distinct)}, and one value more than boundaries"
    )
    raise UsageError(
        f"train.optimizer.{optimizer}.learning_rate.piecewise.boundaries: must be increasing, since values[i] applies up to boundaries[i]; "
        f"received {_shown(spec.boundaries)}, which are steps {steps} "
        f"with {counted(steps_per_epoch, 'step')} per epoch; {remedy}"
    )


def _shown(boundaries: Iterable[O.Span]) -> str:
    return f"[{', '.join(str(O.plain_span(length)) for length in boundaries)}]"


def build_schedule(
    spec: float | Section, steps_per_epoch: int, epochs: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Create the learning rate for Keras: a number or a schedule over steps."""
    schedules = keras.optimizers.schedules
    total = steps_per_epoch * epochs

    def steps(length: O.Span) -> int:
        return length.steps(steps_per_epoch)

    match spec:
        case O.Constant():
            return spec.learning_rate
        case O.Exponential():
            return schedules.ExponentialDecay(
                spec.initial_learning_rate, max(steps(spec.decay_steps), 1), spec.decay_rate, spec.staircase
            )
        case O.Cosine():
            warmup = max(steps(spec.warmup_steps), 1) if spec.warmup_steps.amount else 0
            decay = max(steps(spec.decay_steps) if spec.decay_steps else total - warmup, 1)
            return schedules.CosineDecay(
                spec.initial_learning_rate, decay, spec.alpha, warmup_target=spec.warmup_target, warmup_steps=warmup
            )
        case O.Piecewise():
            return schedules.PiecewiseConstantDecay([steps(length) for length in spec.boundaries], spec.values)
        case O.OneCycle():
            length = steps(spec.total_steps) if spec.total_steps else total
            return OneCycle(spec.max_learning_rate, length, spec.pct_start, spec.div_factor, spec.final_div_factor)
    assert isinstance(spec, float)
    return spec


@keras.saving.register_keras_serializable(package="cnnctl")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Smith, "A disciplined approach to neural network hyper-parameters" (2018), with cosine slopes.

    The rate rises from `max / div_factor` to `max` in `pct_start · total_steps` steps, then falls to
    `max / div_factor / final_div_factor` and remains there.
    """

    def __init__(
        self, max_learning_rate: float, total_steps: int, pct_start: float, div_factor: float, final_div_factor: float
    ) -> None:
        super().__init__()
        self.max_learning_rate = max_learning_rate
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor

    def __call__(self, step: Any) -> Any:
        """Compute the learning rate at a step, counted from 0."""
        ops = keras.ops
        first = self.max_learning_rate / self.div_factor
        final = first / self.final_div_factor
        peak = max(self.pct_start * self.total_steps - 1, 1.0)
        down = max(self.total_steps - 1 - peak, 1.0)
        at = ops.cast(step, "float32")
        rising = _cosine(first, self.max_learning_rate, ops.minimum(at / peak, 1.0))
        falling = _cosine(self.max_learning_rate, final, ops.minimum((at - peak) / down, 1.0))
        return ops.where(at < peak, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of `__init__`."""
        return {
            "max_learning_rate": self.max_learning_rate,
            "total_steps": self.total_steps,
            "pct_start": self.pct_start,
            "div_factor": self.div_factor,
            "final_div_factor": self.final_div_factor,
        }


def _cosine(start: float, end: float, share: Any) -> Any:
    return end + (start - end) * (1 + keras.ops.cos(math.pi * share)) / 2


def build_loss(loss: Loss) -> keras.Loss:
    """Create the Keras loss, averaged over the images of a batch."""
    if loss.name == "categorical_crossentropy":
        return keras.losses.CategoricalCrossentropy(from_logits=loss.from_logits, label_smoothing=loss.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=loss.from_logits)
