"""A YAML file and overrides → a checked `Experiment`, or every error at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from math import inf, prod
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from cnnctl.errors import ConfigError, Problem, counted
from cnnctl.spec.auto import shared_batches_reason, whole_batch_reason
from cnnctl.spec.dataset import DataSpec, NotUsable, expanded
from cnnctl.spec.document import Document, Where, dotted, read_document
from cnnctl.spec.experiment import Experiment, ModelSpec
from cnnctl.spec.few_shot import embedding_complaints, few_shot_complaints
from cnnctl.spec.folders import data_path
from cnnctl.spec.found import found_in
from cnnctl.spec.head import head_complaints, loss_complaints
from cnnctl.spec.layers import Conv2D
from cnnctl.spec.network import input_of
from cnnctl.spec.oddities import batch_norm_complaints, oddities
from cnnctl.spec.overrides import override
from cnnctl.spec.section import UNKNOWN_FIELD, Section, one_line
from cnnctl.spec.shapes import MAX_VALUES, Facts, LayerContext, Misfit, format_of, show_shape, trace
from cnnctl.spec.stack import Complaint, Node, nodes_of
from cnnctl.spec.tfds_images import missing_facts

MANY_PARAMETERS = 10_000_000
"""From here on a network is warned about where nobody chose the size of its images."""

SMALLER_SIDES = (256, 192, 128, 96, 64, 48, 32, 28)
"""Sides of square images that are tried for one that makes a smaller network."""

AnySection = TypeVar("AnySection", bound=Section)


def load(
    file: Path,
    overrides: Sequence[str] = (),
    look_at_data: bool = True,
    notes: list[str] | None = None,
    inside: Path | None = None,
) -> Experiment:
    """Return the checked experiment of a config file.

    The result says `data.image_size`, `data.channels` and `data.classes` even where the file does not.

    Args:
        file: the YAML file.
        overrides: `path=value` texts, applied in order before anything is checked.
        look_at_data: False for the config of a run, which says all that must be known: its data may be gone.
        notes: gets what a person should know of what the config leaves to its data, such as where image_size comes from.
        inside: the folder of a run, which its config must not lead out of; None where the user named the file.

    Raises:
        ConfigError: anything is wrong; it holds all problems.
    """
    document = read_document(file, inside)
    for text in overrides:
        override(document, text)
    return check(document, look_at_data, notes)


def check(document: Document, look_at_data: bool = True, notes: list[str] | None = None, explained: bool = True) -> Experiment:
    """Return the experiment that a document describes; see `load`.

    Without `explained` no cause is sought for what is wrong.
    """
    notes = [] if notes is None else notes
    problems: list[Problem] = []
    experiment = validated(Experiment, document, (), problems)
    if experiment is None:
        from cnnctl.spec.trial import problems_of_sound_parameters  # most configs have no sweep

        problems += problems_of_sound_parameters(document) if "sweep" in document.content else []
    data, model = _usable_parts(experiment, document)
    try:
        data = _resolved(data, notes) if data and not (_says_all(data) and not look_at_data) else data
    except NotUsable as error:
        message = error.message if error.several_lines else one_line(error.message)
        problems.append(_problem(document, ("data", error.field), message))
        data = None
    if data:
        problems += [_problem(document, where, one_line(message)) for where, message in _data_complaints(data)]
    if experiment and data:
        problems += [_problem(document, *each) for each in few_shot_complaints(experiment, data)]
    if data and model:
        problems += [_problem(document, *each) for each in _stack_complaints(experiment, data, model, document)]
    checked = _with_data(experiment, data) if experiment and data else None
    if experiment and experiment.sweep:
        from cnnctl.spec.trial import sweep_problems  # most configs have no sweep

        problems += sweep_problems(checked or experiment, document)
    if problems:
        if explained:
            from cnnctl.spec.mistakes import by_cause  # tries by this module what may be the cause

            problems = by_cause(document, problems)
        raise ConfigError(sorted(dict.fromkeys(problems), key=lambda problem: _line(problem.location)))
    assert checked
    notes += oddities(checked)
    notes += _large_network(checked, sized_by_images="image_size" not in document.content["data"])
    return checked


def _large_network(experiment: Experiment, sized_by_images: bool) -> list[str]:
    """Return a warning where the size of the images alone makes a large network."""
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
    """Return the parameters of the network for square images; infinitely many where it does not fit them."""
    data = experiment.data.model_copy(update={"image_size": (side, side)})
    try:
        return experiment.model_copy(update={"data": data}).network.parameters
    except Misfit:
        return inf


def _with_data(experiment: Experiment, data: DataSpec) -> Experiment:
    """Return the experiment with everything said of its data."""
    return experiment.model_copy(update={"data": data.model_copy(update={"hold_out": _hold_out(experiment)})})


def _hold_out(experiment: Experiment) -> str:
    return experiment.data.hold_out or ("class" if experiment.task == "few_shot" else "image")


def _usable_parts(experiment: Experiment | None, document: Document) -> tuple[DataSpec | None, ModelSpec | None]:
    """Return the data and model sections, each as far as it is right by itself.

    So a typo under train does not hide a stack that does not fit.
    """
    if experiment:
        return experiment.data, experiment.model
    told_already: list[Problem] = []
    return _part(DataSpec, document, "data", told_already), _part(ModelSpec, document, "model", told_already)


def _part(section: type[AnySection], document: Document, key: str, problems: list[Problem]) -> AnySection | None:
    return validated(section, document, (key,), problems) if key in document.content else None


def validated(section: type[AnySection], document: Document, where: Where, problems: list[Problem]) -> AnySection | None:
    """Return a part of a document as a section, checked by itself; adds to `problems` and returns None where it is wrong."""
    content: Any = document.content
    for key in where:
        content = content[key]
    try:
        return section.model_validate(content)
    except ValidationError as error:
        from cnnctl.spec.habits import advice  # not needed by what is right

        found = []
        for each in error.errors(include_url=False):
            path, unknown = (*where, *each["loc"]), each["type"] == UNKNOWN_FIELD
            message = advice(document.content, path, each["msg"], unknown) or each["msg"]
            found.append(Problem(document.location(path), dotted(path[:-1] if unknown else path), one_line(message)))
        problems += _without_misspelt(found)
    return None


def _without_misspelt(problems: Sequence[Problem]) -> list[Problem]:
    """Return problems but for fields that are missing only because they are called otherwise: that is told at its line."""
    meant = {
        f"{problem.path}: field '{match[1]}' is required"
        for problem in problems
        if (match := re.search(r"unknown field .*(?:did you mean '|; write )(\w+)(?:'\?|: .* instead)$", problem.message))
    }
    return [problem for problem in problems if f"{problem.path}: {problem.message}" not in meant]


def _problem(document: Document, where: Where, message: str) -> Problem:
    return Problem(document.location(where), dotted(where), message)


def _line(location: str) -> tuple[int, ...]:
    """Return line and column of a place in the file; what a `--set` gave comes first."""
    place = [] if location.startswith("--set ") else location.rsplit(":", 2)[1:]
    return tuple(int(part) for part in place if part.isdecimal())


def _says_all(data: DataSpec) -> bool:
    return None not in (data.image_size, data.channels, data.classes, data.test)


def _resolved(data: DataSpec, notes: list[str]) -> DataSpec:
    """Return the data section with everything said that the config leaves to its source; adds to `notes` why.

    Raises:
        NotUsable: the data is not what the config says, or too little is known of its images.
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
    """Return where the labels file is, so that a run finds it from any folder; one within `path` stays below it."""
    if data.labels_file is None or (data_path(data) / data.labels_file).is_file():
        return data.labels_file
    return str(expanded("labels_file", data.labels_file).absolute())


