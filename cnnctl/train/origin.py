"""The origin of a checkpoint: the config, the data and the environment of its run.

It is stored in the checkpoint itself, so that it cannot be edited, lost or mixed up with another's. The files of a run with the
same content (config.yaml, environment.json) are for people and for later commands. It is read without TensorFlow.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cnnctl.reading import open_regular

MEMBER = "origin"
MAX_BYTES = 2**25
"""Largest origin that is read: the names of half a million classes."""
_NPY_HEADER = 10
"""Bytes of an `.npy` file of version 1.0 before its header; the last two are the header's length (numpy.lib.format)."""


@dataclass(frozen=True)
class Origin:
    """The config and environment that a checkpoint belongs to.

    Attributes:
        config: the resolved config as plain data.
        environment: environment.json at the start of the run: fingerprints of the images, names of their
            classes, versions, device, and what `auto` became.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, content: Any) -> Origin:
        """Convert the plain data in a checkpoint to an origin.

        Raises:
            ValueError: it has another form.
        """
        match content:
            case {"config": dict(config), "environment": dict(environment)}:
                return cls(config, environment)
        raise ValueError("it has no valid origin")


def checkpoint_files(folder: Path) -> list[Path]:
    """List the checkpoints in a folder, the newest last."""
    return sorted(folder.glob("step_*.npz"))


def newest_origin(folder: Path) -> Origin | None:
    """Read the origin of the newest checkpoint that has one; None if there is none.

    Nothing else of the checkpoint is read; whether it is intact is checked when it is restored.
    """
    for file in reversed(checkpoint_files(folder)):
        try:
            return _origin_in(file)
        except Exception:  # noqa: S112  # damaged files raise a dozen kinds of errors; the resume reports them
            continue
    return None


def _origin_in(file: Path) -> Origin:
    with open_regular(file, file.parent.parent) as opened, zipfile.ZipFile(opened) as archive:
        member = archive.getinfo(f"{MEMBER}.npy")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > MAX_BYTES:
            raise ValueError("its origin is compressed or too large")
        content = archive.read(member)  # checks its CRC
    start = _NPY_HEADER + int.from_bytes(content[_NPY_HEADER - 2 : _NPY_HEADER], "little")
    return Origin.from_plain(json.loads(content[start:]))
