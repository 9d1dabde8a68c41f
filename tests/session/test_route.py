"""The way from the command to the gradient step, as CONTRIBUTING.md describes it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import cnnctl
from cnnctl import cli
from cnnctl.train import steps

PACKAGE = Path(cnnctl.__file__).parent
CONFIG = """
data: {source: digits, test: 0.8}
model: {layers: [flatten, dense: {units: classes}]}
train: {loop: custom, epochs: 1, batch_size: 400}
log: {tensorboard: false}
"""


def test_from_the_command_to_the_gradient_step_it_is_at_most_8_calls_in_5_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stack as TensorFlow traces the first step, frames of TensorFlow left out."""
    (tmp_path / "digits.yaml").write_text(CONFIG)
    route: list[tuple[str, str]] = []
    original = steps.total_loss

    def total_loss(*arguments: Any) -> Any:
        frames = [frame for frame in inspect.stack()[1:] if PACKAGE in Path(frame.filename).parents]
        route[:] = route or [(str(Path(each.filename).relative_to(PACKAGE)), each.function) for each in reversed(frames)]
        return original(*arguments)

    monkeypatch.setattr(steps, "total_loss", total_loss)
    cli.train(tmp_path / "digits.yaml", run_dir=tmp_path / "run", device=cli.Device.cpu, quiet=True)
    assert route[0] == ("cli.py", "train")
    assert route[-1] == ("train/steps.py", "train_step")
    assert len(route) <= 8, route
    assert len({file for file, _ in route}) <= 5, route
    written = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    assert all(f"`{file}` | `{name}" in written for file, name in route), route
