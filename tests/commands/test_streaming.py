"""Trainings on streamed sets: the numbers of those in memory, in both loops and after a resume, in less memory than the images."""

from __future__ import annotations

import csv
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorflow.python.data.ops.iterator_ops import OwnedIterator

from cnnctl.commands import train as train_command
from cnnctl.data.splits import read_splits
from cnnctl.data.store import memory
from cnnctl.data.store.lazy import LazyImages
from cnnctl.errors import DataError
from cnnctl.report.console import Console
from cnnctl.spec.document import parse
from cnnctl.spec.load import check, load
from cnnctl.verify.agreement import train
from tests.interruptions import interrupt_at, prepared, run, variables
from tests.reliability.endings import CASES, assert_same_ending

# Keras 3.15 writes .keras files with an __array__ that numpy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

KEEP, STREAM = ("data.memory=keep",), ("data.memory=stream",)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CNNCTL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(case: str, folder: Path, **train: Any) -> Path:
    """Writes the config of a training that the tests of reliability kill, on fewer images and epochs."""
    content = {**CASES[case], "log": {"tensorboard": False}}
    content["train"] = {**content["train"], "epochs": 2, **train}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder / "config.yaml"


def trained(config: Path | None, folder: Path, *overrides: str, resume: bool = False) -> Path:
    new, old = (None, folder) if resume else (folder, None)
    train_command.train(config, overrides, new, old, "cpu", Console(quiet=True), verbose=True)
    return folder


@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_both_loops_train_the_same_weights_to_the_bit(loop: str) -> None:
    """269 images in batches of 100: three batches an epoch, and steps of two epochs."""
    trainings = []
    for mode in ("keep", "stream"):
        data = f"{{source: digits, test: 0.8, validation: 0.05, memory: {mode}, augment: {{shift: 0.1, elastic: 0.1}}}}"
        layers = "{conv2d: {filters: 2, kernel_size: 3}}, batch_normalization, flatten, {dropout: {rate: 0.2}}, {dense: {units: classes}}"
        spec = check(parse(f"data: {data}\nmodel: {{layers: [{layers}]}}\ntrain: {{batch_size: 100}}", "x.yaml"))
        images = read_splits(spec.data).train
        assert isinstance(images.images, LazyImages) == (mode == "stream")
        trainings.append(train(spec, loop, images, 5))
    kept, streamed = trainings
    for what in ("batches", "losses", "accuracies", "weights", "optimizer"):
        mine, its = getattr(kept, what), getattr(streamed, what)
        assert mine.keys() == its.keys()
        assert all(mine[name].tobytes() == its[name].tobytes() for name in mine), what


@pytest.mark.parametrize("case", ["fit-sequential", "cosine_classifier"])
def test_a_run_ends_as_one_in_memory(case: str, tmp_path: Path) -> None:
    config = written(case, tmp_path)
    runs = [trained(config, tmp_path / mode, f"data.memory={mode}") for mode in ("keep", "stream")]
    for each in runs:  # the config says what was asked for; all else is equal
        text = (each / "config.yaml").read_text()
        assert f"memory: {each.name}\n" in text
        (each / "config.yaml").write_text(text.replace(f"memory: {each.name}\n", "memory: auto\n"))
    assert_same_ending(*runs)


@pytest.mark.parametrize(
    ("case", "first", "then"),
    [
        ("fit-sequential", "stream", "stream"),
        ("custom-functional", "stream", "keep"),
        ("prototypical", "keep", "stream"),
    ],
)
def test_a_streamed_run_is_resumed_within_an_epoch_and_with_the_other_choice(
    case: str, first: str, then: str, tmp_path: Path
) -> None:
    config = written(case, tmp_path)
    straight = run(load(config, KEEP), tmp_path / "straight")
    interrupt_at(load(config, [f"data.memory={first}"]), tmp_path / "run", straight.task.steps_per_epoch + 3)
    resumed = run(load(config, [f"data.memory={then}"]), tmp_path / "run")
    for mine, its in zip(variables(resumed), variables(straight), strict=True):
        assert mine.tobytes() == its.tobytes()
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")


def losses(folder: Path) -> list[tuple[str, str]]:
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return [(row["train_loss"], row["validation_loss"]) for row in rows]


def test_resume_takes_another_choice_and_leaves_what_the_run_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written("custom-sequential", tmp_path)
    folder = trained(config, tmp_path / "run")
    before = (folder / "config.yaml").read_text()
    assert "memory: auto\n" in before
    (folder / "result.json").unlink()
    train_command.train(None, STREAM, None, folder, "cpu", Console(), verbose=True)
    assert "images are streamed from disk: data.memory is stream" in capsys.readouterr().err
    assert (folder / "config.yaml").read_text() == before


