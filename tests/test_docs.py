"""Every command and every source that docs/ shows works as it is shown."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from cnnctl.spec.load import load
from tests.data.test_file_source import MAKERS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {page.name: page.read_text() for page in sorted(DOCS.rglob("*.md"))}
DIGITS = load_digits()
PIXELS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)


def shown_commands() -> list[str]:
    return [
        line
        for text in PAGES.values()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.strip().splitlines()
    ]


def digits(root: Path, count: int, inverted: bool = False) -> None:
    for index in range(count):
        folder = root / str(DIGITS.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - PIXELS[index] if inverted else PIXELS[index]).save(folder / f"{index}.png")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages name, where commands are run one after the other."""
    root = tmp_path_factory.mktemp("docs")
    for split, count in (("train", 200), ("val", 60), ("test", 60)):
        digits(root / "photos" / split, count)
    digits(root / "new-digits", 5)
    digits(root / "labelled-digits", 40, inverted=True)
    rows = [",".join(f"pixel{index}" for index in range(64)), *(",".join(map(str, image.ravel())) for image in PIXELS[:20])]
    (root / "test.csv").write_text("\n".join(rows) + "\n")
    shutil.copy(DOCS.parent / "configs" / "quickstart.yaml", root / "digits.yaml")
    return root


@pytest.mark.parametrize("command", shown_commands())
def test_a_shown_command_works(command: str, workplace: Path) -> None:
    if "runs/digits" in command and "train" not in command and not (workplace / "runs/digits").exists():
        _run("cnnctl train digits.yaml --set train.epochs=2 --run-dir runs/digits", workplace)
    if "photos.yaml" in command and not (workplace / "photos.yaml").exists():
        _run("cnnctl init --from photos", workplace)
    done = _run(command, workplace)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] == "cnnctl", command
    return subprocess.run(
        [sys.executable, "-m", "cnnctl", *words[1:]], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def shown_sources() -> list[str]:
    """Returns the lines of the table of sources, such as `source: npz, path: mnist.npz`."""
    return re.findall(r"\| `(source: [^`]+)` \|", PAGES["data.md"])


@pytest.mark.parametrize("line", shown_sources())
def test_a_shown_source_is_one_line_of_config(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = yaml.safe_load(f"{{{line}}}")
    if data["source"] in MAKERS:
        (tmp_path / "made").mkdir()
        made = MAKERS[data["source"]](tmp_path / "made", np.arange(60) % 5, np.arange(20) % 5)
        made = made / "mnist_train.csv" if data["source"] == "csv" else made
        (tmp_path / data["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, tmp_path / data["path"])
    if data["source"] == "folder":
        digits(tmp_path / data["path"], 60)
    (tmp_path / "x.yaml").write_text(f"data: {{{line}}}\nmodel: {{layers: [flatten, {{dense: {{units: classes}}}}]}}\n")
    assert load(tmp_path / "x.yaml").data.classes


def test_every_source_and_every_field_of_images_is_described() -> None:
    from cnnctl.spec.dataset import SOURCES

    assert {yaml.safe_load(f"{{{line}}}")["source"] for line in shown_sources()} == set(SOURCES)
    for field in (
        "class_folders",
        "labels_file",
        "follow_links",
        "image_size",
        "fit",
        "pixel_max",
        "invert",
        "transpose",
        "remap_labels",
        "keys",
    ):
        assert f"`{field}: " in PAGES["data.md"], field
