"""Blocks in pictures: a bracket with the block's name, local names inside, equal blocks in a row drawn once, shared weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnctl.draw.network_picture import network_picture
from cnnctl.spec.experiment import Experiment
from tests.draw.pictures import IN_BLOCKS, Picture, experiment_of

END = "- flatten\n- dense: {units: classes}"


def drawn(experiment: Experiment, layout: str = "row") -> Picture:
    return Picture(network_picture(experiment, "a network", layout))


def bracket_labels(picture: Picture) -> list[str]:
    """Return the labels of the brackets, in the order of the picture."""
    return [each.text or "" for each in picture.all("text") if each.get("class") == "purple" and each.get("font-size") == "11.5" and each.get("font-weight") == "bold"]  # fmt: skip


@pytest.mark.parametrize("layout", ["row", "column"])
def test_every_block_has_a_bracket_and_equal_ones_in_a_row_have_one_together(layout: str, tmp_path: Path) -> None:
    picture = drawn(experiment_of(IN_BLOCKS, tmp_path), layout)
    assert sorted(set(bracket_labels(picture))) == [
        "gate", "left (unit)", "repeat × 3", "residual", "residual × 2, weights of last", "residual × 3", "residual_3",
        "right (unit)", "second (unit)", "stem (unit)", "twice", "unit", "unit × 2",
    ]  # fmt: skip


def test_layers_have_their_local_names_and_boxes_their_full_ones(tmp_path: Path) -> None:
    picture = drawn(experiment_of(f"- unit\n- unit: {{name: next, size: 1}}\n{END}", tmp_path))
    assert list(picture.boxes) == ["input", "unit/conv2d", "next/conv2d", "flatten", "dense"]
    assert picture.labels["next/conv2d"][0] == picture.labels["unit/conv2d"][0] == "conv2d"
    assert bracket_labels(picture) == ["unit", "next (unit)"]


def test_shares_have_full_names_where_two_layers_have_one_local_name(tmp_path: Path) -> None:
    both = drawn(experiment_of(f"- unit\n- unit: {{name: next, size: 9}}\n{END}", tmp_path, "[8, 8]"))
    one = drawn(experiment_of(f"- unit: {{size: 9, filters: 64}}\n{END}", tmp_path, "[8, 8]"))
    assert [each.text for each in both.all("text") if (each.text or "").startswith("next/conv2d ")] != []
    assert [each.text for each in one.all("text") if (each.text or "").startswith("conv2d ")] != []


def test_eight_equal_blocks_are_drawn_once_with_all_their_parameters(tmp_path: Path) -> None:
    start = "- conv2d: {filters: 8, kernel_size: 1}\n"
    experiment = experiment_of(start + "- unit\n" * 8 + END, tmp_path)
    picture = drawn(experiment)
    assert list(picture.boxes) == ["input", "conv2d", "unit/conv2d", "flatten", "dense"]
    assert bracket_labels(picture) == ["unit × 8"]
    each = 8 * 8 * 9 + 4 * 8
    assert f"8 × {each} parameters" in picture.labels["unit/conv2d"]
    assert ("unit/conv2d", "flatten") in picture.edges
    assert sum(facts.parameters for facts in experiment.network.facts[1:-2]) == 8 * each


@pytest.mark.parametrize(
    ("uses", "boxes"),
    [
        ("- unit\n- unit: {size: 1}", 2),  # other arguments, the same shapes
        ("- unit\n- unit: {filters: 9}", 2),  # other shapes
        ("- unit: {name: a}\n- unit: {name: b}\n- add: {inputs: [a, b]}", 2),  # the output of the first is used later
        ("- unit: {name: a}\n- unit: {name: b, inputs: [conv2d]}\n- add: {inputs: [a, b]}", 2),  # side by side
        ("- unit\n- relu\n- unit", 2),  # not in a row
        ("- unit: {name: a}\n- unit: {name: b}\n- unit: {name: c}\n- add: {inputs: [b, c]}", 2),  # of three the first two
        ("- unit\n- unit\n- unit", 1),
    ],
)
def test_only_equal_blocks_in_a_row_are_drawn_once(uses: str, boxes: int, tmp_path: Path) -> None:
    picture = drawn(experiment_of(f"- conv2d: {{filters: 8, kernel_size: 1}}\n{uses}\n{END}", tmp_path))
    assert len([name for name in picture.boxes if name.endswith("/conv2d")]) == boxes


def test_layers_with_the_weights_of_others_name_them_and_have_no_parameters(tmp_path: Path) -> None:
    layers = "- conv2d: {filters: 8, kernel_size: 3, name: c, padding: same}\n- conv2d: {filters: 8, kernel_size: 1}\n"
    layers += "- conv2d: {filters: 1, kernel_size: 1, name: thin}\n- use: {layer: c, name: d}\n- unit: {name: a}\n- use: {layer: a, name: b}\n"
    picture = drawn(experiment_of(layers + END, tmp_path))
    assert "weights of c" in picture.labels["d"] and not [line for line in picture.labels["d"] if "parameters" in line]
    shared = picture.labels["b/conv2d"]
    assert [line for line in shared if line.startswith("weights of")] == [
        "weights of a/conv2d",
        "weights of a/batch_normalization",
    ]
    assert not [line for line in shared if "parameters" in line]
    assert bracket_labels(picture) == ["a (unit)", "b (unit), weights of a"]


def test_blocks_side_by_side_have_brackets_above_their_own_lanes(tmp_path: Path) -> None:
    picture = drawn(experiment_of(IN_BLOCKS, tmp_path))
    heights = {each.text: float(each.attrib["y"]) for each in picture.all("text") if "(unit)" in (each.text or "")}
    boxes = picture.boxes
    assert heights["left (unit)"] < boxes["left/conv2d"].top < boxes["left/conv2d"].bottom < heights["right (unit)"]
    assert heights["right (unit)"] < boxes["right/conv2d"].top


@pytest.mark.parametrize("layout", ["row", "column"])
def test_a_bracket_is_over_all_layers_of_its_block_and_no_other_of_the_lane(layout: str, tmp_path: Path) -> None:
    picture = drawn(experiment_of(f"- conv2d: {{filters: 2, kernel_size: 1}}\n- residual\n{END}", tmp_path), layout)
    spans = []
    for each in picture.all("polyline", "bracket"):
        points = [tuple(map(float, point.split(","))) for point in each.attrib["points"].split()]
        along = [point[0 if layout == "row" else 1] for point in points]
        spans.append((min(along), max(along)))
    outer = max(spans, key=lambda span: span[1] - span[0])
    for name, box in picture.boxes.items():
        middle = (box.left + box.right) / 2 if layout == "row" else (box.top + box.bottom) / 2
        assert (outer[0] < middle < outer[1]) == name.startswith("residual/"), name
