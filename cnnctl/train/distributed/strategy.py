"""The devices and processes on which a training computes: TensorFlow's strategies."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context  # there is no public name for the limits below

from cnnctl.errors import UsageError
from cnnctl.last_words import keep_silent
from cnnctl.spec.auto import Choice, shared_batches_reason, strategy_on
from cnnctl.spec.checks import NOT_BY_FIT
from cnnctl.spec.cluster import VARIABLE, Cluster
from cnnctl.spec.experiment import Experiment
from cnnctl.train.device import CPU_REPLICAS, Device
from cnnctl.train.distributed.replicas import Replicas
from cnnctl.train.signals import HANDLED

HEARTBEAT = 10
"""Seconds without a heartbeat after which a worker counts as lost."""
_START = 60
"""Seconds within which TensorFlow's servers must connect once all workers have started."""
_LOST = re.compile(r"/job:(\w+)/replica:\d+/task:(\d+)")


def chosen_strategy(experiment: Experiment, device: Device, cluster: Cluster | None) -> Choice:
    """Resolve `train.strategy` on this machine.

    Args:
        experiment: a checked config.
        device: where this process computes.
        cluster: the workers of `TF_CONFIG`; None for none.

    Raises:
        UsageError: the devices or workers do not suit the config.
    """
    strategy, workers = experiment.train.strategy, len(cluster) if cluster else 0
    if strategy == "auto":
        what = "GPUs" if device.kind == "gpu" else "logical CPUs"
        return _for_workers(experiment, workers) if workers > 1 else strategy_on(experiment, device.replicas, what)
    if strategy == "multi_worker" and not workers:
        raise UsageError(
            f"train.strategy is multi_worker, but the environment variable {VARIABLE} lists no workers; "
            "set it for each of them, as docs/guide/distributed.md shows, or add --set train.strategy=auto"
        )
    if strategy == "mirrored" and device.replicas < 2:
        raise UsageError(
            f"train.strategy is mirrored, which needs two GPUs or more, and this is {device}; add --set train.strategy=auto"
        )
    return Choice(strategy)


def _for_workers(experiment: Experiment, workers: int) -> Choice:
    reason = shared_batches_reason(experiment) or (NOT_BY_FIT if experiment.train.loop == "fit" else "")
    if reason:
        raise UsageError(
            f"the environment variable {VARIABLE} names {workers} workers, but {reason}. To train in this process alone set "
            "train.strategy: one_device"
        )
    return Choice("multi_worker", f"{VARIABLE} names {workers} workers")


def replicas_of(strategy: str, device: Device, cluster: Cluster | None) -> int:
    """Count the replicas, of all workers, that share each batch under a strategy."""
    if strategy == "one_device":
        return 1
    if strategy == "mirrored" or cluster is None:
        return device.replicas
    return len(cluster) * (device.replicas if device.kind == "gpu" else 1)


def refuse_unshareable(strategy: str, experiment: Experiment, device: Device, cluster: Cluster | None) -> None:
    """Raise UsageError if a batch has fewer images than replicas, or if logical CPUs are asked for that workers do not have."""
    if strategy == "multi_worker" and cluster and len(cluster) > 1 and device.kind == "cpu" and device.replicas > 1:
        raise UsageError(f"{CPU_REPLICAS} divides the CPU for strategy mirrored, but workers have one replica each; unset it")
    batch_size, count = experiment.train.batch_size, replicas_of(strategy, device, cluster)
    if batch_size < count:
        raise UsageError(f"train.batch_size is {batch_size}, and {count} replicas share each batch; set it to {count} or more")


def start(strategy: str, device: Device, cluster: Cluster | None) -> Replicas | None:
    """Start a strategy, before TensorFlow computes anything; None for one device.

    Args:
        strategy: as chosen.
        device: where this process computes.
        cluster: workers, all of which are connected.
    """
    replicas = None
    if strategy == "multi_worker" and cluster and len(cluster) > 1:
        with _ended_after(_START):
            replicas = Replicas(_of_workers(cluster), len(cluster), cluster.index)
    elif strategy != "one_device" and device.replicas > 1:
        replicas = Replicas(mirrored(device.kind.upper(), device.replicas))
    if replicas:
        replicas.strategy.extended.experimental_enable_get_next_as_optional = False  # each replica gets a part of every batch
    return replicas


@cache
def mirrored(kind: str, count: int) -> tf.distribute.Strategy:
    """Make the strategy of several devices of this process, once: TensorFlow would mix up the sums of a second one."""
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(count)])


def _of_workers(cluster: Cluster) -> Any:
    """Make the strategy of several workers, which notice soon when one of them is lost."""
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


_WATCH = """
import os, select, signal, sys
seconds, watched, message = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if not select.select([0], [], [], seconds)[0]:
    sys.stderr.write(message + "\\n")
    sys.stderr.flush()
    os.kill(watched, signal.SIGKILL)
"""
"""A script that waits for the end of its stdin, and kills a process after a time limit."""


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer, and at once by signals.

    TensorFlow waits for other workers without letting Python run, so that neither a thread of this process nor a signal
    handler could do it.
    """
    message = f"the workers lost each other as they started: not connected within {seconds:g} s; start all of them again"
    command = [sys.executable, "-I", "-c", _WATCH, str(seconds), str(os.getpid()), message]
    keep_silent()  # the other process prints the message and kills this one
    with subprocess.Popen(command, stdin=subprocess.PIPE), _plain_signals():
        yield


@contextlib.contextmanager
def _plain_signals() -> Iterator[None]:
    """Restore the default handlers of signals for the block; afterwards Python handles them again, also those TensorFlow took."""
    of_python = {number: signal.getsignal(number) for number in HANDLED if callable(signal.getsignal(number))}
    if threading.current_thread() is not threading.main_thread():  # Python allows no other
        of_python = {}
    for number in of_python:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in of_python.items():
            signal.signal(number, handler)


def lost_worker(error: BaseException, cluster: Cluster) -> str:
    """Name the worker that was lost, as far as TensorFlow's error does."""
    lost = _LOST.findall(str(error))
    jobs = ("chief", "worker") if any(job == "chief" for job, _ in lost) else ("worker",)
    numbers = {int(task) if job == jobs[0] else int(task) + (len(jobs) - 1) for job, task in lost} - {cluster.index}
    named = [cluster.named(number) for number in sorted(numbers) if number < len(cluster)]
    return " and ".join(named) or f"another worker ({str(error).splitlines()[0]})"
