"""Stacks that do not fit: what the message shows, and that every change it names does fit."""

from __future__ import annotations

import copy
import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnnctl.errors import ConfigError
from cnnctl.spec.document import Document
from cnnctl.spec.experiment import Experiment, ModelSpec
from cnnctl.spec.load import check, load
from cnnctl.spec.stack import Node, nodes_of

DENSE = {"dense": {"units": "classes"}}


def config(layers: list[Any], size: list[int]) -> dict[str, Any]:
    return {"data": {"source": "digits", "image_size": size}, "model": {"layers": layers}}


def refused(layers: list[Any], size: list[int]) -> str:
    """Returns the one problem that a stack has, location and path left out."""
    with pytest.raises(ConfigError, match="does not fit") as caught:
        check(Document("x.yaml", config(layers, size)))
    (problem,) = caught.value.problems
    return problem.message


def remedies(message: str) -> list[str]:
    return [line.removeprefix("    - ") for line in message.splitlines() if line.startswith("    - ")]


# --- the message --------------------------------------------------------------------------------------------------


def test_a_stack_that_runs_out_of_pixels_shows_rows_arithmetic_culprit_and_remedies() -> None:
    conv = {"conv2d": {"filters": 4, "kernel_size": 3}}
    message = refused([conv, {"max_pooling2d": {"pool_size": 5}}, conv, "flatten", DENSE], [12, 12])
    assert message.splitlines() == [
        "needs 3 pixels of height but receives 2: floor((2 - 3) / 1) + 1 = 0",
        "    input          (12, 12, 1)",
        "    conv2d         (10, 10, 4)",
        "    max_pooling2d  (2, 2, 4)",
        "    conv2d_1       does not fit",
        "  'max_pooling2d' shrank the image most: 10×10 to 2×2 pixels",
        "  each of these changes alone was checked and fits:",
        "    - 'conv2d_1': padding: same",
        "    - 'conv2d_1': kernel_size: [2, 2]",
        "    - 'max_pooling2d': strides: 1",
        "    - remove 'max_pooling2d'",
        "    - data.image_size: [17, 17]",
    ]


def test_the_side_that_is_too_short_is_the_one_named() -> None:
    message = refused([{"conv2d": {"filters": 4, "kernel_size": [2, 9]}}, "flatten", DENSE], [12, 8])
    assert message.startswith("needs 9 pixels of width but receives 8: floor((8 - 9) / 1) + 1 = 0\n")


def test_a_smaller_window_counts_its_dilation() -> None:
    message = refused([{"conv2d": {"filters": 4, "kernel_size": 3, "dilation_rate": [3, 2]}}, "flatten", DENSE], [5, 9])
    assert "    - 'conv2d': kernel_size: [2, 3]" in message.splitlines()


def test_a_change_in_a_repeat_is_tried_in_every_round_and_named_once() -> None:
    pool = {"max_pooling2d": {"pool_size": 3}}
    message = refused([{"repeat": {"times": 3, "layers": [pool, "batch_normalization"]}}, "flatten", DENSE], [8, 8])
    assert remedies(message) == [
        "'max_pooling2d_1': padding: same",
        "'max_pooling2d_1': strides: 1",
        "remove 'max_pooling2d_1'",
        "'max_pooling2d_1': pool_size: [2, 2]",
        "data.image_size: [27, 27]",
    ]


@pytest.mark.parametrize("before", [[], ["batch_normalization"], ["zero_padding2d"]])
def test_no_layer_is_blamed_when_none_shrank_the_image(before: list[Any]) -> None:
    message = refused([*before, {"conv2d": {"filters": 4, "kernel_size": 20}}, "flatten", DENSE], [8, 8])
    assert "shrank" not in message
    assert "data.image_size: " in message


def test_the_problem_is_located_at_the_layer() -> None:
    document = Document("x.yaml", config(["flatten", "max_pooling2d", DENSE], [8, 8]))
    with pytest.raises(ConfigError, match=r"model\.layers\[1\]\.max_pooling2d: max_pooling2d needs an image"):
        check(document)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["flatten", "max_pooling2d", "flatten", DENSE], ["remove 'flatten'", "move 'flatten' below 'max_pooling2d'"]),
        (["flatten", "max_pooling2d", DENSE], ["move 'flatten' below 'max_pooling2d'"]),
        (
            ["global_max_pooling2d", "max_pooling2d", "max_pooling2d", DENSE],
            ["move 'global_max_pooling2d' below 'max_pooling2d_1'"],
        ),
        # wrong at its end as well, which is reported next: removing is as far as it goes
        (["flatten", "max_pooling2d", {"dense": {"units": 3}}], ["remove 'flatten'"]),
        # moving it below a layer that a repeat builds twice would not do
        (["flatten", {"repeat": {"times": 2, "layers": ["max_pooling2d"]}}, "flatten", DENSE], ["remove 'flatten'"]),
    ],
)
def test_an_image_layer_after_flatten_gets_the_remedies_that_lead_to_a_right_network(
    layers: list[Any], expected: list[str]
) -> None:
    found = remedies(refused(layers, [8, 8]))
    assert [say for say in found if "flatten_" not in say and "below 'flatten" not in say] == expected


