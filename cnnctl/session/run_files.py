"""The files of a run compared with its checkpoint, which restores those that are missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnnctl.errors import ConfigError, RunError, UsageError
from cnnctl.report.console import Console
from cnnctl.run_folder import RunFolder, open_run_folder, resume_command
from cnnctl.spec.auto import AUTO_FIELDS, SAME_NUMBERS
from cnnctl.spec.document import dump, parse, read_document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.leaves import differing, leaves
from cnnctl.spec.load import check
from cnnctl.spec.section import plain, show
from cnnctl.surroundings import shell_word
from cnnctl.train.origin import Origin, newest_origin

PLACES = ("path", "data_dir", "labels_file")
"""The fields of `data` with its place. Data may be moved, since the fingerprint of its images identifies it."""
ROUNDS = "train.strategy"
"""May change too: it decides the order of sums, and a resumed run notes the number of its replicas."""
RESUMED = "resumed"
"""The entry of environment.json that grows with each resume; the others are those of the start."""
_FREE = (*SAME_NUMBERS, ROUNDS, *(f"data.{field}" for field in PLACES))


def experiment_of(origin: Origin, run: RunFolder) -> Experiment:
    """Read the config that the checkpoints of a run belong to.

    Raises:
        RunError: another version of cnnctl wrote it.
        OtherCustomLayers: see `RunFolder.read_config`.
    """
    run.refuse_other_layers()
    try:
        return check(parse(dump(origin.config), str(run.checkpoints)), look_at_data=False)
    except ConfigError as error:
        raise RunError(
            f"{run.checkpoints} belongs to a config of another version of cnnctl ({error.problems[0].message}); start a new run"
        ) from error


def differences(own: Experiment, asked: Experiment, strict: bool = False) -> Iterator[tuple[str, Any, Any]]:
    """Yield the config paths in which two configs would not end with the same numbers, with the value of each.

    Args:
        own: what a run was trained with.
        asked: another one; a resolved `auto`, more epochs and another place of the data are no differences.
        strict: more epochs are a difference.
    """
    yield from _differences(plain(own), plain(asked), strict)


def _differences(own: Mapping[str, Any], asked: Mapping[str, Any], strict: bool) -> Iterator[tuple[str, Any, Any]]:
    for path, (before, now) in differing([leaves(each) for each in (own, asked)]).items():
        became = path in AUTO_FIELDS and now == "auto"
        more = path == "train.epochs" and now > before and not strict
        if not became and not more and path not in _FREE:
            yield path, before, now


def refuse_edited(run: RunFolder, own: Experiment, filed: Experiment) -> None:
    """Raise UsageError if config.yaml (`filed`) differs from the config of the checkpoints (`own`)."""
    lines = [
        f"  {path}: {show(before)} in the checkpoint, {show(now)} in config.yaml"
        for path, before, now in differences(own, filed)
    ]
    if lines:
        new = f"To train a new run with the edited config: cnnctl train {shell_word(run.config)}"
        changed = f"{run.config} was edited after training started, and a run can be resumed with its own config only:"
        raise UsageError("\n".join((changed, *lines, _restoring(run), new)))


def _restoring(run: RunFolder) -> str:
    """Return the command that restores config.yaml from the checkpoint."""
    file, aside = shell_word(run.config), shell_word(run.path / "edited.yaml")
    return f"To restore it: mv {file} {aside} && {resume_command(run)}"


def filed_config(run: RunFolder) -> Experiment:
    """Read config.yaml, and check it without looking at the data.

    Raises:
        ConfigError: it is wrong, and no checkpoint can restore it.
        UsageError: it is wrong, and the checkpoint can restore it.
    """
    try:
        return run.read_config(look_at_data=False)
    except ConfigError as error:
        origin = run.origin()
        if origin is None:
            raise
        with contextlib.suppress(RunError):  # another version of cnnctl wrote it
            experiment_of(origin, run)
            changed = f"{run.config} was edited after training started, and is wrong now."
            raise UsageError("\n".join((str(error), changed, _restoring(run)))) from error
        raise


def refuse_other_origin(run: RunFolder, origin: Origin, experiment: Experiment) -> None:
    """Raise UsageError if a restored checkpoint belongs to another config than the one to train."""
    own = Origin(plain(experiment))
    if origin.config and origin.config != own.config:  # checked, both have the fields of later versions too
        refuse_edited(run, experiment_of(origin, run), experiment_of(own, run))


def restore_config(run: RunFolder, console: Console) -> None:
    """Restore a missing config.yaml from the newest checkpoint, if there is one."""
    origin = None if run.config.exists() else newest_origin(run.checkpoints)
    if origin:
        run.write_config(experiment_of(origin, run))
        console.say(f"note    {run.config} was missing; restored from the checkpoint")


def restored_environment(run: RunFolder, origin: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the right content of environment.json, and a note if it was missing, damaged or edited.

    Args:
        run: its folder.
        origin: its content in the checkpoint.
    """
    filed, problem = _filed_environment(run)
    edited = edited_keys(filed, origin)
    if edited and not problem:
        problem = f"was edited ({', '.join(edited)})"
    resumed = filed.get(RESUMED)
    resumes = {RESUMED: resumed} if isinstance(resumed, list) else {}
    return {**origin, **resumes}, [f"{run.environment} {problem}; restored from the checkpoint"] if problem else []


