"""Two ways to drive the same training: `model.fit` and a GradientTape loop.

Both take the same arguments, read the same batches and tell the same observers, and go on from any step. On a
CPU in float32 they give the same weights to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from cnnctl.train.chunks import Agreement, agreement, compiled_steps, run_in_chunks
from cnnctl.train.fit_loop import run_fit
from cnnctl.train.learner import Batches, Learner, Trainable
from cnnctl.train.observers import EndRecord, Observer, Plan
from cnnctl.train.records import as_diverged_error, epoch_record, steps_record
from cnnctl.train.steps import Metrics, build_once

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
    run_steps = compiled_steps(learner.step, learner.metrics, begun)
    evaluate = learner.evaluation()
    replicas = learner.replicas
    batches = iter(replicas.dealt_out(train(plan.first_step)) if replicas else train(plan.first_step))
    epoch, reason = plan.first_epoch, None
    observer.on_start(plan)
    while epoch < plan.epochs and not reason:
        with as_diverged_error(lambda: int(begun.numpy())):
            seconds = _run_epoch(run_steps, batches, learner.metrics, epoch, plan, observer, agreement(replicas))
        train_values = learner.metrics.values()
        epoch += 1
        with learner.averages.in_model():
            score = evaluate(validation) if validation is not None else None
            record = epoch_record(plan, epoch, seconds, train_values, score, learner.optimizer)
            reason = observer.on_epoch(record)
    learner.optimizer.finalize_variable_values(learner.model.trainable_variables)
    observer.on_end(EndRecord(epoch, epoch * plan.steps_per_epoch, reason or ""))


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
    metrics.load_bytes(before.totals)
    start = time.perf_counter() - before.seconds
    for done in run_in_chunks(run_steps, batches, plan.stops(epoch), before.steps_in_epoch, agree):
        observer.on_steps(steps_record(plan, epoch, done, time.perf_counter() - start, metrics))
    return time.perf_counter() - start


LOOPS: dict[str, Loop] = {"fit": run_fit, "custom": run_custom}
