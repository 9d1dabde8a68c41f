"""TensorBoard's event files; the only module that writes them."""

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
    """The event files of one run, all in one folder: TensorBoard lists every folder that has some as a run of its own.

    Every method raises RunError where the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: tf.io.TFRecordWriter | None = None
        self._profiling = False

    def write(self, summary: Summary, step: int) -> None:
        """Writes a summary at a step."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def write_graph(self, graph: bytes) -> None:
        """Writes the graph of the run, a serialized `GraphDef`."""
        self._write(Event(wall_time=time.time(), graph_def=graph))

    def _write(self, event: Event) -> None:
        with self._told_as_run_errors():
            self._file = self._file or _new_file(self._folder)
            self._file.write(event.SerializeToString())

    def flush(self) -> None:
        """Makes what was written so far visible to TensorBoard."""
        with self._told_as_run_errors():
            if self._file:
                self._file.flush()

    def start_profile(self) -> None:
        """Begins to record what host and device do."""
        with self._told_as_run_errors():
            tf.profiler.experimental.start(str(self._folder))
        self._profiling = True

    def end_profile(self) -> None:
        """Writes the profile that was begun; does nothing where none was."""
        if self._profiling:
            self._profiling = False
            with self._told_as_run_errors():
                tf.profiler.experimental.stop()

    def forget_unless(self, kept: Callable[[int, set[str]], bool], anew: bool) -> None:
        """Removes what an interrupted run wrote and will write again, so that nothing is drawn twice.

        Args:
            kept: which events stay, by their step and tags.
            anew: whether the run starts from its beginning: then everything goes.
        """
        with self._told_as_run_errors():
            if anew:
                shutil.rmtree(self._folder, ignore_errors=True)
            for file in sorted(self._folder.glob("*tfevents*")):
                if file.name.startswith("."):
                    file.unlink()  # half of a file, from a run that was killed while it forgot
                else:
                    _keep(file, kept)

    def close(self) -> None:
        """Closes the files, also after an error."""
        self.end_profile()
        with self._told_as_run_errors():
            if self._file:
                self._file.close()
        self._file = None

    @contextlib.contextmanager
    def _told_as_run_errors(self) -> Iterator[None]:
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror
            raise RunError(f"TensorBoard's files in {self._folder} cannot be written: {reason}") from error


def _new_file(folder: Path) -> tf.io.TFRecordWriter:
    """Return a new event file, named as TensorBoard expects and as no other is.

    TensorBoard reads files in the order of their names, so a clock that was set back must not put the new one first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = [int(found[1]) for file in folder.iterdir() if (found := _SECONDS.match(file.name))]
    seconds = max([int(time.time()), *(each + 1 for each in earlier)])
    name = f"events.out.tfevents.{seconds}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}.v2"
    file = tf.io.TFRecordWriter(os.fsencode(folder / name))  # as bytes: TensorFlow takes no text that is not UTF-8
    file.write(Event(wall_time=time.time(), file_version=VERSION).SerializeToString())
    return file


def _keep(file: Path, kept: Callable[[int, set[str]], bool]) -> None:
    """Leaves in an event file what is kept, and its version; a record that was cut off goes too."""
    beside = file.with_name(f".{file.name}.part")
    with tf.io.TFRecordWriter(os.fsencode(beside)) as out:
        for record in _records(file):
            event = Event.FromString(record)
            if event.file_version or kept(event.step, {value.tag for value in event.summary.value}):
                out.write(record)
    beside.replace(file)


def _records(file: Path) -> Iterator[bytes]:
    """Yield the records of a file as far as they are whole."""
    with contextlib.suppress(tf.errors.DataLossError):
        yield from tf.data.TFRecordDataset(os.fsencode(file)).as_numpy_iterator()
