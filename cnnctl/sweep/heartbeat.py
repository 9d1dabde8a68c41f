"""Signs of life of the processes that train trials, for other machines: their shared file system may have no locks."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from cnnctl.sweep.storage import STORAGE_ERRORS

HEARTBEAT_SECONDS, DEAD_AFTER_SECONDS = 30, 150
"""Interval of heartbeats, and after how long without one another machine resumes the trial."""


@contextlib.contextmanager
def heartbeat(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    """Record at intervals, in a thread, that this process trains a trial."""
    stop = threading.Event()

    def beat() -> None:
        while True:
            with contextlib.suppress(*STORAGE_ERRORS, optuna.exceptions.UpdateFinishedTrialError):
                storage.set_trial_user_attr(trial_id, "alive", [socket.gethostname(), time.time()])
            if stop.wait(HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def is_alive_elsewhere(trial: FrozenTrial) -> bool:
    """Return True if a process of another machine trains a trial, by its last heartbeat."""
    alive = trial.user_attrs.get("alive")
    if not (isinstance(alive, list) and len(alive) == 2 and alive[0] != socket.gethostname()):
        return False
    return isinstance(alive[1], int | float) and time.time() - alive[1] < DEAD_AFTER_SECONDS
