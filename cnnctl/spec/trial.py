"""A trial of a sweep: the config with other values at some paths; and what is wrong with the paths and values of a sweep."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cnnctl.errors import ConfigError, Problem
from cnnctl.spec.document import Document, Where, dotted
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check, validated
from cnnctl.spec.overrides import keys_of, put
from cnnctl.spec.section import one_line, plain
from cnnctl.spec.sweep import Range, SweepSpec

JUDGED_BY = (
    "task",
    "data.source", "data.name", "data.path", "data.data_dir", "data.keys", "data.labels_file", "data.class_folders",
    "data.follow_links", "data.train", "data.validation", "data.test", "data.hold_out",
    "data.group", "data.shared_classes", "data.split_seed", "data.classes", "data.remap_labels",
    "few_shot.way", "few_shot.shot", "few_shot.query", "few_shot.validation_episodes", "few_shot.test_episodes",
)  # fmt: skip
"""Paths that decide on what a trial is judged: values of `choose_by` under two of their values do not compare."""


def without_sweep(experiment: Experiment) -> Experiment:
    """Returns the experiment as one training of it is described."""
    return experiment.model_copy(update={"sweep": None})


def with_values(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Returns the checked experiment of a trial: no sweep, and other values at some paths.

    Raises:
        ConfigError: these values do not go together.
    """
    return check(_document(experiment, values), look_at_data=any(keys_of(path)[0] == "data" for path in values))


def _document(experiment: Experiment, values: Mapping[str, Any]) -> Document:
    """Returns the config of a trial, unchecked; messages call it by the values."""
    content = copy.deepcopy(dict(plain(without_sweep(experiment))))
    for path, value in values.items():
        put(content, keys_of(path), copy.deepcopy(value), path)
    return Document("the trial's config", content)


def takes_fractions(experiment: Experiment, path: str, parameter: Range) -> bool:
    """Returns whether the field at a path takes a number between two integers, so that a range of integers is one of numbers."""
    return not _refusals(experiment, path, parameter.low + 0.5)


def sweep_problems(experiment: Experiment, document: Document) -> list[Problem]:
    """Returns everything that is wrong with the paths and values of a checked experiment's sweep."""
    assert experiment.sweep
    told = [*_about_validation(experiment), *_about_paths(experiment.sweep)]
    bad_paths = {where[1] for where, _ in told if len(where) > 1}
    for path, parameter in experiment.sweep.parameters.items():
        if path not in bad_paths:
            told += _about_values(experiment, path, parameter)
    return [
        Problem(document.location(("sweep", *where)), dotted(("sweep", *where)), one_line(message)) for where, message in told
    ]


Told = tuple[Where, str]


def _about_validation(experiment: Experiment) -> Iterator[Told]:
    sweep = experiment.sweep
    assert sweep
    if experiment.data.validation is None:
        yield (
            ("choose_by",),
            f"'{sweep.choose_by}' needs validation data, but data.validation is null; give some: nothing is chosen on the test split",
        )


def _about_paths(sweep: SweepSpec) -> Iterator[Told]:
    before: list[tuple[Where, str]] = []
    for path in sweep.parameters:
        keys, where = keys_of(path), ("parameters", path)
        if not keys:
            yield where, "expected a path, such as train.batch_size"
            continue
        if message := _not_to_be_swept(dotted(keys), sweep):
            yield where, message
        for other, said in before:
            if keys[: len(other)] == other or other[: len(keys)] == keys:
                yield where, f"is what '{said}' is about too; name one of the two"
        before.append((keys, path))


def _not_to_be_swept(path: str, sweep: SweepSpec) -> str:
    """Returns why nothing may be tried at a path, or an empty text."""
    first = path.partition(".")[0]
    if first == "sweep":
        return "a sweep cannot change the sweep itself"
    if any(f"{each}.".startswith(f"{path}.") or f"{path}.".startswith(f"{each}.") for each in JUDGED_BY):
        return "decides on what a trial is judged, and trials with other values do not compare; change it for all of them, outside of sweep"
    if path == "seed" and sweep.repeat_best:
        return "the best trial is repeated with other seeds; set repeat_best: 0, or leave it out here"
    if f"{path}.".startswith("train.loss.") and sweep.choose_by == "validation_loss":
        return "values of different losses do not compare; choose_by: validation_accuracy"
    return ""


def _about_values(experiment: Experiment, path: str, parameter: Any) -> Iterator[Told]:
    """Yields what the config refuses at a path whatever else is tried; where the path itself is wrong, that alone."""
    where: Where = ("parameters", path)
    candidates = (
        [(end, getattr(parameter, end)) for end in ("low", "high")]
        if isinstance(parameter, Range)
        else list(enumerate(parameter))
    )
    found = [(key, _refusals(experiment, path, value)) for key, value in candidates]
    if all(problems and not _at(path, problems) for _, problems in found):
        yield where, "; ".join(_text(problem) for problem in found[0][1])
        return
    for key, problems in found:
        if problems:
            yield (*where, key), "; ".join(problem.message if _at(path, [problem]) else _text(problem) for problem in problems)


def _refusals(experiment: Experiment, path: str, value: Any) -> Sequence[Problem]:
    """Returns why a value at a path is refused by the fields alone: whether layers fit is left to the trial, which has other values too."""
    problems: list[Problem] = []
    try:
        validated(Experiment, _document(experiment, {path: value}), (), problems)
    except ConfigError as error:
        return error.problems
    return problems


def _at(path: str, problems: Sequence[Problem]) -> bool:
    """Returns whether problems are about what stands at a path, and not about the way to it."""
    return all(f"{problem.path}.".startswith(f"{dotted(keys_of(path))}.") for problem in problems)


def _text(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message
