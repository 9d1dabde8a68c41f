"""What a run's numbers depend on besides its config: versions, device, data, commit."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from cnnctl import __version__
from cnnctl.data.inspect.statistics import ImageStatistics, statistics_of
from cnnctl.data.splits import Splits, fingerprint
from cnnctl.errors import RunError
from cnnctl.files import write_whole
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder
from cnnctl.session.run_files import RESUMED, restored_environment
from cnnctl.spec.auto import cpu_flags
from cnnctl.spec.layers.custom import ENTRY, loaded, note_of, refuse_other_file
from cnnctl.surroundings import overridden
from cnnctl.train.device import Device
from cnnctl.train.settings import Settings

PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "scikit-learn", "pillow", "tensorboard")
ROUNDING = ("device", "replicas", "processor", "instruction_sets", "cores", "variables", "versions")
"""Entries that decide the order and the instructions of sums, and so how they round."""
_VARIABLES = ("TF_", "XLA_", "ONEDNN_", "DNNL_", "OMP_", "MKL_", "CUDA_", "NVIDIA_")
_IRRELEVANT = ("TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL", "TF_CONFIG", "TF_CLI_CONFIG_FILE")
"""Variables without an effect on results: TensorFlow's log level, the addresses of workers, and Terraform's TF_CLI_CONFIG_FILE."""
_VECTORS = ("sse4", "avx", "amx", "fma", "f16c", "asimd", "sve", "neon")


class NotedData:
    """What environment.json notes of the data, computed in a thread: hashing and NumPy leave Python free to build the network.

    Args:
        splits: the data.
        described: statistics will be asked for; a resumed run has them, and of several workers the chief alone notes them.

    Attributes:
        class_names: of the data.
    """

    def __init__(self, splits: Splits, described: bool = True) -> None:
        self.class_names = splits.class_names
        self._train = splits.train
        self._fingerprints: Future[dict[str, str | None]] = Future()
        self._statistics: Future[ImageStatistics] | None = Future() if described else None
        # A daemon, which Ctrl-C does not wait for: a streamed set may take minutes to hash.
        threading.Thread(target=self._compute, args=(splits,), daemon=True).start()

    def _compute(self, splits: Splits) -> None:
        _resolve(self._fingerprints, lambda: _fingerprints(splits))
        if self._statistics:
            _resolve(self._statistics, lambda: statistics_of(splits.train))

    def fingerprints(self) -> dict[str, str | None]:
        """Wait for the fingerprints of the training and the validation images; raise DataError if they cannot be read."""
        return self._fingerprints.result()

    def training_images(self) -> dict[str, Any]:
        """Wait for the statistics of the training images; raise DataError if they cannot be read."""
        found = self._statistics.result() if self._statistics else statistics_of(self._train)
        return found.as_plain()


def _resolve(future: Future[Any], compute: Callable[[], Any]) -> None:
    """Set the result of a future, or the error, for whoever asks for it."""
    try:
        future.set_result(compute())
    except BaseException as error:
        future.set_exception(error)


def note_environment(
    run: RunFolder, origin: Mapping[str, Any], device: Device, settings: Settings, data: NotedData, replicas: int = 1
) -> tuple[dict[str, Any], list[str]]:
    """Write environment.json, or add the resume to it.

    Args:
        run: its folder.
        origin: the environment in the restored checkpoint; empty without one.
        device: where it computes.
        settings: what `auto` became.
        data: fingerprints and statistics of the images.
        replicas: those of all workers that share each batch.

    Returns:
        The environment at the start of the run, and notes to print.

    Raises:
        RunError: the run was started on other training or validation images, or they had other classes.
    """
    now, rounding = _this_command(), {**rounding_of(device), "replicas": replicas}
    if not (origin or run.environment.exists()):
        lasting = {**_lasting(settings, rounding), **data.fingerprints(), **_custom_layers(run, settings)}
        about_data = {"class_names": data.class_names, "training_images": data.training_images()}
        first = {**now, **lasting, **about_data}
        run.write_json(run.environment, first)
        return first, []
    first, notes = restored_environment(run, origin) if origin else (run.read_environment(), [])
    _refuse_other_data(run, first, data)
    refuse_other_file(first.get(ENTRY), str(run.path), str(run.custom_layers))
    _custom_layers(run, settings)
    changed = list(_changed(first, rounding))
    earlier = first.pop(RESUMED, [])
    run.write_json(run.environment, {**first, RESUMED: [*(earlier if isinstance(earlier, list) else []), {**now, **rounding}]})
    if changed:
        notes.append(
            f"{', '.join(changed)} changed since the run began: the last digits may differ from those of an uninterrupted run"
        )
    return first, notes


def _refuse_other_data(run: RunFolder, first: Mapping[str, Any], data: NotedData) -> None:
    """Raise RunError if the images are not those on which the run was started."""
    for name, value in data.fingerprints().items():
        if first.get(name) != value:
            which = "training" if name == "data_fingerprint" else "validation"
            raise RunError(f"{run.path} was started on other {which} images; restore them, or start a new run")
    if first.get("class_names") != data.class_names:
        raise RunError(f"{run.path} was started on the same images with other class names; restore them, or start a new run")


def _custom_layers(run: RunFolder, settings: Settings) -> dict[str, Any]:
    """Keep a copy of the file of the network's own layers; return its entry, none without such layers."""
    note, file = note_of([node.layer for node in settings.experiment.network.nodes]), loaded()
    if note is None or file is None:
        return {}
    write_whole(run.custom_layers, file.source)
    return {ENTRY: note}


