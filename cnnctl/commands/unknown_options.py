"""Options that no verb has, since they are fields of the config: what to write in their place."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnctl.errors import ConfigError, UsageError

FILES_AND_DEVICES = {
    "config": "give the config without an option: cnnctl {verb} {value}",
    "gpu": "use --device gpu", "cuda": "use --device gpu", "gpus": "use --device gpu", "cpu": "use --device cpu",
    "output": "use --run-dir {value}", "outputdir": "use --run-dir {value}", "out": "use --run-dir {value}",
    "logdir": "use --run-dir {value}", "savedir": "use --run-dir {value}", "outdir": "use --run-dir {value}",
    "checkpoint": "use --resume {value}", "weights": "use --resume {value}",
    "earlystopping": "use --set train.early_stopping.patience={value}",
    "data": "use --set data.path={value}", "datadir": "use --set data.path={value}",
    "copies": "use --tta {value}", "turns": "use --tta-poses",
}  # fmt: skip
"""Options that other programs have for what is an option or an argument here."""
SWEEP = {
    "rundir": "use --run-dir {value}", "resume": "give the same command again, which resumes it",
    "jobs": "use --processes {value}", "njobs": "use --processes {value}", "workers": "use --processes {value}",
    "ntrials": "use --trials {value}", "timeout": "use --minutes ..., in minutes",
}  # fmt: skip
"""The same of `sweep`, whose folder is given by `--dir`."""


def refuse_fields(verb: str, options: Mapping[str, bool], arguments: Sequence[str]) -> None:
    """Raises UsageError for an option that is a field of the config: `--epochs 5` is `--set train.epochs=5`.

    Args:
        verb: such as `train`.
        options: those of the verb, each with whether it takes a value.
        arguments: what follows the verb.
    """
    for word, value in _unknown(options, arguments):
        if advice := _advice(verb, options, word, value, arguments):
            raise UsageError(advice)


def _unknown(options: Mapping[str, bool], arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields options that the verb does not have, and `path=value` without `--set`, each with its value."""
    rest = iter(enumerate(arguments))
    for index, argument in rest:
        if argument == "--":
            return
        name, equals, value = argument.partition("=")
        if name in options:
            if options[name] and not equals:
                next(rest, None)
        elif re.fullmatch(r"--?[A-Za-z][\w-]+", name) or (equals and re.fullmatch(r"[a-z_]+(\.\w+)+", name)):
            after = arguments[index + 1] if index + 1 < len(arguments) and not equals else value
            yield name, "" if after.startswith("-") and not re.match(r"-\.?\d", after) else after


def _advice(verb: str, options: Mapping[str, bool], word: str, value: str, arguments: Sequence[str]) -> str | None:
    from cnnctl.spec.habits import field_of_option

    configurable = "--set" in options
    if not word.startswith("-"):
        if not configurable:
            return None
        return f"{word}={value} is a field of the config; use --set {word}={value}"
    plain = re.sub(r"[-_]", "", word.lower())
    if plain in {re.sub("-", "", option) for option in options}:
        return None  # one of its own, written otherwise: Typer names it
    remedy = FILES_AND_DEVICES.get(plain, "")
    if "--dir" in options:  # where a sweep is written
        remedy = SWEEP.get(plain, remedy).replace("--run-dir", "--dir")
    remedy = remedy.format(verb=verb, value=value or "...")
    if remedy and (remedy.split()[1] in options or (configurable and not remedy.startswith("use "))):
        return f"{verb} has no option {word}; {remedy}"
    if not configurable:
        return None
    path, reason = field_of_option(plain, _content(arguments))
    if path:
        return f"{verb} has no option {word}, which is a field of the config; use --set {path}={value or '...'}"
    return f"{verb} has no option {word}, {reason}; leave it out" if reason else None


def _content(arguments: Sequence[str]) -> Any:
    """Returns the config among the arguments, None where it cannot be read: which optimizer it has decides a path."""
    from cnnctl.spec.document import read_document

    for argument in arguments:
        if argument.endswith((".yaml", ".yml")) and Path(argument).is_file():
            try:
                return read_document(Path(argument)).content
            except ConfigError:
                return None
    return None


def options_of(command: Any) -> dict[str, bool]:
    """Returns the options of a verb of Typer's, each with whether it takes a value."""
    named = [each for each in command.params if each.param_type_name == "option"]
    return {name: not each.is_flag for each in named for name in (*each.opts, *each.secondary_opts)} | {"--help": False}


def refuse_fields_of(group: Any) -> None:
    """Raises UsageError where the command line of this process has a field of the config as an option."""
    verb, *arguments = sys.argv[1:] or [""]
    if verb in group.commands:
        refuse_fields(verb, options_of(group.commands[verb]), arguments)
