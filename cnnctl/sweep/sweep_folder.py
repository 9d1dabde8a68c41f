"""The folder of a sweep: its study beside the run folders of its trials, and what those have reached."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnnctl.errors import RunError
from cnnctl.files import hold, write_whole
from cnnctl.reading import read_bounded
from cnnctl.run_folder import STUDY_FILE, TRIAL_FILE, RunFolder, open_run_folder
from cnnctl.spec.section import show

MAX_MARK = 10_000
"""Bytes of what says whose run a folder is."""


class SweepFolder:
    """The paths of one sweep.

    Attributes:
        path: the folder itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study = path / STUDY_FILE
        self.lock = path / ".sweep.lock"
        self.results = path / "results.json"
        self.plots = path / "plots"

    def trial(self, number: int) -> RunFolder:
        """Returns the run folder of a trial."""
        return RunFolder(self.path / f"trial_{number:04}")

    def repeat(self, number: int, seed: int) -> RunFolder:
        """Returns the run folder of a trial that is trained again with another seed."""
        return RunFolder(self.path / f"trial_{number:04}_seed_{seed}")

    def own(self, path: Path) -> Path:
        """Makes a folder within the sweep's, or takes the one that is there.

        Raises:
            RunError: it is a file or a link, through which nothing is written, or cannot be made.
        """
        try:
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            mode = path.lstat().st_mode
        except OSError as error:
            raise RunError(f"{path} cannot be made: {error.strerror}") from error
        if stat.S_ISDIR(mode):
            return path
        kind = "a link, and nothing is written through links" if stat.S_ISLNK(mode) else "no folder"
        raise NotOurs(f"{path} is {kind}; move it away, and run sweep again")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps the other processes of the sweep from taking trials for the while; waits for one that does."""
        while True:
            with hold(self.lock) as other:
                if other is None:
                    yield
                    return
            time.sleep(0.02)


class NotOurs(RunError):
    """What is in the folder of a sweep is not of this sweep."""


def take(run: RunFolder, owner: Mapping[str, Any]) -> None:
    """Marks the run folder of a trial as that of its owner, before anything else is in it; one that is marked must be the owner's.

    Args:
        run: its folder is there, and is no link.
        owner: `study`, `trial` and `seed`, which the study knows too.

    Raises:
        NotOurs: it is that of another, or holds things and no mark.
        UsageError: something in it leads out of it.
    """
    if not belongs(run, owner):
        write_whole(run.path / TRIAL_FILE, (json.dumps(dict(owner), indent=2) + "\n").encode())


def belongs(run: RunFolder, owner: Mapping[str, Any]) -> bool:
    """Returns whether a run folder is marked as that of its owner; False for one that is not there, or empty; raises as `take`."""
    if not os.path.lexists(run.path) or _is_empty(run.path):
        return False
    what = f"trial {owner['trial']}" if owner["seed"] is None else f"trial {owner['trial']} with seed {owner['seed']}"
    remedy = "move it away and run sweep again, or begin another sweep with --dir"
    if run.path.is_symlink() or not run.path.is_dir() or not (run.path / TRIAL_FILE).is_file():
        raise NotOurs(f"{run.path} is not the run of {what}: it has no {TRIAL_FILE} of this sweep; {remedy}")
    _refuse_links(run)
    if (marked := _mark_of(run)) != owner:
        whose = "another sweep" if marked.get("study") != owner["study"] else f"trial {show(marked.get('trial'))}"
        raise NotOurs(f"{run.path} is not the run of {what}, but of {whose}, by its {TRIAL_FILE}; {remedy}")
    return True


def _is_empty(folder: Path) -> bool:
    """Returns whether a folder, and no link to one, has nothing but locks and files that a killed process was writing."""
    return not folder.is_symlink() and folder.is_dir() and all(each.name.startswith(".") for each in folder.iterdir())


def _refuse_links(run: RunFolder) -> None:
    """Raises UsageError where something in a run folder leads out of it; a run that was killed early has no config yet."""
    if run.config.exists():
        open_run_folder(run.path)
    for each in run.path.iterdir():
        if each.is_symlink():
            raise NotOurs(f"{each} is a link, and nothing is written through links; remove it, and run sweep again")


def _mark_of(run: RunFolder) -> dict[str, Any]:
    file = run.path / TRIAL_FILE
    try:
        content = json.loads(read_bounded(file, MAX_MARK, run.path))
    except (OSError, ValueError, RecursionError) as error:
        raise NotOurs(f"{file} cannot be read: {error}; move {run.path} away, and run sweep again") from error
    return content if isinstance(content, dict) else {}


def measures_of(run: RunFolder) -> dict[str, float]:
    """Returns what a run that has ended reached, by the names of `report.sweep.MEASURES`; nothing of one that has not.

    Validation is that of the weights that the run leaves: of its best epoch where early stopping restored it, else of its last.

    Raises:
        RunError: the folder is damaged.
    """
    result = run.read_result()
    if result is None:
        return {}
    epoch = result.get("weights_epoch")
    row = next((each for each in run.read_epochs() if each.get("epoch") == str(epoch)), None)
    if row is None:
        raise RunError(f"{run.metrics} is damaged: it has no epoch {epoch}, which {run.result} speaks of")
    tested = {key: result[key] for key in ("test_accuracy", "test_loss") if isinstance(result.get(key), int | float)}
    return {**{key: measure_in(run, row, key) for key in ("validation_accuracy", "validation_loss")}, **tested}


def measure_in(run: RunFolder, row: Mapping[str, str], key: str) -> float:
    """Reads a measure of validation from a row of metrics.csv; a loss without its penalties, see `without_penalty`.

    Raises:
        RunError: it is no number.
    """
    value = number_in(run, row, key)
    penalty = number_in(run, row, "validation_penalty") if row.get("validation_penalty") else None
    return without_penalty(key, value, penalty)


def without_penalty(key: str, value: float, penalty: float | None) -> float:
    """Takes the penalties of regularizers out of a loss: they differ between trials whatever the network has learned."""
    return value if penalty is None or not key.endswith("loss") else value - penalty


def number_in(run: RunFolder, row: Mapping[str, str], key: str) -> float:
    """Returns a number of a row of metrics.csv; raises RunError where it is none."""
    try:
        return float(row.get(key, ""))
    except ValueError as error:
        raise RunError(f"{run.metrics} is damaged: {key} is {show(row.get(key))}, expected a number") from error
