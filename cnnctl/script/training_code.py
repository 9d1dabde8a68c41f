"""Loss, optimizer, training loop and test as code."""

from __future__ import annotations

from cnnctl.script.expressions import Call, laid_out, literal
from cnnctl.script.template import Needs, written
from cnnctl.spec import optimizers as O
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss

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
    """Schedule-free AdamW (Defazio et al. 2024): steps change z, and the network ends with x, the mean of all z.

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

AVERAGES = '''
class AveragedWeights(keras.callbacks.Callback):
    """Validates the averaged weights; the steps continue with the original ones."""

    own = ()

    def on_test_begin(self, logs=None):  #? validation
    def on_epoch_end(self, epoch, logs=None):  #? !validation
        self.own = [weight.numpy() for weight in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_epoch_begin(self, epoch, logs=None):
        for weight, value in zip(self.model.trainable_variables, self.own):
            weight.assign(value)

    def on_train_end(self, logs=None):  #? schedule_free
        self.on_epoch_begin(0)  # fit has taken x of the last epoch for y  #? schedule_free
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)  #? schedule_free


'''

FIT = """
# no XLA: on a CPU it is slow, and its rounding differs
model.compile(optimizer, loss_function, metrics=["accuracy"], jit_compile=False)
$callback
model.fit(
    train_batches,
    epochs=EPOCHS,
    steps_per_epoch=steps_per_epoch,
    validation_data=validation_batches,  #? validation
    callbacks=[$callbacks],  #? callbacks
    shuffle=False,  # the batches have their order
    verbose=2,  # one line per epoch
)
"""

CUSTOM = '''
mean_loss = keras.metrics.Mean()
accuracy = keras.metrics.$accuracy()


@tf.function(input_signature=train_batches.element_spec)
def train_step(images, labels):
    """Update the weights by one step of the optimizer."""
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)  # $outputs
        loss = loss_function(labels, outputs)  #? !regularized
        loss = tf.add_n([loss_function(labels, outputs), *model.losses])  # regularized  #? regularized
        scaled_loss = optimizer.scale_loss(loss)  #? scaled
    gradients = tape.gradient(loss, model.trainable_variables)  #? !scaled
    gradients = tape.gradient(scaled_loss, model.trainable_variables)  #? scaled
    optimizer.apply(gradients, model.trainable_variables)
    count(loss, labels, outputs)
    return loss  # a graph that returns nothing is not optimized


@tf.function(input_signature=train_batches.element_spec)
def evaluate_step(images, labels):
    """Evaluate a batch; the weights are unchanged."""
    outputs = model(images, training=False)
    loss = loss_function(labels, outputs)  #? !regularized
    loss = tf.add_n([loss_function(labels, outputs), *model.losses])  #? regularized
    count(loss, labels, outputs)
    return loss


def count(loss, labels, outputs):
    """Update the metrics with a batch; every image has the same weight."""
    mean_loss.update_state(loss, sample_weight=tf.shape(labels)[0])
    accuracy.update_state(labels, outputs)


def run(step, batches):
    """Run a step on each batch and return loss and accuracy."""
    mean_loss.reset_state()
    accuracy.reset_state()
    for images, labels in batches:
        step(images, labels)
    return float(mean_loss.result()), float(accuracy.result())


best, best_epoch, best_weights = $worst, 0, model.get_weights()  #? stopping restore
best, best_epoch = $worst, 0  #? stopping !restore
lowest, waited = math.inf, 0  #? plateau !rising
highest, waited = -math.inf, 0  #? plateau rising
cooldown = 0  #? cooldown
batches = iter(train_batches)
for epoch in range(1, EPOCHS + 1):
    train_loss, train_accuracy = run(train_step, itertools.islice(batches, steps_per_epoch))
    print(f"epoch {epoch}/{EPOCHS}: loss {train_loss:.4f}, accuracy {train_accuracy:.2%}")
    own = [weight.numpy() for weight in model.trainable_variables]  #? swapped
    optimizer.finalize_variable_values(model.trainable_variables)  # use the averages  #? swapped
    validation_loss, validation_accuracy = run(evaluate_step, validation_batches)  #? validation
    print(f"    validation: loss {validation_loss:.4f}, accuracy {validation_accuracy:.2%}")  #? validation
    waited = 0 if cooldown else waited  #? cooldown
    cooldown = max(cooldown - 1, 0)  #? cooldown
    if np.float32($plateau + $plateau_delta) < np.float32(lowest):  #? plateau !rising
        lowest, waited = $plateau, 0  #? plateau !rising
    if np.float32($plateau - $plateau_delta) > np.float32(highest):  #? plateau rising
        highest, waited = $plateau, 0  #? plateau rising
    elif not cooldown:  #? cooldown
    else:  #? plateau !cooldown
        waited += 1  #? plateau
        rate = float(optimizer.learning_rate.numpy())  #? plateau
        if waited >= $plateau_patience:  #? plateau !min_lr
        if waited >= $plateau_patience and rate > np.float32($min_lr):  #? min_lr
            optimizer.learning_rate = rate * $factor  #? plateau !min_lr
            optimizer.learning_rate = max(rate * $factor, $min_lr)  #? min_lr
            waited = 0  #? plateau !cooldown
            waited, cooldown = 0, $cooldown  #? cooldown
    if $better:  #? stopping
        best, best_epoch, best_weights = $monitor, epoch, model.get_weights()  #? stopping restore
        best, best_epoch = $monitor, epoch  #? stopping !restore
    elif epoch - best_epoch >= $patience:  #? stopping
        print(f"$metric has not improved since epoch {best_epoch}")  #? stopping
        break  #? stopping
    for weight, value in zip(model.trainable_variables, own):  #? swapped
        weight.assign(value)  # the steps continue with the original weights  #? swapped
for weight, value in zip(model.trainable_variables, own):  #? swapped schedule_free stopping
    weight.assign(value)  # also where early stopping has left them out  #? swapped schedule_free stopping
optimizer.finalize_variable_values(model.trainable_variables)  # the averages  #? averaged
model.set_weights(best_weights)  #? stopping restore
'''

TEST = """
test_batches = ordered_batches(images[test], labels[test])  #? test_fraction
test_batches = ordered_batches(*read($test))  #? !test_fraction !remap_labels
test_images, test_labels = read($test)  #? !test_fraction remap_labels
test_batches = ordered_batches(test_images, np.searchsorted(classes, test_labels))  #? !test_fraction remap_labels
test_loss, test_accuracy = model.evaluate(test_batches, verbose=0)  #? fit
test_loss, test_accuracy = run(evaluate_step, test_batches)  #? !fit
print(f"test: loss {test_loss:.4f}, accuracy {test_accuracy:.2%}")
model.save($file)  #? !subclass
model.save($file)  # load_model needs custom_objects={"Network": Network}  #? subclass
"""


def goal(experiment: Experiment, needs: Needs) -> list[str]:
    """Generate the code of loss and optimizer, preceded by the class of its schedule."""
    spec = experiment.train.optimizer
    chosen = chosen_loss(experiment)
    name = "".join(word.capitalize() for word in chosen.name.split("_"))
    smoothing = (f"label_smoothing={literal(chosen.label_smoothing)}",) if chosen.label_smoothing else ()
    loss = Call(f"keras.losses.{name}", (f"from_logits={chosen.from_logits}", *smoothing))
    lines = laid_out("loss_function = ", loss)
    rate, schedule = _rate(spec.learning_rate, experiment.train.epochs)
    lines += [*schedule, *laid_out("optimizer = ", _optimizer(spec, rate))]
    if experiment.train.precision == "mixed_float16":
        lines.append("optimizer = keras.optimizers.LossScaleOptimizer(optimizer)  # small gradients survive float16")
    own = []
    if isinstance(spec, O.ScheduleFreeAdamW):
        own = [written(SCHEDULE_FREE, {**needs, "ema": spec.use_ema})]
        lines.append("optimizer.build(model.trainable_variables)  # here, outside of any tf.function: z starts at the weights")
    return [*_one_cycle(spec.learning_rate, needs), *own, "\n".join(lines)]


def loop(experiment: Experiment, needs: Needs) -> str:
    """Generate the training loop."""
    if needs["fit"]:
        averages = f"{written(AVERAGES, needs)}\n\n\n" if needs["swapped"] else ""
        own = {"swapped": "AveragedWeights()", "stopping": "early_stopping", "plateau": "reduce_on_plateau"}
        names = [name for need, name in own.items() if needs[need]]
        flags = {**needs, "callbacks": bool(names)}
        values = {"callback": _callbacks(experiment), "callbacks": ", ".join(names)}
        return averages + written(FIT, flags, **values).replace("\n\n", "\n")
    accuracy = "CategoricalAccuracy" if needs["one_hot"] else "SparseCategoricalAccuracy"
    outputs = f"(B, {experiment.data.classes})"
    return written(CUSTOM, needs, accuracy=accuracy, outputs=outputs, **_stopping(experiment), **_plateau(experiment))


def test(needs: Needs, split: str, model_file: str) -> str:
    """Generate the code that evaluates and saves the network.

    Args:
        needs: the template flags.
        split: the arguments of `read` for the test split, as code.
        model_file: the file that the network is saved to.
    """
    return written(TEST, needs, test=split, file=literal(model_file))


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


_KERAS_MONITORS = {
    "validation_loss": "val_loss",
    "validation_accuracy": "val_accuracy",
    "train_loss": "loss",
    "train_accuracy": "accuracy",
}


def _callbacks(experiment: Experiment) -> str:
    """Generate the callbacks of Keras that stop the training and reduce its learning rate."""
    stopping, plateau = experiment.train.early_stopping, experiment.train.reduce_on_plateau
    lines = []
    if stopping:
        arguments = [*_monitoring(stopping.monitor), f"patience={stopping.patience}"]
        arguments += [f"min_delta={literal(stopping.min_delta)}"] if stopping.min_delta else []
        arguments += ["restore_best_weights=True"] if stopping.restore_best else []
        lines += laid_out("early_stopping = ", Call("keras.callbacks.EarlyStopping", tuple(arguments)))
    if plateau:
        fields = {name: getattr(plateau, name) for name in ("factor", "patience", "min_delta", "cooldown", "min_lr")}
        arguments = [*_monitoring(plateau.monitor), *(f"{name}={literal(value)}" for name, value in fields.items())]
        lines += laid_out("reduce_on_plateau = ", Call("keras.callbacks.ReduceLROnPlateau", tuple(arguments)))
    return "\n".join(lines)


def _monitoring(monitor: str) -> tuple[str, str]:
    """Generate the arguments of a callback that say what it monitors."""
    mode = "max" if monitor.endswith("accuracy") else "min"
    return f"monitor={literal(_KERAS_MONITORS[monitor])}", f"mode={literal(mode)}"


def _plateau(experiment: Experiment) -> dict[str, object]:
    """Return the template values of reductions of the learning rate."""
    spec = experiment.train.reduce_on_plateau
    names = ("plateau", "plateau_delta", "plateau_patience", "factor", "min_lr", "cooldown")
    if spec is None:
        return dict.fromkeys(names, "")
    values = (spec.monitor, *map(literal, (spec.min_delta, spec.patience, spec.factor, spec.min_lr, spec.cooldown)))
    return dict(zip(names, values, strict=True))


def _stopping(experiment: Experiment) -> dict[str, object]:
    """Return the template values of early stopping."""
    spec = experiment.train.early_stopping
    if spec is None:
        return dict.fromkeys(("worst", "better", "monitor", "patience", "metric"), "")
    sign, more, worst = (">", "+", "-math.inf") if spec.monitor.endswith("accuracy") else ("<", "-", "math.inf")
    least = f" {more} {literal(spec.min_delta)}" if spec.min_delta else ""
    return {
        "worst": worst,
        "better": f"{spec.monitor} {sign} best{least}",
        "monitor": spec.monitor,
        "patience": spec.patience,
        "metric": spec.monitor.replace("_", " "),
    }
