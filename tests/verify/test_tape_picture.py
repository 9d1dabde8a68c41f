"""The picture of the worked case shows the values and adjoints that differences give too."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cnnctl.commands.verify import verify
from cnnctl.errors import UsageError
from cnnctl.report.console import Console
from cnnctl.verify.differentiation import FACTOR, A, B, C
from cnnctl.verify.tape_picture import EDGES, recorded, tape_picture


def by_formula(**changed: float) -> dict[str, float]:
    """Compute all nodes, in which some are replaced."""
    nodes = {"a": A, "b": B, "c": C} | changed
    nodes["u"] = changed.get("u", nodes["b"] * nodes["c"])
    nodes["v"] = changed.get("v", nodes["a"] + nodes["u"])
    nodes["J"] = changed.get("J", FACTOR * nodes["v"])
    return nodes


def derivative(of: str, by: str) -> float:
    at, h = by_formula()[by], 1e-4
    return (by_formula(**{by: at + h})[of] - by_formula(**{by: at - h})[of]) / (2 * h)


def test_values_adjoints_and_local_derivatives_are_those_of_differences() -> None:
    case = recorded()
    assert case.values == by_formula()
    assert case.adjoints == {name: pytest.approx(derivative("J", name)) for name in case.values}
    assert case.local == {(start, end): pytest.approx(derivative(end, start)) for start, end in EDGES}


def test_the_picture_shows_every_number_of_the_case() -> None:
    case, root = recorded(), ElementTree.fromstring(tape_picture())
    texts = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
    for name, value in case.values.items():
        assert f"{value:g}" in texts
        assert f"dJ/d{name} = {case.adjoints[name]:g}" in texts
    assert [f"d{end}/d{start} = {value:g}" in texts for (start, end), value in case.local.items()] == [True] * 5
    for line in (text for text in texts if re.match(r"\d  ", text) and "dJ" not in text):
        product, result = line.rsplit(" = ", 2)[1:]
        assert eval(product.replace("·", "*")) == float(result)


def test_verify_writes_the_picture_and_refuses_it_without_the_explanation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tape.svg"
    verify(None, [], 1, True, "table", Console(quiet=True), True, file)
    assert capsys.readouterr().out.endswith(f"\n\n{file} is ready. Open it in a browser: {file}\n")
    assert file.read_text() == tape_picture() + "\n"
    with pytest.raises(UsageError, match="already exists"):
        verify(None, [], 1, True, "table", Console(quiet=True), True, file)
    with pytest.raises(UsageError, match=r"expected a name ending with \.svg"):
        verify(None, [], 1, True, "table", Console(quiet=True), True, tmp_path / "tape.png")
    with pytest.raises(UsageError, match="--output draws the worked example of --explain; add --explain"):
        verify(Path("configs/quickstart.yaml"), [], 1, False, "table", Console(quiet=True), True, file)
