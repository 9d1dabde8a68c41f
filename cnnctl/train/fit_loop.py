"""Training by `model.fit`, with the same observers and the same exact resume as the GradientTape loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cnnctl.data.pipeline import owned
from cnnctl.train import steps
from cnnctl.train.averages import AveragedWeights
from cnnctl.train.distributed.replicas import Replicas, Totals, count_once, distribute_for, steps_of_replicas
from cnnctl.train.learner import Batches, Learner
from cnnctl.train.observers import EndRecord, Observer, Plan, Score
from cnnctl.train.records import as_diverged_error, epoch_record, steps_record
from cnnctl.train.steps import Metrics, build_once, penalty_of


def run_fit(learner: Learner, train: Batches, validation: tf.data.Dataset | None, plan: Plan, observer: Observer) -> None:
    """Train by `model.fit`; arguments and errors as in `loops.run_custom`."""
    build_once(learner.optimizer, learner.model)
    model = _compiled(learner)
    relay = _Relay(plan, observer, Metrics(model.metrics[0], learner.metrics.accuracy), learner.averages)
    calls = _KerasCalls(model, learner.replicas, train, validation, relay)
    observer.on_start(plan)
    scope = learner.replicas.strategy.scope() if learner.replicas else contextlib.nullcontext()
    with scope, as_diverged_error(lambda: relay.step + 1):
        if plan.partial_epoch:
            _finish_epoch(calls, plan, relay)
        calls.fit(relay.epochs if relay.reason else plan.epochs, plan.steps_per_epoch)
    observer.on_end(EndRecord(relay.epochs, relay.epochs * plan.steps_per_epoch, relay.reason))


def _compiled(learner: Learner) -> keras.Model:
    """Compile the model whose `fit` is called: the network itself, or one that splits each batch among replicas."""
    if learner.replicas:
        shared = _SharedByReplicas(learner)
        shared.compile(learner.optimizer, jit_compile=False)
        return shared
    learner.model.compile(learner.optimizer, learner.loss, metrics=[learner.metrics.accuracy], jit_compile=False)
    return learner.model


@dataclass(frozen=True)
class _KerasCalls:
    """Calls of Keras, on datasets whose iterators are closed when the call ends.

    Attributes:
        model: compiled.
        replicas: None for one device.
        train: makes the batches from a step on.
        validation: batches of one pass; None for no validation.
        relay: the callback, which knows the next step.
    """

    model: keras.Model
    replicas: Replicas | None
    train: Batches
    validation: tf.data.Dataset | None
    relay: _Relay

    def fit(self, epochs: int, steps_per_epoch: int) -> None:
        """Train up to the end of `epochs` epochs, counted from the start of the training."""
        train = owned(self.train(self.relay.step), distribute_for(self.replicas))
        with train as batches, self._validation_data() as (validation, validation_steps):
            self.model.fit(
                batches,
                epochs=epochs,
                initial_epoch=self.relay.epochs,
                steps_per_epoch=steps_per_epoch,
                validation_data=validation,
                validation_steps=validation_steps,
                callbacks=[self.relay],
                shuffle=False,  # the dataset has the order of the seed
                verbose=0,
            )

    def evaluate(self) -> dict[str, float]:
        """Compute loss and accuracy of validation as `fit` does; empty without validation."""
        with self._validation_data() as (validation, validation_steps):
            if validation is None:
                return {}
            values: dict[str, float] = self.model.evaluate(
                validation, steps=validation_steps, verbose=0, return_dict=True, callbacks=[self.relay]
            )
        return values

    @contextlib.contextmanager
    def _validation_data(self) -> Iterator[tuple[Any, int | None]]:
        """Give the validation batches and the steps of one pass; of replicas pass after pass, as Keras needs the steps."""
        if self.validation is None:
            yield None, None
        elif self.replicas is None:
            with owned(self.validation) as batches:
                yield batches, None
        else:
            with owned(self.validation.repeat(), self.replicas.distribute) as batches:
                yield batches, steps_of_replicas(self.replicas, self.validation)


class _SharedByReplicas(keras.Model):
    """A network whose steps in `fit` and `evaluate` are computed by several replicas.

    Keras's own steps would weight each replica the same, however many images it has, and clip each gradient by itself.
    """

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.network = learner.model
        self._of: Callable[[], Learner] = lambda: learner  # Keras tracks objects and lists in attributes, not functions
        self.built = True

    @property
    def metrics(self) -> list[Any]:
        """The metrics that Keras resets at the start of an epoch and of an evaluation."""
        metrics = self._of().metrics
        return [metrics.loss, metrics.accuracy]

    def call(self, images: Any, training: bool = False) -> Any:
        """Compute the outputs of the network."""
        return self.network(images, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train on the part of one replica; called by Keras in each."""
        return self._counted(self._of().train_part(*data))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluate on the part of one replica; called by Keras in each."""
        return self._counted(self._of().evaluate_part(*data))

    def _counted(self, totals: Totals) -> dict[str, Any]:
        count_once(self._of().metrics, totals)
        return dict(zip(("loss", "accuracy"), totals[:2], strict=True))  # Keras reports its metrics instead


def _finish_epoch(calls: _KerasCalls, plan: Plan, relay: _Relay) -> None:
    """Train the rest of an interrupted epoch in a call of its own, since Keras knows epochs of one length only."""
    left = plan.steps_per_epoch - plan.start_of(plan.first_epoch).steps_in_epoch
    if not left:
        _validate_epoch(calls, plan, relay)
        return
    relay.leaves_after_epoch = True
    with contextlib.suppress(_EpochIsOver):
        calls.fit(plan.first_epoch + 1, left)
    relay.leaves_after_epoch = False


def _validate_epoch(calls: _KerasCalls, plan: Plan, relay: _Relay) -> None:
    """Validate an epoch that was interrupted after its last step."""
    relay.set_model(calls.model)
    relay.on_epoch_begin(plan.first_epoch)
    train_values = dict(zip(("loss", "accuracy"), relay.metrics.values(), strict=True))
    relay.metrics.reset()  # Keras resets the accuracy only if it has trained before
    validation = {f"val_{name}": value for name, value in calls.evaluate().items()}
    relay.on_epoch_end(plan.first_epoch, {**train_values, **validation})


class _EpochIsOver(Exception):
    """Leaves `fit` before what it does at its end, such as replacing weights by their averages."""


class _Relay(keras.callbacks.Callback):
    """A Keras callback that notifies an observer.

    Attributes:
        epochs, step: done so far, since the start of the training.
        reason: why the training should stop; empty while it should not.
        metrics: of training, as Keras counts them.
        leaves_after_epoch: raise `_EpochIsOver` once the observer was notified of an epoch.
    """

    def __init__(self, plan: Plan, observer: Observer, metrics: Metrics, averages: AveragedWeights) -> None:
        super().__init__()
        self.epochs = plan.first_epoch
        self.step = plan.first_step
        self.reason = ""
        self.metrics = metrics
        self.leaves_after_epoch = False
        self._averages = averages
        self._plan = plan
        self._observer = observer
        self._stops: set[int] = set()
        self._start = self._notified_at = self._seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        before = self._plan.start_of(epoch)
        self.metrics.restore(before.totals)  # Keras has just reset them
        self._stops = set(self._plan.stops(epoch))
        self._notified_at = time.perf_counter()
        self._start = self._notified_at - before.seconds
        self._seconds = before.seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self._seconds = now - self._start
        self.step += 1
        done = self.step - self.epochs * self._plan.steps_per_epoch
        if now - self._notified_at >= steps.SECONDS_PER_CALL or done in self._stops:
            self._notified_at = now
            self._observer.on_steps(steps_record(self._plan, self.epochs, done, self._seconds, self.metrics))

    def on_test_begin(self, logs: Any = None) -> None:
        self._averages.put_in()  # they stay until the observer was notified of the epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self._averages.in_model():
            self._notify(epoch, logs)
        if self.leaves_after_epoch:
            raise _EpochIsOver

    def _notify(self, epoch: int, logs: Any) -> None:
        self.epochs = epoch + 1
        train = logs["loss"], logs["accuracy"]
        validation = self._validation_score(logs) if "val_loss" in logs else None
        record = epoch_record(self._plan, self.epochs, self._seconds, train, validation, self.model.optimizer)
        reason = self._observer.on_epoch(record)
        if reason:
            self.reason = reason
            self.model.stop_training = True

    def _validation_score(self, logs: Any) -> Score:
        return Score(logs["val_loss"], logs["val_accuracy"], penalty=penalty_of(self.model))
