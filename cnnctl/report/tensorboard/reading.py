"""Read scalars back from the event files of a run; needs no TensorFlow."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from cnnctl.errors import RunError
from cnnctl.reading import open_regular

_LENGTH = struct.Struct("<Q")
_CHECKSUM = 4
"""Bytes of the checksums after the length and after the content of a record (TensorFlow, core/lib/io/record_writer.h)."""
MAX_RECORD = 200_000_000
"""Largest record that is read, in bytes; pictures of feature maps have a few megabytes."""


def scalars(folder: Path, prefix: str, inside: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the scalars whose tags begin with a prefix.

    Args:
        folder: the run's `tensorboard/`; may be missing.
        prefix: of the tags.
        inside: the run folder, which no link may lead out of.

    Returns:
        (step, value) in the order of the steps, by the rest of the tag; values that are NaN or infinite included.

    Raises:
        RunError: a file cannot be read, or is no event file.
    """
    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.glob("*tfevents*")):
        try:
            with open_regular(file, inside) as opened:
                for tag, step, value in _scalars_in(opened):
                    if tag.startswith(prefix):
                        found.setdefault(tag.removeprefix(prefix), {})[step] = value
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RunError(f"{file} cannot be read: {reason}") from error
    return {tag: sorted(values.items()) for tag, values in found.items()}


def _scalars_in(file: BufferedReader) -> Iterator[tuple[str, int, float]]:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    for record in _records(file):
        try:
            event = Event.FromString(record)
        except DecodeError as error:
            raise ValueError("it is no event file of TensorBoard") from error
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                number = value.tensor.float_val[0] if value.tensor.float_val else math.nan
                yield value.tag, event.step, number


def _records(file: BufferedReader) -> Iterator[bytes]:
    """Yield the complete records; a run that was killed may have left a part of the last."""
    while len(head := file.read(_LENGTH.size + _CHECKSUM)) == _LENGTH.size + _CHECKSUM:
        (length,) = _LENGTH.unpack_from(head)
        if length > MAX_RECORD:
            raise ValueError(f"it has a record of {length:,} bytes; the maximum is {MAX_RECORD:,}")
        record = file.read(length)
        if len(record) < length or len(file.read(_CHECKSUM)) < _CHECKSUM:
            return
        yield record
