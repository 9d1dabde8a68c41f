"""Write TensorBoard's event files; no other module does."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from cnnctl.errors import RunError

VERSION = "brain.Event:2"
_SECONDS = re.compile(r"events\.out\.tfevents\.(\d+)\.")
_numbers = itertools.count()


class Events:
    """The event files of one run, all in one folder, since TensorBoard lists every folder with event files as a run.

    Every method raises RunError if writing fails.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: tf.io.TFRecordWriter | None = None
        self._profiling = False

    def write(self, summary: Summary, step: int) -> None:
        """Write a summary at a step."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def write_graph(self, graph: bytes) -> None:
        """Write the graph of the run, a serialized `GraphDef`."""
        self._write(Event(wall_time=time.time(), graph_def=graph))

    def _write(self, event: Event) -> None:
        with self._as_run_error():
            self._file = self._file or _new_file(self._folder)
            self._file.write(event.SerializeToString())

    def flush(self) -> None:
        """Flush the file, so that TensorBoard sees all events so far."""
        with self._as_run_error():
            if self._file:
                self._file.flush()

    def start_profile(self) -> None:
        """Start the profiler of host and device."""
        with self._as_run_error():
            tf.profiler.experimental.start(str(self._folder))
        self._profiling = True

    def end_profile(self) -> None:
        """Stop the profiler and write its profile; does nothing if it is not running."""
        if self._profiling:
            self._profiling = False
            with self._as_run_error():
                tf.profiler.experimental.stop()

    def remove_unless(self, valid: Callable[[int, set[str]], bool], from_start: bool) -> None:
        """Remove the events of an interrupted run that will be written again, so that none is drawn twice.

        Args:
            valid: returns True for the step and tags of an event to keep.
            from_start: whether the run starts from the beginning, which removes all events.
        """
        with self._as_run_error():
            if from_start:
                shutil.rmtree(self._folder, ignore_errors=True)
            for file in sorted(self._folder.glob("*tfevents*")):
                if file.name.startswith("."):
                    file.unlink()  # incomplete, from a run that was killed in this method
                else:
                    _filter(file, valid)

    def close(self) -> None:
        """Close the files, also after an error."""
        self.end_profile()
        with self._as_run_error():
            if self._file:
                self._file.close()
        self._file = None

    @contextlib.contextmanager
    def _as_run_error(self) -> Iterator[None]:
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror
            raise RunError(f"TensorBoard's files in {self._folder} cannot be written: {reason}") from error


def _new_file(folder: Path) -> tf.io.TFRecordWriter:
    """Create an event file with a unique name in TensorBoard's form.

    TensorBoard reads files in the order of their names, so the new name is the last even if the clock was set back.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [int(found[1]) for file in folder.iterdir() if (found := _SECONDS.match(file.name))]
    seconds = max([int(time.time()), *(each + 1 for each in earlier)])
    name = f"events.out.tfevents.{seconds}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}.v2"
    file = tf.io.TFRecordWriter(os.fsencode(folder / name))  # as bytes: TensorFlow refuses text that is not UTF-8
    file.write(Event(wall_time=time.time(), file_version=VERSION).SerializeToString())
    return file


def _filter(file: Path, valid: Callable[[int, set[str]], bool]) -> None:
    """Rewrite an event file with its version and its valid events; a truncated record is removed too."""
    beside = file.with_name(f".{file.name}.part")
    with tf.io.TFRecordWriter(os.fsencode(beside)) as out:
        for record in _records(file):
            event = Event.FromString(record)
            if event.file_version or valid(event.step, {value.tag for value in event.summary.value}):
                out.write(record)
    beside.replace(file)


def _records(file: Path) -> Iterator[bytes]:
    """Yield the complete records of a file."""
    with contextlib.suppress(tf.errors.DataLossError):
        yield from tf.data.TFRecordDataset(os.fsencode(file)).as_numpy_iterator()
