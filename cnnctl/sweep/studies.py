"""The study of a config in its folder: made, opened, and refused where it is that of another config."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Mapping
from typing import Any

import optuna

from cnnctl.errors import RunError, UsageError
from cnnctl.files import UNFINISHED, put_in_place
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.leaves import differing, leaves
from cnnctl.spec.section import plain, show
from cnnctl.spec.sweep import SweepSpec
from cnnctl.spec.trial import without_sweep
from cnnctl.sweep.sampler import SeededSampler, pruner_of
from cnnctl.sweep.scheduler import ELSEWHERE_ALLOWED, STUDY_NAME, Study
from cnnctl.sweep.storage import UNREADABLE, damaged, refuse_damaged, storage_of, told
from cnnctl.sweep.sweep_folder import SweepFolder

OURS, FORMAT = "cnnctl", 2
"""Where in the study it says of what config it is, and how."""


def open_study(folder: SweepFolder, experiment: Experiment) -> Study | None:
    """Returns the study in a folder; None where there is none.

    Raises:
        RunError: it is damaged, or cannot be read.
        UsageError: it is the study of another config.
    """
    if not os.path.lexists(folder.study):
        return None
    refuse_damaged(folder.study)
    with told(folder.study):
        try:
            storage = storage_of(folder.study, new=False)
            study = optuna.load_study(
                study_name=STUDY_NAME,
                storage=storage,
                sampler=SeededSampler(_sweep(experiment)),
                pruner=pruner_of(_sweep(experiment)),
            )
            ours, better = study.user_attrs.get(OURS), study.direction
        except RuntimeError as error:
            version = optuna.__version__
            raise RunError(f"{folder.study} was written by an Optuna that Optuna {version} does not read: {error}") from error
        except UNREADABLE as error:
            raise damaged(folder.study, f"it has no study that can be read ({error})") from error
    if not isinstance(ours, dict) or not _says_its_config(ours):
        raise damaged(folder.study, "it does not say of what config it is")
    _refuse_other(folder, ours, _identity(experiment))
    if better != _better(_sweep(experiment)):
        raise damaged(
            folder.study, f"in it the better trial has the {'lower' if better.name == 'MINIMIZE' else 'higher'} value"
        )
    return Study(folder, experiment, storage, study, ours["id"])


def create_study(folder: SweepFolder, experiment: Experiment) -> None:
    """Makes the study of a config, whole or not at all; the caller sees to it that there is none, and is alone.

    Raises:
        RunError: the folder cannot be written.
    """
    sweep = _sweep(experiment)
    beside = folder.study.with_name(f".{folder.study.name}{UNFINISHED}")
    beside.unlink(missing_ok=True)
    try:
        with told(folder.study):
            storage = storage_of(beside, new=True)
            study = optuna.create_study(study_name=STUDY_NAME, storage=storage, direction=_better(sweep))
            study.set_user_attr(OURS, {"format": FORMAT, "id": uuid.uuid4().hex, **_identity(experiment)})
            storage.remove_session()
            storage.engine.dispose()
        put_in_place(beside, folder.study)
    except OSError as error:
        raise RunError(f"{folder.study} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _says_its_config(ours: Mapping[str, Any]) -> bool:
    """Returns whether a study says of what config it is as `create_study` does."""
    kinds = {"format": int, "id": str, "config": dict, "sweep": dict}
    return ours.get("format") == FORMAT and all(isinstance(ours.get(key), kind) for key, kind in kinds.items())


def _better(sweep: SweepSpec) -> optuna.study.StudyDirection:
    directions = optuna.study.StudyDirection
    return directions.MINIMIZE if sweep.objective.endswith("loss") else directions.MAXIMIZE


def _sweep(experiment: Experiment) -> SweepSpec:
    assert experiment.sweep
    return experiment.sweep


def _identity(experiment: Experiment) -> dict[str, Any]:
    """Returns what must stay as it is as long as a study goes on."""
    sweep = dict(plain(_sweep(experiment)))
    kept = {key: sweep[key] for key in ("method", "objective", "pruning", "seed", "parameters")}
    return {"config": dict(plain(without_sweep(experiment))), "sweep": kept}


def _refuse_other(folder: SweepFolder, ours: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises UsageError where a study is that of another config."""
    flat = [leaves({**each["config"], "sweep": each["sweep"]}) for each in (ours, asked)]
    lines = [
        f"  {path}: {show(before)} in the study, {show(now)} asked for"
        for path, (before, now) in differing(flat).items()
        if path not in ELSEWHERE_ALLOWED
    ]
    if lines:
        remedy = "begin another study with --dir, or put the config back; trials, minutes and repeat_best may change"
        raise UsageError("\n".join((f"{folder.path} holds the study of another config; {remedy}:", *lines)))
