"""Two ways to drive the same training: `model.fit` and a GradientTape loop.

Both take the same arguments, read the same batches and tell the same observers, and go on from any step. On a
CPU in float32 they give the same weights to the bit.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import keras
import tensorflow as tf

from cnnctl.build.guard import refused_loss
from cnnctl.train.observe import EndRecord, EpochRecord, Observer, Plan, Score, StepsRecord
from cnnctl.train.replicas import Replicas, Totals, count_once, judge_together, train_together
from cnnctl.train.steps import Metrics, build_once, evaluate_step, total_loss_with, train_step
from cnnctl.train.stopping import Diverged

SECONDS_PER_CALL = 0.2
"""How long the custom loop stays out of Python: progress is shown and Ctrl-C heard this often."""


class Trainable(Protocol):
    """What the custom loop drives: a classifier, or a learner of few-shot tasks."""

    @property
    def model(self) -> keras.Model:
        """Built network."""

    @property
    def optimizer(self) -> keras.Optimizer:
        """Not yet built."""

    @property
    def metrics(self) -> Metrics:
        """Of training."""

    @property
    def replicas(self) -> Replicas | None:
        """What computes parts of each batch; None for one device."""

    @property
    def step(self) -> Any:
        """A step of training, compiled once: takes a batch, or what is dealt out of one."""
        ...

    def loss_with(self, weights: Sequence[Any], *batch: Any) -> Any:
        """Returns the training loss of a batch under other values of the trained weights; no state changes."""
        ...

    def evaluation(self) -> Callable[[Any], Score]:
        """Returns what judges the network on validation or test data of the learner's own kind."""
        ...


@dataclass(frozen=True)
class Learner:
    """A network that tells classes apart, and what trains it.

    Attributes:
        model: built network.
        optimizer: not yet built.
        loss: averages over a batch.
        metrics: for the custom loop's training; `accuracy` is also what `fit` reports.
        replicas: what computes parts of each batch; None for one device.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    loss: keras.Loss
    metrics: Metrics
    replicas: Replicas | None = field(default=None, kw_only=True)

    @cached_property
    def step(self) -> Any:
        """The custom loop's step, compiled once: takes the images and labels of a batch, or what is dealt out of one."""
        if self.replicas:
            return tf.function(self.replicas.together(self.train_part, self.metrics), autograph=False)

        def training_step(images: Any, labels: Any) -> None:
            train_step(self.model, self.optimizer, self.loss, self.metrics, images, labels)

        return tf.function(training_step, autograph=False)

    def train_part(self, images: Any, labels: Any, rows: Any) -> Totals:
        """Trains on the whole batch that a replica has a part of; see `replicas.train_together`."""
        return train_together(self.model, self.optimizer, self.loss, images, labels, rows)

    def judge_part(self, images: Any, labels: Any, rows: Any) -> Totals:
        """Judges the network on the whole batch that a replica has a part of; see `replicas.judge_together`."""
        return judge_together(self.model, self.loss, images, labels, rows)

    def loss_with(self, weights: Sequence[Any], images: Any, labels: Any) -> Any:
        """Returns the training loss of a batch under other values of the trained weights; no state changes."""
        return total_loss_with(weights, self.model, self.loss, images, labels)

    def evaluation(self) -> Callable[[tf.data.Dataset], Score]:
        """Returns what gives loss and accuracy over a dataset of known length; compiled once, for validation and test."""
        return self._evaluate

    @cached_property
    def _evaluate(self) -> Callable[[tf.data.Dataset], Score]:
        metrics = Metrics(keras.metrics.Mean(), type(self.metrics.accuracy)())

        def step(images: Any, labels: Any) -> None:
            evaluate_step(self.model, self.loss, metrics, images, labels)

        replicas = self.replicas
        run_steps = _compiled_steps(replicas.together(self.judge_part, metrics) if replicas else step, metrics)

        def evaluate(dataset: tf.data.Dataset) -> Score:
            metrics.reset()
            batches = replicas.dealt_out(dataset) if replicas else dataset
            steps = replicas.steps_of(dataset) if replicas else int(dataset.cardinality())
            for _ in _paced(run_steps, iter(batches), [steps], 0, agreement(replicas)):
                pass
            return Score(*metrics.values())

        return evaluate


