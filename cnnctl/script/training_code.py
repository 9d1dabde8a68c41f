"""Loss, optimizer, training loop and test as code."""

from __future__ import annotations

from cnnctl.script.expressions import Call, laid_out, literal
from cnnctl.script.optimizer_code import optimizer_code
from cnnctl.script.template import Needs, written
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.head import chosen_loss

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
    """Generate the code of loss and optimizer, preceded by the classes of the optimizer and its schedule."""
    chosen = chosen_loss(experiment)
    name = "".join(word.capitalize() for word in chosen.name.split("_"))
    smoothing = (f"label_smoothing={literal(chosen.label_smoothing)}",) if chosen.label_smoothing else ()
    loss = Call(f"keras.losses.{name}", (f"from_logits={chosen.from_logits}", *smoothing))
    lines = laid_out("loss_function = ", loss)
    classes, optimizer = optimizer_code(experiment, needs)
    return [*classes, "\n".join([*lines, *optimizer])]


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
