"""Advice for unknown options that are config fields, or that other programs have."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnctl.errors import ConfigError, UsageError

FILES_AND_DEVICES = {
    "config": "pass the config as an argument: cnnctl {verb} {value}",
    "gpu": "use --device gpu", "cuda": "use --device gpu", "gpus": "use --device gpu", "cpu": "use --device cpu",
    "output": "use --run-dir {value}", "outputdir": "use --run-dir {value}", "out": "use --run-dir {value}",
    "logdir": "use --run-dir {value}", "savedir": "use --run-dir {value}", "outdir": "use --run-dir {value}",
    "checkpoint": "use --resume {value}", "weights": "use --resume {value}",
    "earlystopping": "use --set train.early_stopping.patience={value}",
    "data": "use --set data.path={value}", "datadir": "use --set data.path={value}",
    "copies": "use --tta {value}", "turns": "use --tta-poses",
}  # fmt: skip
"""Options of other programs, and the option or argument to use here."""
SWEEP = {
    "rundir": "use --run-dir {value}", "resume": "run the same command again to resume",
    "jobs": "use --processes {value}", "njobs": "use --processes {value}", "workers": "use --processes {value}",
    "ntrials": "use --trials {value}", "timeout": "use --minutes ..., in minutes",
}  # fmt: skip
"""The same for `sweep`, whose folder is `--dir`."""


def refuse_fields(verb: str, options: Mapping[str, bool], arguments: Sequence[str]) -> None:
    """Raise UsageError for an option that is a config field, such as `--epochs 5` for `--set train.epochs=5`.

    Args:
        verb: such as `train`.
        options: the options of the verb, each with True where it takes a value.
        arguments: the words after the verb.
    """
    for word, value in _unknown(options, arguments):
        if advice := _advice(verb, options, word, value, arguments):
            raise UsageError(advice)


def _unknown(options: Mapping[str, bool], arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each unknown option, and each `path=value` without `--set`, with its value."""
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
        return f"{word}={value} is a config field; use --set {word}={value}"
    plain = re.sub(r"[-_]", "", word.lower())
    if plain in {re.sub("-", "", option) for option in options}:
        return None  # a misspelling of the verb's own option: Typer suggests it
    remedy = FILES_AND_DEVICES.get(plain, "")
    if "--dir" in options:  # a sweep
        remedy = SWEEP.get(plain, remedy).replace("--run-dir", "--dir")
    remedy = remedy.format(verb=verb, value=value or "...")
    if remedy and (remedy.split()[1] in options or (configurable and not remedy.startswith("use "))):
        return f"{verb} has no option {word}; {remedy}"
    if not configurable:
        return None
    path, reason = field_of_option(plain, _content(arguments))
    if path:
        return f"{verb} has no option {word}, which is a config field; use --set {path}={value or '...'}"
    return f"{verb} has no option {word}, {reason}; remove it" if reason else None


def _content(arguments: Sequence[str]) -> Any:
    """Read the config among the arguments, since its optimizer decides a path; None where it cannot be read."""
    from cnnctl.spec.document import read_document

    for argument in arguments:
        if argument.endswith((".yaml", ".yml")) and Path(argument).is_file():
            try:
                return read_document(Path(argument)).content
            except ConfigError:
                return None
    return None


def options_of(command: Any) -> dict[str, bool]:
    """Map the option names of a Typer command to True where the option takes a value."""
    named = [each for each in command.params if each.param_type_name == "option"]
    return {name: not each.is_flag for each in named for name in (*each.opts, *each.secondary_opts)} | {"--help": False}


def refuse_fields_of(group: Any) -> None:
    """Raise UsageError where the command line of this process uses a config field as an option."""
    verb, *arguments = sys.argv[1:] or [""]
    if verb in group.commands:
        refuse_fields(verb, options_of(group.commands[verb]), arguments)
