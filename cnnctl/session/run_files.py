"""Whether the files of a run are still what its checkpoint belongs to, and how those that were lost come back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnnctl.errors import ConfigError, RunError, UsageError
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder, open_run_folder
from cnnctl.spec.auto import AUTO_FIELDS, SAME_NUMBERS
from cnnctl.spec.document import dump, parse
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.leaves import differing, leaves
from cnnctl.spec.load import check
from cnnctl.spec.section import plain, show
from cnnctl.surroundings import shell_word
from cnnctl.train.origin import Origin, newest_origin

PLACES = ("path", "data_dir", "labels_file")
"""The fields of `data` that say where it is. It may be moved: the fingerprint of its images says whether it is the same."""
ROUNDS = "train.strategy"
"""What may change too: it decides in which order sums are computed, and a resumed run notes the number of its replicas."""
RESUMED = "resumed"
"""The part of environment.json that grows with each resume; all else is as the run began."""
_FREE = (*SAME_NUMBERS, ROUNDS, *(f"data.{field}" for field in PLACES))


def experiment_of(origin: Origin, run: RunFolder) -> Experiment:
    """Return the config that the checkpoints of a run belong to.

    Raises:
        RunError: another version of cnnctl wrote it.
    """
    try:
        return check(parse(dump(origin.config), str(run.checkpoints)), look_at_data=False)
    except ConfigError as error:
        raise RunError(
            f"{run.checkpoints} belongs to a config of another version of cnnctl ({error.problems[0].message}); train anew"
        ) from error


def differences(own: Experiment, asked: Experiment, strict: bool = False) -> Iterator[tuple[str, Any, Any]]:
    """Yield the config paths in which two configs would not end with the same numbers, with the value of each.

    Args:
        own: what a run was trained with.
        asked: another one; what became of its `auto` is no difference, nor are more epochs, nor where the data is.
        strict: more epochs are a difference too.
    """
    for path, (before, now) in differing([leaves(plain(each)) for each in (own, asked)]).items():
        became = path in AUTO_FIELDS and now == "auto"
        more = path == "train.epochs" and now > before and not strict
        if not became and not more and path not in _FREE:
            yield path, before, now


def refuse_edited(run: RunFolder, own: Experiment, filed: Experiment) -> None:
    """Raise UsageError where config.yaml (`filed`) is another config than the one that the checkpoints belong to (`own`)."""
    lines = [
        f"  {path}: {show(before)} in the checkpoint, {show(now)} in config.yaml"
        for path, before, now in differences(own, filed)
    ]
    if lines:
        new = f"To train a new run with the edited config: cnnctl train {shell_word(run.config)}"
        changed = f"{run.config} was edited after the training began, and a run resumes with its own config only:"
        raise UsageError("\n".join((changed, *lines, _restoring(run), new)))


def _restoring(run: RunFolder) -> str:
    """Return how config.yaml comes back as the checkpoint has it."""
    file, aside = shell_word(run.config), shell_word(run.path / "edited.yaml")
    return f"To restore it: mv {file} {aside} && cnnctl train --resume {shell_word(run.path)}"


def filed_config(run: RunFolder) -> Experiment:
    """Return config.yaml, checked without a look at the data.

    Raises:
        ConfigError: it is wrong, and there is no checkpoint that has it right.
        UsageError: it is wrong, and the checkpoint has it right.
    """
    try:
        return run.read_config(look_at_data=False)
    except ConfigError as error:
        origin = run.origin()
        if origin is None:
            raise
        with contextlib.suppress(RunError):  # of another version, whose config is as wrong
            experiment_of(origin, run)
            changed = f"{run.config} was edited after the training began, and is wrong now."
            raise UsageError("\n".join((str(error), changed, _restoring(run)))) from error
        raise


def refuse_other_origin(run: RunFolder, origin: Origin, experiment: Experiment) -> None:
    """Raise UsageError where a checkpoint that was taken up belongs to another config than the one that is to be trained."""
    own = Origin(plain(experiment))
    if origin.config and origin.config != own.config:  # checked, both say all that a later version of cnnctl has to say
        refuse_edited(run, experiment_of(origin, run), experiment_of(own, run))


def restore_config(run: RunFolder, console: Console) -> None:
    """Write a config.yaml that is gone as the newest checkpoint has it; nothing happens where there is no checkpoint."""
    origin = None if run.config.exists() else newest_origin(run.checkpoints)
    if origin:
        run.write_config(experiment_of(origin, run))
        console.say(f"note    {run.config} was gone; it is written again from the checkpoint")


def restored_environment(run: RunFolder, origin: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what environment.json must say, and a note where it was lost or edited.

    Args:
        run: its folder.
        origin: what the checkpoint says of it.
    """
    filed, what = _filed_environment(run)
    edited = edited_keys(filed, origin)
    if edited and not what:
        what = f"was edited ({', '.join(edited)})"
    resumed = filed.get(RESUMED)
    kept = {RESUMED: resumed} if isinstance(resumed, list) else {}
    return {**origin, **kept}, [f"{run.environment} {what}; it is written again from the checkpoint"] if what else []


def _filed_environment(run: RunFolder) -> tuple[dict[str, Any], str]:
    """Return environment.json, and what is wrong with it, if anything."""
    if not run.environment.exists():
        return {}, "was gone"
    try:
        return run.read_environment(), ""
    except RunError:
        return {}, "was damaged"


def edited_keys(filed: Mapping[str, Any], origin: Mapping[str, Any]) -> list[str]:
    """Return the keys of environment.json that do not say what the checkpoint says."""
    return [key for key in {**origin, **filed} if key != RESUMED and filed.get(key) != origin.get(key)]


def config_of_run(folder: Path, console: Console) -> Experiment:
    """Return the config of an earlier run, checked, and warn where its files were edited.

    Raises:
        UsageError: there is no run, or what is in the folder leads out of it or is no file.
        ConfigError: its config is wrong.
    """
    run = open_run_folder(folder)
    experiment = filed_config(run)
    tell_edits(run, experiment, console)
    return experiment


def tell_edits(run: RunFolder, filed: Experiment, console: Console) -> None:
    """Warn where config.yaml (`filed`) or environment.json do not say what the newest checkpoint belongs to.

    A network that has ended may be used all the same, but its numbers may not be those of its training.
    """
    origin = newest_origin(run.checkpoints)
    if origin is None:
        return
    for file, edits in ((run.config, config_edits(run, filed)), (run.environment, _environment_edits(run, origin))):
        if edits:
            console.say(f"warning  {file} was edited after the training began: {'; '.join(edits)}")


def config_edits(run: RunFolder, filed: Experiment, strict: bool = False) -> list[str]:
    """Return what config.yaml (`filed`) says otherwise than the newest checkpoint; more epochs only where that is `strict`."""
    origin = newest_origin(run.checkpoints)
    if origin is None:
        return []
    try:
        own = experiment_of(origin, run)
    except RunError as error:
        return [f"it cannot be compared, since {error}"]
    return [f"{path} is {show(now)}, trained with {show(before)}" for path, before, now in differences(own, filed, strict)]


def _environment_edits(run: RunFolder, origin: Origin) -> list[str]:
    filed, wrong = _filed_environment(run)
    keys = [] if wrong else edited_keys(filed, origin.environment)  # what is wrong is said by those who need it
    return [f"{', '.join(keys)}; {run.restored_by()}"] if keys else []
