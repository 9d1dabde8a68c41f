"""`cnnctl schema PATH` in terminals of any width."""

from __future__ import annotations

import sys

import pytest

from cnnctl.commands.schema import schema
from cnnctl.report.console import Console
from cnnctl.spec.reference import fields_below


@pytest.mark.parametrize("width", [40, 100])
@pytest.mark.parametrize("path", ["data", "train.optimizer.adam"])
def test_fields_fit_the_terminal(
    path: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    schema(path, "table", Console())
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    for each in fields_below(path):
        assert each.path.rpartition(".")[2] in printed
        if width < 74:  # in a table, the words of a meaning are between those of other columns
            assert "".join(each.meaning.split()) in "".join(printed.split())