def _data_complaints(data: DataSpec) -> list[Complaint]:
    return [*_too_large(data), *_nothing_left(data), *_shared(data)]


def _too_large(data: DataSpec) -> list[Complaint]:
    assert data.image_size and data.channels
    values = prod((*data.image_size, data.channels))
    if values <= MAX_VALUES:
        return []
    size = "×".join(map(str, (*data.image_size, data.channels)))
    message = f"an image of {size} has {values:,} values, and at most {MAX_VALUES:,} are taken; write image_size: [256, 256], or another smaller size"
    return [(("data", "image_size"), message)]


def _shared(data: DataSpec) -> list[Complaint]:
    """Return what is wrong where two roles name the same images."""
    named = [(role, part) for role in ("train", "validation", "test") if isinstance(part := getattr(data, role), str)]
    return [
        (
            ("data", role),
            f"'{part}' shares images with data.{before} ('{other}'): "
            f"the network would be judged on what it was {'trained' if before == 'train' else 'chosen'} on; "
            f"write {role}: 0.1, or name another split",
        )
        for (before, other), (role, part) in combinations(named, 2)
        if _overlap(other, part)
    ]


def _overlap(one: str, other: str) -> bool:
    """Return True if two splits surely share images; where `train[:50%]` and `train[40%:]` end only TFDS knows."""
    return any(_parts_overlap(mine, its) for mine in _parts_of(one) for its in _parts_of(other))


def _parts_of(split: str) -> list[str]:
    """Return the parts of a sum such as `train+test[:50%]`."""
    return [part.strip() for part in split.split("+")]


