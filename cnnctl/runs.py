"""The run folder: names, paths, writing and reading it back."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cnnctl.errors import RunError, UsageError
from cnnctl.files import write_whole
from cnnctl.spec.document import dump
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.section import plain
from cnnctl.train.observe import EpochRecord, Observer


class RunFolder:
    """The paths of one run.

    Attributes:
        path: the folder itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.csv"
        self.result = path / "result.json"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model.keras"
        self.tensorboard = path / "tensorboard"

    def write_config(self, experiment: Experiment) -> None:
        """Writes the resolved config: every field said, so that later defaults cannot change it."""
        write_whole(self.config, dump(plain(experiment)).encode())

    def write_json(self, file: Path, content: Mapping[str, Any]) -> None:
        """Writes one of the run's JSON files."""
        write_whole(file, (json.dumps(content, indent=2) + "\n").encode())

    def read_result(self) -> dict[str, Any] | None:
        """Returns result.json, or None where the run has not ended."""
        try:
            result: dict[str, Any] = json.loads(self.result.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.result} cannot be read: {error}") from None
        return result


def new_run_folder(name: str, wish: Path | None) -> RunFolder:
    """Makes the folder of a new run: the one wished for, else `runs/NAME/DATE_TIME`.

    Raises:
        UsageError: the folder wished for holds something.
        RunError: it cannot be made.
    """
    refuse_unusable(name, wish)
    try:
        if wish is not None:
            wish.mkdir(parents=True, exist_ok=True)
            return RunFolder(wish)
        return RunFolder(_dated_folder(Path("runs") / name))
    except OSError as error:
        raise _cannot_be_made(wish or Path("runs") / name, str(error.strerror)) from error


def refuse_unusable(name: str, wish: Path | None) -> None:
    """Raises what `new_run_folder` would raise, and makes nothing: to be asked before anything slow."""
    folder = wish or Path("runs") / name
    try:
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        if wish is not None and there == wish and not wish.is_dir():
            raise UsageError(f"--run-dir {wish} is a file; give a new folder")
        if not there.is_dir():
            raise _cannot_be_made(folder, f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise _cannot_be_made(folder, f"{there} cannot be written")
        if wish is not None and there == wish and any(wish.iterdir()):
            raise UsageError(f"--run-dir {wish} is not empty, and no run is written over; choose another or remove it")
    except OSError as error:
        raise _cannot_be_made(folder, str(error.strerror)) from error


def _cannot_be_made(folder: Path, reason: str) -> RunError:
    return RunError(f"the run folder {folder} cannot be made: {reason}; choose another with --run-dir")


def _dated_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = parent / (stamp if number == 1 else f"{stamp}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:  # another run began in the same second
            number += 1
            continue
        return folder


def open_run_folder(path: Path) -> RunFolder:
    """Returns the folder of an earlier run.

    Raises:
        UsageError: there is no run.
    """
    if not path.exists():
        raise UsageError(f"there is no folder {path}; 'cnnctl runs' shows the runs in runs/")
    run = RunFolder(path)
    if not os.access(run.config, os.R_OK):
        raise UsageError(f"{path} is no run folder: it has no config.yaml; 'cnnctl runs' shows the runs in runs/")
    return run


class MetricsFile(Observer):
    """Keeps metrics.csv: one row an epoch, written whole after each."""

    def __init__(self, file: Path, rows: Sequence[EpochRecord]) -> None:
        self._file = file
        self.rows = list(rows)

    def on_epoch(self, record: EpochRecord) -> None:
        """Adds a row."""
        self.rows.append(record)
        text = io.StringIO()
        unused = "validation_interval" if record.validation_interval is None else ""
        columns = [field.name for field in fields(EpochRecord) if field.name != unused]
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        write_whole(self._file, text.getvalue().encode())


def best_epoch(rows: Sequence[EpochRecord]) -> int:
    """Returns the epoch with the least validation loss, or training loss without validation; the first of equals."""
    column = "validation_loss" if rows[-1].validation_loss is not None else "train_loss"
    return min(rows, key=lambda row: getattr(row, column)).epoch
