"""On how many devices, of how many processes, a training computes: TensorFlow's strategies."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context  # there is no public name for the limits below

from cnnctl.errors import RunError, UsageError
from cnnctl.spec.auto import Choice, shared_batches_reason, strategy_on
from cnnctl.spec.cluster import VARIABLE, Cluster
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import NOT_BY_FIT
from cnnctl.train.device import Device
from cnnctl.train.replicas import Replicas

HEARTBEAT = 10
"""Seconds without a sign of life after which a worker counts as gone."""
_START = 60
"""Seconds that TensorFlow's servers may take to find each other once all workers are known to be there."""
_GONE = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")
LOST = (
    tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
    tf.errors.InternalError, tf.errors.UnknownError,
)  # fmt: skip
"""What TensorFlow raises in one worker when another has gone."""


def chosen_strategy(experiment: Experiment, device: Device, cluster: Cluster | None) -> Choice:
    """Returns what `train.strategy` is on this machine, and why.

    Args:
        experiment: a checked config.
        device: where this process computes.
        cluster: the workers that `TF_CONFIG` names; None for none.

    Raises:
        UsageError: what the config says, or the workers that there are, cannot be had.
    """
    wish, workers = experiment.train.strategy, len(cluster) if cluster else 0
    if wish == "auto":
        what = "GPUs" if device.kind == "gpu" else "logical CPUs"
        return _for_workers(experiment, workers) if workers > 1 else strategy_on(experiment, device.replicas, what)
    if wish == "multi_worker" and not workers:
        raise UsageError(
            f"train.strategy is multi_worker, but the environment variable {VARIABLE} does not say who the workers are; "
            "set it for each of them, as the README shows, or take --set train.strategy=auto"
        )
    if wish == "mirrored" and device.replicas < 2:
        raise UsageError(
            f"train.strategy is mirrored, which takes two GPUs or more, and this is {device}; take --set train.strategy=auto"
        )
    return Choice(wish)


def _for_workers(experiment: Experiment, workers: int) -> Choice:
    reason = shared_batches_reason(experiment) or (NOT_BY_FIT if experiment.train.loop == "fit" else "")
    if reason:
        raise UsageError(
            f"the environment variable {VARIABLE} names {workers} workers, but {reason}. To train in this process alone say "
            "train.strategy: one_device"
        )
    return Choice("multi_worker", f"{VARIABLE} names {workers} workers")


def start(
    strategy: str | int, experiment: Experiment, device: Device, cluster: Cluster | None, gave_up: Callable[[str], None]
) -> Replicas | None:
    """Returns the replicas of a strategy; None for one device. Called before TensorFlow computes anything.

    Args:
        strategy: as chosen.
        experiment: what is trained.
        device: where this process computes.
        cluster: workers, all of which are there.
        gave_up: told why before the process is ended, where workers are lost while they start: TensorFlow cannot be stopped then.

    Raises:
        UsageError: there are more replicas than images in a batch.
    """
    replicas = None
    if strategy == "multi_worker" and cluster and len(cluster) > 1:
        with _ended_after(_START, gave_up):
            replicas = Replicas(_of_workers(cluster), len(cluster), cluster.index)
    elif strategy != "one_device" and device.replicas > 1:
        replicas = Replicas(mirrored(device.kind.upper(), device.replicas))
    if replicas is None:
        return None
    replicas.strategy.extended.experimental_enable_get_next_as_optional = False  # every batch has a part for each replica
    batch_size = experiment.train.batch_size
    if batch_size < len(replicas):
        raise UsageError(
            f"train.batch_size is {batch_size}, and {len(replicas)} replicas share each batch; give {len(replicas)} or more"
        )
    return replicas


@cache
def mirrored(kind: str, count: int) -> tf.distribute.Strategy:
    """Returns the strategy of so many devices of this process; a second one would take sums for those of the first."""
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(count)])


def _of_workers(cluster: Cluster) -> Any:
    """Returns the strategy of several workers, who notice soon when one of them dies."""
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2

    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    spec = resolver.cluster_spec()
    jobs = [coordination_config_pb2.CoordinatedJob(name=job, num_tasks=spec.num_tasks(job)) for job in spec.jobs]
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{'chief' if 'chief' in spec.jobs else 'worker'}/replica:0/task:0",
        heartbeat_timeout_in_ms=1000 * HEARTBEAT,
        shutdown_barrier_timeout_in_ms=1000 * HEARTBEAT,
        coordinated_jobs=jobs,
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


@contextlib.contextmanager
def _ended_after(seconds: float, gave_up: Callable[[str], None]) -> Iterator[None]:
    """Ends the process if the block takes longer: it waits within TensorFlow, which hears no signal there."""

    def end() -> None:
        gave_up(
            f"the workers lost each other while TensorFlow started: not connected within {seconds:g} s; start all of them again"
        )
        os._exit(RunError.exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def lost_worker(error: BaseException, cluster: Cluster) -> str:
    """Returns who has gone, as far as TensorFlow's error says it."""
    gone = _GONE.findall(str(error))
    jobs = ("chief", "worker") if any(job == "chief" for job, _ in gone) else ("worker",)
    numbers = {int(task) if job == jobs[0] else int(task) + (len(jobs) - 1) for job, task in gone} - {cluster.index}
    named = [cluster.named(number) for number in sorted(numbers) if number < len(cluster)]
    return " and ".join(named) or "another worker"
