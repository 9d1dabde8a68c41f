"""Imports TensorFlow and Keras without their start-up chatter."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from types import ModuleType

from cnnctl.errors import CnnctlError


def import_tensorflow(verbose: bool = False) -> None:
    """Imports TensorFlow and Keras and starts the runtime; `verbose` lets their messages through."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if verbose:
        _start()
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with without_native_stderr():
        _start()


def _start() -> None:
    with _without("sklearn", "matplotlib"), _hollow("requests"):
        import keras
        import tensorflow as tf

    keras.config.disable_traceback_filtering()  # a bug's traceback shows where it is
    tf.get_logger().setLevel("ERROR")
    tf.config.list_physical_devices()  # asks the driver, which speaks up where there is none


@contextlib.contextmanager
def _without(*packages: str) -> Iterator[None]:
    """Lets imports of packages fail for the while.

    Keras imports them where they are, for wrappers and plots that nothing here uses, and does without where they are
    not: a second saved at each start.
    """
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is how Python marks what must not be imported
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextlib.contextmanager
def _hollow(package: str) -> Iterator[None]:
    """Lets imports of a package give an empty module for the while.

    TensorFlow imports `requests` for machines that Google may take away and for a callback, neither of which is used
    here, and with it comes urllib3, which opens a socket as it is imported: to see whether there is IPv6. Whoever
    imports it later, as TFDS for a download, gets the real one.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = ModuleType(package)
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def without_native_stderr() -> Iterator[None]:
    """Sends what C++ writes to stderr into a file for the while; shows it if the block fails.

    TensorFlow writes some lines before its log level is set up, so no variable can silence them.
    What Python writes still reaches the screen.
    """
    python_stderr = sys.stderr
    python_stderr.flush()
    with tempfile.TemporaryFile() as heard, open(os.dup(2), "w", buffering=1) as screen:
        os.dup2(heard.fileno(), 2)
        sys.stderr = screen
        try:
            yield
        except CnnctlError:
            raise  # its message says all that is to be said
        except Exception:
            heard.seek(0)
            screen.write(heard.read().decode(errors="replace"))
            raise
        finally:
            screen.flush()
            os.dup2(screen.fileno(), 2)
            sys.stderr = python_stderr
