"""The folder of a sweep: its study beside the run folders of its trials, and what those have reached."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cnnctl.errors import RunError
from cnnctl.files import hold
from cnnctl.runs import STUDY_FILE, RunFolder
from cnnctl.spec.section import show


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

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps the other processes of the sweep from taking trials for the while; waits for one that does."""
        while True:
            with hold(self.lock) as other:
                if other is None:
                    yield
                    return
            time.sleep(0.02)


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
    return {**{key: number_in(run, row, key) for key in ("validation_accuracy", "validation_loss")}, **tested}


def number_in(run: RunFolder, row: Mapping[str, str], key: str) -> float:
    """Returns a number of a row of metrics.csv; raises RunError where it is none."""
    try:
        return float(row.get(key, ""))
    except ValueError as error:
        raise RunError(f"{run.metrics} is damaged: {key} is {show(row.get(key))}, expected a number") from error