Batches = Callable[[int], tf.data.Dataset]
"""Gives the batches of a training from a step on, counted from 0, to the end of its last epoch."""
Agreement = Callable[[int], int]
Loop = Callable[[Learner, Batches, tf.data.Dataset | None, Plan, Observer], None]


def run_custom(learner: Trainable, train: Batches, validation: Any | None, plan: Plan, observer: Observer) -> None:
    """Trains by a GradientTape step inside `tf.function`, many steps a call.

    Args:
        learner: what is trained.
        train: gives the batches from the plan's first step on.
        validation: what the learner's evaluation takes, for a classifier the batches of one pass; None for none.
        plan: epochs and steps.
        observer: told about steps, epochs and the end.

    Raises:
        Diverged: a loss was no number; the weights are those before that step.
    """
    build_once(learner.optimizer, learner.model)
    begun = tf.Variable(plan.first_step, trainable=False, dtype=tf.int64)
    run_steps = _compiled_steps(learner.step, learner.metrics, begun)
    evaluate = learner.evaluation()
    replicas = learner.replicas
    batches = iter(replicas.dealt_out(train(plan.first_step)) if replicas else train(plan.first_step))
    epoch, reason = plan.first_epoch, None
    observer.on_start(plan)
    while epoch < plan.epochs and not reason:
        with _told_when_diverged(lambda: int(begun.numpy())):
            seconds = _run_epoch(run_steps, batches, learner.metrics, epoch, plan, observer, agreement(replicas))
        train_values = learner.metrics.values()
        epoch += 1
        score = evaluate(validation) if validation is not None else None
        record = epoch_record(plan, epoch, seconds, train_values, score, learner.optimizer)
        reason = observer.on_epoch(record)
    learner.optimizer.finalize_variable_values(learner.model.trainable_variables)
    observer.on_end(EndRecord(epoch, epoch * plan.steps_per_epoch, reason or ""))


@contextlib.contextmanager
def _told_when_diverged(step: Callable[[], int]) -> Iterator[None]:
    """Tells a loss that was refused with its step, counted from 1 since the start of the training."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        loss = refused_loss(error)
        if loss is None:
            raise
        raise Diverged(step(), loss) from error


def _compiled_steps(step: Callable[..., None], metrics: Metrics, begun: tf.Variable | None = None) -> Callable[[Any, Any], Any]:
    """Returns a function that runs `step` on so many batches of an iterator and returns the loss of `metrics`.

    `begun` counts the steps that are begun, so that it says which one failed. The loop is written as
    `tf.while_loop`, since AutoGraph gives up in silence where a warning is an error.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def run_steps(batches: Any, count: Any) -> Any:
        def one_step(done: Any) -> tuple[Any]:
            with tf.control_dependencies([] if begun is None else [begun.assign_add(1)]):
                batch = batches.get_next()
            step(*batch)
            return (done + 1,)

        tf.while_loop(lambda done: done < count, one_step, (tf.constant(0),))
        return metrics.loss.result()

    run: Callable[[Any, Any], Any] = run_steps
    return run


def _run_epoch(
    run_steps: Callable[[Any, Any], Any],
    batches: Any,
    metrics: Metrics,
    epoch: int,
    plan: Plan,
    observer: Observer,
    agree: Agreement,
) -> float:
    """Runs the steps of one epoch that are left; returns the seconds that the whole epoch took."""
    before = plan.start_of(epoch)
    metrics.go_on_from(before.totals)
    start = time.perf_counter() - before.seconds
    for done in _paced(run_steps, batches, plan.stops(epoch), before.steps_in_epoch, agree):
        observer.on_steps(_steps_record(plan, epoch, done, time.perf_counter() - start, metrics))
    return time.perf_counter() - start


def _steps_record(plan: Plan, epoch: int, done: int, seconds: float, metrics: Metrics) -> StepsRecord:
    """Returns where an epoch, counted from 0, stands after so many of its steps."""
    images = min(done * plan.batch_size, plan.examples)
    step = epoch * plan.steps_per_epoch + done
    return StepsRecord(epoch + 1, step, done, images, seconds, *metrics.values(), metrics.totals())


