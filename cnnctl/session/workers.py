"""The processes that train together: how they start, agree and end; imported after TensorFlow."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cnnctl import __version__
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
from cnnctl.train.distributed.strategy import lost_worker, refuse_unshareable, start
from cnnctl.train.signals import Interruption

if TYPE_CHECKING:
    from cnnctl.session.environment import NotedData
    from cnnctl.train.checkpoint import Checkpoints

AGAIN = "Start all workers again"
RESUMED_BY_ALL = (
    f"What was saved is in the chief's run folder. {AGAIN}: the chief with cnnctl train --resume and that folder, the others "
    "with the same if they can read it, else with the config as before. If the chief had made no folder yet, start all "
    "with the config"
)
"""The advice of workers that do not write the run: they know neither its folder nor whether there is one."""
_OWN = ("data.path", "data.data_dir", *SAME_NUMBERS)
"""Config paths that may differ between workers: each machine may have its data in another place, and in memory or not."""
_DIGITS = 13
"""Hexadecimal digits of a fingerprint that a float64 holds exactly."""


@dataclass(frozen=True)
class Workers:
    """The processes that train together; a process that trains by itself is its own chief.

    Attributes:
        replicas: those of all processes; None for one device.
        cluster: the processes; None for one by itself.
    """

    replicas: Replicas | None = None
    cluster: Cluster | None = None

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run folder."""
        return self.cluster is None or self.cluster.index == 0

    def agree_on_start(self, checkpoints: Checkpoints, data: NotedData, interruption: Interruption) -> None:
        """Let all workers resume from the chief's checkpoint, and stop together from here on.

        Raises:
            DataError: they have read different images.
        """
        if self.replicas and self.cluster:
            interruption.share(self._any)
            interruption.leave_if_asked()
            content = self.replicas.decided_by_chief(checkpoints.restored)
            if not self.is_chief:
                checkpoints.load_bytes(content)
            _refuse_other_images(self.replicas, data.fingerprints())
        checkpoints.restored = b""  # not needed any more, and may be large

    def _any(self, asked: bool) -> bool:
        """Find out whether any worker is asked to stop; all call it at the same places."""
        assert self.replicas
        found = bool(self.replicas.gathered([asked]).any())
        if found:
            self.replicas.leave_together()
        return found

    def agree_on_end(self) -> None:
        """Wait until all workers have finished."""
        if self.replicas and self.cluster:
            self.replicas.gathered([0])
            self.replicas.leave_together()

    @contextlib.contextmanager
    def all_or_none(self, what: str) -> Iterator[None]:
        """End all workers if one fails in the block.

        Args:
            what: completes "worker 1 could not ...".

        Raises:
            RunError: another worker failed.
        """
        if self.replicas is None or self.cluster is None:
            yield
            return
        try:
            yield
        except BaseException:
            with contextlib.suppress(*LOST):
                self.replicas.gathered([1])
                self.replicas.leave_together()
            raise
        failed = [self.cluster.named(worker) for worker, (number,) in enumerate(self.replicas.gathered([0])) if number]
        if failed:
            self.replicas.leave_together()
            raise RunError(f"{' and '.join(failed)}, could not {what}; see its output. {AGAIN}")

    @contextlib.contextmanager
    def as_lost_worker_error(self, how_to_resume: str) -> Iterator[None]:
        """Raise the error that TensorFlow raises when another worker ends as a RunError that names the worker."""
        try:
            yield
        except LOST as error:
            if self.cluster is None:
                raise
            raise RunError(
                f"{lost_worker(error, self.cluster)}, has ended or cannot be reached, so the training cannot continue; see "
                f"its output. {how_to_resume}"
            ) from error


def start_workers(strategy: str, experiment: Experiment, device: Device, cluster: Cluster | None, console: Console) -> Workers:
    """Connect the workers and start the strategy, before TensorFlow computes anything.

    Raises:
        CnnctlError: the workers do not match, or do not come; see `rendezvous.meet`.
    """
    together = cluster if cluster and strategy == "multi_worker" and len(cluster) > 1 else None
    refuse_unshareable(strategy, experiment, device, together)
    if together:
        _await_workers(together, experiment, device, console)
    return Workers(start(strategy, device, together), together)


def _await_workers(cluster: Cluster, experiment: Experiment, device: Device, console: Console) -> None:
    """Wait for all workers, which must be about to train the same on the same number of devices."""
    chief = " is the chief" if cluster.index == 0 else f"; the chief, {cluster.addresses[0]}, alone writes the run folder"
    console.say(f"worker  {cluster.index} of {len(cluster)}{chief}")
    for unknown in unknown_hosts(cluster):
        console.say(f"        {unknown}")

    def arrived(count: int) -> None:
        if count < len(cluster):
            console.say(f"        {count} of {len(cluster)} workers are connected; waiting for the others")

    meet(cluster, _greeting(experiment, device), arrived)


def _greeting(experiment: Experiment, device: Device) -> dict[str, Any]:
    """Collect what all workers must have in common, by the name that messages use."""
    config = {path: leaf.value for path, leaf in leaves(plain(experiment)).items() if path not in _OWN}
    of_versions = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}
    return {"cnnctl": __version__, **of_versions, f"number of {device.kind.upper()}s": device.replicas, **config}


def _refuse_other_images(replicas: Replicas, fingerprints: Mapping[str, str | None]) -> None:
    """Raise DataError if workers have read other images than the chief; all call it together."""
    own = [int(each[:_DIGITS], 16) if each else 0 for each in fingerprints.values()]
    gathered = replicas.gathered(own)
    for name, of_workers in zip(("training", "validation"), gathered.T, strict=True):
        others = [str(worker) for worker, number in enumerate(of_workers) if number != of_workers[0]]
        if others:
            replicas.leave_together()
            raise DataError(
                f"worker {', '.join(others)} has read different {name} images from the chief's; use the same data for all workers"
            )
