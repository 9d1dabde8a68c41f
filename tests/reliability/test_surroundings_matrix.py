"""What a process finds around it that needs no training to try: a keras.json in the home, and paths that begin with a tilde."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from cnnctl import cli, surroundings

KERAS_JSON = {"floatx": "float16", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "torch"}


@pytest.mark.parametrize(
    ("content", "reported"), [(json.dumps(KERAS_JSON), KERAS_JSON), ("[1]", None), ("{", "not JSON"), ("\xe9", "not JSON")]
)
def test_the_keras_json_of_a_home_is_looked_at_whatever_it_holds(
    content: str, reported: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text(content, encoding="latin-1")
    assert surroundings._changed_in_keras_json() == ({str(tmp_path / ".keras" / "keras.json"): reported} if reported else {})


@pytest.mark.parametrize(
    "words", ["code digits.yaml --output=~/made", "runs ~/made", "data digits.yaml --output=~/made", "evaluate ~/made"]
)
def test_no_path_of_the_command_line_makes_a_folder_of_the_name_tilde(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name, *rest = words.split()
    context = typer.main.get_command(cli.app).commands[name].make_context(name, list(rest))  # type: ignore[attr-defined]
    given = [each for value in context.params.values() for each in (value if isinstance(value, list | tuple) else [value])]
    assert tmp_path / "made" in given
