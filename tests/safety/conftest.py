"""The command line in this process, and one small trained run that tests make hostile copies of."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cnnctl import cli
from tests.safety.hostile import digits_in_folders

SMALL = [{"conv2d": {"filters": 2, "kernel_size": 3, "activation": "relu"}}, "flatten", {"dense": {"units": "classes"}}]


@dataclass(frozen=True)
class Told:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    def refusal(self) -> str:
        """Returns the message of a command that refused what it was given: no traceback, and nothing that moves a cursor."""
        assert self.code in (1, 2), self
        assert "Traceback" not in self.err
        assert self.err.strip()
        return self.err


Command = Callable[..., Told]


def raw_controls(text: str) -> list[str]:
    """Returns the characters of a text that a terminal acts on, line breaks aside."""
    return [each for each in text if each != "\n" and unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Returns what runs cnnctl in this process; whatever it prints is looked through for control characters."""

    def run(*arguments: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["cnnctl", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
        out, err = capsys.readouterr()
        assert isinstance(code, int | None)
        assert raw_controls(out) == []
        assert raw_controls(err) == []
        return Told(code or 0, out, err)

    return run


def config_of(data: dict[str, object], **others: object) -> str:
    """Returns the text of a small config."""
    return yaml.safe_dump(
        {
            "data": data,
            "model": {"layers": SMALL},
            "train": {"epochs": 1, "batch_size": 64},
            "log": {"tensorboard": False},
            **others,
        }
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the bundled digits; to be copied, not changed."""
    from cnnctl.commands.train import train
    from cnnctl.report.console import Console

    folder = tmp_path_factory.mktemp("trained")
    (folder / "digits.yaml").write_text(config_of({"source": "digits"}))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["cnnctl", "train", "digits.yaml"])
        train(folder / "digits.yaml", [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be made hostile."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    """An image that is in order."""
    digits_in_folders(tmp_path / "in_order", ["0"], 1)
    return tmp_path / "in_order" / "0" / "0.png"
