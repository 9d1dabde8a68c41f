"""The optimizer and its learning rate as code."""

from __future__ import annotations

from cnnctl.script.expressions import Call, laid_out, literal
from cnnctl.script.template import Needs, written
from cnnctl.spec import optimizers as O
from cnnctl.spec.experiment import Experiment

ONE_CYCLE = '''
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises to `maximum` along a cosine, then falls to almost zero (Smith 2018)."""

    def __init__(self, maximum, steps):
        self.maximum, self.steps = maximum, steps
        self.first = maximum / $div
        self.last = self.first / $final
        self.peak = max($share * steps - 1, 1.0)
        self.down = max(steps - 1 - self.peak, 1.0)

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rising = cosine(self.first, self.maximum, step / self.peak)
        falling = cosine(self.maximum, self.last, (step - self.peak) / self.down)
        return keras.ops.where(step < self.peak, rising, falling)

    def get_config(self):  #? fit
        return {"maximum": self.maximum, "steps": self.steps}  #? fit


def cosine(start, end, share):
    """Interpolate between `start` and `end` along a cosine."""
    share = keras.ops.minimum(share, 1.0)
    return end + (start - end) * (1 + keras.ops.cos(math.pi * share)) / 2
'''

SCHEDULE_FREE = '''
class ScheduleFreeAdamW(keras.optimizers.ScheduleFreeAdamW):
    """Schedule-free AdamW (Defazio et al. 2024): steps change z, the network has their mean x.

    Keras 3.15 computes x from the wrong z, and leaves the network at y = (1 - beta_1) z + beta_1 x.
    """

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        z, squares = self._momentums[index], self._velocities[index]
        step = keras.ops.cast(self.iterations + 1, variable.dtype)
        if self.warmup_steps:
            learning_rate = learning_rate * keras.ops.minimum(step / self.warmup_steps, 1.0)
        x = self.average(variable, z)  # before z changes
        self.assign_add(squares, (1 - self.beta_2) * (keras.ops.square(gradient) - squares))
        unbiased = squares / (1 - keras.ops.power(self.beta_2, step))
        self.assign_sub(z, learning_rate * gradient / (keras.ops.sqrt(unbiased) + self.epsilon))
        x = x + (z - x) / step
        self.assign(variable, (1 - self.beta_1) * z + self.beta_1 * x)

    def finalize_variable_values(self, trainable_variables):  #? !ema
        for variable in trainable_variables:  #? !ema
            z = self._momentums[self._get_variable_index(variable)]  #? !ema
            x = self.average(variable, z)  #? !ema
            variable.assign(x if variable.constraint is None else variable.constraint(x))  #? !ema

    def average(self, y, z):
        return (y - (1 - self.beta_1) * z) / self.beta_1
'''


def optimizer_code(experiment: Experiment, needs: Needs) -> tuple[list[str], list[str]]:
    """Generate the classes that the optimizer needs, and the lines that create it."""
    spec = experiment.train.optimizer
    classes = _one_cycle(spec.learning_rate, needs)
    rate, schedule = _rate(spec.learning_rate, experiment.train.epochs)
    lines = [*schedule, *laid_out("optimizer = ", _optimizer(spec, rate))]
    if experiment.train.precision == "mixed_float16":
        lines.append("optimizer = keras.optimizers.LossScaleOptimizer(optimizer)  # small gradients survive float16")
    if isinstance(spec, O.ScheduleFreeAdamW):
        classes.append(written(SCHEDULE_FREE, {**needs, "ema": spec.use_ema}))
        lines.append("optimizer.build(model.trainable_variables)  # not in a tf.function: z starts at the weights")
    return classes, lines