def test_a_run_says_that_and_why_it_streams(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = written("custom-sequential", tmp_path, epochs=1)
    monkeypatch.setattr(memory, "machine_memory", lambda: 400_000)
    train_command.train(config, [], tmp_path / "run", None, "cpu", Console(), verbose=True)
    reported = "images are streamed from disk: decoded they take 0.0 GB, more than a quarter of the 0.0 GB of memory"
    assert reported in capsys.readouterr().err


def iterators() -> dict[int, Any]:
    """Return the iterators over batches that are there, collected garbage left out."""
    return {id(each): each for each in gc.get_objects() if isinstance(each, OwnedIterator)}


def assert_closed(iterators: Iterable[Any]) -> None:
    """Whoever still holds them, such as a traceback, has no threads that read images."""
    for each in iterators:
        assert next(each, None) is None


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is collected but by those who ask for it, and there is none yet."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_a_file_that_is_cut_off_during_a_training_ends_it_with_a_message_and_closes_its_batches(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that reads images for an iterator might collect it, and wait for itself."""
    from cnnctl.run_folder import RunFolder
    from cnnctl.session import session as training

    config = written(f"{loop}-sequential", tmp_path)
    monkeypatch.setenv("CNNCTL_CACHE_DIR", "off")
    before = iterators()
    session = prepared(load(config, STREAM))
    (tmp_path / "run").mkdir()
    original = training.plan_of

    def plan_of(*arguments: Any) -> Any:
        monkeypatch.setattr("cnnctl.data.store.lazy.read_at", lambda *_: 0)
        return original(*arguments)

    monkeypatch.setattr(training, "plan_of", plan_of)
    with pytest.raises(DataError, match=r"was truncated while images were read from it; run the command again$") as raised:
        training.train(session, RunFolder(tmp_path / "run"))
    left = iterators()
    assert raised.value.__cause__, "the traceback is still there"
    assert_closed(left[each] for each in left.keys() - before.keys())


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("loop", ["fit", "custom"])
def test_a_training_that_stops_before_its_last_batch_closes_its_batches(loop: str, tmp_path: Path) -> None:
    """It resumes within an epoch, and stops early; see the test above."""
    patience = {"monitor": "train_loss", "patience": 1, "min_delta": 100.0}
    spec = load(written(f"{loop}-sequential", tmp_path, epochs=20, early_stopping=patience), STREAM)
    interrupt_at(spec, tmp_path / "run", 3)
    gc.collect()
    before = iterators()
    run(spec, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] < 20
    left = iterators()
    assert_closed(left[each] for each in left.keys() - before.keys())


def test_a_script_says_that_its_images_are_in_memory(tmp_path: Path) -> None:
    from cnnctl.script.page import script

    reported = "All images are in memory here; data.memory: stream reads them from a file, with the same results."
    config = written("custom-sequential", tmp_path)
    texts = {mode: script(load(config, [f"data.memory={mode}"]), "command", "x.keras") for mode in ("auto", "keep", "stream")}
    assert reported in texts["stream"]
    assert texts["stream"].replace(f"{reported}\n", "") == texts["keep"] == texts["auto"]


# less memory than images

SIDE, CLASSES = 256, 4
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
LIMITED = """
import os, re, resource, sys
from pathlib import Path
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # as many threads, and so as much memory, on every machine
from cnnctl import cli

def command(*words):
    sys.argv = ["cnnctl", *words]
    try:
        cli.main()
    except SystemExit as left:
        return left.code
    return 0

def taken():
    return 1024 * int(re.search(r"VmData:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

first, config, run, mode, room = sys.argv[1:]
assert not command("train", first, "--run-dir", run + "-first", "--device", "cpu")  # TensorFlow takes what it always takes
limit = taken() + int(room)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
sys.exit(command("train", config, "--run-dir", run, "--device", "cpu", "--set", "data.memory=" + mode))
"""
ROOM = 250_000_000
"""Bytes that a training may take beside what TensorFlow has taken before."""


def large(folder: Path, images: int) -> Path:
    """Returns the config of a folder of images, most of them links to a few files."""
    for number in range(images):
        place = folder / "images" / f"class {number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        if number < CLASSES:
            Image.fromarray(np.full((SIDE, SIDE, 3), COLOURS[number], np.uint8)).save(place / "0.png")
        else:
            os.link(place / "0.png", place / f"{number}.png")
    content = {
        "data": {"source": "folder", "path": str(folder / "images"), "validation": 0.1, "test": 0.1},
        "model": {"layers": [{"average_pooling2d": {"pool_size": 32}}, "flatten", {"dense": {"units": "classes"}}]},
        "train": {"epochs": 1, "batch_size": 8, "optimizer": {"adam": {"learning_rate": 0.1}}},
        "log": {"tensorboard": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder / "config.yaml"


@pytest.fixture(scope="module")
def larger_than_memory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Configs of 80 images, and of 5,200: 1.02 GB decoded, four times ROOM."""
    few, many = (tmp_path_factory.mktemp("few"), tmp_path_factory.mktemp("many"))
    return large(few, 80), large(many, 5_200)


def limited(configs: tuple[Path, Path], folder: Path, mode: str) -> subprocess.CompletedProcess[str]:
    words = [*map(str, configs), str(folder / "run"), mode, str(ROOM)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run([sys.executable, "-c", LIMITED, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to RLIMIT_DATA and has /proc")
class TestLessMemoryThanImages:
    """A limit of the system on what a process may write to: files and their cache are not in it."""

    def test_a_streamed_set_four_times_as_large_is_trained_on(
        self, larger_than_memory: tuple[Path, Path], tmp_path: Path
    ) -> None:
        done = limited(larger_than_memory, tmp_path, "auto")
        assert done.returncode == 0, done.stderr[-2000:]
        assert "images are streamed from disk: " in done.stderr
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        assert (result["steps"], result["test_accuracy"]) == (520, 1.0)

    def test_the_same_set_is_refused_in_memory(self, larger_than_memory: tuple[Path, Path], tmp_path: Path) -> None:
        done = limited(larger_than_memory, tmp_path, "keep")
        assert done.returncode == 1
        assert "the 5,200 images of 'train' take, as 256×256×3, 1.2 GB, but this machine has" in done.stderr
        assert "write data.memory: stream" in done.stderr
