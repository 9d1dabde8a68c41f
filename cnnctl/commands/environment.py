"""What a run's numbers depend on beside its config: versions, device, data, commit."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from typing import Any

from cnnctl import __version__
from cnnctl.data.sources import ImageSet
from cnnctl.data.splits import fingerprint
from cnnctl.errors import RunError
from cnnctl.runs import RunFolder
from cnnctl.train.device import Device
from cnnctl.train.settings import Settings

PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "scikit-learn", "pillow", "tensorboard")


def note_environment(run: RunFolder, device: Device, settings: Settings, train: ImageSet, class_names: list[str]) -> None:
    """Writes environment.json, or adds to it that the run is resumed.

    Raises:
        RunError: the run was begun on other data.
    """
    now = _this_command(device)
    if not run.environment.exists():
        run.write_json(run.environment, {**now, **_lasting(settings, train), "class_names": class_names})
        return
    begun = _read(run)
    if begun["data_fingerprint"] != fingerprint(train):
        raise RunError(f"{run.path} was begun on other training images; put them back, or train anew")
    run.write_json(run.environment, {**begun, "resumed": [*begun.get("resumed", []), now]})


def _read(run: RunFolder) -> dict[str, Any]:
    try:
        begun: dict[str, Any] = json.loads(run.environment.read_text())
        begun["data_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{run.environment} is damaged; the run cannot be resumed safely, train anew") from error
    return begun


def _this_command(device: Device) -> dict[str, Any]:
    return {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": str(device),
    }


def _lasting(settings: Settings, train: ImageSet) -> dict[str, Any]:
    return {
        "precision": settings.precision.value,
        "precision_why": settings.precision.why,
        "batch_parts": settings.batch_parts.value,
        "batch_parts_why": settings.batch_parts.why,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {"cnnctl": __version__, **{name: _version(name) for name in PACKAGES}},
        "git_commit": _git_commit(),
        "data_fingerprint": fingerprint(train),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Returns the commit of the folder that the command runs in, or None outside a repository."""
    try:
        told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None