def training_images(run: RunFolder, console: Console) -> ImageStatistics | None:
    """Read the statistics of a run's training images; None, after a message, if they are missing or damaged.

    Raises:
        RunError: environment.json cannot be read.
    """
    noted = run.read_environment().get("training_images")
    try:
        return None if noted is None else ImageStatistics.from_plain(noted)
    except ValueError:
        console.say(
            f"note    {run.environment}: 'training_images' is damaged; images are not compared with the training images"
        )
        return None


def _this_command() -> dict[str, Any]:
    return {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
    }


def _fingerprints(splits: Splits) -> dict[str, str | None]:
    """Compute the fingerprints of the training and the validation images."""
    validation = fingerprint(splits.validation) if splits.validation else None
    return {"data_fingerprint": fingerprint(splits.train), "validation_fingerprint": validation}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Name what differs; of the variables and versions, the single ones with their values."""
    for name in ROUNDING:
        old, new = before.get(name), now[name]
        if isinstance(old, dict) and isinstance(new, dict):
            changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
            yield from (f"{key} ({old.get(key, 'not set')}, now {new.get(key, 'not set')})" for key in changed)
        elif _without_note(old) != _without_note(new):
            yield name


def _without_note(value: Any) -> Any:
    """Remove the note from a device's name; return anything else unchanged."""
    return value.partition(" (")[0] if isinstance(value, str) and value.startswith(("CPU", "GPU")) else value


def rounding_of(device: Device) -> dict[str, Any]:
    """Describe what decides how sums round on this machine, and how fast it computes."""
    return {
        "device": str(device),
        "processor": _processor(),
        "instruction_sets": sorted(flag for flag in cpu_flags() if flag.startswith(_VECTORS)),
        "cores": device.cores,
        "variables": {
            name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES) and name not in _IRRELEVANT
        },
        "versions": {"cnnctl": __version__, **{name: _version(name) for name in PACKAGES}},
    }


def _processor() -> str:
    """Return the name of the processor, as far as the system reports it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _lasting(settings: Settings, rounding: dict[str, Any]) -> dict[str, Any]:
    return {
        "equal_weights_need": ["config.yaml", "data_fingerprint", "validation_fingerprint", *ROUNDING, "a CPU"],
        "precision": settings.precision.value,
        "precision_why": settings.precision.why,
        "batch_parts": settings.batch_parts.value,
        "batch_parts_why": settings.batch_parts.why,
        "auto_images_per_second": settings.speeds.as_plain() if settings.speeds else None,
        "strategy": settings.strategy.value,
        "strategy_why": settings.strategy.why,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **rounding,
        "overridden": dict(overridden),
        "git_commit": _git_commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the current folder, or None outside a repository."""
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return git.stdout.strip() or None
