"""Files that another process swaps between a check and an opening: what lies outside is never read.

The swap happens within the opening itself, as late as any process can make it: Python tells what it is about to open.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnnctl.data.inputs import Inputs
from cnnctl.data.sources.opening import open_source
from cnnctl.data.store.cache import cached, key_of
from cnnctl.errors import CnnctlError, ConfigError, DataError, RunError
from cnnctl.reading import read_bounded
from cnnctl.run_folder import RunFolder
from cnnctl.spec.dataset import DataSpec

Swap = Callable[[Path, Path], None]
_waiting: list[tuple[str, Path, Path]] = []


def _as_it_is_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _waiting and Path(str(arguments[0])).name == _waiting[0][0]:
        _, file, outside = _waiting.pop()
        file.rename(file.with_name(f"{file.name}.moved"))
        file.symlink_to(outside)


@pytest.fixture
def swap() -> Iterator[Swap]:
    """Returns what lets a file or folder become a link to something outside when it is opened for the next time."""
    if not hasattr(test_a_file_that_becomes_a_link_is_not_read, "hooked"):
        sys.addaudithook(_as_it_is_opened)  # which nothing takes back
        test_a_file_that_becomes_a_link_is_not_read.hooked = True  # type: ignore[attr-defined]
    yield lambda file, outside: _waiting.append((file.name, file, outside))
    assert not _waiting, "it was never opened"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place, content in (("inside/deep", b"inside"), ("outside/deep", b"outside")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_bytes(content)
    return tmp_path


def test_a_file_that_becomes_a_link_is_not_read(root: Path, swap: Swap) -> None:
    file = root / "inside/deep/file"
    assert read_bounded(file, 99, root / "inside") == b"inside"
    swap(file, root / "outside/deep/file")
    with pytest.raises(OSError, match=f"it leads to {root}/outside/deep/file, out of {root}/inside"):
        read_bounded(file, 99, root / "inside")


def test_a_folder_on_the_way_that_becomes_a_link_is_not_entered(root: Path, swap: Swap) -> None:
    swap(root / "inside/deep", root / "outside/deep")
    with pytest.raises(OSError, match=f"it leads to {root}/outside/deep/file, out of {root}/inside"):
        read_bounded(root / "inside/deep/file", 99, root / "inside")


def test_what_a_link_inside_leads_to_may_not_become_a_link(root: Path, swap: Swap) -> None:
    (root / "inside/link").symlink_to("deep/file")
    assert read_bounded(root / "inside/link", 99, root / "inside") == b"inside"
    swap(root / "inside/deep/file", root / "outside/deep/file")
    with pytest.raises(OSError, match="symbolic links"):
        read_bounded(root / "inside/link", 99, root / "inside")


@pytest.fixture
def images(root: Path) -> Path:
    for place, grey in (("inside", 10), ("outside", 200)):
        for name in ("a", "b"):
            (root / place / "train" / name).mkdir(parents=True)
            Image.new("L", (4, 4), grey).save(root / place / "train" / name / "1.png")
    return root / "inside"


@pytest.mark.parametrize("what", ["train/b/1.png", "train/b"])
def test_an_image_of_training_that_becomes_a_link_is_refused(
    what: str, images: Path, root: Path, swap: Swap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", "off")
    data = DataSpec(source="folder", path=str(images), image_size=(4, 4), channels=1, classes=2)
    assert open_source(data).read("train").images[:].max() == 10
    source = open_source(data)
    swap(images / what, root / "outside" / what)
    with pytest.raises(DataError, match=f"it leads to {root}/outside/train/b/1.png"):
        source.read("train")


def test_an_image_to_predict_that_becomes_a_link_is_refused(images: Path, root: Path, swap: Swap) -> None:
    file, data = images / "train/b/1.png", DataSpec(source="folder", path=str(images), image_size=(4, 4), channels=1, classes=2)
    inputs = Inputs([file], data, 0, {file: images})
    swap(file, root / "outside/train/b/1.png")
    assert list(inputs.batches(9)) == []
    assert f"it leads to {root}/outside/train/b/1.png" in inputs.broken[0]


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "result.json", "metrics.csv"])
def test_a_file_of_a_run_that_becomes_a_link_is_refused(name: str, root: Path, trained: Path, swap: Swap) -> None:
    run = RunFolder(Path(shutil.copytree(trained, root / "run")))
    read = {
        "config.yaml": lambda: run.read_config(look_at_data=False),
        "environment.json": run.read_environment,
        "result.json": run.read_result,
        "metrics.csv": run.read_epochs,
    }[name]
    assert read()
    swap(run.path / name, trained / name)
    with pytest.raises((RunError, ConfigError), match=f"it leads to {trained}/{name}"):
        read()


def test_a_network_that_is_swapped_after_it_was_checked_is_not_loaded(
    root: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cnnctl.model import saved
    from cnnctl.session.trained_run import open_trained

    run = Path(shutil.copytree(trained, root / "run"))
    expected = open_trained(run).model.get_weights()
    original = saved._refuse_other_layers

    def swapped(*arguments: Any) -> None:
        original(*arguments)
        (run / "model.keras").write_bytes(b"another")

    monkeypatch.setattr(saved, "_refuse_other_layers", swapped)
    assert all(map(np.array_equal, open_trained(run).model.get_weights(), expected))


def test_a_cache_entry_that_becomes_a_link_is_made_again(root: Path, swap: Swap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", str(root / "cache"))
    source = root / "inside/deep/file"
    for value in (1, 2):
        cached({"value": value}, [source], lambda value=value: {"images": np.full(3, value)})  # type: ignore[misc]
    entry, other = (root / "cache" / f"{key_of({'value': value}, [source])}.npz" for value in (1, 2))
    moved = other.rename(root / "outside/entry.npz")
    swap(entry, moved)
    assert cached({"value": 1}, [source], lambda: {"images": np.full(3, 7)})["images"].tolist() == [7] * 3


def test_a_run_that_waits_for_nothing(root: Path, trained: Path) -> None:
    """A device or pipe may take the place of a file after the folder was looked through."""
    import os

    run = RunFolder(Path(shutil.copytree(trained, root / "run")))
    for file, read in ((run.environment, run.read_environment), (run.metrics, run.read_epochs)):
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(CnnctlError, match="it is not a regular file"):
            read()
    assert json.loads(run.result.read_bytes())
