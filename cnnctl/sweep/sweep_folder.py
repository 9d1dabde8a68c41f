"""The folder of a sweep: the study, the run folders of its trials, and the measures in these."""

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
from cnnctl.spec.layers.custom import COPY
from cnnctl.spec.section import show

MAX_MARK = 10_000
"""Largest sweep.json in bytes."""


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
        self.custom_layers = path / COPY

    def trial(self, number: int) -> RunFolder:
        """Return the run folder of a trial."""
        return RunFolder(self.path / f"trial_{number:04}")

    def repeat(self, number: int, seed: int) -> RunFolder:
        """Return the run folder of a trial that is repeated with another seed."""
        return RunFolder(self.path / f"trial_{number:04}_seed_{seed}")

    def ensure_folder(self, path: Path) -> Path:
        """Create a folder within the sweep's unless it exists.

        Raises:
            RunError: it is a file or a link, or cannot be created.
        """
        try:
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            mode = path.lstat().st_mode
        except OSError as error:
            raise RunError(f"{path} cannot be created: {error.strerror}") from error
        if stat.S_ISDIR(mode):
            return path
        kind = "a link, and sweep does not write through links" if stat.S_ISLNK(mode) else "not a folder"
        raise ForeignFolder(f"{path} is {kind}; move it away and run sweep again")

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lock the sweep, so that one process at a time chooses a trial. Waits for the lock."""
        while True:
            with hold(self.lock) as other:
                if other is None:
                    yield
                    return
            time.sleep(0.02)


class ForeignFolder(RunError):
    """A folder within the sweep's is not of this sweep."""


def claim(run: RunFolder, owner: Mapping[str, Any]) -> None:
    """Write the owner into a new run folder of a trial. A folder that is in use must have the same owner.

    Args:
        run: its folder exists and is not a link.
        owner: `study`, `trial` and `seed`.

    Raises:
        ForeignFolder: it has another owner, or files but no owner.
        UsageError: a link in it leads out of it.
    """
    if not is_claimed(run, owner):
        write_whole(run.path / TRIAL_FILE, (json.dumps(dict(owner), indent=2) + "\n").encode())


def is_claimed(run: RunFolder, owner: Mapping[str, Any]) -> bool:
    """Check the owner of a run folder. False if it does not exist or is empty. Raises as `claim`."""
    if not os.path.lexists(run.path) or _is_empty(run.path):
        return False
    what = f"trial {owner['trial']}" if owner["seed"] is None else f"trial {owner['trial']} with seed {owner['seed']}"
    remedy = "move it away and run sweep again, or start another sweep with --dir"
    if run.path.is_symlink() or not run.path.is_dir() or not (run.path / TRIAL_FILE).is_file():
        raise ForeignFolder(f"{run.path} is not the run of {what}: it has no {TRIAL_FILE} of this sweep; {remedy}")
    _refuse_links(run)
    if (marked := _mark_of(run)) != owner:
        whose = "another sweep" if marked.get("study") != owner["study"] else f"trial {show(marked.get('trial'))}"
        raise ForeignFolder(f"{run.path} is not the run of {what}, but of {whose}, by its {TRIAL_FILE}; {remedy}")
    return True


def _is_empty(folder: Path) -> bool:
    """Return True if a folder (not a link) has nothing but locks and files that a killed process was writing."""
    return not folder.is_symlink() and folder.is_dir() and all(each.name.startswith(".") for each in folder.iterdir())


def _refuse_links(run: RunFolder) -> None:
    """Raise UsageError where a link in a run folder leads out of it. A run that was killed early has no config yet."""
    if run.config.exists():
        open_run_folder(run.path)
    for each in run.path.iterdir():
        if each.is_symlink():
            raise ForeignFolder(f"{each} is a link, and sweep does not write through links; remove it and run sweep again")


def _mark_of(run: RunFolder) -> dict[str, Any]:
    file = run.path / TRIAL_FILE
    try:
        content = json.loads(read_bounded(file, MAX_MARK, run.path))
    except (OSError, ValueError, RecursionError) as error:
        raise ForeignFolder(f"{file} cannot be read: {error}; move {run.path} away and run sweep again") from error
    return content if isinstance(content, dict) else {}


def measures_of(run: RunFolder) -> dict[str, float]:
    """Read the final measures of a run, by the names of `results.MEASURES`; empty for a run that has not ended.

    Validation is that of the final weights: of the best epoch where early stopping restored it, else of the last.

    Raises:
        RunError: the folder is damaged.
    """
    result = run.read_result()
    if result is None:
        return {}
    epoch = result.get("weights_epoch")
    row = next((each for each in run.read_epochs() if each.get("epoch") == str(epoch)), None)
    if row is None:
        raise RunError(f"{run.metrics} is damaged: it has no epoch {epoch}, which is the weights_epoch of {run.result}")
    tested = {key: result[key] for key in ("test_accuracy", "test_loss") if isinstance(result.get(key), int | float)}
    return {**{key: measure_in(run, row, key) for key in ("validation_accuracy", "validation_loss")}, **tested}


def measure_in(run: RunFolder, row: Mapping[str, str], key: str) -> float:
    """Read a measure of validation from a row of metrics.csv; a loss without its penalties, see `without_penalty`.

    Raises:
        RunError: it is not a number.
    """
    value = number_in(run, row, key)
    penalty = number_in(run, row, "validation_penalty") if row.get("validation_penalty") else None
    return without_penalty(key, value, penalty)


def without_penalty(key: str, value: float, penalty: float | None) -> float:
    """Subtract the penalties of regularizers from a loss: they differ between trials whatever the network has learned."""
    return value if penalty is None or not key.endswith("loss") else value - penalty


def number_in(run: RunFolder, row: Mapping[str, str], key: str) -> float:
    """Read a number from a row of metrics.csv. Raises RunError if it is not one."""
    try:
        return float(row.get(key, ""))
    except ValueError as error:
        raise RunError(f"{run.metrics} is damaged: {key} is {show(row.get(key))}, expected a number") from error