def _paced(
    run_steps: Callable[[Any, Any], Any], batches: Any, stops: Sequence[int], done: int, agree: Agreement
) -> Iterator[int]:
    """Runs steps in calls of about `SECONDS_PER_CALL` that end at each of `stops`.

    Yields the steps done after each call, those `done` already included. All workers must make the same calls, which is what
    `agree` is for.
    """
    fitting = 1
    for stop in stops:
        while done < stop:
            count = min(fitting, stop - done)
            start = time.perf_counter()
            run_steps(batches, tf.constant(count)).numpy()  # waits for a device that works on its own
            seconds = time.perf_counter() - start
            done += count
            yield done
            fitting = agree(min(max(int(count * SECONDS_PER_CALL / seconds), 1), 2 * fitting))


def agreement(replicas: Replicas | None) -> Agreement:
    """Returns what all workers call with how many steps suit each, and get the same number of."""
    if not replicas or replicas.workers == 1:
        return lambda fitting: fitting
    return lambda fitting: int(replicas.gathered([fitting]).min())


def epoch_record(
    plan: Plan,
    epoch: int,
    seconds: float,
    train: tuple[float, float],
    validation: Score | None,
    optimizer: keras.Optimizer,
) -> EpochRecord:
    """Returns the record of a finished epoch, counted from 1; `train` is (loss, accuracy)."""
    step = epoch * plan.steps_per_epoch
    return EpochRecord(
        epoch=epoch,
        step=step,
        train_loss=train[0],
        train_accuracy=train[1],
        validation_loss=validation.loss if validation else None,
        validation_accuracy=validation.accuracy if validation else None,
        learning_rate=learning_rate_of_last_step(optimizer),
        seconds=seconds,
        images_per_second=plan.examples / seconds,
        validation_interval=validation.interval if validation else None,
    )


def learning_rate_of_last_step(optimizer: keras.Optimizer) -> float:
    """Returns the rate that the last step was made with; steps that loss scaling left out are none."""
    plain = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = plain._learning_rate  # the public attribute is already the next step's value
    made = int(plain._iterations.numpy())
    return float(schedule(max(made - 1, 0)) if callable(schedule) else plain.learning_rate.numpy())


def run_fit(learner: Learner, train: Batches, validation: tf.data.Dataset | None, plan: Plan, observer: Observer) -> None:
    """Trains by `model.fit`; arguments and errors as in `run_custom`."""
    build_once(learner.optimizer, learner.model)
    model = _compiled(learner)
    relay = _Relay(plan, observer, Metrics(model.metrics[0], learner.metrics.accuracy))
    observer.on_start(plan)
    judged = _Validation.of(validation, learner.replicas)
    if learner.replicas:
        train = partial(_dealt, learner.replicas, train)
    within = learner.replicas.strategy.scope() if learner.replicas else contextlib.nullcontext()
    with within, _told_when_diverged(lambda: relay.step + 1):
        if plan.begun:
            _finish_epoch(model, train, judged, plan, relay)
        epochs = relay.epochs if relay.reason else plan.epochs
        _fit(model, train(relay.epochs * plan.steps_per_epoch), judged, relay, epochs, plan.steps_per_epoch)
    observer.on_end(EndRecord(relay.epochs, relay.epochs * plan.steps_per_epoch, relay.reason))


def _compiled(learner: Learner) -> keras.Model:
    """Returns what `fit` is called of: the network itself, or what has each replica compute a part."""
    if learner.replicas:
        shared = _SharedByReplicas(learner)
        shared.compile(learner.optimizer, jit_compile=False)
        return shared
    learner.model.compile(learner.optimizer, learner.loss, metrics=[learner.metrics.accuracy], jit_compile=False)
    return learner.model


def _dealt(replicas: Replicas, train: Batches, first_step: int) -> Any:
    return replicas.dealt_out(train(first_step))


@dataclass(frozen=True)
class _Validation:
    """What Keras judges a network on.

    Attributes:
        batches: of one pass; of replicas, their parts, over and over, since Keras is then told how many to take. None for nothing.
        steps: how many; None where the batches tell it.
    """

    batches: Any
    steps: int | None = None

    @classmethod
    def of(cls, batches: tf.data.Dataset | None, replicas: Replicas | None) -> _Validation:
        """Returns it for the batches, or the parts of batches, of one pass."""
        if batches is None or replicas is None:
            return cls(batches)
        return cls(replicas.dealt_out(batches.repeat()), replicas.steps_of(batches))