def _filed_environment(run: RunFolder) -> tuple[dict[str, Any], str]:
    """Read environment.json; also return what is wrong with it, or an empty text."""
    if not run.environment.exists():
        return {}, "was missing"
    try:
        return run.read_environment(), ""
    except RunError:
        return {}, "was damaged"


def edited_keys(filed: Mapping[str, Any], origin: Mapping[str, Any]) -> list[str]:
    """List the keys of environment.json whose values differ from the checkpoint's."""
    return [key for key in {**origin, **filed} if key != RESUMED and filed.get(key) != origin.get(key)]


def config_of_run(folder: Path, console: Console) -> Experiment:
    """Read the config of an earlier run, check it, and warn if the run's files were edited.

    Raises:
        UsageError: there is no run, or its folder has a link that leads out of it, or a special file.
        ConfigError: its config is wrong.
    """
    run = open_run_folder(folder)
    experiment = filed_config(run)
    warn_of_edits(run, experiment, console)
    return experiment


def warn_of_edits(run: RunFolder, filed: Experiment, console: Console) -> None:
    """Warn if config.yaml (`filed`) or environment.json differ from the newest checkpoint.

    The network may still be used, but its numbers may not be those of its training.
    """
    origin = newest_origin(run.checkpoints)
    if origin is None:
        return
    for file, edits in ((run.config, config_edits(run, filed)), (run.environment, _environment_edits(run, origin))):
        if edits:
            console.say(f"warning  {file} was edited after training started: {'; '.join(edits)}")


def config_edits(run: RunFolder, filed: Experiment, strict: bool = False) -> list[str]:
    """Describe the differences between config.yaml (`filed`) and the newest checkpoint; arguments as in `differences`."""
    origin = newest_origin(run.checkpoints)
    if origin is None:
        return []
    try:
        own = experiment_of(origin, run)
    except RunError as error:
        return [f"it cannot be compared: {error}"]
    return _edited(differences(own, filed, strict))


def unchecked_edits(run: RunFolder, strict: bool = False) -> list[str]:
    """Describe the edits of config.yaml without checking it, since the command line has not the file of its layers."""
    origin = newest_origin(run.checkpoints)
    if origin is None:
        return []
    content = read_document(run.config, run.path).content
    return _edited(_differences(origin.config, content, strict))


def _edited(found: Iterator[tuple[str, Any, Any]]) -> list[str]:
    return [f"{path} is {show(now)}, trained with {show(before)}" for path, before, now in found]


def _environment_edits(run: RunFolder, origin: Origin) -> list[str]:
    filed, wrong = _filed_environment(run)
    keys = [] if wrong else edited_keys(filed, origin.environment)  # the commands that need it report a damaged one
    return [f"{', '.join(keys)}; {run.restored_by()}"] if keys else []
