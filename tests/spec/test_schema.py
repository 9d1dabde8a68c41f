"""The JSON Schema and the loader agree on everything that a schema can say."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from cnnctl.errors import ConfigError
from cnnctl.runs import RunFolder
from cnnctl.spec.document import Document, read_document
from cnnctl.spec.experiment import (
    LEARNER,
    LOSS,
    Augment,
    DataSpec,
    EarlyStopping,
    Experiment,
    FewShotSpec,
    LogSpec,
    ModelSpec,
    TrainSpec,
)
from cnnctl.spec.layers import STACK_ITEM
from cnnctl.spec.load import check, load
from cnnctl.spec.optimizers import OPTIMIZER, SCHEDULE
from cnnctl.spec.schema import json_schema
from cnnctl.spec.section import Section
from cnnctl.spec.weights import CONSTRAINT, INITIALIZER, REGULARIZER

HERE = Path(__file__).parent
CONFIGS = [*sorted((HERE.parents[1] / "configs").glob("*.yaml")), *sorted(HERE.glob("everything*.yaml"))]
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)

ONLY_THE_LOADER_KNOWS = {
    "bias-along-the-columns",
    # few-shot tasks: what goes together
    "classes-held-out-of-classification", "classifier-by-episodes", "embedding-is-an-image", "embedding-of-classes",
    "few-shot-data-of-a-classification", "few-shot-training-of-a-classification", "maml-of-another-way",
    "rotations-of-a-wide-image",
    # shapes
    "axis-not-there", "axis-of-the-batch", "channels-not-divided-by-groups", "concatenate-image-and-vector",
    "concatenate-unequal-rows", "dilation-too-wide", "image-layer-after-flatten", "image-layer-after-global-pooling",
    "image-too-large", "join-of-unequal-shapes", "noise-shape-too-short", "pool-of-one-pixel", "shrinks-in-repeat",
    "shrinks-to-nothing",
    # the end of the network and the classes
    "ends-as-image", "ends-before-classes", "ends-with-relu", "softmax-twice", "units-not-classes",
    # several fields together
    "batch-parts-and-batch-norm",
    "batch-parts-beyond-the-batch",
    "average-and-best", "boundaries-fall", "constraint-axis-not-there", "filters-not-divided-by-groups", "fractions-leave-nothing",
    "logits-and-not-from-logits", "orthogonal-bias", "piecewise-lengths", "repeats-of-repeats", "softmax-and-from-logits",
    "softmax-under-flatten-and-from-logits", "test-is-train", "validation-is-test", "validation-is-train",
    # names that refer to layers
    "cycle", "forward-reference", "inputs-in-sequential", "name-twice", "two-inputs-without-join", "unknown-input",
    "unused-branch",
    # what lies on this machine
    "folder-is-a-file", "folder-not-there", "folder-without-images", "home-not-there", "home-of-data-dir-not-there",
    "tfds-set-of-many-sizes", "tfds-set-without-facts", "tfds-unknown-set",
    # JSON: 10.0 is an integer there, and there is no NaN
    "number-with-e", "nan",
}  # fmt: skip


def bad_documents() -> Iterator[tuple[str, Any]]:
    """Yields the bad configs that are YAML mappings, so that a schema can look at them."""
    for file in sorted((HERE / "bad").glob("*.yaml")):
        try:
            yield file.stem, read_document(file).content
        except ConfigError:
            continue


def test_the_schema_is_one_of_json_schema_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    references = re.findall(r"'\$ref': '#/\$defs/([^']+)'", str(SCHEMA))
    assert set(references) <= set(SCHEMA["$defs"])
    assert {"layer", "optimizer", "schedule", "loss", "learner", "initializer", "regularizer", "constraint"} <= set(references)


def test_no_object_of_the_schema_lets_unknown_fields_pass() -> None:
    def objects(part: Any) -> Iterator[dict[str, Any]]:
        if isinstance(part, dict):
            if part.get("type") == "object":
                yield part
            for value in part.values():
                yield from objects(value)
        elif isinstance(part, list):
            for value in part:
                yield from objects(value)

    found = list(objects(SCHEMA))
    assert len(found) > 20
    assert [each.get("title") for each in found if each.get("additionalProperties") is not False] == []


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_schema_accepts_every_config_and_its_copy_in_a_run_folder(file: Path, tmp_path: Path) -> None:
    VALIDATOR.validate(read_document(file).content)
    run = RunFolder(tmp_path)
    run.write_config(load(file))
    VALIDATOR.validate(read_document(run.config).content)


def test_the_schema_rejects_every_bad_config_but_those_that_only_the_loader_can_know() -> None:
    accepted = {name for name, content in bad_documents() if VALIDATOR.is_valid(content)}
    assert accepted == ONLY_THE_LOADER_KNOWS


CONTENTS = [read_document(file).content for file in CONFIGS]
VALUES: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 2**40, 3.0, 2.5, 0.5, -0.5, 1e-7,
    "", "x", "relu", "same", "classes", "test", "2 epochs", "0.5 epochs", "channels_first", "input",
    [], [1], [2, 3], [0, 1], [1, 2, 3], [[1, 1], [2, 2]], [1, [2, 0]], [None, 1], ["a", "b"], [0.1, 0.2],
    {}, {"x": 1}, "adam", {"adam": {}}, {"adam": None}, {"sgd": {}, "adam": {}}, "sgd", "cosine",
    {"constant": {"learning_rate": 0.1}}, "flatten", {"flatten": None}, {"flatten": {}}, "conv2d", "zeros", "l2",
    "few_shot", "classification", "group", "class", "image", "drop", "maml", {"maml": {"inner_steps": 2}},
    {"l2": {"l2": 0.1}}, "max_norm", {"repeat": {"times": 2, "layers": ["flatten"]}},
]  # fmt: skip
NAMES = ["x", "units", "rate", "filters", "name", "classes", "epochs", "seed", "momentum", "activation", "layers", "padding"]

# Every field, with values of every kind

REQUIRED = {
    "filters": 4, "kernel_size": 3, "units": 3, "rate": 0.5, "activation": "relu", "times": 2, "layers": ["flatten"],
    "learning_rate": 0.1, "initial_learning_rate": 0.1, "max_learning_rate": 0.1, "decay_rate": 0.5,
    "boundaries": [1], "values": [0.1, 0.2], "source": "digits", "inputs": ["a", "b"],
}  # fmt: skip
NAMED = (STACK_ITEM, OPTIMIZER, SCHEDULE, LOSS, LEARNER, INITIALIZER, REGULARIZER, CONSTRAINT)
SECTIONS: list[tuple[dict[str, Any], type[Section]]] = [
    *(
        (SCHEMA["$defs"][named.what]["anyOf"][1]["properties"][kind], choice)
        if "anyOf" in SCHEMA["$defs"][named.what]
        else (SCHEMA["$defs"][named.what]["properties"][kind], choice)
        for named in NAMED
        for kind, choice in named.choices.items()
    ),
    *(
        (SCHEMA["$defs"][choice.__name__], choice)
        for choice in (DataSpec, ModelSpec, FewShotSpec, TrainSpec, LogSpec, Augment, EarlyStopping)
    ),
    (SCHEMA, Experiment),
]


@pytest.mark.parametrize(("schema", "section"), SECTIONS, ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_schema_and_loader_agree_on_every_field_of_a_section(schema: dict[str, Any], section: type[Section]) -> None:
    validator = Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]})
    right = {name: REQUIRED[name] for name in section.required() if name in REQUIRED}
    if section is Experiment:
        right = {"data": {"source": "digits"}, "model": {"layers": ["flatten"]}}
    assert agree(validator, section, right)
    assert complaints(right, section) == []
    wrong = []
    for field in section.model_fields:
        without = {name: value for name, value in right.items() if name != field}
        wrong += [
            content
            for content in [without, *({**right, field: value} for value in VALUES)]
            if not agree(validator, section, content)
        ]
    assert wrong == []


def agree(validator: Draft202012Validator, section: type[Section], content: Any) -> bool:
    """Returns whether schema and loader both take it, or both refuse it, but for what only the loader can know."""
    told = complaints(content, section)
    if validator.is_valid(content):
        return not [each for each in told if not BETWEEN_FIELDS.search(each) and not WHOLE_FLOAT.search(each)]
    return told != [] or (section is Experiment and refused(content))


def refused(content: Any) -> bool:
    """Returns whether a whole config is refused for what only the loader compares, such as loss and labels."""
    try:
        check(Document("x.yaml", content))
    except ConfigError:
        return True
    return False


# Fields that go together

ONE_HOT, DENSE, SPARSE = {"labels": "one_hot"}, "categorical_crossentropy", "sparse_categorical_crossentropy"


LETTERS = {"source": "tfds", "name": "omniglot"}


def with_data(task: str = "classification", **data: Any) -> Any:
    end = [] if task == "few_shot" else [{"dense": {"units": "classes"}}]
    return {"task": task, "data": data, "model": {"layers": ["flatten", *end]}}


def with_few_shot(task: str | None, few_shot: Any) -> Any:
    content = with_data(task or "classification", source="digits")
    if task is None:
        del content["task"]
    return {**content, "few_shot": few_shot}


def with_train(**train: Any) -> Any:
    return {**with_data(source="digits", **train.pop("data", {})), "train": train}


def cosine(**fields: Any) -> Any:
    return with_train(optimizer={"sgd": {"learning_rate": {"cosine": {"initial_learning_rate": 0.1, **fields}}}})


@pytest.mark.parametrize(
    ("content", "right"),
    [
        (cosine(warmup_target=0.2, warmup_steps="1 epochs"), True),
        (cosine(warmup_target=None, warmup_steps=0), True),
        (cosine(warmup_target=None, warmup_steps="0.0 epochs"), True),
        (cosine(warmup_steps=0), True),
        (cosine(warmup_target=0.2), False),
        (cosine(warmup_target=0.2, warmup_steps=0), False),
        (cosine(warmup_target=0.2, warmup_steps="0 epochs"), False),
        (cosine(warmup_target=None, warmup_steps=3), False),
        (cosine(warmup_steps="0.5 epochs"), False),
        (with_train(optimizer={"adam": {"clipnorm": 1.0, "clipvalue": None, "global_clipnorm": None}}), True),
        (with_train(optimizer={"adam": {"clipnorm": None, "clipvalue": None, "global_clipnorm": 0.5}}), True),
        (with_train(optimizer={"lion": {"clipnorm": 1.0, "global_clipnorm": 0.5}}), False),
        (with_train(loss=SPARSE), True),
        (with_train(loss=None, data=ONE_HOT), True),
        (with_train(loss={DENSE: {"label_smoothing": 0.1}}, data=ONE_HOT), True),
        (with_train(loss=DENSE), False),
        (with_train(loss={DENSE: None}), False),
        (with_train(loss=SPARSE, data=ONE_HOT), False),
        (with_train(loss={SPARSE: {}}, data=ONE_HOT), False),
        (with_data(source="tfds", name="mnist", path=None), True),
        (with_data(source="tfds", name=None), False),
        (with_data(source="tfds", name="mnist", path="x"), False),
        (with_data(source="folder", path=None), False),
        (with_data(source="folder", path="x", data_dir="y"), False),
        (with_data(source="digits", name=None, path=None, data_dir=None, train="train", validation=None, test=0.3), True),
        (with_data(source="digits", validation=["1", "2"], test=["3"], task="few_shot"), True),
        (with_data(source="digits", validation=[], task="few_shot"), False),
        (with_data(source="digits", test=["3", 4], task="few_shot"), False),
        (with_data(**LETTERS, hold_out="group", group="alphabet", validation=["Greek"], task="few_shot"), True),
        (with_data(**LETTERS, hold_out="group", task="few_shot"), False),
        (with_data(**LETTERS, hold_out="group", group=None, task="few_shot"), False),
        (with_data(**LETTERS, hold_out="class", group="alphabet", task="few_shot"), False),
        (with_data(**LETTERS, group="alphabet", task="few_shot"), False),
        (with_data(**LETTERS, hold_out="class", group=None, task="few_shot"), True),
        (with_data(source="digits", hold_out="group", group="alphabet", task="few_shot"), False),
        (with_data(source="digits", group=None, task="few_shot"), True),
        (with_few_shot("few_shot", {"way": 5}), True),
        (with_few_shot("few_shot", {}), True),
        (with_few_shot("few_shot", None), True),
        (with_few_shot("classification", None), True),
        (with_few_shot("classification", {}), False),
        (with_few_shot("classification", {"way": 5}), False),
        (with_few_shot(None, {"way": 5}), False),
        (with_few_shot("one_shot", None), False),
        (with_data(source="digits", train="test"), False),
        (with_data(source="digits", validation="test"), False),
    ],
)
def test_schema_and_loader_agree_on_fields_that_go_together(content: Any, right: bool) -> None:
    assert VALIDATOR.is_valid(content) is right
    assert refused(content) is not right


# Random changes of real configs

BETWEEN_FIELDS = re.compile(
    r"must be a multiple of groups|boundaries need|must rise|there is no axis|names one axis twice|orthogonal needs"
)
WHOLE_FLOAT = re.compile(r"received .*\d\.0\b")
"""JSON Schema takes 3.0 for an integer; the loader does not, since a config that says 3.0 means something else."""


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every (mapping or list, key) of a config."""
    pairs = list(content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ())
    for key, value in pairs:
        yield content, key
        yield from places(value)


@st.composite
def changed_configs(draw: st.DrawFn) -> Any:
    content = copy.deepcopy(draw(st.sampled_from(CONTENTS)))
    for _ in range(draw(st.integers(1, 2))):
        found = list(places(content))
        if not found:
            break
        where, key = draw(st.sampled_from(found))
        change = draw(st.sampled_from(["drop", "rename", "retype", "add"]))
        if change == "retype":
            where[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif change == "add" and isinstance(where, dict):
            where[draw(st.sampled_from(NAMES))] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif change == "rename" and isinstance(where, dict):
            where[draw(st.sampled_from(NAMES))] = where.pop(key)
        else:
            del where[key]
    return content


def complaints(content: Any, section: type[Section] = Experiment) -> list[str]:
    try:
        section.model_validate(content)
    except ValidationError as error:
        return [each["msg"] for each in error.errors(include_url=False)]
    return []


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(changed_configs())
def test_what_the_schema_rejects_the_loader_rejects_and_the_other_way_round(content: Any) -> None:
    assert agree(VALIDATOR, Experiment, content), [
        *complaints(content),
        *(each.message for each in VALIDATOR.iter_errors(content)),
    ]
