"""What a training on several workers needs besides the training; imported after TensorFlow is."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator
from typing import Any

from cnnctl import __version__
from cnnctl.data.splits import Splits, fingerprint
from cnnctl.errors import DataError, RunError
from cnnctl.report.console import Console
from cnnctl.spec.auto import SAME_NUMBERS
from cnnctl.spec.cluster import Cluster
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.leaves import leaves
from cnnctl.spec.section import plain
from cnnctl.train.device import Device
from cnnctl.train.distributed.rendezvous import meet, unknown_hosts
from cnnctl.train.distributed.replicas import LOST, Replicas
from cnnctl.train.distributed.strategy import lost_worker

AGAIN = "Start all workers again"
RESUMED_BY_ALL = (
    f"What was saved lies in the chief's run folder. {AGAIN}: the chief with cnnctl train --resume and that folder, the others "
    "with the same where they can see it, elsewhere with the config as before. If the chief had made no folder yet, start all "
    "with the config"
)
"""What a worker says that does not write the run, and knows of its folder neither the name nor whether it is there."""
_OWN = ("data.path", "data.data_dir", *SAME_NUMBERS)
"""Each machine may have its data elsewhere, and in memory or not."""
_DIGITS = 13
"""So many hexadecimal digits of a fingerprint a float holds exactly."""


def await_workers(cluster: Cluster, experiment: Experiment, device: Device, console: Console) -> None:
    """Returns when all workers are there, about to train the same on devices of the same number.

    Raises:
        CnnctlError: they are not; see `rendezvous.meet`.
    """
    chief = " is the chief" if cluster.index == 0 else f"; the chief, {cluster.addresses[0]}, alone writes the run folder"
    console.say(f"worker  {cluster.index} of {len(cluster)}{chief}")
    for unknown in unknown_hosts(cluster):
        console.say(f"        {unknown}")

    def arrived(count: int) -> None:
        if count < len(cluster):
            console.say(f"        {count} of {len(cluster)} workers are there; waiting for the others")

    meet(cluster, _greeting(experiment, device), arrived)


def _greeting(experiment: Experiment, device: Device) -> dict[str, Any]:
    """Returns what all workers must have in common, by its name for people."""
    config = {path: leaf.value for path, leaf in leaves(plain(experiment)).items() if path not in _OWN}
    of_versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    return {"cnnctl": __version__, **of_versions, f"number of {device.kind.upper()}s": device.replicas, **config}


def refuse_other_images(replicas: Replicas, splits: Splits) -> None:
    """Raises DataError where workers have read other images than the chief; all call it together."""
    parts = {"training": splits.train, "validation": splits.validation}
    own = [int(fingerprint(images)[:_DIGITS], 16) if images else 0 for images in parts.values()]
    said = replicas.gathered(own)
    for name, of_workers in zip(parts, said.T, strict=True):
        others = [str(worker) for worker, number in enumerate(of_workers) if number != of_workers[0]]
        if others:
            replicas.leave_together()
            raise DataError(
                f"worker {', '.join(others)} has read other {name} images than the chief; give all workers the same data"
            )


@contextlib.contextmanager
def all_or_none(replicas: Replicas | None, cluster: Cluster | None, what: str) -> Iterator[None]:
    """Ends all workers where one cannot do the block; `what` says what it could not do."""
    if replicas is None or cluster is None:
        yield
        return
    try:
        yield
    except BaseException:
        with contextlib.suppress(*LOST):
            replicas.gathered([1])
            replicas.leave_together()
        raise
    failed = [cluster.named(worker) for worker, (number,) in enumerate(replicas.gathered([0])) if number]
    if failed:
        replicas.leave_together()
        raise RunError(f"{' and '.join(failed)}, could not {what}; what it says itself tells why. {AGAIN}")


@contextlib.contextmanager
def as_lost_worker_error(cluster: Cluster | None, how_to_go_on: str) -> Iterator[None]:
    """Tells what TensorFlow raises when another worker has gone as what it is."""
    try:
        yield
    except LOST as error:
        if cluster is None:
            raise
        raise RunError(
            f"{lost_worker(error, cluster)}, has gone or cannot be reached, so no other can go on; what it says itself tells why. "
            f"{how_to_go_on}"
        ) from error
