"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cnnctl.errors import RunError


def write_whole(file: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new one, never a part.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        beside.replace(file)
    except OSError as error:
        raise RunError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # it is there still where anything went wrong, Ctrl-C included
