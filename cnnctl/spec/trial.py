"""The config of a trial of a sweep, and the checks of the paths and values of a sweep."""

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
from cnnctl.spec.stack import Complaint
from cnnctl.spec.sweep import Range, SweepSpec, readable

OBJECTIVES = (
    "task",
    "data.source", "data.name", "data.path", "data.data_dir", "data.keys", "data.labels_file", "data.class_folders",
    "data.follow_links", "data.train", "data.validation", "data.test", "data.hold_out",
    "data.group", "data.shared_classes", "data.split_seed", "data.classes", "data.remap_labels",
    "few_shot.way", "few_shot.shot", "few_shot.query", "few_shot.validation_episodes", "few_shot.test_episodes",
)  # fmt: skip
"""Paths that define the evaluation of a trial: objective values for two of their values are not comparable."""


LISTED = "list whole choices: {path}: [..., {{{key}: {{...}}}}]"
"""The remedy for trying another named section than that of the config."""


def without_sweep(experiment: Experiment) -> Experiment:
    """Return the experiment of a single training."""
    return experiment.model_copy(update={"sweep": None})


def with_values(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """Return the checked experiment of a trial: no sweep, and the values of the trial at their paths.

    Raises:
        ConfigError: these values cannot be combined.
    """
    return check(_document(experiment, values), look_at_data=any(keys_of(path)[0] == "data" for path in values))


def _document(experiment: Experiment, values: Mapping[str, Any]) -> Document:
    """Create the config of a trial, unchecked."""
    content = copy.deepcopy(dict(plain(without_sweep(experiment))))
    for path, value in values.items():
        put(content, keys_of(path), copy.deepcopy(value), path, as_a_whole=LISTED)
    return Document("the trial's config", content)


def takes_fractions(experiment: Experiment, path: str, parameter: Range) -> bool:
    """Return True if the field at a path accepts non-integers, so that a range between integers has all numbers."""
    return not _refusals(experiment, path, parameter.low + 0.5)


def problems_of_valid_parameters(document: Document) -> list[Problem]:
    """Check the readable parameters of a sweep in a config with other errors, so that all errors are reported at once."""
    sweep = document.content.get("sweep")
    parameters = sweep.get("parameters") if isinstance(sweep, dict) else None
    base = {key: value for key, value in document.content.items() if key != "sweep"}
    experiment = validated(Experiment, Document(document.name, base), (), [])
    if experiment is None or not isinstance(parameters, dict):
        return []
    valid = {path: read for path, value in parameters.items() if (read := readable(value)) is not None}
    return sweep_problems(experiment.model_copy(update={"sweep": SweepSpec.model_construct(parameters=valid)}), document)


def sweep_problems(experiment: Experiment, document: Document) -> list[Problem]:
    """Check the paths and values of the sweep of a checked experiment."""
    assert experiment.sweep
    found = [*_check_objective(experiment), *_check_paths(experiment.sweep)]
    bad_paths = {where[1] for where, _ in found if len(where) > 1}
    for path, parameter in experiment.sweep.parameters.items():
        if path not in bad_paths:
            found += _check_values(experiment, path, parameter)
    return [
        Problem(document.location(("sweep", *where)), dotted(("sweep", *where)), one_line(message)) for where, message in found
    ]


def _check_objective(experiment: Experiment) -> Iterator[Complaint]:
    sweep = experiment.sweep
    assert sweep
    if experiment.data.validation is None:
        yield (
            ("objective",),
            f"'{sweep.objective}' requires validation data, but data.validation is null; set data.validation, since the test split is not for selection",
        )
    of_the_loss = any(
        _is_of_the_loss(dotted(keys_of(path)), each) for path, each in sweep.parameters.items()
    )  # these have their own message
    if sweep.objective == "validation_loss" and not of_the_loss and not losses_compare(experiment):
        yield (
            ("objective",),
            "validation_loss includes the penalty of an activity_regularizer, so trials are not comparable; write objective: "
            "validation_accuracy, or remove the regularizer",
        )


def _check_paths(sweep: SweepSpec) -> Iterator[Complaint]:
    before: list[tuple[Where, str]] = []
    for path in sweep.parameters:
        keys, where = keys_of(path), ("parameters", path)
        if not keys:
            yield where, "expected a path, such as train.batch_size"
            continue
        if message := _not_to_be_swept(dotted(keys), path, sweep):
            yield where, message
        for other, earlier in before:
            if keys[: len(other)] == other or other[: len(keys)] == keys:
                yield where, f"overlaps with '{earlier}'; remove one of the two"
        before.append((keys, path))


def _not_to_be_swept(path: str, given: str, sweep: SweepSpec) -> str:
    """Describe why a path, written as `given`, cannot be swept; empty if it can."""
    first = path.partition(".")[0]
    if first == "sweep":
        return "a sweep cannot change the sweep itself"
    if any(f"{each}.".startswith(f"{path}.") or f"{path}.".startswith(f"{each}.") for each in OBJECTIVES):
        return "defines the evaluation of a trial, so trials with different values are not comparable; set it outside of sweep"
    if path.rpartition(".")[2] == "seed":
        return "the best of several seeds is only the luckiest; remove it; repeat_best retrains the best trial with other seeds"
    if sweep.objective == "validation_loss" and _is_of_the_loss(path, sweep.parameters[given]):
        return "values of different losses are not comparable; write objective: validation_accuracy"
    return ""


def _is_of_the_loss(path: str, parameter: Any) -> bool:
    """Return True if a parameter changes the loss function: a path in `train.loss`, or choices for the whole `train`."""
    if f"{path}.".startswith("train.loss."):
        return True
    return path == "train" and any(isinstance(each, dict) and "loss" in each for each in parameter)


def losses_compare(experiment: Experiment) -> bool:
    """Return True if validation losses, without the penalties of weights, are comparable between all trials of the sweep.

    The penalty of an activity regularizer depends on the images and cannot be separated from the loss.
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


def _check_values(experiment: Experiment, path: str, parameter: Any) -> Iterator[Complaint]:
    """Yield the values at a path that the config refuses in every trial; if the path itself is wrong, only that."""
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
    """Return the remedy for a range inside a choice, which no config accepts; empty if there is none."""
    found = next(_ranges_in(choice), None)
    if found is None:
        return ""
    if found is choice:
        return f"write a range without a list: {path}: {_flow(choice)}"
    return f"a choice cannot contain the range {_flow(found)}; list one choice per value"


def _ranges_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and {"low", "high"} <= value.keys() <= set(Range.model_fields):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _ranges_in(each)


def _whole_choices(experiment: Experiment, path: str, parameter: Any) -> str:
    """Return the remedy for a path into another named section than that of the config, such as another optimizer.

    Empty for any other path. If that section has errors itself, return these.
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
        return "; ".join(_text(problem) for problem in refused)  # such as an unknown optimizer
    own = kind if _is_bare(experiment, whole, kind, section) else f"{{{kind}: {{...}}}}"
    listed = ", ".join((own, *map(_flow, choices)))
    return f"{whole} is {kind} here and has no '{keys[depth]}'; to try both, list whole choices: {whole}: [{listed}]"


def _is_bare(experiment: Experiment, whole: str, kind: str, section: Any) -> bool:
    """Return True if a named section of the config has only defaults, so that its bare name is equivalent."""
    bare = validated(Experiment, _document(experiment, {whole: kind}), (), [])
    return bare is not None and _at_keys(plain(bare), keys_of(whole)) == section


def _flow(value: Any) -> str:
    return show(value, limit=MAX_REMEDY).replace('"', "")


MAX_REMEDY = 500
"""Most characters of a value in a remedy, which must be complete to be usable."""


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
    """Validate the fields with a value at a path; whether layers fit depends on the other values of a trial."""
    problems: list[Problem] = []
    try:
        validated(Experiment, _document(experiment, {path: value}), (), problems)
    except ConfigError as error:
        return error.problems
    return problems


def _at(path: str, problems: Sequence[Problem]) -> bool:
    """Return True if problems are about the value at a path, and not about a part above it."""
    return all(f"{problem.path}.".startswith(f"{dotted(keys_of(path))}.") for problem in problems)


def _text(problem: Problem) -> str:
    return f"{problem.path}: {problem.message}" if problem.path else problem.message
