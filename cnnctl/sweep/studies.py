"""Create and open the study of a config in its folder; the study of another config is refused."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage

from cnnctl.errors import RunError, UsageError
from cnnctl.files import UNFINISHED, put_in_place, write_whole
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.layers.custom import ENTRY, loaded, refuse_other_file
from cnnctl.spec.leaves import differing, leaves
from cnnctl.spec.section import plain, show
from cnnctl.spec.sweep import SweepSpec
from cnnctl.spec.trial import without_sweep
from cnnctl.surroundings import shell_word
from cnnctl.sweep.sampler import SeededSampler, pruner_of
from cnnctl.sweep.scheduler import MAY_DIFFER, STUDY_NAME, Study
from cnnctl.sweep.storage import UNREADABLE, as_storage_error, damaged, refuse_damaged, storage_of
from cnnctl.sweep.sweep_folder import SweepFolder

OURS, FORMAT = "cnnctl", 2
"""The study's attribute with its config, and the version of its format."""


def open_study(folder: SweepFolder, experiment: Experiment) -> Study | None:
    """Open the study in a folder; None if there is none.

    Raises:
        RunError: it is damaged or cannot be read.
        UsageError: it is the study of another config.
    """
    if not os.path.lexists(folder.study):
        return None
    refuse_damaged(folder.study)
    sweep = _sweep(experiment)
    with as_storage_error(folder.study):
        storage, study = _load(folder, sweep)
        try:
            ours, direction = study.user_attrs.get(OURS), study.direction
        except UNREADABLE as error:
            raise damaged(folder.study, f"its study cannot be read ({error})") from error
    if not isinstance(ours, dict) or not _has_config(ours):
        raise damaged(folder.study, "it does not have its config")
    refuse_other_file(ours.get(ENTRY), str(folder.path), shell_word(folder.custom_layers))
    _refuse_other(folder, ours, _identity(experiment))
    if direction != _direction(sweep):
        raise damaged(folder.study, f"its direction is {direction.name.lower()}")
    return Study(folder, experiment, storage, study, ours["id"])


def _load(folder: SweepFolder, sweep: SweepSpec) -> tuple[RDBStorage, optuna.Study]:
    sampler, pruner = SeededSampler(sweep), pruner_of(sweep)
    try:
        storage = storage_of(folder.study, new=False)
        return storage, optuna.load_study(study_name=STUDY_NAME, storage=storage, sampler=sampler, pruner=pruner)
    except RuntimeError as error:
        version = optuna.__version__
        raise RunError(
            f"{folder.study} was written by another version of Optuna, which Optuna {version} cannot read: {error}"
        ) from error
    except UNREADABLE as error:
        raise damaged(folder.study, f"its study cannot be read ({error})") from error


def create_study(folder: SweepFolder, experiment: Experiment) -> None:
    """Create the study of a config, whole or not at all. The caller holds the lock and there is no study yet.

    Raises:
        RunError: the folder cannot be written to.
    """
    sweep = _sweep(experiment)
    beside = folder.study.with_name(f".{folder.study.name}{UNFINISHED}")
    beside.unlink(missing_ok=True)
    try:
        with as_storage_error(folder.study):
            storage = storage_of(beside, new=True)
            study = optuna.create_study(study_name=STUDY_NAME, storage=storage, direction=_direction(sweep))
            study.set_user_attr(OURS, {"format": FORMAT, "id": uuid.uuid4().hex, **_identity(experiment), **_layers(folder)})
            storage.remove_session()
            storage.engine.dispose()
        put_in_place(beside, folder.study)
    except OSError as error:
        raise RunError(f"{folder.study} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _has_config(ours: Mapping[str, Any]) -> bool:
    """Return True if a study has its config as `create_study` writes it."""
    kinds = {"format": int, "id": str, "config": dict, "sweep": dict}
    return ours.get("format") == FORMAT and all(isinstance(ours.get(key), kind) for key, kind in kinds.items())


def _direction(sweep: SweepSpec) -> optuna.study.StudyDirection:
    directions = optuna.study.StudyDirection
    return directions.MINIMIZE if sweep.objective.endswith("loss") else directions.MAXIMIZE


def _sweep(experiment: Experiment) -> SweepSpec:
    assert experiment.sweep
    return experiment.sweep


def _identity(experiment: Experiment) -> dict[str, Any]:
    """Collect what must not change while a study continues."""
    sweep = dict(plain(_sweep(experiment)))
    fixed = {key: sweep[key] for key in ("method", "objective", "pruning", "seed", "parameters")}
    return {"config": dict(plain(without_sweep(experiment))), "sweep": fixed}


def _layers(folder: SweepFolder) -> dict[str, Any]:
    """Keep a copy of the file of `--custom-layers`, and return its entry in the study; none without one."""
    file = loaded()
    if file is None:
        return {}
    write_whole(folder.custom_layers, file.source)
    return {ENTRY: {"file": file.path, "sha256": file.sha256}}


def _refuse_other(folder: SweepFolder, ours: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise UsageError where a study is of another config."""
    flat = [leaves({**each["config"], "sweep": each["sweep"]}) for each in (ours, config)]
    lines = [
        f"  {path}: {show(before)} in the study, {show(now)} in the config"
        for path, (before, now) in differing(flat).items()
        if path not in MAY_DIFFER
    ]
    if lines:
        remedy = "start another sweep with --dir, or restore the config; only trials, minutes and repeat_best may change"
        raise UsageError("\n".join((f"{folder.path} has the study of another config; {remedy}:", *lines)))