def _parts_overlap(one: str, other: str) -> bool:
    same_split = one.partition("[")[0] == other.partition("[")[0]
    return one == other or (same_split and not ("[" in one and "[" in other))


def _nothing_left(data: DataSpec) -> list[Complaint]:
    taken = sum(part for part in (data.validation, data.test) if isinstance(part, float))
    if taken < 1:
        return []
    message = f"validation ({data.validation}) and test ({data.test}) take {taken:.0%} of '{data.train}' and leave nothing to train on; write validation: 0.1, test: 0.2"
    return [(("data",), message)]


def _stack_complaints(experiment: Experiment | None, data: DataSpec, model: ModelSpec, document: Document) -> list[Complaint]:
    nodes, complaints = nodes_of(model)
    if complaints:
        return complaints
    image, context = input_of(data, model)
    try:
        facts = trace(nodes, image, context)
    except Misfit as found:
        from cnnctl.spec.misfit import explain  # not needed by what fits

        return [(found.node.where, explain(found, nodes, image, context))]
    stopping = _stopping_complaints(experiment) if experiment else []
    classifies = "few_shot" not in (
        document.content.get("task"),
        *document.content,
    )  # also where a typo elsewhere hides the experiment
    ends = _end_complaints(experiment, nodes, facts, context) if experiment or classifies else []
    parts = [*_parts_complaints(experiment, nodes), *batch_norm_complaints(experiment, nodes, facts)] if experiment else []
    strategy = _strategy_complaints(experiment) if experiment else []
    return [*_bias_complaints(nodes, facts, context), *ends, *stopping, *parts, *strategy]


def _end_complaints(
    experiment: Experiment | None, nodes: Sequence[Node], facts: Sequence[Facts], context: LayerContext
) -> list[Complaint]:
    """Return what is wrong with the network's end, for the task."""
    if experiment and experiment.few_shot:
        return embedding_complaints(experiment.few_shot, nodes, facts)
    losses = loss_complaints(experiment, nodes) if experiment else []
    return [*head_complaints(nodes, facts, context), *losses]


def _bias_complaints(nodes: Sequence[Node], facts: Sequence[Facts], context: LayerContext) -> list[Complaint]:
    """Return the convolutions whose bias Keras 3.15 would add along the columns instead of to the maps.

    Under TensorFlow its `ops.add` guesses where the maps are from the sizes alone, and the last axis wins.
    """
    return [
        (
            node.where,
            f"under channels_first Keras adds the bias along the columns where the output is as wide as it has maps, "
            f"{show_shape(fact.output_shape)}; write use_bias: false, or take other filters or channels_last",
        )
        for node, fact in zip(nodes, facts, strict=True)
        if isinstance(node.layer, Conv2D)
        and node.layer.use_bias
        and format_of(node.layer, context) == "channels_first"
        and fact.output_shape[0] == fact.output_shape[2]
    ]


def _stopping_complaints(experiment: Experiment) -> list[Complaint]:
    stopping = experiment.train.early_stopping
    if stopping is None:
        return []
    complaints: list[Complaint] = []
    if experiment.data.validation is None and stopping.monitor.startswith("validation"):
        message = f"'{stopping.monitor}' needs validation data, but data.validation is null; write monitor: train_loss, or give data.validation a fraction"
        complaints.append((("train", "early_stopping", "monitor"), message))
    return complaints


def _parts_complaints(experiment: Experiment, nodes: Sequence[Node]) -> list[Complaint]:
    parts, batch_size = experiment.train.batch_parts, experiment.train.batch_size
    if parts in (1, "auto"):
        return []
    reason = whole_batch_reason(experiment, nodes)
    if reason:
        return [(("train", "batch_parts"), f"{reason}; write batch_parts: 1, or leave it out")]
    if isinstance(parts, int) and parts > batch_size:
        return [
            (
                ("train", "batch_parts"),
                f"a batch of {counted(batch_size, 'image')} has no {parts} parts; write batch_parts: {batch_size}, or less",
            )
        ]
    return []


NOT_BY_FIT = "Keras 3 cannot train by model.fit on several workers; write loop: custom"


def _strategy_complaints(experiment: Experiment) -> list[Complaint]:
    strategy = experiment.train.strategy
    if strategy not in ("mirrored", "multi_worker"):
        return []
    reason = shared_batches_reason(experiment)
    if reason:
        return [(("train", "strategy"), f"{reason}; write strategy: one_device, or leave it out")]
    if strategy == "multi_worker" and experiment.train.loop == "fit":
        return [(("train", "strategy"), NOT_BY_FIT)]
    return []