class _SharedByReplicas(keras.Model):
    """A network whose steps in `fit` and `evaluate` are those of several replicas.

    Keras's own would weight each replica the same, however many images it has, and clip the gradient of each by itself.
    """

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.network = learner.model
        self._of: Callable[[], Learner] = lambda: learner  # Keras looks into lists and objects, and not into this
        self.built = True

    @property
    def metrics(self) -> list[Any]:
        """Those that Keras resets at the beginning of an epoch and of an evaluation."""
        metrics = self._of().metrics
        return [metrics.loss, metrics.accuracy]

    def call(self, images: Any, training: bool = False) -> Any:
        """Returns the outputs of the network."""
        return self.network(images, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Called by Keras in each replica."""
        return self._counted(self._of().train_part(*data))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Called by Keras in each replica."""
        return self._counted(self._of().judge_part(*data))

    def _counted(self, totals: Totals) -> dict[str, Any]:
        count_once(self._of().metrics, totals)
        return dict(zip(("loss", "accuracy"), totals[:2], strict=True))  # Keras reports its metrics instead


def _fit(model: keras.Model, batches: tf.data.Dataset, judged: _Validation, relay: _Relay, epochs: int, steps: int) -> None:
    """Lets Keras train up to the end of so many epochs, of so many steps each."""
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=relay.epochs,
        steps_per_epoch=steps,
        validation_data=judged.batches,
        validation_steps=judged.steps,
        callbacks=[relay],
        shuffle=False,  # the batches come in the order they are to be taken
        verbose=0,
    )


def _finish_epoch(model: keras.Model, train: Batches, judged: _Validation, plan: Plan, relay: _Relay) -> None:
    """Does what is left of an epoch that was interrupted, in a call of its own: Keras knows epochs of one length only."""
    left = plan.steps_per_epoch - plan.start_of(plan.first_epoch).steps_in_epoch
    if not left:
        relay.set_model(model)
        relay.on_epoch_begin(plan.first_epoch)
        train_values = dict(zip(("loss", "accuracy"), relay.metrics.values(), strict=True))
        relay.metrics.reset()  # Keras forgets the accuracy only if it has trained before
        values = model.evaluate(judged.batches, steps=judged.steps, verbose=0, return_dict=True) if judged.batches else {}
        relay.on_epoch_end(plan.first_epoch, {**train_values, **{f"val_{name}": value for name, value in values.items()}})
        return
    relay.leaves_after_epoch = True
    with contextlib.suppress(_EpochIsOver):
        _fit(model, train(plan.first_step), judged, relay, plan.first_epoch + 1, left)
    relay.leaves_after_epoch = False


class _EpochIsOver(Exception):
    """Leaves `fit` before what it does at its end, such as replacing weights by their averages."""


class _Relay(keras.callbacks.Callback):
    """Tells an observer what Keras tells its callbacks.

    Attributes:
        epochs, step: done so far, since the start of the training.
        reason: why the training should stop; empty as long as it should not.
        metrics: of training, as Keras counts them.
        leaves_after_epoch: whether to raise `_EpochIsOver` when the observer has heard of an epoch.
    """

    def __init__(self, plan: Plan, observer: Observer, metrics: Metrics) -> None:
        super().__init__()
        self.epochs = plan.first_epoch
        self.step = plan.first_step
        self.reason = ""
        self.metrics = metrics
        self.leaves_after_epoch = False
        self._plan = plan
        self._observer = observer
        self._stops: set[int] = set()
        self._start = self._told = self._seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        before = self._plan.start_of(epoch)
        self.metrics.go_on_from(before.totals)  # Keras has just forgotten them
        self._stops = set(self._plan.stops(epoch))
        self._told = time.perf_counter()
        self._start = self._told - before.seconds
        self._seconds = before.seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self._seconds = now - self._start
        self.step += 1
        done = self.step - self.epochs * self._plan.steps_per_epoch
        if now - self._told >= SECONDS_PER_CALL or done in self._stops:
            self._told = now
            self._observer.on_steps(_steps_record(self._plan, self.epochs, done, self._seconds, self.metrics))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs = epoch + 1
        train = logs["loss"], logs["accuracy"]
        validation = Score(logs["val_loss"], logs["val_accuracy"]) if "val_loss" in logs else None
        record = epoch_record(self._plan, self.epochs, self._seconds, train, validation, self.model.optimizer)
        reason = self._observer.on_epoch(record)
        if reason:
            self.reason = reason
            self.model.stop_training = True
        if self.leaves_after_epoch:
            raise _EpochIsOver


LOOPS: dict[str, Loop] = {"fit": run_fit, "custom": run_custom}
