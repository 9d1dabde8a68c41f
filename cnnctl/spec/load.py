"""Load a YAML file with overrides as a checked `Experiment`, or raise with every error at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cnnctl.errors import ConfigError, Problem, counted
from cnnctl.spec.checks import complaints
from cnnctl.spec.dataset import DataSpec, NotUsable, expanded
from cnnctl.spec.document import Document, Where, read_document
from cnnctl.spec.experiment import Experiment, ModelSpec
from cnnctl.spec.folders import data_path
from cnnctl.spec.found import found_in
from cnnctl.spec.layers.custom import unused_note
from cnnctl.spec.oddities import odd_plain_epochs, oddities
from cnnctl.spec.overrides import override
from cnnctl.spec.places import definition, is_argument, problem_at
from cnnctl.spec.section import UNKNOWN_FIELD, Section, one_line
from cnnctl.spec.shapes import Misfit
from cnnctl.spec.tfds_images import missing_facts

MANY_PARAMETERS = 10_000_000
"""More parameters cause a warning if `image_size` is not set."""

SMALLER_SIDES = (256, 192, 128, 96, 64, 48, 32, 28)
"""Sides of square images that are tried for a smaller network."""

AnySection = TypeVar("AnySection", bound=Section)


def load(
    file: Path,
    overrides: Sequence[str] = (),
    look_at_data: bool = True,
    notes: list[str] | None = None,
    inside: Path | None = None,
) -> Experiment:
    """Load and check a config file.

    The result has `data.image_size`, `data.channels` and `data.classes` even if the file does not set them.

    Args:
        file: the YAML file.
        overrides: `path=value` texts, applied in order before the checks.
        look_at_data: False for the config of a run, which is complete; its data may be gone.
        notes: receives messages about values that were derived from the data, such as image_size, and warnings.
        inside: the run folder that the file must be in; None for any file.

    Raises:
        ConfigError: the config is wrong; it has all problems.
    """
    document = read_document(file, inside)
    for text in overrides:
        override(document, text)
    return check(document, look_at_data, notes)


def _is_classification(document: Document) -> bool:
    """Return True if neither the task nor a section is few_shot; also known where other sections are invalid."""
    return document.content.get("task") != "few_shot" and document.content.get("few_shot") is None


def check(document: Document, look_at_data: bool = True, notes: list[str] | None = None, explained: bool = True) -> Experiment:
    """Validate a document and return its experiment; see `load`.

    Without `explained`, errors are reported as found, without a search for typing errors that cause them.
    """
    notes = [] if notes is None else notes
    problems: list[Problem] = []
    experiment = validated(Experiment, document, (), problems)
    data, model = _valid_sections(experiment, document)
    data = _with_source_facts(data, document, look_at_data, notes, problems) if data else None
    checked = _with_data(experiment, data) if experiment and data else None
    found = complaints(data, model, checked, _is_classification(document))
    problems += [problem_at(document, *each) for each in found]
    problems += _sweep_problems(checked or experiment, document)
    if problems:
        raise ConfigError(_in_order(_by_cause(document, problems) if explained else problems))
    assert checked
    notes += [*oddities(checked), *odd_plain_epochs(checked)]
    notes += unused_note([node.layer for node in checked.network.nodes])
    notes += _large_network(checked, sized_by_images="image_size" not in document.content["data"])
    return checked


def _with_source_facts(
    data: DataSpec, document: Document, look_at_data: bool, notes: list[str], problems: list[Problem]
) -> DataSpec | None:
    """Complete the data section with the facts of its source; add to `problems` and return None if it cannot be used."""
    if _is_complete(data) and not look_at_data:
        return data
    try:
        return _resolved(data, notes)
    except NotUsable as error:
        message = error.message if error.several_lines else one_line(error.message)
        problems.append(problem_at(document, ("data", error.field), message))
        return None


def _sweep_problems(experiment: Experiment | None, document: Document) -> list[Problem]:
    if "sweep" not in document.content:
        return []
    from cnnctl.spec.trial import problems_of_valid_parameters, sweep_problems  # most configs have no sweep

    if experiment is None:
        return problems_of_valid_parameters(document)
    return sweep_problems(experiment, document) if experiment.sweep else []


def _by_cause(document: Document, problems: list[Problem]) -> list[Problem]:
    from cnnctl.spec.mistakes import by_cause  # imports this module, and is not needed by a valid config

    return by_cause(document, problems)


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    return sorted(dict.fromkeys(problems), key=lambda problem: _line(problem.location))


def _large_network(experiment: Experiment, sized_by_images: bool) -> list[str]:
    """Return a warning if the size of the images, which the config does not set, makes the network large."""
    if not sized_by_images or not experiment.data.has_path:
        return []
    parameters = experiment.network.parameters
    if parameters <= MANY_PARAMETERS:
        return []
    size = "×".join(map(str, experiment.data.image_size or ()))
    smaller = next((side for side in SMALLER_SIDES if _parameters(experiment, side) <= MANY_PARAMETERS), SMALLER_SIDES[-1])
    return [
        f"warning: images of {size} make a network of {counted(parameters, 'parameter')}; "
        f"write a smaller data.image_size, such as [{smaller}, {smaller}]"
    ]


def _parameters(experiment: Experiment, side: int) -> float:
    """Count the parameters of the network for square images; infinite if it does not fit them."""
    data = experiment.data.model_copy(update={"image_size": (side, side)})
    try:
        return experiment.model_copy(update={"data": data}).network.parameters
    except Misfit:
        return inf


def _with_data(experiment: Experiment, data: DataSpec) -> Experiment:
    """Return the experiment with a complete data section."""
    return experiment.model_copy(update={"data": data.model_copy(update={"hold_out": _hold_out(experiment)})})


def _hold_out(experiment: Experiment) -> str:
    return experiment.data.hold_out or ("class" if experiment.task == "few_shot" else "image")


def _valid_sections(experiment: Experiment | None, document: Document) -> tuple[DataSpec | None, ModelSpec | None]:
    """Return the data and model sections that are valid by themselves.

    A typo under train then does not hide a stack that does not fit.
    """
    if experiment:
        return experiment.data, experiment.model
    reported: list[Problem] = []  # the errors of the sections are among those of the experiment
    return _part(DataSpec, document, "data", reported), _part(ModelSpec, document, "model", reported)


def _part(section: type[AnySection], document: Document, key: str, problems: list[Problem]) -> AnySection | None:
    return validated(section, document, (key,), problems) if key in document.content else None


def validated(section: type[AnySection], document: Document, where: Where, problems: list[Problem]) -> AnySection | None:
    """Validate a part of a document as a section; add to `problems` and return None if it is wrong."""
    content: Any = document.content
    for key in where:
        content = content[key]
    try:
        return section.model_validate(content)
    except ValidationError as error:
        from cnnctl.spec.habits import advice  # not needed by a valid config

        found = []
        for each in error.errors(include_url=False):
            path, unknown = (*where, *each["loc"]), each["type"] == UNKNOWN_FIELD
            message = each["msg"]
            if unknown or not is_argument(
                document.content, path
            ):  # advice reads the config, which has the $ of the parameter there
                message = advice(document.content, definition(path), message, unknown) or message
            found.append(problem_at(document, path, one_line(message), path[:-1] if unknown else None))
        problems += _without_misspelled(found)
    return None


def _without_misspelled(problems: Sequence[Problem]) -> list[Problem]:
    """Drop problems of missing fields that are present under a misspelled name, which is reported at its line."""
    meant = {
        f"{problem.path}: field '{match[1]}' is required"
        for problem in problems
        if (match := re.search(r"unknown field .*(?:did you mean '|; write )(\w+)(?:'\?|: .* instead)$", problem.message))
    }
    return [problem for problem in problems if f"{problem.path}: {problem.message}" not in meant]


def _line(location: str) -> tuple[int, ...]:
    """Return line and column of a location for sorting; overrides come first."""
    place = [] if location.startswith("--set ") else location.rsplit(":", 2)[1:]
    return tuple(int(part) for part in place if part.isdecimal())


def _is_complete(data: DataSpec) -> bool:
    return None not in (data.image_size, data.channels, data.classes, data.test)


def _resolved(data: DataSpec, notes: list[str]) -> DataSpec:
    """Complete the data section with the facts of its source; add to `notes` how they were found.

    Raises:
        NotUsable: the data does not match the config, or facts of its images are missing.
    """
    name = "path" if data.has_path else "name"
    try:
        found = found_in(data)
    except OSError as error:
        raise NotUsable(name, f"'{error.filename}' cannot be read: {error.strerror}") from error
    if missing := missing_facts(data, found.images):
        raise NotUsable(name, missing)
    facts = {
        "image_size": (found.images.height, found.images.width),
        "channels": found.images.channels,
        "classes": found.images.classes,
        "train": found.train,
        "validation": found.validation,
        "test": found.test,
        "path": str(data_path(data).absolute()) if data.path else None,
        "labels_file": _labels_file(data),
    }
    notes += found.notes
    return data.model_copy(update=facts)


def _labels_file(data: DataSpec) -> str | None:
    """Return the absolute path of the labels file, so that a run finds it from any folder; one below `path` stays relative."""
    if data.labels_file is None or (data_path(data) / data.labels_file).is_file():
        return data.labels_file
    return str(expanded("labels_file", data.labels_file).absolute())
