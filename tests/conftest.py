"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_look_through() -> None:
    """Spares the collector what earlier files left for good: TensorFlow keeps millions of objects.

    Before a file begins, since the last test of a file holds what it was given until the next one starts.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Returns what compares a text with a golden file; only --update-golden writes one."""

    def compare(file: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            file.write_text(text + "\n", encoding="utf-8")
        assert file.is_file(), f"{file} is missing; pytest --update-golden writes it"
        assert text + "\n" == file.read_text(encoding="utf-8")

    return compare
