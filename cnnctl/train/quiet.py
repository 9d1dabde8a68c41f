"""Imports TensorFlow and Keras without their start-up chatter."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


def import_tensorflow(verbose: bool = False) -> None:
    """Imports TensorFlow and Keras and starts the runtime; `verbose` lets their messages through."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if verbose:
        _start()
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with _without_native_stderr():
        _start()


def _start() -> None:
    import keras
    import tensorflow as tf

    keras.config.disable_traceback_filtering()  # a bug's traceback shows where it is
    tf.get_logger().setLevel("ERROR")
    tf.config.list_physical_devices()  # asks the driver, which speaks up where there is none


@contextlib.contextmanager
def _without_native_stderr() -> Iterator[None]:
    """Sends what C++ writes to stderr into a file for the while; shows it if the block fails.

    TensorFlow writes some lines before its log level is set up, so no variable can silence them.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as heard:
        kept = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            heard.seek(0)
            sys.stderr.write(heard.read().decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
