"""The tree of blocks: what is around each layer, and names as they are written beside others."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnctl.spec.experiment import Experiment
from cnnctl.spec.groups import enclosing, groups_of, relative
from cnnctl.spec.load import load

CONFIG = """
data: {source: digits}
model:
  style: functional
  blocks:
    unit:
      layers: [{conv2d: {filters: 1, kernel_size: 3, padding: same, name: c}}]
    pair:
      layers:
        - unit: {name: first}
        - use: {layer: first, name: second}
        - repeat: {times: 2, layers: [{repeat: {times: 3, layers: [unit]}}]}
  layers:
    - repeat: {times: 2, layers: [pair]}
    - use: {layer: pair, name: again}
    - flatten
    - dense: {units: classes}
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    (tmp_path / "x.yaml").write_text(CONFIG)
    return load(tmp_path / "x.yaml")


def test_the_rounds_around_each_layer_are_counted_through_blocks(experiment: Experiment) -> None:
    nodes = experiment.network.nodes
    around = enclosing(nodes, experiment.model.layers)
    shown = [[each.block.name if each.block else (each.number, each.times) for each in each_around] for each_around in around]
    inside = [(outer, inner) for outer in range(2) for inner in range(3)]
    expected: list[object] = []
    for number, block in ((0, "pair"), (1, "pair_1"), (None, "again")):
        start: list[object] = [block] if number is None else [(number, 2), block]
        expected += [[*start, f"{block}/first"], [*start, f"{block}/second"]]
        names = [node.blocks for node in nodes if node.blocks[:1] == (block,)][2:]
        units = ["/".join(name) for name in names]
        expected += [[*start, (outer, 2), (inner, 3), unit] for (outer, inner), unit in zip(inside, units, strict=True)]
    assert shown == [*expected, [], []]


def test_blocks_say_beside_them_whose_weights_they_use(experiment: Experiment) -> None:
    groups = {group.name: group for group in groups_of(experiment.network.nodes)}
    assert groups["pair/second"].shared_here == "first" and groups["again"].shared_here == "pair"
    assert groups["again/first"].shares == "pair/first" and groups["again/first"].shared_here == ""  # as again says
    assert groups["pair"].shared_here == groups["pair"].shares == ""
    assert (groups["pair"].title, groups["again"].title, groups["pair/first"].title) == ("pair", "again (pair)", "first (unit)")


@pytest.mark.parametrize(
    ("name", "to", "written"),
    [
        ("c", "d", "c"),
        ("pair/c", "pair/d", "c"),
        ("pair/c", "again/c", "pair/c"),
        ("a/b/c", "a/d/c", "b/c"),
        ("c", "pair/c", "c"),
        ("a/c", "a/a/c", "c"),
    ],
)
def test_names_leave_out_the_blocks_that_both_layers_are_in(name: str, to: str, written: str) -> None:
    assert relative(name, to) == written
