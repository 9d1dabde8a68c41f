"""The run folder: its names and paths, written and read."""

from __future__ import annotations

import contextlib
import csv
import datetime
import errno
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cnnctl.errors import RunError, UsageError
from cnnctl.files import free_name, hold, is_held, remove_unfinished, write_whole
from cnnctl.reading import read_bounded, refuse_leading_away
from cnnctl.spec.document import dump
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers.custom import COPY, ENTRY, flag_words, refuse_other_file
from cnnctl.spec.load import load
from cnnctl.spec.section import plain, show
from cnnctl.surroundings import shell_word
from cnnctl.train.observers import EpochRecord, Observer, Plan
from cnnctl.train.origin import Origin, newest_origin

STUDY_FILE = "study.sqlite3"
"""In the folder of a sweep, beside the run folders of its trials."""
NAME_A_RUN = "'cnnctl runs' shows the runs in runs/"
TRIAL_FILE = "sweep.json"
"""In the run folder of a trial: its study and its number."""
INTERRUPTED = "interrupted"
_SNAPSHOT = re.compile(r"epoch-(\d{4,10})\.weights\.npz", re.ASCII)
MAX_BYTES = 20_000_000
"""Largest JSON file or metrics.csv that is read: half a million classes, or 100,000 epochs."""


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
        self.curves = path / "curves.svg"
        self.result = path / "result.json"
        self.stopped = path / "stopped.json"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model.keras"
        self.custom_layers = path / COPY
        self.tensorboard = path / "tensorboard"
        self.snapshots = path / "snapshots"
        self.lock = path / ".lock"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder against other processes for the block; the system releases the lock when the process ends.

        Raises:
            UsageError: another process trains in it.
        """
        with hold(self.lock) as other:
            if other is not None:
                raise UsageError(f"{self.path} is being trained by another process{other}; wait for it, or stop it")
            yield

    @property
    def is_held(self) -> bool:
        """Whether a process trains in this folder now."""
        return is_held(self.path / ".lock")

    def note_stopped(self, state: str, reason: str) -> None:
        """Write stopped.json with the reason why the training stopped; do nothing if the run has its result."""
        if self.result.exists():  # what failed, such as printing to a full disk, came after the training
            return
        with contextlib.suppress(RunError):  # a full disk was reported already
            self.write_json(self.stopped, {"state": state, "reason": reason})

    def state(self) -> tuple[str, str]:
        """Return the state of the run, `finished`, `running`, `interrupted`, `failed` or `pruned`, and the reason or an empty text.

        A training that a power cut or SIGKILL ended wrote no reason; its lock is free, so it is interrupted.

        Raises:
            RunError: stopped.json cannot be read.
        """
        if self.is_held:  # checked first, since a finished run may be trained for more epochs
            return "running", ""
        if self.result.exists():
            return "finished", ""
        if not self.stopped.exists():
            return INTERRUPTED, ""
        noted = self._read_json(self.stopped)
        return str(noted.get("state", INTERRUPTED)), str(noted.get("reason", ""))

    def remove_unfinished(self) -> None:
        """Remove the partly written files of a killed process."""
        for folder in (self.path, self.checkpoints, self.snapshots):
            remove_unfinished(folder)

    def snapshot_file(self, epoch: int) -> Path:
        """Return the file of the weights after an epoch, counted from 1; 0 is before the training."""
        return self.snapshots / f"epoch-{epoch:04d}.weights.npz"

    def snapshot_files(self) -> dict[int, Path]:
        """Return the files of the snapshots by epoch, in order; none without `log.snapshots`."""
        found = {int(match[1]): file for file in self.snapshots.glob("*.npz") if (match := _SNAPSHOT.fullmatch(file.name))}
        return dict(sorted(found.items()))

    def write_config(self, experiment: Experiment) -> None:
        """Write the config with all defaults filled in, so that later defaults cannot change it."""
        write_whole(self.config, dump(plain(experiment)).encode())

    def write_json(self, file: Path, content: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files."""
        write_whole(file, (json.dumps(content, indent=2) + "\n").encode())

    def read_config(self, overrides: Sequence[str] = (), look_at_data: bool = True) -> Experiment:
        """Read and check config.yaml; arguments as in `load`.

        Raises:
            ConfigError: it cannot be read, or is wrong.
            OtherCustomLayers: it has layers of one's own, and the command line not their file.
        """
        self.refuse_other_layers()
        return load(self.config, overrides, look_at_data, inside=self.path)

    def refuse_other_layers(self) -> None:
        """Raise OtherCustomLayers if the run has layers of one's own, and the command line not their file."""
        try:
            noted = self.read_environment()
        except RunError:  # missing or damaged: the checkpoint has it too
            origin = self.origin()
            noted = dict(origin.environment) if origin else {}
        refuse_other_file(noted.get(ENTRY), str(self.path), shell_word(self.custom_layers))

    def origin(self) -> Origin | None:
        """Read the origin of the newest checkpoint; None if there is none."""
        return newest_origin(self.checkpoints)

    def restored_by(self) -> str:
        """Return how to restore a missing or damaged file; empty if there is no checkpoint."""
        return f"{resume_command(self)} restores it" if self.origin() else ""

    def read_result(self) -> dict[str, Any] | None:
        """Read result.json; None if the run has not ended.

        Raises:
            RunError: it cannot be read.
        """
        return self._read_json(self.result) if self.result.exists() else None

    def read_environment(self) -> dict[str, Any]:
        """Read environment.json.

        Raises:
            RunError: it is missing, or cannot be read.
        """
        return self._read_json(self.environment)

    def read_epochs(self) -> list[dict[str, str]]:
        """Read the rows of metrics.csv as texts by column; none if no epoch has ended.

        Raises:
            RunError: it cannot be read.
        """
        if not self.metrics.exists():
            return []
        try:
            text = read_bounded(self.metrics, MAX_BYTES, self.path).decode()
            return [{str(key): str(value) for key, value in row.items()} for row in csv.DictReader(text.splitlines())]
        except (OSError, ValueError, csv.Error) as error:
            raise self._unreadable(self.metrics, error) from error

    def _read_json(self, file: Path) -> dict[str, Any]:
        try:
            content = json.loads(read_bounded(file, MAX_BYTES, self.path))
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(file, error) from error
        if not isinstance(content, dict):
            raise self._unreadable(file, f"expected a mapping, received {show(content)}")
        return content

    def _unreadable(self, file: Path, error: Exception | str) -> RunError:
        system = error.strerror if isinstance(error, OSError) else None
        reason = system or ("nested too deeply" if isinstance(error, RecursionError) else error)
        remedy = self.restored_by()
        return RunError(f"{file} cannot be read: {reason}{remedy and f'; {remedy}'}")


