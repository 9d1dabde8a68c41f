"""The README is short and names every command."""

from __future__ import annotations

import yaml

from cnnctl.cli import app
from tests.pages import ROOT, blocks_of

README = (ROOT / "README.md").read_text()


def test_the_readme_has_at_most_200_lines_of_100_columns() -> None:
    lines = README.splitlines()
    assert len(lines) <= 200
    assert [line for line in lines if len(line) > 100] == []


def test_every_command_is_in_the_readme_and_in_the_reference() -> None:
    names = [verb.name or getattr(verb.callback, "__name__", "") for verb in app.registered_commands if not verb.hidden]
    reference = (ROOT / "docs/reference/cli.md").read_text()
    assert len(names) > 10
    assert [name for name in names if f"`cnnctl {name}" not in README] == []
    assert [name for name in names if f"\n## cnnctl {name}\n" not in reference] == []


def test_the_config_of_the_readme_is_the_quickstart() -> None:
    (shown,) = (block.text for block in blocks_of(ROOT / "README.md") if block.language == "yaml")
    assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "configs/quickstart.yaml").read_text())
