"""Pictures and messages with names of files that are no text: bytes outside UTF-8, control characters, line breaks."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.safety.conftest import Command, config_of, raw_controls

NAMES = {"bytes": "b\udcff", "controls": "c\x01\x1b[2J\nd", "markup": "<b>&amp;]]>", "long": "long-" * 40}
WORDS = {
    "draw": ("draw", "{config}", "-o", "{picture}"),
    "draw a column": ("draw", "{config}", "--layout", "column", "-o", "{picture}"),
    "draw a layer": ("draw", "{config}", "--layer", "conv2d", "-o", "{picture}"),
    "runs": ("runs", "{run}", "--plot", "{picture}"),
    "verify": ("verify", "--explain", "-o", "{picture}"),
}


@pytest.fixture(params=NAMES.values(), ids=list(NAMES))
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path(f"{request.param}.yaml").write_text(config_of({"source": "digits"}))
    return str(request.param)


@pytest.mark.parametrize("verb", WORDS)
def test_a_picture_is_well_formed_whatever_the_names_of_files_are(
    verb: str, name: str, command: Command, trained: Path
) -> None:
    run = shutil.copytree(trained, name) if verb == "runs" else name
    places = {"config": f"{name}.yaml", "run": run, "picture": f"{name}.svg"}
    done = command(*(each.format(**places) for each in WORDS[verb]))
    assert done.code == 0, done
    content = Path(f"{name}.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(content).tag.endswith("svg")
    assert raw_controls(content) == []


def test_a_picture_is_named_in_one_line(name: str, command: Command) -> None:
    done = command("draw", f"{name}.yaml")
    assert done.out.count("\n") == 1, done


@pytest.mark.parametrize("words", [("code", "{name}.yaml", "-o", "{name}.py"), ("init", "quickstart", "-o", "{name}.txt")])
def test_a_file_is_announced_without_line_breaks_of_its_name(words: tuple[str, ...], name: str, command: Command) -> None:
    done = command(*(each.format(name=name) for each in words))
    assert done.code == 0, done
    assert "c\\x01" in done.out or "\x01" not in name
    assert not any(line.startswith("d.") for line in done.out.splitlines())