def new_run_folder(name: str, run_dir: Path | None) -> RunFolder:
    """Make the folder of a new run: `run_dir`, or `runs/NAME/DATE_TIME`.

    Raises:
        UsageError: `run_dir` is not empty.
        RunError: the folder cannot be made.
    """
    refuse_unusable(name, run_dir)
    try:
        if run_dir is not None:
            run_dir.mkdir(parents=True, exist_ok=True)
            return RunFolder(run_dir)
        return RunFolder(_dated_folder(Path("runs") / name))
    except OSError as error:
        raise _cannot_be_made(run_dir or Path("runs") / name, str(error.strerror)) from error


def refuse_unusable(name: str, run_dir: Path | None) -> None:
    """Raise what `new_run_folder` would raise, before anything slow, and make nothing."""
    folder = run_dir or Path("runs") / name
    try:
        there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        if run_dir is not None and there == run_dir and not run_dir.is_dir():
            raise UsageError(f"--run-dir {run_dir} is a file; choose a new folder")
        if not there.is_dir():
            raise _cannot_be_made(folder, f"{there} is a file")
        if not os.access(there, os.W_OK | os.X_OK):
            raise _cannot_be_made(folder, f"{there} cannot be written")
        if run_dir is not None and there == run_dir and any(run_dir.iterdir()):
            other = shell_word(free_name(run_dir))
            raise UsageError(
                f"--run-dir {run_dir} already exists and is not empty; not overwriting. Choose another name: --run-dir {other}"
            )
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
        except FileExistsError:  # another run started in the same second
            number += 1
            continue
        return folder


def open_run_folder(path: Path, config_may_be_gone: bool = False) -> RunFolder:
    """Open the folder of an earlier run.

    Args:
        path: the folder.
        config_may_be_gone: accept a folder without config.yaml that has a checkpoint, which contains the config.

    Raises:
        UsageError: there is no run, or the folder has a link that leads out of it, or a special file.
    """
    if not path.exists():
        raise UsageError(f"there is no folder {path}; {NAME_A_RUN}")
    run = RunFolder(path)
    if not (os.access(run.config, os.R_OK) or (config_may_be_gone and newest_origin(run.checkpoints))):
        raise UsageError(f"{path} is not a run folder: it has no config.yaml; {run.restored_by() or NAME_A_RUN}")
    try:
        _refuse_links_and_devices(path)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be in a run folder: {error.strerror}") from error
    return run


def resume_command(run: RunFolder) -> str:
    """Return the command that resumes a run."""
    return " ".join(["cnnctl train --resume", shell_word(run.path), *map(shell_word, flag_words())])


def is_run_folder(path: Path) -> bool:
    """Find out whether a path is the folder of a run, not a folder of images."""
    run = RunFolder(path)
    return run.config.is_file() and run.environment.is_file()


def _refuse_links_and_devices(folder: Path) -> None:
    """Raise OSError if a run folder has a link that leads out of it or nowhere, or a pipe, a socket or a device.

    cnnctl makes none of them, and through a link a resume or an evaluation would read and write files outside the folder.
    """
    for each in _everything_in(folder):
        if each.is_symlink():
            refuse_leading_away(Path(each.path), folder)
            each.stat()  # raises for a link that leads nowhere
        elif not (each.is_file() or each.is_dir()):
            raise OSError(errno.EINVAL, "it is neither a file nor a folder; remove it", each.path)


def _everything_in(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield everything in a folder and the folders below it, without following links."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for each in entries:
                yield each
                if each.is_dir(follow_symlinks=False):
                    waiting.append(each.path)


class MetricsFile(Observer):
    """Writes metrics.csv: one row per epoch, the whole file after each."""

    def __init__(self, file: Path, rows: Sequence[EpochRecord]) -> None:
        self._file = file
        self.rows = list(rows)

    def on_start(self, plan: Plan) -> None:
        """Remove rows that an interrupted run wrote after its last checkpoint."""
        if self.rows:
            self._write()
        else:
            self._file.unlink(missing_ok=True)

    def on_epoch(self, record: EpochRecord) -> None:
        """Add a row."""
        self.rows.append(record)
        self._write()

    def _write(self) -> None:
        record = self.rows[-1]
        text = io.StringIO()
        unused = [name for name in ("validation_interval", "validation_penalty") if getattr(record, name) is None]
        columns = [field.name for field in fields(EpochRecord) if field.name not in unused]
        writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        write_whole(self._file, text.getvalue().encode())


def best_epoch(rows: Sequence[EpochRecord]) -> int:
    """Find the epoch with the lowest validation loss, or training loss without validation; the first of equals."""
    column = "validation_loss" if rows[-1].validation_loss is not None else "train_loss"
    return min(rows, key=lambda row: getattr(row, column)).epoch
