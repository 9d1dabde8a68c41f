"""Steps of training or judging in one call of TensorFlow, as many as suit people who watch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from cnnctl.train.distributed.replicas import Replicas
from cnnctl.train.steps import Metrics

SECONDS_PER_CALL = 0.2
"""Progress is told about this often; so long the custom loop stays out of Python, where Ctrl-C is heard."""

Agreement = Callable[[int], int]


def compiled_steps(step: Callable[..., None], metrics: Metrics, begun: tf.Variable | None = None) -> Callable[[Any, Any], Any]:
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


def run_in_chunks(
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
