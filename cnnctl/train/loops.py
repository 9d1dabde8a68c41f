"""Two ways to drive the same training: `model.fit` and a GradientTape loop.

Both take the same arguments, read the same batches and tell the same observers. On a CPU in
float32 they give the same weights to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import keras
import tensorflow as tf

from cnnctl.train.observe import EndRecord, EpochRecord, Observer, Plan, Score, StepsRecord
from cnnctl.train.steps import Metrics, evaluate_step, total_loss_with, train_step

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
    def step(self) -> Any:
        """A step of training, compiled once: takes a batch."""
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
    """

    model: keras.Model
    optimizer: keras.Optimizer
    loss: keras.Loss
    metrics: Metrics

    @cached_property
    def step(self) -> Any:
        """The custom loop's step, compiled once: takes the images and labels of a batch."""

        def training_step(images: Any, labels: Any) -> None:
            train_step(self.model, self.optimizer, self.loss, self.metrics, images, labels)

        return tf.function(training_step, autograph=False)

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

        run_steps = _compiled_steps(step, metrics)

        def evaluate(dataset: tf.data.Dataset) -> Score:
            metrics.reset()
            for _ in _paced(run_steps, iter(dataset), [int(dataset.cardinality())]):
                pass
            return Score(*metrics.values())

        return evaluate


Loop = Callable[[Learner, tf.data.Dataset, tf.data.Dataset | None, Plan, Observer], None]


def run_custom(learner: Trainable, train: tf.data.Dataset, validation: Any | None, plan: Plan, observer: Observer) -> None:
    """Trains by a GradientTape step inside `tf.function`, many steps a call.

    Args:
        learner: what is trained.
        train: the batches of all epochs from `plan.first_epoch` on.
        validation: what the learner's evaluation takes, for a classifier the batches of one pass; None for none.
        plan: epochs and steps.
        observer: told about steps, epochs and the end.
    """
    learner.optimizer.build(learner.model.trainable_variables)
    run_steps = _compiled_steps(learner.step, learner.metrics)
    evaluate = learner.evaluation()
    batches = iter(train)
    epoch, reason = plan.first_epoch, None
    observer.on_start(plan)
    while epoch < plan.epochs and not reason:
        seconds = _run_epoch(run_steps, batches, learner.metrics, epoch, plan, observer)
        train_values = learner.metrics.values()
        epoch += 1
        score = evaluate(validation) if validation is not None else None
        record = epoch_record(plan, epoch, seconds, train_values, score, learner.optimizer)
        reason = observer.on_epoch(record)
    learner.optimizer.finalize_variable_values(learner.model.trainable_variables)
    observer.on_end(EndRecord(epoch, epoch * plan.steps_per_epoch, reason or ""))


def _compiled_steps(step: Callable[..., None], metrics: Metrics) -> Callable[[Any, Any], Any]:
    """Returns a function that runs `step` on so many batches of an iterator and returns the loss of `metrics`.

    The loop is written as `tf.while_loop`, since AutoGraph gives up in silence where a warning is an error.
    """

    @tf.function(autograph=False, reduce_retracing=True)
    def run_steps(batches: Any, count: Any) -> Any:
        def one_step(done: Any) -> tuple[Any]:
            step(*batches.get_next())
            return (done + 1,)

        tf.while_loop(lambda done: done < count, one_step, (tf.constant(0),))
        return metrics.loss.result()

    run: Callable[[Any, Any], Any] = run_steps
    return run


def _run_epoch(
    run_steps: Callable[[Any, Any], Any], batches: Any, metrics: Metrics, epoch: int, plan: Plan, observer: Observer
) -> float:
    """Runs the steps of one epoch; returns the seconds it took."""
    metrics.reset()
    start = time.perf_counter()
    before = epoch * plan.steps_per_epoch
    for done in _paced(run_steps, batches, plan.stops(epoch)):
        images = min(done * plan.batch_size, plan.examples)
        seconds = time.perf_counter() - start
        observer.on_steps(StepsRecord(epoch + 1, before + done, done, images, seconds, *metrics.values()))
    return time.perf_counter() - start


def _paced(run_steps: Callable[[Any, Any], Any], batches: Any, stops: Sequence[int]) -> Iterator[int]:
    """Runs steps in calls of about `SECONDS_PER_CALL` that end at each of `stops`; yields the steps done after each call."""
    done, fitting = 0, 1
    for stop in stops:
        while done < stop:
            count = min(fitting, stop - done)
            start = time.perf_counter()
            run_steps(batches, tf.constant(count)).numpy()  # waits for a device that works on its own
            seconds = time.perf_counter() - start
            done += count
            yield done
            fitting = min(max(int(count * SECONDS_PER_CALL / seconds), 1), 2 * fitting)


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
    return float(schedule(max(made - 1, 0)) if callable(schedule) else plain.learning_rate)


def run_fit(
    learner: Learner, train: tf.data.Dataset, validation: tf.data.Dataset | None, plan: Plan, observer: Observer
) -> None:
    """Trains by `model.fit`; arguments as in `run_custom`."""
    learner.model.compile(learner.optimizer, learner.loss, metrics=[learner.metrics.accuracy], jit_compile=False)
    learner.optimizer.build(learner.model.trainable_variables)
    relay = _Relay(plan, observer)
    learner.model.fit(
        train,
        epochs=plan.epochs,
        initial_epoch=plan.first_epoch,
        steps_per_epoch=plan.steps_per_epoch,
        validation_data=validation,
        callbacks=[relay],
        shuffle=False,  # the batches come in the order they are to be taken
        verbose=0,
    )
    observer.on_end(EndRecord(relay.epochs, relay.epochs * plan.steps_per_epoch, relay.reason))


class _Relay(keras.callbacks.Callback):
    """Tells an observer what Keras tells its callbacks."""

    def __init__(self, plan: Plan, observer: Observer) -> None:
        super().__init__()
        self.epochs = plan.first_epoch
        self.reason = ""
        self._plan = plan
        self._observer = observer
        self._stops: set[int] = set()
        self._start = self._told = self._seconds = 0.0

    def on_train_begin(self, logs: Any = None) -> None:
        self._observer.on_start(self._plan)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._stops = set(self._plan.stops(epoch))
        self._start = self._told = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self._seconds = now - self._start
        done = batch + 1
        if now - self._told >= SECONDS_PER_CALL or done in self._stops:
            self._told = now
            images = min(done * self._plan.batch_size, self._plan.examples)
            step = self.epochs * self._plan.steps_per_epoch + done
            values = float(logs["loss"]), float(logs["accuracy"])
            self._observer.on_steps(StepsRecord(self.epochs + 1, step, done, images, self._seconds, *values))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs = epoch + 1
        train = logs["loss"], logs["accuracy"]
        validation = Score(logs["val_loss"], logs["val_accuracy"]) if "val_loss" in logs else None
        record = epoch_record(self._plan, self.epochs, self._seconds, train, validation, self.model.optimizer)
        reason = self._observer.on_epoch(record)
        if reason:
            self.reason = reason
            self.model.stop_training = True


LOOPS: dict[str, Loop] = {"fit": run_fit, "custom": run_custom}
