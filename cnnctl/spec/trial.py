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
from cnnctl.spec.section import one_line, plain, show
from cnnctl.spec.sweep import Range, SweepSpec, readable

OBJECTIVES = (
    "task",
    "data.source", "data.name", "data.path", "data.data_dir", "data.keys", "data.labels_file", "data.class_folders",
    "data.follow_links", "data.train", "data.validation", "data.test", "data.hold_out",
    "data.group", "data.shared_classes", "data.split_seed", "data.classes", "data.remap_labels",
    "few_shot.way", "few_shot.shot", "few_shot.query", "few_shot.validation_episodes", "few_shot.test_episodes",
)  # fmt: skip
"""Paths that decide on what a trial is judged: values of `objective` under two of their values do not compare."""


LISTED = "list whole choices: {path}: [..., {{{key}: {{...}}}}]"
"""How to try other named sections than that of the config."""


def without_sweep(experiment: Experiment) -> Experiment:
    """Return the experiment as one training of it is described."""
    return experiment.model_copy(update={"sweep": None})


def with_values(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Return the checked experiment of a trial: no sweep, and other values at some paths.

    Raises:
        ConfigError: these values do not go together.
    """
    return check(_document(experiment, values), look_at_data=any(keys_of(path)[0] == "data" for path in values))


def _document(experiment: Experiment, values: Mapping[str, Any]) -> Document:
    """Return the config of a trial, unchecked; messages call it by the values."""
    content = copy.deepcopy(dict(plain(without_sweep(experiment))))
    for path, value in values.items():
        put(content, keys_of(path), copy.deepcopy(value), path, as_a_whole=LISTED)
    return Document("the trial's config", content)


def takes_fractions(experiment: Experiment, path: str, parameter: Range) -> bool:
    """Return True if the field at a path takes a number between two integers, so that a range of integers is one of numbers."""
    return not _refusals(experiment, path, parameter.low + 0.5)


def problems_of_sound_parameters(document: Document) -> list[Problem]:
    """Return what is wrong with the parameters of a sweep that can be read, where others cannot, so that all is told at once."""
    sweep = document.content.get("sweep")
    parameters = sweep.get("parameters") if isinstance(sweep, dict) else None
    base = {key: value for key, value in document.content.items() if key != "sweep"}
    experiment = validated(Experiment, Document(document.name, base), (), [])
    if experiment is None or not isinstance(parameters, dict):
        return []
    sound = {path: read for path, value in parameters.items() if (read := readable(value)) is not None}
    return sweep_problems(experiment.model_copy(update={"sweep": SweepSpec.model_construct(parameters=sound)}), document)


def sweep_problems(experiment: Experiment, document: Document) -> list[Problem]:
    """Return everything that is wrong with the paths and values of a checked experiment's sweep."""
    assert experiment.sweep
    told = [*_about_objective(experiment), *_about_paths(experiment.sweep)]
    bad_paths = {where[1] for where, _ in told if len(where) > 1}
    for path, parameter in experiment.sweep.parameters.items():
        if path not in bad_paths:
            told += _about_values(experiment, path, parameter)
    return [
        Problem(document.location(("sweep", *where)), dotted(("sweep", *where)), one_line(message)) for where, message in told
    ]


Told = tuple[Where, str]


def _about_objective(experiment: Experiment) -> Iterator[Told]:
    sweep = experiment.sweep
    assert sweep
    if experiment.data.validation is None:
        yield (
            ("objective",),
            f"'{sweep.objective}' needs validation data, but data.validation is null; give some: nothing is chosen on the test split",
        )
    of_the_loss = any(
        _is_of_the_loss(dotted(keys_of(path)), each) for path, each in sweep.parameters.items()
    )  # has its own message
    if sweep.objective == "validation_loss" and not of_the_loss and not losses_compare(experiment):
        yield (
            ("objective",),
            "validation_loss includes the penalty of an activity_regularizer, by which trials do not compare; write objective: "
            "validation_accuracy, or remove the regularizer",
        )


def _about_paths(sweep: SweepSpec) -> Iterator[Told]:
    before: list[tuple[Where, str]] = []
    for path in sweep.parameters:
        keys, where = keys_of(path), ("parameters", path)
        if not keys:
            yield where, "expected a path, such as train.batch_size"
            continue
        if message := _not_to_be_swept(dotted(keys), path, sweep):
            yield where, message
        for other, said in before:
            if keys[: len(other)] == other or other[: len(keys)] == keys:
                yield where, f"is what '{said}' is about too; name one of the two"
        before.append((keys, path))


def _not_to_be_swept(path: str, given: str, sweep: SweepSpec) -> str:
    """Return why nothing may be tried at a path, `given` as the user wrote it, or an empty text."""
    first = path.partition(".")[0]
    if first == "sweep":
        return "a sweep cannot change the sweep itself"
    if any(f"{each}.".startswith(f"{path}.") or f"{path}.".startswith(f"{each}.") for each in OBJECTIVES):
        return "decides on what a trial is judged, and trials with other values do not compare; change it for all of them, outside of sweep"
    if path.rpartition(".")[2] == "seed":
        return "the best of several seeds is only the luckiest; leave it out: repeat_best trains the best trial again with other seeds"
    if sweep.objective == "validation_loss" and _is_of_the_loss(path, sweep.parameters[given]):
        return "values of different losses do not compare; write objective: validation_accuracy"
    return ""


def _is_of_the_loss(path: str, parameter: Any) -> bool:
    """Return True if trials differ in the loss itself, by a path in `train.loss` or by choices of a whole `train`."""
    if f"{path}.".startswith("train.loss."):
        return True
    return path == "train" and any(isinstance(each, dict) and "loss" in each for each in parameter)


def losses_compare(experiment: Experiment) -> bool:
    """Return True if a lower validation loss, without the penalties of weights, is better in whatever trials of the sweep.

    The penalty of an activity regularizer depends on the images and is not known apart from the loss.
    """
    assert experiment.sweep
    parameters = experiment.sweep.parameters
    if any(_is_of_the_loss(dotted(keys_of(path)), each) for path, each in parameters.items()):
        return False
    tried = [value for each in parameters.values() if not isinstance(each, Range) for value in each]
    named = any("activity_regularizer" in keys_of(path) for path in parameters)
    return not (named or _has_activity_penalty([plain(without_sweep(experiment)), tried]))


def _has_activity_penalty(content: Any) -> bool:
    if isinstance(content, dict):
        return content.get("activity_regularizer") is not None or any(map(_has_activity_penalty, content.values()))
    return isinstance(content, list | tuple) and any(map(_has_activity_penalty, content))


def _about_values(experiment: Experiment, path: str, parameter: Any) -> Iterator[Told]:
    """Yield what the config refuses at a path whatever else is tried; where the path itself is wrong, that alone."""
    where: Where = ("parameters", path)
    candidates = (
        [(end, getattr(parameter, end)) for end in ("low", "high")]
        if isinstance(parameter, Range)
        else list(enumerate(parameter))
    )
    ranges = [(key, message) for key, value in candidates if (message := _range_in(path, value))]
    if ranges:
        yield from (((*where, key), message) for key, message in ranges)
        return
    found = [(key, _refusals(experiment, path, value)) for key, value in candidates]
    if all(problems and not _at(path, problems) for _, problems in found):
        yield where, _whole_choices(experiment, path, parameter) or "; ".join(_text(problem) for problem in found[0][1])
        return
    for key, problems in found:
        if problems:
            yield (*where, key), "; ".join(problem.message if _at(path, [problem]) else _text(problem) for problem in problems)


def _range_in(path: str, choice: Any) -> str:
    """Return what to do about a range that stands in a choice, which no config takes; an empty text where there is none."""
    found = next(_ranges_in(choice), None)
    if found is None:
        return ""
    if found is choice:
        return f"a range stands by itself, without a list: {path}: {_flow(choice)}"
    return f"a choice holds one value at each place, and not the range {_flow(found)}; make a choice for each value"


def _ranges_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and {"low", "high"} <= value.keys() <= set(Range.model_fields):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _ranges_in(each)


def _whole_choices(experiment: Experiment, path: str, parameter: Any) -> str:
    """Return what works where a path leads into another named section than that of the config, such as another optimizer.

    An empty text where that is not so; where that section is wrong itself, what is wrong with it.
    """
    keys, here = keys_of(path), dict(plain(without_sweep(experiment)))
    depth = next((depth for depth, _ in enumerate(keys) if not _is_in(_at_keys(here, keys[:depth]), keys[depth])), 0)
    section = _at_keys(here, keys[:depth])
    if depth == 0 or not isinstance(section, dict) or len(section) != 1:
        return ""
    whole, (kind,) = dotted(keys[:depth]), section
    tried = [parameter.low, parameter.high] if isinstance(parameter, Range) else list(parameter)
    choices = [_nested(keys[depth:], value) for value in tried]
    if refused := next(filter(None, (_refusals(experiment, whole, choice) for choice in choices)), None):
        return "; ".join(_text(problem) for problem in refused)  # such as an optimizer that there is not
    own = kind if _is_bare(experiment, whole, kind, section) else f"{{{kind}: {{...}}}}"
    listed = ", ".join((own, *map(_flow, choices)))
    return f"{whole} is {kind} here, so there is no '{keys[depth]}' in it; to try both, list whole choices: {whole}: [{listed}]"


def _is_bare(experiment: Experiment, whole: str, kind: str, section: Any) -> bool:
    """Return True if a named section of the config is that of its bare name, so that the name says all of it."""
    bare = validated(Experiment, _document(experiment, {whole: kind}), (), [])
    return bare is not None and _at_keys(plain(bare), keys_of(whole)) == section


def _flow(value: Any) -> str:
    return show(value, limit=MAX_REMEDY).replace('"', "")


MAX_REMEDY = 500
"""Letters of a value in a remedy, which must be whole to be of use."""


def _at_keys(content: Any, keys: Where) -> Any:
    for key in keys:
        content = content[key]
    return content


def _is_in(content: Any, key: str | int) -> bool:
    return (
        key in content
        if isinstance(content, dict)
        else isinstance(content, list) and isinstance(key, int) and key < len(content)
    )


def _nested(keys: Where, value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _refusals(experiment: Experiment, path: str, value: Any) -> Sequence[Problem]:
    """Return why a value at a path is refused by the fields alone: whether layers fit is left to the trial, which has other values too."""
    problems: list[Problem] = []
    try:
        validated(Experiment, _document(experiment, {path: value}), (), problems)
    except ConfigError as error:
        return error.problems
    return problems


def _at(path: str, problems: Sequence[Problem]) -> bool:
    """Return True if problems are about what stands at a path, and not about the way to it."""
    return all(f"{problem.path}.".startswith(f"{dotted(keys_of(path))}.") for problem in problems)


def _text(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message
