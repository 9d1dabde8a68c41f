"""The records that both loops send to their observers, and the error of a non-finite loss."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from cnnctl.model.guard import refused_loss
from cnnctl.train.observers import EpochRecord, Plan, Score, StepsRecord
from cnnctl.train.steps import Metrics
from cnnctl.train.stopping import Diverged


def steps_record(plan: Plan, epoch: int, done: int, seconds: float, metrics: Metrics) -> StepsRecord:
    """Make the record of an epoch, counted from 0, after `done` of its steps."""
    images = min(done * plan.batch_size, plan.examples)
    step = epoch * plan.steps_per_epoch + done
    return StepsRecord(epoch + 1, step, done, images, seconds, *metrics.values(), metrics.totals())


def epoch_record(
    plan: Plan,
    epoch: int,
    seconds: float,
    train: tuple[float, float],
    validation: Score | None,
    optimizer: keras.Optimizer,
) -> EpochRecord:
    """Make the record of a finished epoch, counted from 1; `train` is (loss, accuracy)."""
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
        validation_penalty=validation.penalty if validation else None,
    )


def learning_rate_of_last_step(optimizer: keras.Optimizer) -> float:
    """Return the learning rate of the last step; steps that loss scaling skipped do not count."""
    plain = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = plain._learning_rate  # the public attribute has the next step's value
    made = int(plain._iterations.numpy())
    return float(schedule(max(made - 1, 0)) if callable(schedule) else plain.learning_rate.numpy())


@contextlib.contextmanager
def as_diverged_error(step: Callable[[], int]) -> Iterator[None]:
    """Raise Diverged for a refused loss, with its step, counted from 1 since the start of the training."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        loss = refused_loss(error)
        if loss is None:
            raise
        raise Diverged(step(), loss) from error
