"""What the JSON Schema accepts the loader accepts, but for what no schema can say; documents are drawn from the schema.

`CNNCTL_FUZZ=50` tries fifty times as many, see tests/spec/fuzz.py.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cnnctl.errors import ConfigError
from cnnctl.spec.document import Document
from cnnctl.spec.load import check
from cnnctl.spec.section import Section
from tests.spec.fuzz import (
    SCHEMA,
    SECTIONS,
    VALIDATOR,
    ZOO,
    Tally,
    as_yaml,
    complaints,
    go_to_a_folder_with_images,
    judged,
    times,
)

ONLY_THE_LOADER_SEES_IN_A_SECTION = {
    r"received .*\b\d+\.0\b": "JSON Schema takes 3.0 for an integer; a config that says 3.0 means something else",
    r"must be a multiple of groups": "the arithmetic of two fields",
    r"boundaries need \d+ values": "the lengths of two lists",
    r"output_padding .* must be less than strides": "the order of two fields",
    r"must be increasing": "the order of a list",
    r"expected the first and the last step|expected the smallest and the largest": "the order of a list",
    r"has a duplicate": "axis 3 is also -1",
    r"has the shape .*, but mean has|axes, but axis names|is greater than rmax": "numbers of a normalization that must go together",
    r"lists of equal length": "nested lists",
    r"the range is empty|positive bounds|steps of .* do not reach|first step of .* is beyond|cannot be combined with log": "the arithmetic of a range",
    r"the grid has (more than )?[\d,]+ points|a grid requires a step|a grid draws none": "a product, and which of two forms a range has",
    r"duplicate value": "1 and 1.0 are the same",
}

ONLY_THE_LOADER_SEES_IN_A_CONFIG = {
    **ONLY_THE_LOADER_SEES_IN_A_SECTION,
    # what lies on this machine
    r"are held out of train and share no class": "whether a folder has a split test",
    r"there is no folder|there is no split|home folder|no class folders|neither known nor prepared": "files",
    r"there is no file or folder|write source: |expected an? .* and this|^data\.labels_file: ": "files",
    r"differ in size|metadata of .* is incomplete": "what a set says of its images",
    # names
    r"there is no layer|comes later|its own input|names must be unique|no layer takes the output": "which layers there are",
    r"takes one input, received|in a sequential model": "which layers there are",
    # shapes
    r"needs \d+ pixels of|needs an image|is not an axis of|more than 2\^63|requires inputs": "the arithmetic of the stack",
    r"noise_shape .* requires|channels of its input|along the columns": "the arithmetic of the stack",
    r"an image of .* has .* values": "a product",
    r"repeats and blocks make": "a product",
    # the end of the network
    r"the network outputs|the network has|an embedding is a vector|the network ends with|softmax of a softmax": "the end of the stack",
    r"expects (logits|probabilities), but": "the end of the stack",
    r"the classes of a few-shot task differ": "the task, from within the stack",
    r"normalizes over the whole batch|is a mean over the whole batch": "which layers there are",
    r"maml adapts on a few images|the loss of a maml episode|maml adds its own layer": "the learner, from within the stack",
    # what a sweep tries
    r"^sweep\.parameters\.": "which paths there are, and what their fields take",
    # between fields of several sections
    r"shares images with|leave nothing to train on": "splits by name, sums of fractions",
    r"cannot have \d+ parts": "the arithmetic of two fields",
    r"maml has one output for each": "two fields that must be equal",
    r"cannot be rotated by 90|look like those of the class rotated": "the arithmetic of two fields",
}


# Documents from a schema


WORDS = ["a", "b", "x y", "input", "conv2d", "flatten", "train", "test", "mnist", "omniglot", "images", "1e3", "ünï"]
PATHS = [
    "train.epochs",
    "train.batch_size",
    "train.optimizer",
    "model.style",
    "model.layers.0",
    "model.layers[1].dense.units",
    "x",
    "seed",
]
ODD_NAMES = ["", "a\nb", "nmae", "units", "inputs"]


class Drawing:
    """Draws what a schema describes.

    Args:
        draw: Hypothesis's.
        mishaps: of a hundred parts, so many are hostile instead.
    """

    def __init__(self, draw: st.DrawFn, mishaps: int = 0) -> None:
        self.draw = draw
        self.mishaps = mishaps

    def mishap(self) -> bool:
        return self.mishaps > 0 and self.draw(st.integers(0, 99)) >= 100 - self.mishaps

    def value(self, schema: Any, level: int = 0) -> Any:
        if self.mishap():
            return copy.deepcopy(self.draw(st.sampled_from(ZOO)))
        if not schema:
            return copy.deepcopy(self.draw(st.sampled_from(ZOO)))
        if schema.get("$ref") == "#/$defs/layer_or_block":  # blocks are names that refer to each other
            schema = {"$ref": "#/$defs/layer"}
        if "$ref" in schema:
            return self.value(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], level)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.draw(st.sampled_from(schema["enum"]))
        if "anyOf" in schema and "type" not in schema:
            return self.value(self.draw(st.sampled_from(schema["anyOf"])), level)
        return getattr(self, schema["type"])(schema, level)

    def null(self, schema: Any, level: int) -> None:
        return None

    def boolean(self, schema: Any, level: int) -> bool:
        return self.draw(st.booleans())

    def string(self, schema: Any, level: int) -> str:
        if pattern := schema.get("pattern"):
            whole = re.compile(str(pattern).removeprefix("^").removesuffix("$"))
            return str(self.draw(st.from_regex(whole, fullmatch=True)))
        others = st.characters(codec="utf-8", exclude_characters="\0")  # no pattern of a schema says it for every text
        return str(self.draw(st.sampled_from(WORDS) | st.text(others, min_size=schema.get("minLength", 0), max_size=8)))

    def integer(self, schema: Any, level: int) -> float:
        """Draws small numbers mostly, so that networks fit; JSON Schema takes 3.0 for an integer."""
        low = schema.get("minimum", schema.get("exclusiveMinimum", -6) + 1)
        high = schema.get("maximum", schema.get("exclusiveMaximum", 2**40) - 1)
        small = st.integers(low, min(low + 4, high))
        rare: list[st.SearchStrategy[Any]] = [st.just(high), st.integers(low, high), small.map(float)]
        drawn: float = self.draw(st.sampled_from([small] * 30 + rare).flatmap(lambda each: each))
        return drawn

    def number(self, schema: Any, level: int) -> float:
        low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum", schema.get("exclusiveMaximum"))
        floats = st.floats(
            low, high, exclude_min="exclusiveMinimum" in schema, exclude_max="exclusiveMaximum" in schema,
            allow_nan=False, allow_infinity=False,
        )  # fmt: skip
        whole = st.integers(0, 3) if low is None or low <= 0 else st.integers(int(low), int(low) + 3)
        return self.draw(floats | whole.filter(lambda n: Draft202012Validator(schema).is_valid(n)))

    def array(self, schema: Any, level: int) -> list[Any]:
        least = schema.get("minItems", 0)
        count = self.draw(st.integers(least, schema.get("maxItems", least + 3)))
        return [self.value(schema["items"], level + 1) for _ in range(count)]

    def object(self, schema: Any, level: int) -> dict[str, Any]:
        fields = schema.get("properties", {})  # none where the config chooses the names
        if "patternProperties" in schema:
            (each,) = schema["patternProperties"].values()
            names = self.draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=2, unique=True))
            return {name: self.value(each, level + 1) for name in names}
        if schema.get("maxProperties") == 1:
            names = [self.draw(st.sampled_from([name for name in fields if name != "repeat" or level < 4]))]
        else:
            more = st.lists(st.sampled_from(list(fields)), max_size=3) if fields else st.just([])
            names = [*schema.get("required", []), *self.draw(more)]
        content = {name: self.value(fields[name], level + 1) for name in names}
        if self.mishap():
            name = self.draw(st.sampled_from([*ODD_NAMES, *fields]))
            content[name] = copy.deepcopy(self.draw(st.sampled_from(ZOO)))
        return self.reconciled(content, schema)

    def reconciled(self, content: dict[str, Any], schema: Any) -> dict[str, Any]:
        """Returns the fields without those that do not go with others, and with those that others need."""
        between = {key: schema[key] for key in ("anyOf", "allOf", "if", "then", "else") if key in schema}
        self.hold(between, content, schema.get("properties", {}))
        return content

    def hold(self, rule: Any, content: Any, fields: Any) -> None:
        """Changes the fields until a rule holds, if that is easy."""
        if valid(rule, content) or not isinstance(content, dict) or rule is False:
            return
        for part in rule.get("allOf", []):
            self.hold(part, content, fields)
        if "if" in rule:
            self.hold(rule.get("then" if valid(rule["if"], content) else "else", {}), content, fields)
        if rule.get("anyOf"):
            self.hold(self.draw(st.sampled_from(rule["anyOf"])), content, fields)
        for name in rule.get("required", []):
            if name in fields:
                content.setdefault(name, self.value(fields[name], 1))
        for name, part in rule.get("properties", {}).items():
            if name in content:
                self.hold(part, content[name], {})
                if not valid(part, content[name]):
                    del content[name]


def valid(schema: Any, content: Any) -> bool:
    return bool(
        Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]} if isinstance(schema, dict) else schema).is_valid(content)
    )


@st.composite
def documents(draw: st.DrawFn, schema: Any) -> Any:
    return Drawing(draw).value(schema)


def usual(count: int) -> settings:
    """Returns the settings of a test that usually tries so many documents."""
    return settings(
        max_examples=times(count), derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )


# A section of each kind


@pytest.mark.parametrize(("schema", "section"), SECTIONS, ids=lambda value: value.__name__ if isinstance(value, type) else "")
def test_what_the_schema_accepts_of_a_section_the_loader_accepts(schema: dict[str, Any], section: type[Section]) -> None:
    tally = Tally()
    validator = Draft202012Validator({**schema, "$defs": SCHEMA["$defs"]})

    @usual(8)
    @given(documents(schema))
    def tried(content: Any) -> None:
        assume(validator.is_valid(content))
        unexpected = [each for each in complaints(content, section) if not known(each, ONLY_THE_LOADER_SEES_IN_A_SECTION)]
        assert unexpected == [], content
        tally["tried"] += 1
        tally["accepted"] += not complaints(content, section)

    tried()
    tally.close("accepted")


# Whole configs


@pytest.fixture
def _in_a_folder_with_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_to_a_folder_with_images(tmp_path, monkeypatch)


def with_an_end(content: Any, draw: st.DrawFn) -> Any:
    """Now and then gives a config the end that its task wants, or a plain stack, so that not all fail for their shapes."""
    way = draw(st.sampled_from(["as it is", "with an end", "plain", "plain", "plain"]))
    there = (
        isinstance(content, dict)
        and isinstance(content.get("model"), dict)
        and isinstance(content["model"].get("layers"), list)
    )
    if there and way != "as it is":
        end = ["flatten", *([] if content.get("task") == "few_shot" else [{"dense": {"units": "classes"}}])]
        content["model"]["layers"][0 if way == "plain" else 10 :] = end
    return content


@st.composite
def configs(draw: st.DrawFn) -> Any:
    content = with_an_end(Drawing(draw).value(SCHEMA), draw)
    assume(VALIDATOR.is_valid(content))
    return content


@st.composite
def broken_configs(draw: st.DrawFn) -> Any:
    return with_an_end(Drawing(draw, draw(st.sampled_from([0, 1, 1, 2, 5]))).value(SCHEMA), draw)


@pytest.mark.usefixtures("_in_a_folder_with_images")
def test_what_the_schema_accepts_as_a_config_the_loader_accepts() -> None:
    tally = Tally()

    @usual(100)
    @given(configs())
    def tried(content: Any) -> None:
        printed = refusals(content)
        assert [each for each in printed if not known(each, ONLY_THE_LOADER_SEES_IN_A_CONFIG)] == [], content
        tally["refused" if printed else "accepted"] += 1

    tried()
    tally.close("accepted", "refused")


def refusals(content: Any) -> list[str]:
    try:
        check(Document("x.yaml", content))
    except ConfigError as error:
        return [f"{each.path}: {each.message}" for each in error.problems]
    return []


@pytest.mark.usefixtures("_in_a_folder_with_images")
def test_a_config_with_mishaps_is_taken_or_refused() -> None:
    tally = Tally()

    @usual(120)
    @given(broken_configs())
    def tried(content: Any) -> None:
        tally[
            judged(as_yaml(content) if isinstance(content, dict) else json.dumps(content), through_main=tally.total() % 8 == 0)
        ] += 1

    tried()
    tally.close("accepted", "refused")


def known(message: str, reasons: dict[str, str]) -> bool:
    return any(re.search(pattern, message) for pattern in reasons)
