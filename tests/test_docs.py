"""Every command, config and source that README.md and docs/ show works as it is shown; the site has no broken link."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from cnnctl.spec.load import load
from tests import pages
from tests.data.test_file_source import MAKERS
from tests.pages import PAGES, ROOT, Block, Commands, blocks_of, name_of

DATA_PAGE = ROOT / "docs/guide/data.md"
DIGITS = load_digits()
PIXELS = np.round(DIGITS.images * (255 / 16)).astype(np.uint8)
BENCH, SOAK, TENSORBOARD = ".venv/bin/python scripts/bench", ".venv/bin/python scripts/soak", "tensorboard --logdir runs"
NOT_RUN = {
    "README.md": {"scripts/quickstart", TENSORBOARD},
    "docs/guide/distributed.md": {"#!/bin/bash", "CNNCTL_CPU_REPLICAS=2 cnnctl train", "TF_CONFIG="},
    "docs/guide/evaluate-predict.md": {TENSORBOARD},
    "docs/guide/few-shot.md": {"cnnctl train configs/omniglot-one-shot.yaml"},
    "docs/guide/sweeps.md": {"cnnctl sweep digits-sweep.yaml"},
    "docs/learn/tensorboard.md": {TENSORBOARD},
    "docs/results/reliability.md": {SOAK},
    "docs/results/speed.md": {f"{BENCH} --epochs 1", f"{BENCH} --sweep", f"{BENCH} --workers"},
    "docs/start/install.md": {"scripts/quickstart", "scripts/test", "source", "pip install", "cnnctl --install-completion"},
    "docs/start/tour.md": {TENSORBOARD},
}
"""What the blocks that are not run begin with, by page; the page has the reason."""


def digits(root: Path, indices: range | list[int], inverted: bool = False, by_class: bool = True) -> None:
    for index in indices:
        label = str(DIGITS.target[index])
        file = root / label / f"{index}.png" if by_class else root / f"{label}_{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - PIXELS[index] if inverted else PIXELS[index]).save(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages name and do not make."""
    root = tmp_path_factory.mktemp("files")
    for split, count in (("train", 200), ("val", 60), ("test", 60)):
        digits(root / "photos" / split, range(count))
    digits(root / "my-digits", [77, 3, 5], by_class=False)
    digits(root / "new-digits", range(5), by_class=False)
    digits(root / "labelled-digits", range(40), inverted=True)
    rows = [",".join(f"pixel{index}" for index in range(64)), *(",".join(map(str, image.ravel())) for image in PIXELS[:20])]
    (root / "test.csv").write_text("\n".join(rows) + "\n")
    shutil.copytree(ROOT / "configs", root / "configs")
    shutil.copy(ROOT / "configs/quickstart.yaml", root / "digits.yaml")
    return root


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    with Commands() as started:
        yield started


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.is_run for block in blocks_of(page))], ids=name_of)
def test_the_commands_of_a_page_work_and_print_what_it_shows(
    page: Path, files: Path, commands: Commands, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    shutil.copytree(files, folder)
    for block in blocks_of(page):
        if block.title:
            (folder / block.title).write_text(block.text)
        if block.is_run:
            _run(block, folder, commands)


def _run(block: Block, folder: Path, commands: Commands) -> None:
    command, printed = "", ""
    for command in block.commands:
        code, printed = commands.run_or_copy(pages.shortened(command), folder)
        if "is not prepared" in printed and "there is no network" in printed:
            pytest.skip(f"line {block.line}: the data is not here and there is no network to fetch it")
        assert code == block.exit_code, f"line {block.line}: {command}\n{printed}"
        assert "Traceback" not in printed
    exact = command.split()[1] in pages.EXACT if " " in command else False
    missing = pages.missing_lines(block.output or "", printed, exact)
    assert missing == [], f"line {block.line}: {command} does not print these lines (in this order); it prints\n{printed}"


def test_only_known_blocks_are_not_run_and_each_has_a_reason() -> None:
    found = {name_of(page): [block for block in blocks_of(page) if block.commands and not block.is_run] for page in PAGES}
    for name, blocks in found.items():
        known = NOT_RUN.get(name, set())
        assert [block.text for block in blocks if not block.text.startswith(tuple(known))] == [], name
        assert [start for start in known if not any(block.text.startswith(start) for block in blocks)] == [], name
        assert [block.text for block in blocks if block.language == "sh" and len(block.note) < len("not run: why")] == [], name


CONFIGS = [
    pytest.param(block.text, id=f"{name_of(page)}:{block.line}")
    for page in PAGES
    for block in blocks_of(page)
    if block.language == "yaml" and block.title != "wrong.yaml" and not block.note.startswith("not run: ")
]


@pytest.mark.parametrize("text", CONFIGS)
def test_a_shown_config_is_taken_whole_or_as_part_of_another(text: str, tmp_path: Path) -> None:
    whole = yaml.safe_load((ROOT / "configs/quickstart.yaml").read_text())
    shown = yaml.safe_load(text)
    (tmp_path / "x.yaml").write_text(text if {"data", "model"} <= set(shown) else yaml.safe_dump(whole | shown))
    load(tmp_path / "x.yaml", [], look_at_data=False)


def test_a_block_knows_its_title_comment_and_output(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        '```yaml title="a.yaml"\nseed: 1\n```\n\n<!-- exit code 2 -->\n```sh\ncnnctl summary \\\n  a.yaml\n```\n\n```\nno\n```\n'
        "text\n\n```\nnot its output\n```\n\n<!-- not run: a server -->\n```sh\nserve\n```\n"
        "```console\n$ ls\na.yaml\n$ cnnctl init\n```\n"
    )
    config, summary, output, text, server, ls, init = blocks_of(tmp_path / "page.md")
    assert (config.title, config.text, config.line) == ("a.yaml", "seed: 1\n", 1)
    assert (summary.commands, summary.exit_code, summary.output) == (["cnnctl summary    a.yaml"], 2, "no\n")
    assert (output.output, text.output) == (None, None)
    assert (server.commands, server.is_run) == (["serve"], False)
    assert [(each.commands, each.output) for each in (ls, init)] == [(["ls"], "a.yaml\n"), (["cnnctl init"], "")]


def test_an_output_is_compared_line_by_line_and_what_is_left_out_is_not() -> None:
    printed = "head\nloss 0.123, 12 images\n1 2 3\n4 5 6\nend of it\n"
    assert pages.missing_lines("head\n...\nend ...\n", printed, exact=True) == []
    assert pages.missing_lines("loss 9.9, 1,000 images\n7 8 9\n...\n6 6 6\nend of it\n", printed, exact=False) == []
    assert pages.missing_lines("end of it\nhead\n", printed, exact=True) == ["head"]
    assert pages.missing_lines("loss 0.124, 12 images\n", printed, exact=True) == ["loss 0.124, 12 images"]
    assert pages.missing_lines("lost 0.124, 12 images\n", printed, exact=False) == ["lost # # images"]


def shown_sources() -> list[str]:
    """Return the lines of the table of sources, such as `source: npz, path: mnist.npz`."""
    return re.findall(r"\| `(source: [^`]+)` \|", DATA_PAGE.read_text())


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
        digits(tmp_path / data["path"], range(60))
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
        assert f"`{field}: " in DATA_PAGE.read_text(), field


def test_the_reference_pages_are_made_from_the_code() -> None:
    command, of_here = [sys.executable, "scripts/reference"], {**os.environ, "PYTHONPATH": str(ROOT)}
    made = subprocess.run(command, cwd=ROOT, env=of_here, capture_output=True, text=True, timeout=60, check=True)
    written = "".join((ROOT / "docs/reference" / name).read_text() for name in ("config.md", "cli.md"))
    assert made.stdout == written, "run .venv/bin/python scripts/reference --write"


def test_the_site_is_built_without_a_broken_link_and_needs_no_other_server(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is in the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded = re.compile(r"<(?:script|img|iframe|link(?! rel=.?canonical))\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) > 20
    assert {page.name: found for page in built if (found := loaded.findall(page.read_text()))} == {}


def test_tensorboard_shows_the_scalars_of_a_run(commands: Commands, tmp_path: Path) -> None:
    """TensorBoard itself is started on a run, and asked for what it shows."""
    shutil.copy(ROOT / "configs/quickstart.yaml", tmp_path)
    code, printed = commands.run_or_copy(pages.shortened("cnnctl train quickstart.yaml --run-dir runs/first"), tmp_path)
    assert code == 0, printed
    port = 16006 + os.getpid() % 1000
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "runs", "--port", str(port), "--load_fast", "false"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            tags = asked(f"http://127.0.0.1:{port}/data/plugin/scalars/tags")
        finally:
            server.terminate()
    assert all(name.endswith("/tensorboard") for name in tags)
    of_run = next(iter(tags.values()))
    assert {"loss/train", "loss/validation", "accuracy/train", "accuracy/validation", "training/learning_rate"} <= set(of_run)


def asked(address: str) -> dict[str, dict[str, object]]:
    """Return TensorBoard's answer once it has read the runs."""
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                content: dict[str, dict[str, object]] = json.loads(answer.read())
        except OSError:
            content = {}
        if content:
            return content
        time.sleep(0.5)
    raise AssertionError(f"TensorBoard did not show a run at {address}")
