"""TensorBoard itself on two runs, its pages opened in a real browser: each shows the runs' data."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser
from tests.fork_server import ForkServer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
ROOT = Path(__file__).parents[2]
RUNS = {
    "functional": ["train.loop=custom", "model.style=functional", "train.epochs=3"],
    "subclass": ["train.loop=fit", "model.style=subclass", "train.epochs=2", "train.batch_size=64"],
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Iterator[str]:
    """TensorBoard on two runs, as soon as it has read them."""
    folder = tmp_path_factory.mktemp("pages")
    for name, overrides in RUNS.items():
        sets = [word for override in [*overrides, "log.every_epochs=1"] for word in ("--set", override)]
        words = ["train", ROOT / "configs/quickstart.yaml", *sets, "--run-dir", folder / name]
        assert fork_server.run(*words, cwd=folder, output=folder / "output.txt") == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(port), "--load_fast=false"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_runs(f"http://127.0.0.1:{port}/")
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


def wait_for_runs(address: str) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(f"{address}data/runs", timeout=5) as answer:
                if sorted(json.loads(answer.read())) == [f"{name}/tensorboard" for name in sorted(RUNS)]:
                    return
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError("TensorBoard did not read the runs")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


EVERY_RUN = [f"{name}/tensorboard" for name in RUNS]
PAGES = {
    "scalars": ["loss", "accuracy", "training", "steps", "test", *EVERY_RUN],
    "custom_scalars": ["train, validation and test", "loss", "accuracy", "accuracy within epochs"],
    "images&tagFilter=filters": ["filters/conv2d"],
    "graphs": ["conv2d", "max_pool", "flatten", "dropout", "dense"],
    "distributions": ["outputs/conv2d", "weight_gradients", "weights"],
    "distributions&tagFilter=conv2d/kernel": ["weight_gradients/conv2d/kernel", "weights/conv2d/kernel"],
    "histograms": ["outputs/conv2d", "weight_gradients", "weights", *EVERY_RUN],
    "histograms&tagFilter=conv2d/kernel": ["weight_gradients/conv2d/kernel", "weights/conv2d/kernel"],
    "hparams": ["model.style", "functional", "subclass", "train.loop", "train.batch_size", "test/accuracy"],
    "text": ["config", "summary", "source: digits", "# --set model.style=subclass", "MACs per image"],
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_runs_data(page: str, address: str, browser: Browser) -> None:
    browser.open(f"{address}#{page}")
    browser.text_with(*PAGES[page])


def test_the_tab_that_opens_unfolds_loss_and_accuracy_alone(address: str, browser: Browser) -> None:
    browser.open(address)
    text = browser.text_with("accuracy\n2 cards", "loss\n2 cards", "/train", "/validation", "weight_gradients")
    assert not any(f"/{name}" in text for name in ("conv2d", "training_images", "learning_rate"))


def test_the_training_step_is_a_graph_beside_the_networks(address: str) -> None:
    with urllib.request.urlopen(f"{address}data/plugin/graphs/info", timeout=20) as answer:
        found = json.loads(answer.read())["subclass/tensorboard"]
    assert found["run_graph"] and found["tags"]["training_step"]["op_graph"]
    asked = "data/plugin/graphs/graph?run=subclass%2Ftensorboard&conceptual=false&tag=training_step"
    with urllib.request.urlopen(f"{address}{asked}", timeout=20) as answer:
        assert b"Conv2DBackpropFilter" in answer.read()


def test_the_pictures_of_every_run_are_really_drawn(address: str, browser: Browser) -> None:
    """At least one picture of the page has arrived with its pixels."""
    browser.open(f"{address}#images")
    names = ["pictures/confusion_matrix", "maps/conv2d", "pictures/training_images", "pictures/worst_mistakes"]
    browser.text_with(*names, *EVERY_RUN)
    drawn = "(() => { const all = (n) => [...n.querySelectorAll('*')].flatMap((e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);"
    drawn += " return all(document).filter((e) => e.tagName === 'IMG' && e.naturalWidth >= 200).length; })()"
    end = time.monotonic() + 60
    while not browser.evaluate(drawn):
        assert time.monotonic() < end, "no picture arrived"
        time.sleep(0.5)
