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

from cnnctl.errors import ConfigError
from cnnctl.run_folder import RunFolder
from cnnctl.spec.document import Document, read_document
from cnnctl.spec.experiment import Experiment
from cnnctl.spec.load import check, load
from cnnctl.spec.section import Section
from cnnctl.spec.sweep import SweepSpec
from tests.spec.fuzz import CONFIGS, SCHEMA, SECTIONS, VALIDATOR, complaints, places

HERE = Path(__file__).parent

ONLY_THE_LOADER_KNOWS = {
    "bias-along-the-columns",
    "normalization-inside-the-network", "normalization-of-another-size", "groups-of-channels", "normalized-along-the-batch",
    "renorm-of-maml",
    # few-shot tasks: the stack, and numbers that must be equal
    "embedding-is-an-image", "embedding-of-classes", "rotations-of-a-wide-image",
    # what a softmax gets, and what a network ends with
    "activation-log-softmax-of-softmax", "ends-with-sparse-sigmoid",
    # shapes
    "cropping-leaves-nothing", "reshape-of-other-values", "permute-of-other-axes", "rescaling-of-other-channels",
    "orthogonal-regularizer-of-one-row", "stft-of-one-channel",
    "axis-not-there", "axis-of-the-batch", "channels-not-divided-by-groups", "concatenate-image-and-vector",
    "concatenate-unequal-rows", "depthwise-too-wide", "dilation-too-wide", "image-layer-after-flatten", "image-layer-after-global-pooling",
    "image-too-large", "join-of-unequal-shapes", "more-values-than-a-tensor-holds", "noise-shape-too-short",
    "pool-of-one-pixel", "shrinks-in-repeat", "shrinks-to-nothing", "thousands-of-flattens",
    "thousands-of-layers", "transposed-too-large",
    # the end of the network and the classes
    "ends-as-image", "ends-before-classes", "ends-with-relu", "ends-with-sigmoid", "softmax-then-dropout", "softmax-twice",
    "sum-of-two-softmaxes", "units-not-classes",
    # several fields together
    "batch-norm-of-one-value",
    "batch-parts-and-axis",
    "batch-parts-and-renorm",
    "batch-parts-beyond-the-batch",
    "transposed-no-such-size", "transposed-output-padding",
    "boundaries-fall", "filters-not-divided-by-groups", "fractions-leave-nothing",
    "logits-and-not-from-logits", "more-snapshots-than-epochs", "piecewise-lengths", "repeats-of-repeats", "softmax-and-from-logits",
    "softmax-under-flatten-and-from-logits", "split-with-line-break", "test-is-train", "validation-is-test", "validation-is-train",
    # names that refer to layers
    "cycle", "forward-reference", "inputs-in-sequential", "name-twice", "no-such-input-in-repeat", "two-inputs-without-join",
    "unknown-input", "unused-branch", "unused-in-repeat", "use-other-input",
    # blocks: names that refer to them and to their parameters, and their layers with the parameters filled in
    "block-in-itself", "block-misfit", "block-parameters", "block-unused", "block-values", "block-wiring",
    "block-argument-parts", "block-defaults", "block-inputs-twice", "block-shared-other-shape", "normalization-in-block",
    # what lies on this machine
    "folder-is-a-file", "folder-not-there", "folder-without-images", "home-not-there", "home-of-data-dir-not-there",
    "name-with-line-break", "tfds-set-of-many-sizes", "tfds-set-without-facts", "tfds-unknown-set",
    # what a sweep tries
    "sweep-grid-beyond-trials", "sweep-grid-too-large", "sweep-grid-with-log", "sweep-grid-without-step", "sweep-of-losses",
    "sweep-grid-and-paths", "sweep-of-activity-penalties", "sweep-of-whole-train", "sweep-paths", "sweep-values",
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
    assert {"layer", "optimizer", "schedule", "loss", "method", "initializer", "regularizer", "constraint"} <= set(references)


def test_no_object_of_the_schema_lets_unknown_fields_pass() -> None:
    found = [part for part in [SCHEMA, *parts_of(SCHEMA)] if part.get("type") == "object"]
    assert len(found) > 20
    rules = [each for each in found if list(each) == ["type"]]  # what goes together asks for the kind of a value alone
    rules += [
        each for each in found if "propertyNames" in each or each == {"type": "object", "minProperties": 1, "maxProperties": 1}
    ]  # the config chooses the names of its blocks and parameters
    assert [each for each in found if each.get("additionalProperties") is not False and each not in rules] == []


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Yields every mapping in a schema."""
    for where, key in places(schema):
        if isinstance(where[key], dict):
            yield where[key]


def test_every_default_of_the_schema_is_right_by_the_schema() -> None:
    described = [part for part in parts_of(SCHEMA) if "default" in part and "title" in part]
    assert len(described) > 300
    wrong = [
        (part["title"], part["default"])
        for part in described
        if not Draft202012Validator({**part, "$defs": SCHEMA["$defs"]}).is_valid(part["default"])
    ]
    assert wrong == []


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
    "scale": 2.0, "target_shape": [-1], "dims": [2, 1],
    "filters": 4, "kernel_size": 3, "units": 3, "rate": 0.5, "stddev": 0.5, "activation": "relu", "times": 2, "layers": ["flatten"],
    "learning_rate": 0.1, "initial_learning_rate": 0.1, "max_learning_rate": 0.1, "decay_rate": 0.5,
    "boundaries": [1], "values": [0.1, 0.2], "source": "digits", "inputs": ["a", "b"], "layer": "x",
    "parameters": {"train.batch_size": [8, 16]},
}  # fmt: skip


@pytest.mark.parametrize(("schema", "section"), SECTIONS, ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_schema_and_loader_agree_on_every_field_of_a_section(schema: dict[str, Any], section: type[Section]) -> None:
    validator = Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]})
    right = {name: REQUIRED[name] for name in section.required() if name in REQUIRED}
    if section is Experiment:
        right = {"data": {"source": "digits"}, "model": {"layers": ["flatten"]}}
    if section is SweepSpec:
        right["trials"] = 3  # without, minutes would be required
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


INSIDE_BLOCKS = re.compile(r"\.\$\.|^(model\.)?blocks\.")
"""Errors in the layers of blocks, which the loader alone checks: with the parameters filled in."""


def agree(validator: Draft202012Validator, section: type[Section], content: Any) -> bool:
    """Returns whether schema and loader both take it, or both refuse it, but for what only the loader can know."""
    printed = complaints(content, section)
    if validator.is_valid(content):
        known = (BETWEEN_FIELDS, WHOLE_FLOAT, INSIDE_BLOCKS)
        return all(any(pattern.search(each) for pattern in known) for each in printed)
    return printed != [] or (section is Experiment and refused(content))


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


def few_shot(few_shot: Any = None, train: Any = None, **data: Any) -> Any:
    """Returns a config of a few-shot task, with what else its sections say."""
    content = {**with_data("few_shot", source="digits", **data), "few_shot": few_shot or {}}
    return content if train is None else {**content, "train": train}


def with_layer(**fields: Any) -> Any:
    content = with_data(source="digits")
    return {
        **content,
        "model": {"layers": [{"conv2d": {"filters": 4, "kernel_size": 3, **fields}}, *content["model"]["layers"]]},
    }


def with_log(**fields: Any) -> Any:
    return {**with_data(source="digits"), "log": fields}


MAML: Any = {"method": "maml"}
CLASSIFIER: Any = {"method": {"cosine_classifier": {}}}


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
        (with_data(source="digits", hold_out="image"), True),
        (with_data(source="digits", hold_out="class"), False),
        (with_data(source="digits", validation=["1", "2"]), False),
        (with_data(source="digits", test=["1", "2"]), False),
        (with_data(source="digits", shared_classes="drop"), False),
        (few_shot(hold_out="class", labels="integer", remap_labels=False, train={"loop": "custom", "loss": None}), True),
        (few_shot(hold_out="image"), False),
        (few_shot(labels="one_hot"), False),
        (few_shot(remap_labels=True, classes=10), False),
        (few_shot(shared_classes="drop"), False),
        (with_data("few_shot", **LETTERS, shared_classes="drop"), True),
        (with_data("few_shot", **LETTERS, shared_classes="drop", test=0.2), False),
        (with_data("few_shot", **LETTERS, shared_classes="drop", test=0.2, validation="small2"), True),
        (few_shot(train={"loop": "fit"}), False),
        (few_shot(train={"loss": SPARSE}), False),
        (few_shot(train={"batch_parts": 1}), True),
        (few_shot(train={"batch_parts": 2}), False),
        (few_shot({"mirrors": True}, augment={"flip": False}), True),
        (few_shot({"mirrors": False}, augment={"flip": True}), True),
        (few_shot({"mirrors": True}, augment={"flip": True}), False),
        (few_shot({"rotations": True}, augment={"rotation": 44.9}), True),
        (few_shot({"rotations": True}, augment={"rotation": 45}), False),
        (few_shot({**CLASSIFIER, "episodes": None}), True),
        (few_shot({**CLASSIFIER, "episodes": 50}), False),
        (few_shot({"method": "cosine_classifier", "train_way": 5}), False),
        (few_shot({**MAML, "episodes": 50}, train={"precision": "auto", "optimizer": {"adam": None}}), True),
        (few_shot(MAML, train={"precision": "mixed_float16"}), False),
        (few_shot({"method": {"maml": None}}, train={"optimizer": {"sgd": {"loss_scale_factor": 2.0}}}), False),
        (few_shot(CLASSIFIER, train={"optimizer": {"sgd": {"loss_scale_factor": 2.0}}}), True),
        (with_data("few_shot", **LETTERS, hold_out="group", group="alphabet", validation=None, test="small2"), False),
        (with_data("few_shot", **LETTERS, hold_out="group", group="alphabet", validation=None), False),
        (with_data("few_shot", **LETTERS, hold_out="group", group="alphabet"), True),
        (with_data("few_shot", **LETTERS, hold_out="group", group="alphabet", validation="small2", test=0.2), True),
        (with_train(early_stopping={"monitor": "train_loss"}, data={"validation": None}), True),
        (with_train(early_stopping=None, data={"validation": None}), True),
        (with_train(early_stopping={"monitor": "validation_loss"}, data={"validation": None}), False),
        (with_train(early_stopping={}, data={"validation": None}), False),
        (with_train(early_stopping={}, optimizer={"adam": {"use_ema": True}}), True),
        (with_train(early_stopping={}, optimizer={"adam": None}), True),
        (with_train(early_stopping={}, optimizer="adam"), True),
        (with_train(reduce_on_plateau={}), True),
        (
            with_train(reduce_on_plateau=None, optimizer={"sgd": {"learning_rate": {"one_cycle": {"max_learning_rate": 0.1}}}}),
            True,
        ),
        (
            with_train(reduce_on_plateau={}, optimizer={"sgd": {"learning_rate": {"one_cycle": {"max_learning_rate": 0.1}}}}),
            False,
        ),
        (with_train(reduce_on_plateau={}, optimizer={"sgd": {"learning_rate": {"constant": {"learning_rate": 0.1}}}}), True),
        (with_train(reduce_on_plateau={}, optimizer={"sgd": None}), True),
        (with_train(reduce_on_plateau={}, optimizer="sgd"), True),
        (with_train(reduce_on_plateau={}, data={"validation": None}), False),
        (with_train(reduce_on_plateau={"monitor": "train_accuracy"}, data={"validation": None}), True),
        (with_data(source="digits", augment={"mixup": 0.2}, labels="one_hot"), True),
        (with_data(source="digits", augment={"mixup": 0.2}, labels="integer"), False),
        (with_data(source="digits", augment={"mixup": 0.2}), False),
        (with_data(source="digits", augment={"mixup": 0}), True),
        (with_data(source="digits", augment=None), True),
        (few_shot(augment={"mixup": 0.2}), False),
        (few_shot(augment={"mixup": 0.0, "erase": {}}, train={"reduce_on_plateau": {}}), True),
        (with_log(tensorboard=False, every_steps=None, profile=None), True),
        (with_log(tensorboard=False, every_steps=3), False),
        (with_log(tensorboard=False, every_epochs=0), False),
        (with_log(tensorboard=True, profile=[1, 2]), True),
        (with_log(tensorboard=False, profile=[1, 2]), False),
        (with_layer(kernel_initializer="orthogonal", kernel_constraint={"unit_norm": {"axis": [0, 1, 2, -1]}}), True),
        (with_layer(bias_initializer="orthogonal"), False),
        (with_layer(bias_initializer={"orthogonal": {"gain": 2.0}}), False),
        (with_layer(bias_constraint={"max_norm": {"axis": -1}}), True),
        (with_layer(bias_constraint={"max_norm": {"axis": 1}}), False),
        (with_layer(kernel_constraint={"max_norm": {"axis": [0, 4]}}), False),
        (with_layer(kernel_constraint={"min_max_norm": {"axis": [0, 0]}}), False),
        (with_data(source="digits", train="test"), False),
        (with_data(source="digits", validation="test"), False),
    ],
)
def test_schema_and_loader_agree_on_fields_that_go_together(content: Any, right: bool) -> None:
    assert VALIDATOR.is_valid(content) is right
    assert refused(content) is not right


# Random changes of real configs

BETWEEN_FIELDS = re.compile(
    r"must be a multiple of groups|boundaries need|must be increasing|there is no axis|has a duplicate|orthogonal requires|output_padding"
    r"|is greater than rmax|has the shape .*, but mean has|one number for each place along|lists of equal length"
)
WHOLE_FLOAT = re.compile(r"received .*\d\.0\b")
"""JSON Schema takes 3.0 for an integer; the loader does not, since a config that says 3.0 means something else."""


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


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(changed_configs())
def test_what_the_schema_rejects_the_loader_rejects_and_the_other_way_round(content: Any) -> None:
    assert agree(VALIDATOR, Experiment, content), [
        *complaints(content),
        *(each.message for each in VALIDATOR.iter_errors(content)),
    ]
