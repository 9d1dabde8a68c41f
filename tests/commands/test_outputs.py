"""Where commands write what they were asked for: never over anything, and nothing is left by one that was killed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnnctl import cli
from cnnctl.errors import RunError, UsageError
from cnnctl.files import passing_folder, refuse_output

CONFIG = "data: {source: digits}\nmodel: {layers: [flatten, dense: {units: classes}]}\ntrain: {epochs: 1}\nlog: {tensorboard: false}\n"

VERBS = {
    "code": "code q.yaml --output {there}.py",
    "data": "data q.yaml --output {there}.png",
    "draw": "draw q.yaml --output {there}.svg",
    "init": "init quickstart --output {there}.yaml",
    "init --from": "init --from images.npz --output {there}.yaml",
    "explore": "explore run --output {there}.html",
    "export": "export run --to keras --output {there}.keras",
    "export to a folder": "export run --to saved_model --output {there}",
    "predict --show": "predict run 0.png --show {there}.png",
    "predict --saliency": "predict run 0.png --saliency {there}.png",
    "verify --explain": "verify --explain --output {there}.svg",
    "runs --plot": "runs run --plot {there}.svg",
    "one-shot": "one-shot run challenge --mistakes {there}.png",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cnnctl.commands.train import train
    from cnnctl.report.console import Console

    folder = tmp_path_factory.mktemp("outputs")
    (folder / "q.yaml").write_text(CONFIG)
    train(folder / "q.yaml", [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


@pytest.mark.parametrize("kind", ["file", "folder", "link to nowhere"])
@pytest.mark.parametrize("verb", VERBS)
def test_no_command_writes_over_what_is_there(
    verb: str, kind: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "run")
    Path("q.yaml").write_text(CONFIG)
    (tmp_path / "0.png").touch()
    words = shlex.split(VERBS[verb].format(there="there"))
    output = Path(words[-1])
    if kind == "file":
        output.touch()
    elif kind == "folder":
        output.mkdir()
    else:
        output.symlink_to("nowhere")
    monkeypatch.setattr(sys, "argv", ["cnnctl", *words])
    with pytest.raises(SystemExit) as left:
        cli.main()
    reported = " ".join(capsys.readouterr().err.split())
    assert left.value.code == 2, reported
    if kind == "folder" and verb != "export to a folder":
        assert f"{words[-2]} {output} is a folder; choose a file in it" in reported
    else:
        other = output.with_name(f"there-2{output.suffix}")
        assert reported == f"{output} already exists; not overwriting. Choose another name: {words[-2]} {other}"
    assert not Path("nowhere").exists()
    assert list(Path("run").glob(".cnnctl*")) == []


def test_the_name_that_is_offered_is_free_and_usable(tmp_path: Path) -> None:
    for name in ("a b.png", "a b-2.png"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError) as raised:
        refuse_output(tmp_path / "a b.png", "--output", ".png")
    (_, offered) = shlex.split(str(raised.value).partition("Choose another name: ")[2])
    assert offered == str(tmp_path / "a b-3.png")
    refuse_output(Path(offered), "--output", ".png")


def test_a_missing_folder_is_told_with_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        refuse_output(tmp_path / "a b/c/x.png", "--output", ".png")
    subprocess.run(shlex.split(str(raised.value).partition("create it: ")[2]), check=True)
    refuse_output(tmp_path / "a b/c/x.png", "--output", ".png")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=re.escape(f"{tmp_path / 'file'} is a file; choose another --output")):
        refuse_output(tmp_path / "file/x.png", "--output", ".png")


HOLDER = """
import sys, time
from pathlib import Path
from cnnctl.files import passing_folder
with passing_folder(Path(sys.argv[1]), ".cnnctl-export-") as folder:
    (folder / "half.keras").write_bytes(b"half")
    print(folder, flush=True)
    time.sleep(100)
"""


def test_what_a_killed_export_left_goes_with_the_next_and_a_living_one_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/.lock").touch()
    ground = tmp_path / "ground"
    ground.mkdir()
    (ground / ".cnnctl-export-link").symlink_to(tmp_path / "outside")
    holders = [subprocess.Popen([sys.executable, "-c", HOLDER, ground], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        killed, living = (Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout)
        holders[0].kill()
        holders[0].wait()
        assert (killed / "half.keras").exists()
        for folder in (killed, living):
            os.utime(folder, (time.time() - 60, time.time() - 60))
        with passing_folder(ground, ".cnnctl-export-") as own:
            assert sorted(ground.iterdir()) == sorted([own, living, ground / ".cnnctl-export-link"])
        assert sorted(ground.iterdir()) == sorted([living, ground / ".cnnctl-export-link"])
        assert (living / "half.keras").exists()
        assert (tmp_path / "outside/.lock").exists()
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()