def test_no_remedy_is_named_where_none_is_known() -> None:
    branches = [
        {"conv2d": {"filters": 2, "kernel_size": 1, "name": "a", "inputs": ["input"]}},
        {"conv2d": {"filters": 3, "kernel_size": 1, "name": "b", "inputs": ["input"]}},
        {"add": {"inputs": ["a", "b"]}},
    ]
    document = Document("x.yaml", config([*branches, "flatten", DENSE], [8, 8]))
    document.content["model"]["style"] = "functional"
    with pytest.raises(ConfigError, match="add requires inputs of the same shape") as caught:
        check(document)
    assert "tried" not in str(caught.value)


# --- every remedy fits --------------------------------------------------------------------------------------------


def bad_stack(draw: random.Random) -> tuple[list[Any], list[int]]:
    """Returns a stack that uses up its pixels or flattens too early, and an image size."""
    layers: list[Any] = []
    for _ in range(draw.randint(1, 4)):
        if draw.random() < 0.5:
            dilation = draw.choice([1, 1, 2])
            strides = 1 if dilation > 1 else draw.choice([1, 1, 2])
            kernel = [draw.randint(2, 5), draw.randint(2, 5)]
            fields = {"filters": 2, "kernel_size": kernel, "strides": strides, "dilation_rate": dilation}
            layers.append({"conv2d": {**fields, "padding": draw.choice(["valid", "valid", "same"])}})
        else:
            pool: dict[str, Any] = {"pool_size": draw.randint(2, 3)}
            layers.append({draw.choice(["max_pooling2d", "average_pooling2d"]): pool})
    if draw.random() < 0.4:
        layers = [{"repeat": {"times": 2, "layers": layers}}]
    if draw.random() < 0.25:
        layers.insert(0, "flatten")
    return [*layers, "flatten", DENSE], [draw.randint(6, 16), draw.randint(6, 16)]


def misfit_of(layers: list[Any], size: list[int]) -> str:
    """Returns what is said about a stack, nothing where it fits."""
    try:
        check(Document("x.yaml", config(layers, size)))
    except ConfigError as error:
        return str(error)
    return ""


def bad_stacks(count: int, seed: int) -> list[tuple[list[Any], list[int]]]:
    """Returns stacks that do not fit and that one change can help."""
    draw = random.Random(seed)
    found: list[tuple[list[Any], list[int]]] = []
    while len(found) < count:
        stack = bad_stack(draw)
        if remedies(misfit_of(*stack)):
            found.append(stack)
    return found


def nodes_by_name(plain: dict[str, Any]) -> dict[str, Node]:
    nodes, _ = nodes_of(ModelSpec.model_validate(plain["model"]))
    return {node.name: node for node in nodes}


def at(plain: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        plain = plain[key]
    return plain


def applied(say: str, plain: dict[str, Any], folder: Path) -> Experiment:
    """Returns the experiment of a config in which a user did what one remedy says.

    Raises:
        ConfigError: the remedy does not help.
    """
    plain = copy.deepcopy(plain)
    nodes = nodes_by_name(plain)
    overrides = []
    if match := re.fullmatch(r"'(\w+)': (\w+): (.+)", say):
        where = ".".join(map(str, nodes[match[1]].where))
        overrides = [f"{where}.{match[2]}={match[3]}"]
    elif match := re.fullmatch(r"(data\.\w+): (.+)", say):
        overrides = [f"{match[1]}={match[2]}"]
    elif match := re.fullmatch(r"remove '(\w+)'", say):
        where_ = nodes[match[1]].where
        del at(plain, where_[:-2])[where_[-2]]
    else:
        match = re.fullmatch(r"move '(\w+)' below '(\w+)'", say)
        assert match, f"a remedy of an unknown form: {say}"
        source, target = nodes[match[1]].where, nodes[match[2]].where
        assert isinstance(target[-2], int)
        at(plain, target[:-2]).insert(target[-2] + 1, at(plain, source[:-2])[source[-2]])
        del at(plain, source[:-2])[source[-2]]  # it stands above its new place
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(plain))
    return load(file, overrides)


STACKS = bad_stacks(24, seed=3)


@pytest.mark.parametrize("number", range(len(STACKS)))
def test_every_remedy_applied_to_the_file_gives_a_config_that_loads(number: int, tmp_path: Path) -> None:
    layers, size = STACKS[number]
    message = refused(layers, size)
    found = remedies(message)
    for say in found:
        applied(say, config(layers, size), tmp_path)
    nodes = nodes_by_name(config(layers, size))
    written = [re.sub(r"'(\w+)'", lambda match: str(nodes[match[1]].where), say) for say in found]
    assert len(set(written)) == len(written), "each change is named once"


def test_the_stacks_tried_here_need_remedies_of_every_form() -> None:
    said = "\n".join(say for layers, size in STACKS for say in remedies(refused(layers, size)))
    for form in ("padding: same", "strides: 1", "remove '", "kernel_size: [", "pool_size: [", "move '", "data.image_size: ["):
        assert form in said, form


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_remedies_count_pixels_in_the_models_data_format(data_format: str, tmp_path: Path) -> None:
    plain = config([{"conv2d": {"filters": 5, "kernel_size": 9}}, "flatten", DENSE], [6, 7])
    plain["model"]["data_format"] = data_format
    with pytest.raises(ConfigError, match="needs 9 pixels of height but receives 6") as caught:
        check(Document("x.yaml", plain))
    found = remedies(str(caught.value))
    assert found == ["'conv2d': padding: same", "'conv2d': kernel_size: [6, 7]", "data.image_size: [9, 10]"]
    for say in found:
        applied(say, plain, tmp_path)
