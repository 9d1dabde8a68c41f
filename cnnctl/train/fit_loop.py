"""Training by `model.fit`, told and gone on with as that by the GradientTape loop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from cnnctl.train import chunks
from cnnctl.train.averages import AveragedWeights
from cnnctl.train.distributed.replicas import Replicas, Totals, count_once
from cnnctl.train.learner import Batches, Learner
from cnnctl.train.observers import EndRecord, Observer, Plan, Score
from cnnctl.train.records import as_diverged_error, epoch_record, steps_record
from cnnctl.train.steps import Metrics, build_once, penalty_of


def run_fit(learner: Learner, train: Batches, validation: tf.data.Dataset | None, plan: Plan, observer: Observer) -> None:
    """Trains by `model.fit`; arguments and errors as in `loops.run_custom`."""
    build_once(learner.optimizer, learner.model)
    model = _compiled(learner)
    relay = _Relay(plan, observer, Metrics(model.metrics[0], learner.metrics.accuracy), learner.averages)
    observer.on_start(plan)
    judged = _Validation.of(validation, learner.replicas)
    if learner.replicas:
        train = partial(_dealt, learner.replicas, train)
    within = learner.replicas.strategy.scope() if learner.replicas else contextlib.nullcontext()
    with within, as_diverged_error(lambda: relay.step + 1):
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
        return self._counted(self._of().evaluate_part(*data))

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
        values = _evaluated(model, judged, relay) if judged.batches else {}
        relay.on_epoch_end(plan.first_epoch, {**train_values, **{f"val_{name}": value for name, value in values.items()}})
        return
    relay.leaves_after_epoch = True
    with contextlib.suppress(_EpochIsOver):
        _fit(model, train(plan.first_step), judged, relay, plan.first_epoch + 1, left)
    relay.leaves_after_epoch = False


def _evaluated(model: keras.Model, judged: _Validation, relay: _Relay) -> dict[str, float]:
    """Returns loss and accuracy of validation, as `fit` computes them."""
    values: dict[str, float] = model.evaluate(
        judged.batches, steps=judged.steps, verbose=0, return_dict=True, callbacks=[relay]
    )
    return values


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
        self._start = self._told = self._seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        before = self._plan.start_of(epoch)
        self.metrics.load_bytes(before.totals)  # Keras has just forgotten them
        self._stops = set(self._plan.stops(epoch))
        self._told = time.perf_counter()
        self._start = self._told - before.seconds
        self._seconds = before.seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.perf_counter()
        self._seconds = now - self._start
        self.step += 1
        done = self.step - self.epochs * self._plan.steps_per_epoch
        if now - self._told >= chunks.SECONDS_PER_CALL or done in self._stops:
            self._told = now
            self._observer.on_steps(steps_record(self._plan, self.epochs, done, self._seconds, self.metrics))

    def on_test_begin(self, logs: Any = None) -> None:
        self._averages.put_in()  # they stay until the observer has heard of the epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        with self._averages.in_model():
            self._tell(epoch, logs)
        if self.leaves_after_epoch:
            raise _EpochIsOver

    def _tell(self, epoch: int, logs: Any) -> None:
        self.epochs = epoch + 1
        train = logs["loss"], logs["accuracy"]
        validation = self._judged(logs) if "val_loss" in logs else None
        record = epoch_record(self._plan, self.epochs, self._seconds, train, validation, self.model.optimizer)
        reason = self._observer.on_epoch(record)
        if reason:
            self.reason = reason
            self.model.stop_training = True

    def _judged(self, logs: Any) -> Score:
        return Score(logs["val_loss"], logs["val_accuracy"], penalty=penalty_of(self.model))
