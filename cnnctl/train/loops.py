"""Two ways to run the same training: `model.fit` and a GradientTape loop.

Both take the same arguments, read the same batches, notify the same observers and resume from any step. On a CPU in
float32 they end with the same weights to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cnnctl.data.pipeline import iterate
from cnnctl.train.distributed.replicas import agreement, distribute_for
from cnnctl.train.fit_loop import run_fit
from cnnctl.train.learner import Batches, Learner, Trainable
from cnnctl.train.observers import EndRecord, Observer, Plan
from cnnctl.train.records import as_diverged_error, epoch_record, steps_record
from cnnctl.train.steps import build_once, compiled_steps, run_in_chunks

Loop = Callable[[Learner, Batches, tf.data.Dataset | None, Plan, Observer], None]


def run_custom(learner: Trainable, train: Batches, validation: Any | None, plan: Plan, observer: Observer) -> None:
    """Train by a GradientTape step inside `tf.function`, many steps per call.

    Args:
        learner: the network and its step.
        train: makes the batches from a step on.
        validation: what the learner's evaluation takes, for a classifier the batches of one pass; None for no validation.
        plan: epochs and steps.
        observer: notified of steps, epochs and the end.

    Raises:
        Diverged: a loss was not finite; the weights are those before that step.
    """
    optimizer, metrics = learner.optimizer, learner.metrics
    build_once(optimizer, learner.model)
    started = tf.Variable(plan.first_step, trainable=False, dtype=tf.int64)
    run_steps, agree = compiled_steps(learner.step, metrics, started), agreement(learner.replicas)
    evaluate = learner.evaluation()
    epoch, reason = plan.first_epoch, None
    with iterate(train(plan.first_step), distribute_for(learner.replicas)) as batches:
        observer.on_start(plan)
        while epoch < plan.epochs and not reason:
            before = plan.start_of(epoch)
            metrics.restore(before.totals)
            start = time.perf_counter() - before.seconds
            with as_diverged_error(lambda: int(started.numpy())):
                for done in run_in_chunks(run_steps, batches, plan.stops(epoch), before.steps_in_epoch, agree):
                    observer.on_steps(steps_record(plan, epoch, done, time.perf_counter() - start, metrics))
            seconds, train_values = time.perf_counter() - start, metrics.values()
            epoch += 1
            with learner.averages.in_model():
                score = evaluate(validation) if validation is not None else None
                reason = observer.on_epoch(epoch_record(plan, epoch, seconds, train_values, score, optimizer))
    optimizer.finalize_variable_values(learner.model.trainable_variables)
    observer.on_end(EndRecord(epoch, epoch * plan.steps_per_epoch, reason or ""))


LOOPS: dict[str, Loop] = {"fit": run_fit, "custom": run_custom}
