"""What a checkpoint belongs to: the config, the data and the environment of its run.

It lies in the checkpoint itself, so that it cannot be edited, lost or mixed up with another's: the files of a run that say the
same (config.yaml, environment.json) are for people and for later commands. It is read without TensorFlow.
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
"""Of an origin: the names of half a million classes."""
_NPY_HEADER = 10
"""Bytes of an `.npy` file of version 1.0 before its header, the last two of them its length (numpy.lib.format)."""


@dataclass(frozen=True)
class Origin:
    """What a checkpoint belongs to.

    Attributes:
        config: the resolved config as plain data.
        environment: what environment.json said when the run began: the fingerprints of the images and the names of their
            classes, versions, device, and what `auto` became.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_plain(cls, content: Any) -> Origin:
        """Return the origin that a checkpoint holds as plain data.

        Raises:
            ValueError: it is none.
        """
        match content:
            case {"config": dict(config), "environment": dict(environment)}:
                return cls(config, environment)
        raise ValueError("it does not say what it belongs to")


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the newest last."""
    return sorted(folder.glob("step_*.npz"))


def newest_origin(folder: Path) -> Origin | None:
    """Return the origin of the newest checkpoint that says it; None where there is none.

    Of a checkpoint nothing else is read. Whether it is whole is seen when it is taken up.
    """
    for file in reversed(checkpoint_files(folder)):
        try:
            return _origin_in(file)
        except Exception:  # noqa: S112  # wrong bits make zipfile and json stumble in a dozen ways; the resume says how
            continue
    return None


def _origin_in(file: Path) -> Origin:
    with open_regular(file, file.parent.parent) as opened, zipfile.ZipFile(opened) as archive:
        member = archive.getinfo(f"{MEMBER}.npy")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > MAX_BYTES:
            raise ValueError("cnnctl writes no such member")
        content = archive.read(member)  # checks its CRC
    start = _NPY_HEADER + int.from_bytes(content[_NPY_HEADER - 2 : _NPY_HEADER], "little")
    return Origin.from_plain(json.loads(content[start:]))