def _optimizer(spec: O.Optimizer, rate: str) -> Call:
    fields = type(spec).model_fields
    changed = [name for name in fields if name != "learning_rate" and getattr(spec, name) != fields[name].default]
    arguments = (f"learning_rate={rate}", *(f"{name}={_setting(getattr(spec, name))}" for name in changed))
    module = "" if isinstance(spec, O.ScheduleFreeAdamW) else "keras.optimizers."
    return Call(f"{module}{type(spec).__name__}", arguments)


def _setting(value: object) -> str:
    return _steps(value) if isinstance(value, O.Span) else literal(value)


def _one_cycle(rate: object, needs: Needs) -> list[str]:
    if not isinstance(rate, O.OneCycle):
        return []
    values = {"div": rate.div_factor, "final": rate.final_div_factor, "share": rate.pct_start}
    return [written(ONE_CYCLE, needs, **values)]


def _rate(rate: object, epochs: int) -> tuple[str, list[str]]:
    """Generate the argument of the learning rate, and the lines before the optimizer."""
    if isinstance(rate, float):
        return literal(rate), []
    if isinstance(rate, O.Constant):
        return literal(rate.learning_rate), []
    return "learning_rate", laid_out("learning_rate = ", _schedule(rate, epochs))


def _schedule(rate: object, epochs: int) -> Call:
    match rate:
        case O.Exponential():
            staircase = ("staircase=True",) if rate.staircase else ()
            return _keras_schedule(
                "ExponentialDecay",
                f"initial_learning_rate={literal(rate.initial_learning_rate)}",
                f"decay_steps={_at_least_one(rate.decay_steps)}",
                f"decay_rate={literal(rate.decay_rate)}",
                *staircase,
            )
        case O.Cosine():
            return _cosine(rate, epochs)
        case O.Piecewise():
            boundaries = ", ".join(map(_steps, rate.boundaries))
            return _keras_schedule(
                "PiecewiseConstantDecay", f"boundaries=[{boundaries}]", f"values=[{', '.join(map(literal, rate.values))}]"
            )
    assert isinstance(rate, O.OneCycle)
    length = _steps(rate.total_steps) if rate.total_steps else "EPOCHS * steps_per_epoch"
    return Call("OneCycle", (literal(rate.max_learning_rate), length))


def _cosine(rate: O.Cosine, epochs: int) -> Call:
    warmup = _at_least_one(rate.warmup_steps) if rate.warmup_steps.amount else ""
    decay = _at_least_one(rate.decay_steps) if rate.decay_steps else _left_after(rate.warmup_steps, epochs)
    alpha = (f"alpha={literal(rate.alpha)}",) if rate.alpha else ()
    warming = (f"warmup_target={literal(rate.warmup_target)}", f"warmup_steps={warmup}") if warmup else ()
    first = f"initial_learning_rate={literal(rate.initial_learning_rate)}"
    return _keras_schedule("CosineDecay", first, f"decay_steps={decay}", *alpha, *warming)


def _left_after(warmup: O.Span, epochs: int) -> str:
    """Generate the number of steps after a warm-up, at least one."""
    if not warmup.amount:
        return "EPOCHS * steps_per_epoch"
    if warmup.unit == "epochs" and warmup.amount.is_integer() and warmup.amount < epochs:
        return f"(EPOCHS - {int(warmup.amount)}) * steps_per_epoch"
    return f"max(EPOCHS * steps_per_epoch - {_steps(warmup)}, 1)"


def _keras_schedule(name: str, *arguments: str) -> Call:
    return Call(f"keras.optimizers.schedules.{name}", arguments)


def _steps(length: O.Span) -> str:
    """Generate the number of steps of a length of training."""
    if length.unit == "steps":
        return literal(int(length.amount))
    if length.amount == int(length.amount):
        return "steps_per_epoch" if length.amount == 1 else f"{int(length.amount)} * steps_per_epoch"
    return f"round({literal(length.amount)} * steps_per_epoch)"


def _at_least_one(length: O.Span) -> str:
    steps = _steps(length)
    return steps if length.amount >= 1 else f"max({steps}, 1)"
