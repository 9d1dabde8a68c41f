"""`cnnctl explore`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from cnnctl.commands.explore import PageOptions, explore
from cnnctl.commands.train import train
from cnnctl.errors import ConfigError, RunError, UsageError
from cnnctl.report.console import Console

DEFAULT = PageOptions(20, 12, None)


def config(folder: Path, units: int = 4) -> Path:
    content = {
        "data": {"source": "digits"},
        "model": {"layers": ["flatten", {"dense": {"units": units}}, {"dense": {"units": "classes"}}]},
        "train": {"epochs": 1, "precision": "float32"},
        "log": {"tensorboard": False},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    return folder / "small.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explore")
    train(config(folder), [], folder / "run", None, "cpu", Console(quiet=True), verbose=True)
    return folder / "run"


def write(source: Path, output: Path, options: PageOptions = DEFAULT, overrides: tuple[str, ...] = ()) -> None:
    explore(source, overrides, output, options, "cpu", Console(), verbose=True)


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r'id="page-data">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    data: dict[str, object] = json.loads(found[1])
    return data


def test_it_prints_what_is_in_the_page_its_size_and_what_to_do(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    write(run, page)
    out, err = capsys.readouterr()
    size = page.stat().st_size / 1e6
    assert out == f"{page} is ready, {size:.1f} MB. Open it in a browser; it needs no network.\n"
    assert "device  CPU" in err
    assert "page    weights 0.0 MB, 12 images and 127 more for batches 0.0 MB\n" in err


def test_a_run_and_a_config_each_say_where_the_page_is_from(run: Path, tmp_path: Path) -> None:
    file = config(tmp_path)
    write(run, tmp_path / "run.html")
    write(file, tmp_path / "config.html")
    assert data_of(tmp_path / "run.html")["source"] == {"kind": "run", "name": str(run)}
    assert data_of(tmp_path / "config.html")["source"] == {"kind": "config", "name": str(file)}
    assert data_of(tmp_path / "config.html")["title"] == "small"


def test_the_title_of_a_dated_run_is_the_folder_above(run: Path, tmp_path: Path) -> None:
    dated = tmp_path / "my-digits" / "2026-01-02_03-04-05"
    dated.parent.mkdir()
    dated.symlink_to(run)
    dated.unlink()
    run.rename(dated)
    try:
        write(dated, tmp_path / "page.html", PageOptions(20, 0, None))
    finally:
        dated.rename(run)
    assert data_of(tmp_path / "page.html")["title"] == "my-digits"


def test_set_changes_a_config_and_not_a_run(run: Path, tmp_path: Path) -> None:
    write(config(tmp_path), tmp_path / "page.html", overrides=("model.layers[1].dense.units=7",))
    layers = data_of(tmp_path / "page.html")["network"]["layers"]  # type: ignore[index]
    assert layers[1]["shape"] == [7]
    with pytest.raises(UsageError, match=r"--set changes a config before training, and .+ is a run"):
        write(run, tmp_path / "other.html", overrides=("seed=1",))


def test_large_weights_are_refused_with_their_share_before_tensorflow_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnctl.commands.explore.import_tensorflow", lambda verbose: pytest.fail("TensorFlow was started"))
    with pytest.raises(UsageError) as caught:
        write(config(tmp_path, units=60_000), tmp_path / "page.html")
    # 64 · 60,000 + 60,000 + 60,000 · 10 + 10 parameters of 4 bytes, in base64
    message = f"{tmp_path / 'page.html'} would be too large: 4,500,010 parameters alone take 24.0 MB; the limit is 20 MB. Add --max-size 26"
    assert str(caught.value) == message
    assert not (tmp_path / "page.html").exists()


def test_the_limit_counts_the_whole_page_and_the_advice_suffices(tmp_path: Path) -> None:
    file = config(tmp_path, units=9_500)
    with pytest.raises(UsageError, match=r"would have 4\.\d MB: weights 3\.8 MB, images 0\.0 MB; the limit is 4 MB") as caught:
        write(file, tmp_path / "page.html", PageOptions(4, 12, None))
    advice = re.search(r"Add --max-size (\d+), or lower --images$", str(caught.value))
    assert advice
    write(file, tmp_path / "page.html", PageOptions(int(advice[1]), 12, None))
    assert (tmp_path / "page.html").stat().st_size > 4_000_000


def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnctl.commands.explore.import_tensorflow", lambda verbose: pytest.fail("TensorFlow was started"))


def test_the_weights_of_all_snapshots_count_before_tensorflow_starts(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_tensorflow(monkeypatch)
    (run / "snapshots").mkdir()
    for epoch in range(8_000):
        (run / "snapshots" / f"epoch-{epoch:04d}.weights.npz").touch()
    try:
        with pytest.raises(UsageError) as caught:
            write(run, tmp_path / "page.html", PageOptions(5, 12, None))
        with pytest.raises(UsageError, match="5,000 times 310 parameters"):
            write(run, tmp_path / "page.html", PageOptions(5, 12, 5_000))
    finally:
        shutil.rmtree(run / "snapshots")
    # 64 · 4 + 4 + 4 · 10 + 10 parameters of 4 bytes, in base64
    message = "would be too large: 8,000 times 310 parameters alone take 13.2 MB; the limit is 5 MB. Add --max-size 15, or lower --snapshots"
    assert str(caught.value) == f"{tmp_path / 'page.html'} {message}"


def test_a_layer_that_the_page_cannot_compute_is_refused_before_tensorflow_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_tensorflow(monkeypatch)
    monkeypatch.setattr("cnnctl.explore.network_data.SHOWN", frozenset({"flatten"}))
    with pytest.raises(UsageError, match=r"explore cannot show layer type dense \('dense', 'dense_1'\)\. 'cnnctl summary"):
        write(config(tmp_path), tmp_path / "page.html")


def test_snapshots_are_refused_where_there_are_none(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_tensorflow(monkeypatch)
    with pytest.raises(
        UsageError, match=r"--snapshots chooses among the weights that a run kept, and .*small\.yaml is a config"
    ):
        write(config(tmp_path), tmp_path / "page.html", PageOptions(20, None, 3))
    with pytest.raises(UsageError, match=r"--snapshots: .*run kept none; train with --set log\.snapshots=6 to keep some"):
        write(run, tmp_path / "page.html", PageOptions(20, None, 3))


FEW_SHOT = {
    "task": "few_shot",
    "data": {"source": "digits", "test": ["7", "8", "9"], "validation": ["4", "5", "6"]},
    "model": {"layers": ["flatten", {"dense": {"units": 4}}]},
    "few_shot": {"way": 3, "shot": 1, "query": 2, "method": {"prototypical": {}}},
}


def test_a_number_of_images_is_refused_for_an_episode_and_not_advised(tmp_path: Path) -> None:
    file = tmp_path / "few.yaml"
    file.write_text(yaml.safe_dump(FEW_SHOT))
    with pytest.raises(UsageError, match="--images chooses among images of classes, and a few-shot page shows one episode"):
        write(file, tmp_path / "page.html", PageOptions(20, 12, None))
    write(file, tmp_path / "page.html", PageOptions(20, None, None))
    assert len(data_of(tmp_path / "page.html")["images"]) == 3 * (1 + 2)  # type: ignore[arg-type]


def test_the_file_ends_with_html_and_is_new(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected a name ending with \.html, such as .*page\.html"):
        write(run, tmp_path / "page.txt")
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(UsageError, match="already exists; not overwriting"):
        write(run, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "mine"


def test_what_is_neither_a_run_nor_a_config_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such run or config"):
        write(tmp_path / "missing", tmp_path / "page.html")
    with pytest.raises(UsageError, match="is not a run folder"):
        write(tmp_path, tmp_path / "page.html")
    (tmp_path / "wrong.yaml").write_text("model: 3\n")
    with pytest.raises(ConfigError):
        write(tmp_path / "wrong.yaml", tmp_path / "page.html")


def test_a_run_without_its_network_says_how_to_get_it(run: Path, tmp_path: Path) -> None:
    model = run / "model.keras"
    model.rename(tmp_path / "model.keras")
    try:
        with pytest.raises(RunError, match="has no trained network yet"):
            write(run, tmp_path / "page.html")
    finally:
        (tmp_path / "model.keras").rename(model)
