"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cnnctl.spec.layers.custom import use
from tests.fork_server import ForkServer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # without, some processors compute nothing under channels_first
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background, which processes that are started take over
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["COLUMNS"] = "80"
_CACHE = tempfile.TemporaryDirectory(prefix="cnnctl-cache-")
os.environ["CNNCTL_CACHE_DIR"] = _CACHE.name  # a person's own is neither read nor filled


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files anew; read their diff before a commit"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: holds beside other tests what they hold already; only scripts/soak runs it")
    gc.set_threshold(20_000, 10, 5)  # else a tenth of the time goes into looking through TensorFlow's objects


SLOWEST = (
    "test_workers.py", "test_sweep.py", "test_code.py", "test_few_shot.py", "test_docs.py", "test_kills.py",
    "test_streaming.py", "test_scripts.py", "test_replicas.py", "test_tensorboard.py", "test_bench.py", "test_run_folder.py",
    "test_surroundings.py", "test_reproducible.py", "test_pages.py", "test_faults.py", "test_fuzz.py", "test_styles.py",
)  # fmt: skip
"""Files that take longest, which begin first, so that the processes that share the suite end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first, and skip what only scripts/soak runs, unless CNNCTL_SOAK is set."""
    items.sort(key=lambda item: SLOWEST.index(item.path.name) if item.path.name in SLOWEST else len(SLOWEST))
    if "CNNCTL_SOAK" not in os.environ:
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="scripts/soak runs it, with CNNCTL_SOAK=1"))


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_look_through() -> None:
    """Spares the collector what earlier files left for good: TensorFlow keeps millions of objects.

    Before a file begins, since the last test of a file holds what it was given until the next one starts.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_layers_of_ones_own() -> Iterator[None]:
    """Removes the layers that a test added to the vocabulary."""
    yield
    use(None)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """One process that has imported everything, and starts the commands of all tests that need a process of their own."""
    with ForkServer() as started:
        yield started


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Returns what compares a text with a golden file; only --update-golden writes one."""

    def compare(file: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            file.write_text(text + "\n", encoding="utf-8")
        assert file.is_file(), f"{file} is missing; pytest --update-golden writes it"
        assert text + "\n" == file.read_text(encoding="utf-8")

    return compare
